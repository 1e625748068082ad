package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
)

// back is how long a killed service may take to serve again.
const back = 30 * time.Second

// kept is how many retained messages a project of comes-back holds.
const kept = 20

// comesBack kills what can be killed and damages the database, with every version of
// the broker.
func comesBack(ctx context.Context, b *Bench) (figure string, err error) {
	return b.onVersions(ctx, "back", comesBackOn)
}

func comesBackOn(ctx context.Context, list []onVersion) (figure string, err error) {
	var mu sync.Mutex
	var slowest time.Duration
	kills := 0
	group, gctx := errgroup.WithContext(ctx)
	for _, p := range list {
		group.Go(func() error {
			took, err := p.survives(gctx, p.version)
			if err != nil {
				return fmt.Errorf("mosquitto %s: %w", p.version, err)
			}
			mu.Lock()
			defer mu.Unlock()
			slowest, kills = max(slowest, slices.Max(took)), kills+len(took)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return "", err
	}
	return fmt.Sprintf("mosquitto %s: %d kills, serving again after at most %v with %d of %d retained messages; "+
		"a damaged database is told by up and status, and its copy restores %d of %d after %d more crashes",
		strings.Join(images.Versions(), " and "), kills, slowest.Round(100*time.Millisecond), kept, kept, kept, kept, crashes), nil
}

// survives goes through the kills and the damage, and returns how long each kill kept
// clients waiting.
func (p *project) survives(ctx context.Context, version string) (took []time.Duration, err error) {
	if err := p.up(ctx); err != nil {
		return nil, err
	}
	password, err := p.addUser(ctx, "phone")
	if err != nil {
		return nil, err
	}
	if err := p.retain(ctx, "phone", password, kept); err != nil {
		return nil, err
	}
	for _, service := range []string{"mosquitto", "cloudflared"} {
		for _, how := range []string{"kill -9", "docker kill"} {
			t, err := p.killed(ctx, service, how, password)
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", how, service, err)
			}
			took = append(took, t)
		}
	}
	if n, err := p.retained(ctx, "phone", password); err != nil || n != kept {
		return nil, missed("%d of %d retained messages after the kills: %w", n, kept, err)
	}
	return took, p.damaged(ctx, password, version)
}

// addUser adds a user with all topics and returns the password.
func (p *project) addUser(ctx context.Context, name string) (string, error) {
	out, err := p.must(ctx, "user", "add", name, "--topics", "all", "--generate")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(out, "password: ")
	password, _, found := strings.Cut(rest, "\n")
	if !found {
		return "", fmt.Errorf("user add shows no password: %s", out)
	}
	return password, nil
}

// retain publishes retained messages and makes the broker save them.
func (p *project) retain(ctx context.Context, user, password string, n int) error {
	script := fmt.Sprintf("i=0; while [ $i -lt %d ]; do mosquitto_pub -h 127.0.0.1 -q 1 -r -u %s -P %s -t kept/$i -m %s || exit 1; i=$((i+1)); done",
		n, user, password, strings.Repeat("x", 200))
	if _, err := p.b.exec(ctx, p.container("mosquitto"), "sh", "-c", script); err != nil {
		return err
	}
	// From inside: the Engine's kill call, whatever the signal, ends the restart policy.
	if _, err := p.b.exec(ctx, p.container("mosquitto"), "kill", "-USR1", "1"); err != nil {
		return err
	}
	return eventually(ctx, back, func() error {
		_, err := p.b.exec(ctx, p.container("mosquitto"), "sh", "-c", fmt.Sprintf("[ $(wc -c < /mosquitto/data/mosquitto.db) -gt %d ]", n*200))
		return err
	})
}

// retained counts the retained messages that the broker delivers.
func (p *project) retained(ctx context.Context, user, password string) (int, error) {
	out, err := p.b.exec(ctx, p.container("mosquitto"), "sh", "-c",
		fmt.Sprintf("mosquitto_sub -h 127.0.0.1 -u %s -P %s -t 'kept/#' -W 2 || [ $? -eq 27 ]", user, password))
	return strings.Count(out, strings.Repeat("x", 200)), err
}

// killed ends a service in one of two ways and measures how long a client
// through the tunnel has to wait. docker kill counts as stopped by hand, which
// no restart policy undoes: the next up does.
func (p *project) killed(ctx context.Context, service, how, password string) (time.Duration, error) {
	name := p.container(service)
	start := time.Now()
	if how == "docker kill" {
		if err := p.b.Engine.ContainerKill(ctx, name, "SIGKILL"); err != nil {
			return 0, err
		}
		s, code, err := p.status(ctx)
		if err != nil || code != 3 || s.Healthy || len(s.Problems) == 0 || s.Problems[0].Code != stoppedCode(service) {
			return 0, missed("status after it: exit %d, %+v, %w", code, s, err)
		}
		if err := p.up(ctx); err != nil {
			return 0, err
		}
	} else if err := p.killProcess(ctx, name); err != nil {
		return 0, err
	}
	truth := brokerTruth
	if service == "cloudflared" {
		truth = connectorTruth
	}
	return p.serving(ctx, password, start, truth)
}

// How long after a status that says healthy a message may take to go through. The edge
// goes on sending clients to the connections of a connector that was killed until it
// misses them, which nobody on this side can see.
const (
	brokerTruth    = 4 * time.Second
	connectorTruth = 25 * time.Second
	// oneTry bounds a message of which another may take a better way.
	oneTry = 3 * time.Second
)

// serving waits until a client gets through again. A status that says healthy before
// that is a lie, and so is one that does not say it soon after.
func (p *project) serving(ctx context.Context, password string, start time.Time, truth time.Duration) (took time.Duration, err error) {
	through := func() error {
		ctx, cancel := context.WithTimeout(ctx, oneTry)
		defer cancel()
		return p.roundTrip(ctx, "phone", password, "kept/probe")
	}
	err = eventually(ctx, back, func() error {
		s, code, err := p.status(ctx)
		if err != nil {
			return err
		}
		if code != 0 || !s.Healthy {
			err := through()
			if err == nil {
				took = time.Since(start)
			}
			return err
		}
		if err := eventually(ctx, truth, through); err != nil {
			return final(missed("status says healthy, and no message goes through: %w", err))
		}
		took = time.Since(start)
		return nil
	})
	if err != nil {
		return took, err
	}
	return took, eventually(ctx, back, func() error {
		s, code, err := p.status(ctx)
		if err != nil || code != 0 || !s.Healthy {
			return missed("status when serving again: exit %d, %+v, %w", code, s, err)
		}
		return nil
	})
}

// killProcess sends SIGKILL to a container's process from outside, as a crash
// or the kernel would.
func (p *project) killProcess(ctx context.Context, name string) error {
	return p.signal(ctx, name, "KILL")
}

// signal sends a signal to a container's process from outside.
func (p *project) signal(ctx context.Context, name, signal string) error {
	info, err := p.b.Engine.ContainerInspect(ctx, name)
	if err != nil {
		return err
	}
	if info.State.Pid == 0 {
		return fmt.Errorf("kill -%s %s: it is %s", signal, name, info.State.Status)
	}
	r, err := p.b.run(ctx, command{path: "kill", args: []string{"-" + signal, fmt.Sprint(info.State.Pid)}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("kill -%s %d: %s", signal, info.State.Pid, r.err)
	}
	return err
}

// damaged cuts the database short while everything is down, and wants the loss told,
// by up and by status, however often the broker starts, and copies from which
// everything comes back.
func (p *project) damaged(ctx context.Context, password, version string) error {
	if _, err := p.must(ctx, "restart", "--connect-to", p.lab.ConnectTo(p.host)); err != nil {
		return err
	}
	if _, err := p.must(ctx, "down"); err != nil {
		return err
	}
	cut := "cd /data && n=$(wc -c < mosquitto.db) && dd if=mosquitto.db of=cut bs=1 count=$((n - 20)) 2>/dev/null && cat cut > mosquitto.db && rm cut"
	if _, err := p.inVolume(ctx, cut); err != nil {
		return err
	}
	r, err := p.mqtunnel(ctx, "", "up", "--timeout", "90s", "--connect-to", p.lab.ConnectTo(p.host))
	if err != nil {
		return err
	}
	if version == images.Mosquitto20 {
		err = p.stands(ctx, r)
	} else {
		err = p.loses(ctx, r, password)
	}
	if err != nil {
		return err
	}
	return p.restored(ctx, password)
}

// stoppedCode is under what doctor knows that a service's container was stopped.
func stoppedCode(service string) string {
	if service == "mosquitto" {
		return "MQT-B11"
	}
	return "MQT-C05"
}

// loses is what a broker does that starts without what it cannot load: it serves, and
// the loss is told however often it starts.
func (p *project) loses(ctx context.Context, up result, password string) error {
	if up.code != 0 || !lossTold(up.err) {
		return missed("up with a damaged database: exit %d, no word of the loss: %s", up.code, up.all())
	}
	for range crashes {
		if err := p.killProcess(ctx, p.container("mosquitto")); err != nil {
			return err
		}
		if err := eventually(ctx, back, func() error { return p.roundTrip(ctx, "phone", password, "kept/probe") }); err != nil {
			return err
		}
	}
	s, code, err := p.status(ctx)
	if err != nil || code != 3 || len(s.Problems) == 0 || !lossTold(fmt.Sprint(s.Problems)) {
		return missed("status with a damaged database: exit %d, %+v, %w", code, s, err)
	}
	return nil
}

// crashes is how many further starts a damaged database goes through.
const crashes = 3

// lossTold reports whether a text says what the database held.
func lossTold(text string) bool {
	return strings.Contains(text, "lost content") && strings.Contains(text, fmt.Sprintf("held %d retained messages", kept))
}

// stands is what a broker does that does not start with what it cannot load: it serves
// nobody, and up and status say why.
func (p *project) stands(ctx context.Context, up result) error {
	const why = "the broker cannot load its database"
	if up.code != 3 || !strings.Contains(up.err, why) || !strings.Contains(up.err, "copies are in") {
		return missed("up with a database that the broker refuses: exit %d, no word of it: %s", up.code, up.all())
	}
	return eventually(ctx, back, func() error {
		s, code, err := p.status(ctx)
		if err != nil || code != 3 || !strings.Contains(fmt.Sprint(s.Problems), why) {
			return missed("status with a database that the broker refuses: exit %d, %+v, %w", code, s, err)
		}
		for _, service := range s.Services {
			if service.Service == "mosquitto" && service.Restarts < crashes {
				return fmt.Errorf("%d of %d further starts", service.Restarts, crashes)
			}
		}
		return nil
	})
}

// restored puts the fullest copy in the database's place, as a person would, and wants
// every message back and no word of a loss.
func (p *project) restored(ctx context.Context, password string) error {
	if _, err := p.must(ctx, "down"); err != nil {
		return err
	}
	// The newest of the copies that hold as much as the fullest.
	restore := "cd /data/copies && best=$(ls | sed -n 's/^\\([1-9][0-9]*\\)-retained-\\([0-9]*\\)\\.db$/\\2 \\1/p' | sort -n | tail -n 1) && " +
		"cp \"${best#* }-retained-${best% *}.db\" ../mosquitto.db && rm -f lost && ls"
	copies, err := p.inVolume(ctx, restore)
	if err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	n, err := p.retained(ctx, "phone", password)
	if err != nil || n != kept {
		return missed("the best of the copies restores %d of %d retained messages: %s %w", n, kept, strings.Join(strings.Fields(copies), " "), err)
	}
	if s, code, err := p.status(ctx); err != nil || code != 0 {
		return missed("status after the database was restored: exit %d, %+v, %w", code, s, err)
	}
	return nil
}

// inVolume runs a command on the project's data while everything is down.
func (p *project) inVolume(ctx context.Context, script string) (string, error) {
	r, err := p.b.run(ctx, command{path: "docker", args: []string{
		"run", "--rm", "--network", "none", "--user", "1883:1883", "--entrypoint", "/bin/sh", "--label", bench.LabelLab + "=" + p.lab.Name,
		"-v", p.name + "_data:/data", p.lab.Mosquitto, "-c", script,
	}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("in the data volume: exit %d: %s", r.code, r.all())
	}
	return r.out, err
}
