package proof

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// hostname is the public hostname of the proofs' projects.
const hostname = "mqtt.example.com"

// project is a project directory of a lab.
type project struct {
	b      *Bench
	lab    *bench.Lab
	dir    string
	name   string
	host   string
	tunnel control.Credentials
	engine string // DOCKER_HOST of the programs, "" for that of this process
}

// project prepares a project directory below dir with a tunnel of its own. Settings
// are further lines of its .env.
func (b *Bench) project(ctx context.Context, lab *bench.Lab, dir, suffix, host string, settings ...string) (*project, error) {
	tunnel, err := lab.Control.CreateTunnel(ctx, control.TunnelRequest{
		Name: suffix, Hostnames: []control.Rule{{Hostname: host, Service: "http://mosquitto:9001"}},
	})
	if err != nil {
		return nil, err
	}
	p := &project{b: b, lab: lab, dir: filepath.Join(dir, "p"+suffix), name: bench.ProjectName(lab.Name, suffix), host: host, tunnel: tunnel}
	return p, lab.WriteProject(p.dir, bench.ProjectOptions{Name: p.name, Token: tunnel.Token, Settings: settings})
}

// alone runs a proof on a project in a lab of its own, which is not up yet.
func (b *Bench) alone(ctx context.Context, name string, prove func(*project, context.Context) (string, error)) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, name)
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	p, err := b.project(ctx, lab, dir, "", hostname)
	if err != nil {
		return "", err
	}
	return prove(p, ctx)
}

// onVersion is a project with a broker of some version.
type onVersion struct {
	*project

	version, image string
}

// onVersions runs a proof on a project for each version of the broker, all in one lab
// and not up yet.
func (b *Bench) onVersions(ctx context.Context, name string, prove func(context.Context, []onVersion) (string, error)) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, name)
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	store, err := images.Open(ctx, b.Engine, b.Root, b.logf)
	if err != nil {
		return "", err
	}
	var list []onVersion
	for _, version := range images.Versions() {
		image, err := store.Mosquitto(ctx, version)
		if err != nil {
			return "", err
		}
		suffix := strings.ReplaceAll(version, ".", "")
		p, err := b.project(ctx, lab, dir, suffix, "mqtt"+suffix+".example.com", "MOSQUITTO_IMAGE="+image.Ref)
		if err != nil {
			return "", err
		}
		list = append(list, onVersion{p, version, image.Ref})
	}
	return prove(ctx, list)
}

// mqtunnel runs the binary in the project directory.
func (p *project) mqtunnel(ctx context.Context, stdin string, args ...string) (result, error) {
	return p.b.run(ctx, command{dir: p.dir, stdin: stdin, path: p.b.program(), args: args, env: p.env()})
}

// env is what programs get beside what is passed on.
func (p *project) env() []string {
	env := []string{"SSL_CERT_FILE=" + filepath.Join(p.dir, "ca.pem")}
	if p.engine != "" {
		env = append(env, "DOCKER_HOST="+p.engine)
	}
	return env
}

// must runs the binary and wants success.
func (p *project) must(ctx context.Context, args ...string) (string, error) {
	r, err := p.mqtunnel(ctx, "", args...)
	if err == nil && r.code != 0 {
		err = fmt.Errorf("mqtunnel %s: exit %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out, err
}

// up brings the project up, to a proven message.
func (p *project) up(ctx context.Context) error {
	_, err := p.must(ctx, "up", "--timeout", "90s", "--connect-to", p.lab.ConnectTo(p.host))
	return err
}

// write writes a file of the project directory.
func (p *project) write(path, text string) error {
	full := filepath.Join(p.dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
		return err
	}
	return os.WriteFile(full, []byte(text), 0o600)
}

// edit changes a file of the project directory.
func (p *project) edit(path string, change func(string) string) error {
	text, err := os.ReadFile(filepath.Join(p.dir, path))
	if err != nil {
		return err
	}
	return p.write(path, change(string(text)))
}

// set gives a setting in .env another value, "" takes it away. What it says of a
// token in the error of a command is that command's.
func (p *project) set(key, value string) error {
	return p.edit(".env", func(text string) string {
		var out strings.Builder
		for line := range strings.Lines(text) {
			if !strings.HasPrefix(line, key+"=") {
				out.WriteString(line)
			}
		}
		if value != "" {
			out.WriteString(key + "=" + value + "\n")
		}
		return out.String()
	})
}

// override writes the override file with further lines of the broker, of the
// connector and at its end.
func (p *project) override(broker, connector, end string) error {
	text := string(p.lab.Override())
	if broker != "" {
		text = strings.Replace(text, "services:\n", "services:\n  mosquitto:\n"+broker, 1)
	}
	text = strings.Replace(text, "  cloudflared:\n", "  cloudflared:\n"+connector, 1)
	return p.write("compose.override.yaml", text+end)
}

// container is the name of a service's container.
func (p *project) container(service string) string { return p.name + "-" + service + "-1" }

// target is how a client reaches the broker through the tunnel.
func (p *project) target(user, password string) (probe.Target, error) {
	route, err := probe.ParseConnectTo(p.lab.ConnectTo(p.host))
	if err != nil {
		return probe.Target{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(p.lab.CA)
	return probe.Target{
		URL: "wss://" + p.host + "/mqtt", ConnectTo: []probe.ConnectTo{route}, RootCAs: roots,
		Username: user, Password: secret.New(password),
	}, nil
}

// roundTrip sends a message through the tunnel as a user.
func (p *project) roundTrip(ctx context.Context, user, password, topic string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	target, err := p.target(user, password)
	if err != nil {
		return err
	}
	_, err = probe.RoundTrip(ctx, target, topic)
	return err
}

// finalError is one that no further try mends.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

func (e *finalError) Unwrap() error { return e.err }

// final makes eventually give up at once.
func final(err error) error { return &finalError{err} }

// eventually tries until it succeeds, the time is up, or an error is final.
func eventually(ctx context.Context, limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		if _, over := errors.AsType[*finalError](err); over {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", limit, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// exec runs a command in a container and returns its output.
func (b *Bench) exec(ctx context.Context, name string, cmd ...string) (string, error) {
	created, err := b.Engine.ContainerExecCreate(ctx, name, container.ExecOptions{Cmd: cmd, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", err
	}
	attached, err := b.Engine.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer attached.Close()
	var out strings.Builder
	if _, err := stdcopy.StdCopy(&out, &out, attached.Reader); err != nil {
		return "", err
	}
	info, err := b.Engine.ContainerExecInspect(ctx, created.ID)
	if err != nil {
		return "", err
	}
	if info.ExitCode != 0 {
		return out.String(), fmt.Errorf("%s in %s: exit %d: %s", cmd[0], name, info.ExitCode, out.String())
	}
	return out.String(), nil
}
