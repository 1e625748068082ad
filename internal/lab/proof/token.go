package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/plan"
)

// tokenNowhere brings a project up and looks for its token, and for the password of
// the probe, everywhere while all commands run, and then plants leaks.
func tokenNowhere(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "token", (*project).tokenIsNowhere)
}

func (p *project) tokenIsNowhere(ctx context.Context) (figure string, err error) {
	n, err := needlesOf(p.tunnel.Token.Reveal())
	if err != nil {
		return "", err
	}
	// mqtunnel up would make one; one that is known can be looked for from the start.
	if err := p.setting("MQTUNNEL_PROBE_PASSWORD", probePassword, n); err != nil {
		return "", err
	}
	s := newSearch(n)
	w := p.watch(ctx, s)
	err = p.lookEverywhere(ctx, s)
	if err = errors.Join(err, w.end()); err != nil {
		return "", err
	}
	if err := s.verdict(); err != nil {
		return "", err
	}
	short, inspected := w.short()
	if inspected < 2 {
		return "", missed("%d of the short-lived containers %q were looked into, so the search is blind", inspected, short)
	}
	if err := p.secretsAreWhereTheyBelong(ctx, n); err != nil {
		return "", err
	}
	if err := p.asArgument(ctx, n); err != nil {
		return "", err
	}
	planted, err := p.plant(ctx, n)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("0 of %d places hold any %d characters of it, %d of %d short-lived containers among them; %d of %d planted leaks found",
		s.places, needleLength, inspected, len(short), planted, planted), nil
}

// probePassword is the password of the probe's account in the project.
const probePassword = "hunt3r-of-leaks-x0123456"

