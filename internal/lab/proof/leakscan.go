package proof

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
)

// typedPassword is the password of a user of the project that is searched. That of a
// bridge stands in a file of the owner's, and so in compose.yaml, which only the owner
// can read.
const typedPassword = "user-of-le4ks-typed-this" //nolint:gosec // of a project that is made to be searched

// leakScan runs every command in every mode on a project of which every secret is
// known, and looks for these wherever they could be; then it plants leaks.
func leakScan(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "leaks", (*project).leaksNowhere)
}

func (p *project) leaksNowhere(ctx context.Context) (figure string, err error) {
	n, err := needlesOf(p.tunnel.Token.Reveal())
	if err != nil {
		return "", err
	}
	if err := p.setting("MQTUNNEL_PROBE_PASSWORD", probePassword, n); err != nil {
		return "", err
	}
	n.add("user's password", typedPassword)
	// In files of the project the bridge's password may stand.
	inFiles := maps.Clone(n)
	n.add("bridge's password", bridgePassword)
	s, files := newSearch(n), newSearch(inFiles)
	w := p.watch(ctx, s)
	err = p.runEverything(ctx, s, files)
	if err = errors.Join(err, w.end()); err != nil {
		return "", err
	}
	if err := errors.Join(s.verdict(), files.verdict()); err != nil {
		return "", err
	}
	if err := p.onlyItsOwner(); err != nil {
		return "", err
	}
	if err := p.secretsAreWhereTheyBelong(ctx, n); err != nil {
		return "", err
	}
	found, err := p.plant(ctx, n)
	if err != nil {
		return "", err
	}
	further, err := p.plantFurther(ctx, n)
	if err != nil {
		return "", err
	}
	found += further
	return fmt.Sprintf("0 hits of %d characters of 4 secrets in %d places; %d of %d planted leaks found", needleLength, s.places+files.places, found, found), nil
}

// temporary is the directory for temporary files of the commands.
func (p *project) temporary() string { return filepath.Join(filepath.Dir(p.dir), "tmp") }

// commandLine is one to be run, with what it reads from standard input.
type commandLine struct {
	args  []string
	stdin string
}

// everyLine are the command lines that are run in each mode.
func (p *project) everyLine() []commandLine {
	connect := p.lab.ConnectTo(p.host)
	bundle := filepath.Join(p.temporary(), "bundle.tar.gz")
	list := []commandLine{
		{[]string{"up", "--timeout", "90s", "--connect-to", connect}, ""},
		{[]string{"user", "add", "someone", "--topics", "all"}, typedPassword + "\n"},
		{[]string{"user", "add", "someone", "--topics", "all"}, typedPassword + "\n"},
		{[]string{"user", "passwd", "someone"}, typedPassword + "\n"},
		{[]string{"user", "add", "other", "--topics", "a#"}, typedPassword + "\n"},
		{[]string{"user", "passwd", "nobody"}, typedPassword + "\n"},
		{[]string{"user", "passwd", "someone"}, typedPassword + "\x00\n"},
		{[]string{"user", "deny", "someone", "readwrite", "home/lock"}, ""},
		{[]string{"user", "allow", "someone", "read", "home/#"}, ""},
		{[]string{"user", "explain", "someone", "publish", "home/a"}, ""},
		{[]string{"user", "explain", "someone", "publish", "home/a", "--live"}, ""},
		{[]string{"user", "list"}, ""},
		{[]string{"doctor", "--connect-to", connect, "--no-doh"}, ""},
		{[]string{"doctor", "-v", "--connect-to", connect, "--no-doh"}, ""},
		{[]string{"doctor", "--connect-to", connect, "--no-doh", "--bundle", bundle, "--yes"}, ""},
		{[]string{"doctor", "--fix", "--yes", "--connect-to", connect, "--no-doh"}, ""},
		{[]string{"up", "--force-recreate", "--timeout", "90s", "--connect-to", connect}, ""},
		{[]string{"user", "remove", "someone", "--yes"}, ""},
	}
	for _, args := range p.lines() {
		stdin := ""
		if args[0] == "token" && args[1] == "set" {
			stdin = p.tunnel.Token.Reveal() // given again, the way people do
		}
		list = append(list, commandLine{args, stdin})
	}
	return list
}

