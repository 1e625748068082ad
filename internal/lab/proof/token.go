package proof

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// needleLength is how much of the token in one piece counts as a leak.
const needleLength = 16

// needles are the texts that betray a token: every piece of it of needleLength
// characters, and of its secret in each form.
type needles map[string]string

// needlesOf takes a token apart.
func needlesOf(token string) (needles, error) {
	padded := token + strings.Repeat("=", (4-len(token)%4)%4)
	plain, err := base64.StdEncoding.DecodeString(padded)
	if err != nil {
		return nil, fmt.Errorf("decode the token: %w", err)
	}
	var parts struct {
		Secret []byte `json:"s"`
	}
	if err := json.Unmarshal(plain, &parts); err != nil {
		return nil, fmt.Errorf("decode the token: %w", err)
	}
	n := needles{}
	n.add("token", token)
	n.add("secret in hex", hex.EncodeToString(parts.Secret))
	n.add("secret in base64", base64.StdEncoding.EncodeToString(parts.Secret))
	n.add("secret in base64url", base64.RawURLEncoding.EncodeToString(parts.Secret))
	n.add("secret", string(parts.Secret))
	return n, nil
}

func (n needles) add(what, text string) {
	for i := 0; i+needleLength <= len(text); i++ {
		n[text[i:i+needleLength]] = what
	}
}

// in returns what of the token stands in a text, "" for nothing.
func (n needles) in(text string) string {
	for i := 0; i+needleLength <= len(text); i++ {
		if what, found := n[text[i:i+needleLength]]; found {
			return what
		}
	}
	return ""
}

// search counts the places that were looked at and keeps the hits.
type search struct {
	needles needles
	places  int
	hits    []string
}

func (s *search) look(place, text string) {
	s.places++
	if what := s.needles.in(text); what != "" {
		s.hits = append(s.hits, place+" holds the "+what)
	}
}

// tokenNowhere brings a project up and looks for its token everywhere, first
// with a leak planted.
func tokenNowhere(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "token")
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
	n, err := needlesOf(p.tunnel.Token.Reveal())
	if err != nil {
		return "", err
	}
	s := &search{needles: n}
	if err := p.lookEverywhere(ctx, s); err != nil {
		return "", err
	}
	if len(s.hits) > 0 {
		return "", missed("%d of %d places: %s", len(s.hits), s.places, strings.Join(s.hits, "; "))
	}
	if err := p.tokenIsWhereItBelongs(ctx, n); err != nil {
		return "", err
	}
	planted, err := p.plant(ctx, n)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("0 of %d places hold any %d characters of it; %d of %d planted leaks found", s.places, needleLength, planted, planted), nil
}

// lookEverywhere searches processes, the Engine, files and every command's
// output.
func (p *project) lookEverywhere(ctx context.Context, s *search) error {
	if err := s.processes(); err != nil {
		return err
	}
	for _, service := range []string{"mosquitto", "cloudflared"} {
		if err := p.lookContainer(ctx, s, service); err != nil {
			return err
		}
	}
	if err := s.files(p.dir); err != nil {
		return err
	}
	connect := p.lab.ConnectTo(p.host)
	commands := [][]string{
		{"token", "show"},
		{"token", "check"},
		{"status"},
		{"status", "--live"},
		{"logs"},
		{"logs", "--raw"},
		{"render"},
		{"render", "--write"},
		{"up", "--dry-run"},
		{"up", "--connect-to", connect},
		{"restart", "--connect-to", connect, "cloudflared"},
		{"user", "list"},
		{"version"},
		{"user", "add", "someone", "--topics", "all", "--generate"},
		{"user", "remove", "someone", "--yes"},
		{"up", "--timeout", "nonsense"},
		{"down", "--dry-run"},
		{"token", "set"},
	}
	for _, args := range commands {
		for _, more := range [][]string{nil, {"--debug"}, {"--json"}} {
			line := append(append([]string{}, args...), more...)
			stdin := ""
			if args[0] == "token" && args[1] == "set" {
				stdin = p.tunnel.Token.Reveal() // given again, the way people do
			}
			r, err := p.mqtunnel(ctx, stdin, line...)
			if err != nil {
				return err
			}
			s.look("the output of mqtunnel "+strings.Join(line, " "), r.all())
		}
	}
	return nil
}

// processes searches every process's command line and environment.
func (s *search) processes() error {
	for _, file := range []string{"cmdline", "environ"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			return err
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				continue // the process has ended, or is not ours to read
			}
			s.look(path, string(data))
		}
	}
	return nil
}

// lookContainer searches what the Engine says of a container.
func (p *project) lookContainer(ctx context.Context, s *search, service string) error {
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

// files searches the project directory, but for .env.
func (s *search) files(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == ".env" {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // the proof's own directory
		if err != nil {
			return err
		}
		s.look(filepath.Base(path), string(data))
		return nil
	})
}

// tokenIsWhereItBelongs makes sure that the search would find it: it is in .env
// and in the connector's secret file.
func (p *project) tokenIsWhereItBelongs(ctx context.Context, n needles) error {
	env, err := os.ReadFile(filepath.Join(p.dir, ".env"))
	if err != nil {
		return err
	}
	if n.in(string(env)) == "" {
		return missed("the token is not found in .env, so the search is blind")
	}
	file, _, err := p.b.Engine.CopyFromContainer(ctx, p.container("cloudflared"), "/run/secrets/tunnel_token")
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was only read
	var text strings.Builder
	if _, err := copyAll(&text, file); err != nil {
		return err
	}
	if n.in(text.String()) == "" {
		return missed("the token is not found in the connector's secret file, so the search is blind")
	}
	return nil
}

// plant puts the token where it must not be, one place of each kind at a time,
// and wants each found.
func (p *project) plant(ctx context.Context, n needles) (int, error) {
	token := p.tunnel.Token.Reveal() // planted on purpose
	plants := []struct {
		kind string
		cmd  command
	}{
		{"process list", command{path: "sh", args: []string{"-c", "sleep 30; : " + token[:40]}}},
		{"environment", command{path: "sleep", args: []string{"30"}, env: []string{"LEAK=" + token}}},
	}
	found := 0
	for _, plant := range plants {
		pctx, cancel := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = p.b.run(pctx, plant.cmd) // it is killed below
		}()
		err := eventually(ctx, planted, func() error {
			s := &search{needles: n}
			if err := s.processes(); err != nil {
				return err
			}
			if len(s.hits) == 0 {
				return missed("a token planted in the %s is not found", plant.kind)
			}
			return nil
		})
		cancel()
		<-ended
		if err != nil {
			return found, err
		}
		found++
	}
	leak := filepath.Join(p.dir, "leak.txt")
	if err := os.WriteFile(leak, []byte("x "+token[20:60]), 0o600); err != nil {
		return found, err
	}
	s := &search{needles: n}
	if err := s.files(p.dir); err != nil {
		return found, err
	}
	if len(s.hits) != 1 {
		return found, missed("a token planted in a file is not found")
	}
	return found + 1, os.Remove(leak)
}