// setting adds a line to .env, and its value to what is looked for.
func (p *project) setting(key, value string, n needles) error {
	n.add("probe's password", value)
	file, err := os.OpenFile(filepath.Join(p.dir, ".env"), os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(file, "%s=%s\n", key, value)
	return errors.Join(err, file.Close())
}

// lines are the command lines that are run, in this order.
func (p *project) lines() [][]string {
	connect := p.lab.ConnectTo(p.host)
	return [][]string{
		{"down"},
		{"up", "--timeout", "90s", "--connect-to", connect},
		{"token", "show"},
		{"token", "check"},
		{"status"},
		{"status", "--live"},
		{"logs"},
		{"logs", "--raw"},
		{"render"},
		{"render", "--write"},
		{"up", "--dry-run"},
		{"restart", "--connect-to", connect, "cloudflared"},
		{"user", "add", "someone", "--topics", "all", "--generate"},
		{"user", "passwd", "someone", "--generate"},
		{"user", "list"},
		{"user", "remove", "someone", "--yes"},
		{"version"},
		{"help"},
		{"up", "--timeout", "nonsense"},
		{"up", "--adopt", "--connect-to", connect},
		{"down", "--dry-run"},
		{"token", "set"},
		{"down"},
	}
}

// lookEverywhere runs every command in every mode, and searches its output, the
// containers while they run, and the files.
func (p *project) lookEverywhere(ctx context.Context, s *search) error {
	for _, mode := range []string{"--debug", "--json"} {
		// Not every command has the mode: this one brings the project up in any case.
		if err := p.up(ctx); err != nil {
			return err
		}
		if err := p.lookAtServices(ctx, s); err != nil {
			return err
		}
		for _, args := range p.lines() {
			stdin := ""
			if args[0] == "token" && args[1] == "set" {
				stdin = p.tunnel.Token.Reveal() // given again, the way people do
			}
			if err := p.lookAtOutput(ctx, s, stdin, append(append([]string{}, args...), mode)...); err != nil {
				return err
			}
		}
		if err := s.files(p.dir); err != nil {
			return err
		}
	}
	if err := p.lookAtCompose(ctx, s); err != nil {
		return err
	}
	return p.lookAtFaults(ctx, s)
}

func (p *project) lookAtOutput(ctx context.Context, s *search, stdin string, line ...string) error {
	r, err := p.mqtunnel(ctx, stdin, line...)
	if err != nil {
		return err
	}
	s.look("output of mqtunnel "+strings.Join(line, " "), r.all())
	return nil
}

// lookAtServices searches what the Engine says of the services that run.
func (p *project) lookAtServices(ctx context.Context, s *search) error {
	for _, service := range []string{"mosquitto", "cloudflared"} {
		if err := p.lookAtContainer(ctx, s, service); err != nil {
			return err
		}
	}
	return nil
}

// lookAtCompose lets Docker Compose run the project.
func (p *project) lookAtCompose(ctx context.Context, s *search) error {
	for _, args := range [][]string{{"config"}, {"up", "-d"}, {"ps"}, {"logs"}} {
		r, err := p.b.run(ctx, command{dir: p.dir, path: p.b.composeProgram(), args: args})
		if err != nil {
			return err
		}
		if r.code != 0 {
			return fmt.Errorf("docker compose %s: exit %d: %s", args[0], r.code, r.err)
		}
		s.look("output of docker compose "+args[0], r.all())
	}
	return p.lookAtServices(ctx, s)
}

// lookAtFaults gives the binary what people get wrong: errors must not show it
// either. The project is as it was afterwards.
func (p *project) lookAtFaults(ctx context.Context, s *search) error {
	token := p.tunnel.Token.Reveal() // given wrong on purpose
	for _, stdin := range []string{token[:len(token)/2], token + token[:40], "TOKEN=" + token[10:], strings.ToLower(token)} {
		if err := p.lookAtOutput(ctx, s, stdin, "token", "set", "--debug"); err != nil {
			return err
		}
	}
	file := filepath.Join(p.dir, ".env")
	whole, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, text := range []string{
		string(whole) + "CLOUDFLARE_TUNNEL_TOKEN = '" + token + "\n",
		strings.Replace(string(whole), token, token+" x", 1),
		string(whole) + "this is \"no line: " + token + "\n",
		strings.Replace(string(whole), token, token[:len(token)-9], 1),
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil { //nolint:gosec // the proof's own directory
			return err
		}
		for _, line := range [][]string{{"up", "--debug"}, {"token", "show", "--debug"}, {"token", "check", "--json"}, {"status", "--debug"}, {"render"}} {
			if err := p.lookAtOutput(ctx, s, "", line...); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(file, whole, 0o600) //nolint:gosec // the proof's own directory
}

// asArgument gives the token where none may be given: it then stands in the process
// list, and must not stand in the answer too.
func (p *project) asArgument(ctx context.Context, n needles) error {
	token := p.tunnel.Token.Reveal() // given wrong on purpose
	s := newSearch(n)
	for _, line := range [][]string{
		{"token", "set", token},
		{"token", token},
		{token},
		{"up", token},
		{"token", "set", "--token", token},
		{"token", "set", "--token=" + token},
		{"up", "--timeout", token},
		{"-p", token, "status"},
		{"token", "set", "--from-file", token},
	} {
		if err := p.lookAtOutput(ctx, s, "", append(line, "--debug")...); err != nil {
			return err
		}
	}
	// Without the token itself in the line that is shown.
	if hits := s.found(""); len(hits) > 0 {
		return missed("the answer shows a token that was given as an argument, %d times: %s", len(hits), strings.ReplaceAll(strings.Join(hits, "; "), token, "TOKEN"))
	}
	return nil
}

// lookAtContainer searches what the Engine says of a container.
func (p *project) lookAtContainer(ctx context.Context, s *search, service string) error {
	_, raw, err := p.b.Engine.ContainerInspectWithRaw(ctx, p.container(service), true)
	if err != nil {
		return err
	}
	s.look("docker inspect "+service, string(raw))
	r, err := p.b.run(ctx, command{path: "docker", args: []string{"logs", p.container(service)}})
	if err != nil {
		return err
	}
	s.look("docker logs "+service, r.all())
	top, err := p.b.Engine.ContainerTop(ctx, p.container(service), nil)
	if err != nil {
		return err
	}
	s.look("docker top "+service, fmt.Sprint(top.Processes))
	return nil
}

// secretsAreWhereTheyBelong makes sure that the search would find them: the token is
// in .env and in the connector's secret file.
func (p *project) secretsAreWhereTheyBelong(ctx context.Context, n needles) error {
	env, err := os.ReadFile(filepath.Join(p.dir, ".env"))
	if err != nil {
		return err
	}
	if n.in(string(env)) != "token" || !strings.Contains(string(env), probePassword) {
		return missed("the token or the probe's password is not found in .env, so the search is blind")
	}
	file, _, err := p.b.Engine.CopyFromContainer(ctx, p.container("cloudflared"), "/run/secrets/tunnel_token")
	if err != nil {
		return err
	}
	var text strings.Builder
	_, err = io.Copy(&text, io.LimitReader(file, 1<<20))
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	if n.in(text.String()) == "" {
		return missed("the token is not found in the connector's secret file, so the search is blind")
	}
	return nil
}

// planted is how long a planted leak may take to be found.
const planted = 10 * time.Second

// plant puts the token where it must not be, one place of each kind, and wants each
// found.
func (p *project) plant(ctx context.Context, n needles) (found int, err error) {
	s := newSearch(n)
	w := p.watch(ctx, s)
	defer finish(&err, w.end)
	token := p.tunnel.Token.Reveal() // planted on purpose
	for _, plant := range []command{
		{path: "sh", args: []string{"-c", "sleep 30; : " + token[:40]}},
		{path: "sleep", args: []string{"30"}, env: []string{"LEAK=" + token}},
	} {
		kind := "cmdline"
		if plant.env != nil {
			kind = "environ"
		}
		pctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = p.b.run(pctx, plant) // it is cut short below
		}()
		err := eventually(ctx, planted, func() error {
			for _, hit := range s.found("/proc/") {
				if strings.Contains(hit, "/"+kind) {
					return nil
				}
			}
			return missed("a token planted in the %s of a process is not found", kind)
		})
		cancel()
		<-ended
		if err != nil {
			return found, err
		}
		found++
	}
	if err := p.plantFile(s, token); err != nil {
		return found, err
	}
	inEngine, err := p.plantContainer(ctx, s, token)
	return found + 1 + inEngine, err
}

func (p *project) plantFile(s *search, token string) error {
	leak := filepath.Join(p.dir, "leak.txt")
	if err := os.WriteFile(leak, []byte("x "+token[20:60]), 0o600); err != nil {
		return err
	}
	if err := s.files(p.dir); err != nil {
		return err
	}
	if len(s.found("file leak.txt")) == 0 {
		return missed("a token planted in a file is not found")
	}
	return os.Remove(leak)
}

// plantContainer runs a container like a probe that shows the token in a label, in its
// environment and in its log, and is gone at once.
func (p *project) plantContainer(ctx context.Context, s *search, token string) (found int, err error) {
	c, err := p.b.Engine.ContainerCreate(ctx, &container.Config{
		Image: p.lab.Mosquitto, Entrypoint: []string{"sh", "-c", `sleep 1; echo "$LEAK"`}, Env: []string{"LEAK=" + token[:50]},
		Labels: map[string]string{plan.LabelProbe: p.name, "io.mqtunnel.lab": p.lab.Name, "leak": token[50:90]},
	}, &container.HostConfig{AutoRemove: true, NetworkMode: "none"}, nil, nil, "")
	if err != nil {
		return 0, err
	}
	if err := p.b.Engine.ContainerStart(ctx, c.ID, container.StartOptions{}); err != nil {
		return 0, err
	}
	for _, place := range []string{"event create", "docker inspect", "docker logs"} {
		err := eventually(ctx, planted, func() error {
			if len(s.found(place)) == 0 {
				return missed("a token planted in a short-lived container is not found by %s", place)
			}
			return nil
		})
		if err != nil {
			return found, err
		}
		found++
	}
	return found, nil
}