// runEverything runs all commands in all modes and searches what they leave.
func (p *project) runEverything(ctx context.Context, s, files *search) error {
	// A bridge that somebody took out for a while, see bundle-clean.
	bridge := "# connection elsewhere\n# address " + nowhere + ":1883\n# remote_password " + bridgePassword + "\n"
	if err := os.MkdirAll(filepath.Join(p.dir, "mosquitto", "conf.d"), 0o700); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "mosquitto", "conf.d", "bridge.conf"), []byte(bridge), 0o600); err != nil {
		return err
	}
	if err := os.Mkdir(p.temporary(), 0o700); err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	if err := p.lookAtServices(ctx, s); err != nil {
		return err
	}
	for _, mode := range []string{"", "--debug", "--json"} {
		for _, line := range p.everyLine() {
			if err := p.lookAtLine(ctx, s, line, mode); err != nil {
				return err
			}
		}
		if err := errors.Join(files.files(p.dir), s.files(p.temporary())); err != nil {
			return err
		}
	}
	if err := p.lookAtFaults(ctx, s); err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	return errors.Join(p.lookAtServices(ctx, s), p.lookAtEngine(ctx, s), files.files(p.dir))
}

// lookAtLine runs one command line in a mode and searches its output.
func (p *project) lookAtLine(ctx context.Context, s *search, line commandLine, mode string) error {
	args := slices.Clone(line.args)
	if mode != "" {
		args = append(args, mode)
	}
	r, err := p.b.run(ctx, command{
		dir: p.dir, stdin: line.stdin, path: p.b.program(), args: args,
		env: []string{"SSL_CERT_FILE=" + filepath.Join(p.dir, "ca.pem"), "TMPDIR=" + p.temporary()},
	})
	if err == nil {
		s.look("output of mqtunnel "+strings.Join(args, " "), r.all())
	}
	return err
}

// lookAtEngine searches what the Engine keeps beside containers.
func (p *project) lookAtEngine(ctx context.Context, s *search) error {
	for _, args := range [][]string{
		{"image", "inspect", p.lab.Mosquitto, p.lab.Cloudflared},
		{"history", "--no-trunc", p.lab.Mosquitto},
		{"history", "--no-trunc", p.lab.Cloudflared},
		{"volume", "inspect", p.name + "_data"},
		{"network", "inspect", p.name + "_default"},
		{"image", "ls", "--no-trunc", "--format", "{{json .}}"},
	} {
		r, err := p.b.run(ctx, command{path: "docker", args: args})
		if err != nil {
			return err
		}
		if r.code != 0 {
			return fmt.Errorf("docker %v: exit %d: %s", args, r.code, r.err)
		}
		s.look("docker "+strings.Join(args, " "), r.all())
	}
	return nil
}

// onlyItsOwner wants the files that hold hashes and the bridge's password closed to
// others.
func (p *project) onlyItsOwner() error {
	for _, name := range []string{".env", "compose.yaml", "mosquitto/passwd", "mosquitto/acl", "mosquitto/conf.d/bridge.conf"} {
		info, err := os.Stat(filepath.Join(p.dir, name))
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			return missed("%s has mode %04o", name, info.Mode().Perm())
		}
	}
	return nil
}

// plantFurther puts leaks where commands leave things beside files of the project and
// processes, and wants each found.
func (p *project) plantFurther(ctx context.Context, n needles) (found int, err error) {
	s := newSearch(n)
	leak := filepath.Join(p.temporary(), "leak")
	if err := os.WriteFile(leak, []byte(typedPassword), 0o600); err != nil {
		return 0, err
	}
	if err := errors.Join(s.files(p.temporary()), os.Remove(leak)); err != nil {
		return 0, err
	}
	s.look("output", "a bridge with "+bridgePassword+" fails")
	made, err := p.b.Engine.ContainerCommit(ctx, p.container(broker), container.CommitOptions{Changes: []string{"LABEL leak=" + probePassword}})
	if err != nil {
		return 0, err
	}
	r, err := p.b.run(ctx, command{path: "docker", args: []string{"image", "inspect", made.ID}})
	_, rerr := p.b.Engine.ImageRemove(ctx, made.ID, image.RemoveOptions{})
	if err := errors.Join(err, rerr); err != nil {
		return 0, err
	}
	s.look("image", r.all())
	for _, place := range []string{"file leak", "output", "image"} {
		if len(s.found(place)) == 0 {
			return found, missed("a secret planted as %s is not found", place)
		}
		found++
	}
	return found, nil
}
