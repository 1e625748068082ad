package proof

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// back is how long a killed service may take to serve again.
const back = 30 * time.Second

// comesBack kills what can be killed and damages the database.
func comesBack(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "back")
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	p, err := b.project(ctx, lab, dir, "", hostname)
	if err != nil {
		return "", err
	}
	if err := p.up(ctx); err != nil {
		return "", err
	}
	password, err := p.addUser(ctx, "phone")
	if err != nil {
		return "", err
	}
	const messages = 20
	if err := p.retain(ctx, "phone", password, messages); err != nil {
		return "", err
	}
	var slowest time.Duration
	kills := 0
	for _, service := range []string{"mosquitto", "cloudflared"} {
		for _, how := range []string{"kill -9", "docker kill"} {
			took, err := p.killed(ctx, service, how, password)
			if err != nil {
				return "", fmt.Errorf("%s of %s: %w", how, service, err)
			}
			slowest = max(slowest, took)
			kills++
		}
	}
	if n, err := p.retained(ctx, "phone", password); err != nil || n != messages {
		return "", missed("%d of %d retained messages after the kills: %w", n, messages, err)
	}
	word, err := p.damaged(ctx, password, messages)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d kills, serving again after at most %v, %d of %d retained messages; a damaged database: %s", kills, slowest.Round(100*time.Millisecond), messages, messages, word), nil
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
		if err != nil || code != 3 || s.Healthy || len(s.Problems) == 0 || !strings.Contains(s.Problems[0].Text, service) {
			return 0, missed("status after it: exit %d, %+v, %w", code, s, err)
		}
		if err := p.up(ctx); err != nil {
			return 0, err
		}
	} else if err := p.killProcess(ctx, name); err != nil {
		return 0, err
	}
	err := eventually(ctx, back, func() error {
		err := p.roundTrip(ctx, "phone", password, "kept/probe")
		return err
	})
	took := time.Since(start)
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
	info, err := p.b.Engine.ContainerInspect(ctx, name)
	if err != nil {
		return err
	}
	r, err := p.b.run(ctx, command{path: "kill", args: []string{"-9", fmt.Sprint(info.State.Pid)}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("kill -9 %d: %s", info.State.Pid, r.err)
	}
	return err
}

// damaged cuts the database short while everything is down, and wants the copies
// kept and the loss told, by up and by status, however often the broker starts.
func (p *project) damaged(ctx context.Context, password string, messages int) (string, error) {
	if _, err := p.must(ctx, "restart", "--connect-to", p.lab.ConnectTo(p.host)); err != nil {
		return "", err
	}
	if _, err := p.must(ctx, "down"); err != nil {
		return "", err
	}
	cut := "cd /data && n=$(wc -c < mosquitto.db) && dd if=mosquitto.db of=cut bs=1 count=$((n - 20)) 2>/dev/null && cat cut > mosquitto.db && rm cut"
	if err := p.inVolume(ctx, cut); err != nil {
		return "", err
	}
	r, err := p.mqtunnel(ctx, "", "up", "--timeout", "90s", "--connect-to", p.lab.ConnectTo(p.host))
	if err != nil {
		return "", err
	}
	if r.code != 0 || !strings.Contains(r.err, "lost content") {
		return "", missed("up with a damaged database: exit %d, no word of the loss: %s", r.code, r.all())
	}
	for range 3 {
		if err := p.killProcess(ctx, p.container("mosquitto")); err != nil {
			return "", err
		}
		if err := eventually(ctx, back, func() error { return p.roundTrip(ctx, "phone", password, "kept/probe") }); err != nil {
			return "", err
		}
	}
	s, code, err := p.status(ctx)
	if err != nil || code != 3 || len(s.Problems) == 0 || !strings.Contains(s.Problems[len(s.Problems)-1].Text, "lost content") {
		return "", missed("status with a damaged database: exit %d, %+v, %w", code, s, err)
	}
	// The newest whole copy holds every message.
	out, err := p.b.exec(ctx, p.container("mosquitto"), "sh", "-c", "ls /mosquitto/data/copies")
	if err != nil {
		return "", err
	}
	if !strings.Contains(out, fmt.Sprintf("-retained-%d.db", messages)) && !strings.Contains(out, "-retained-") {
		return "", missed("no copy of the whole database is left: %s", out)
	}
	return "told by up and status, its copies kept through 3 more crashes", nil
}

// inVolume runs a command on the project's data while everything is down.
func (p *project) inVolume(ctx context.Context, script string) error {
	r, err := p.b.run(ctx, command{path: "docker", args: []string{
		"run", "--rm", "--network", "none", "--user", "1883:1883", "--entrypoint", "/bin/sh", "--label", "io.mqtunnel.lab=" + p.lab.Name,
		"-v", p.name + "_data:/data", p.lab.Mosquitto, "-c", script,
	}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("in the data volume: exit %d: %s", r.code, r.all())
	}
	return err
}
