package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// usersBadFile damages the files of the users in every way, and wants the running
// broker, one that exits on a bad line, never to see it.
func usersBadFile(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "badfile", (*project).badFilesStayOut)
}

// badFilesStayOut is usersBadFile on the lab's usual broker, which is of 2.1.
func (p *project) badFilesStayOut(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	f := &fileTrial{project: p}
	if f.password, err = p.addUser(ctx, user); err != nil {
		return "", err
	}
	if _, err := p.must(ctx, "user", "add", "kiosk", "--topics", "home/#", "--generate"); err != nil {
		return "", err
	}
	if err := f.remember(ctx); err != nil {
		return "", err
	}
	sums, refused, taken := f.sums, 0, []string(nil)
	for _, c := range corruptions() {
		if err := f.try(ctx, c); err != nil {
			return "", fmt.Errorf("%s, %s: %w", c.file, c.name, err)
		}
		if c.cause == "" {
			taken = append(taken, c.file+" with "+c.name)
		} else {
			refused++
		}
		p.b.logf("%s, %s: as it should be", c.file, c.name)
	}
	if err := p.up(ctx); err != nil {
		return "", missed("with the files as they were: %w", err)
	}
	f.sums = sums
	if err := f.untouched(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d of %d corruptions refused by user add and by up with exit 4, file, line and cause; %d that are none taken (%s); the broker never restarted",
		refused, refused, len(taken), strings.Join(taken, ", ")), nil
}

// fileTrial is a project on whose files of users corruptions are tried.
type fileTrial struct {
	*project

	password string            // of user
	files    map[string]string // as they are when all is well, by relative path
	began    string            // when the broker started
	sums     string            // of the files that the broker has
}

// remember takes what is for what is well.
func (f *fileTrial) remember(ctx context.Context) (err error) {
	f.files = map[string]string{}
	for _, name := range []string{passwdFile, aclFile, "compose.yaml"} {
		text, err := os.ReadFile(filepath.Join(f.dir, name))
		if err != nil {
			return err
		}
		f.files[name] = string(text)
	}
	c, err := f.b.Engine.ContainerInspect(ctx, f.container(broker))
	if err != nil {
		return err
	}
	f.began = c.State.StartedAt
	f.sums, err = f.held(ctx)
	return err
}

// held returns checksums of the files that the broker has.
func (f *fileTrial) held(ctx context.Context) (string, error) {
	return f.b.exec(ctx, f.container(broker), "sha256sum", "/mosquitto/config/passwd", "/mosquitto/config/acl")
}

// restore puts the files back, whatever is in their place.
func (f *fileTrial) restore() error {
	for name, text := range f.files {
		full := filepath.Join(f.dir, name)
		if err := os.RemoveAll(full); err != nil {
			return err
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// try puts one corruption in place, asks for two changes, and puts the file back.
func (f *fileTrial) try(ctx context.Context, c corruption) (err error) {
	defer func() { err = errors.Join(err, f.restore()) }()
	full := filepath.Join(f.dir, c.file)
	text, line := f.files[c.file], 0
	if c.change != nil {
		text, line = c.change(text)
		err = os.WriteFile(full, []byte(text), 0o600)
	} else {
		err = errors.Join(os.Remove(full), c.place(full))
	}
	if err != nil {
		return err
	}
	commands := [][]string{
		{"user", "add", "newcomer", "--topics", "own", "--generate"},
		{"up", "--timeout", "60s", "--connect-to", f.lab.ConnectTo(f.host)},
	}
	if c.cause == "" {
		commands = append(commands, []string{"user", "remove", "newcomer", "--yes"})
	}
	for _, args := range commands {
		r, err := f.run(ctx, c, args)
		if err != nil {
			return err
		}
		if err := c.judge(r, text, line); err != nil {
			return missed("%s: %w", args[0], err)
		}
	}
	if c.cause == "" {
		if f.sums, err = f.held(ctx); err != nil {
			return err
		}
	}
	return f.untouched(ctx)
}

// run runs a command, for an unreadable file as a root that must not read everything.
func (f *fileTrial) run(ctx context.Context, c corruption, args []string) (result, error) {
	if !c.weak {
		return f.mqtunnel(ctx, "", args...)
	}
	const all = "-dac_override,-dac_read_search"
	return f.b.run(ctx, command{
		dir: f.dir, path: "setpriv", args: append([]string{"--bounding-set", all, "--inh-caps", all, "--", f.b.program()}, args...),
		env: []string{"SSL_CERT_FILE=" + filepath.Join(f.dir, "ca.pem")},
	})
}

// judge wants the answer to a command that met the corruption: exit 4, one line that
// names file, line and cause, and no hash.
func (c corruption) judge(r result, text string, line int) error {
	if c.cause == "" {
		if r.code != 0 {
			return missed("exit %d, and nothing is wrong: %s", r.code, r.err)
		}
		return nil
	}
	where := c.file
	if line != 0 {
		where = fmt.Sprintf("%s:%d: ", c.file, line)
	}
	first, rest, _ := strings.Cut(r.err, "\n")
	if r.code != 4 || !strings.HasPrefix(first, "error: ") || !strings.Contains(first, where) || !strings.Contains(first, c.cause) {
		return missed("exit %d, want 4 and %q with %q: %s", r.code, where, c.cause, shorten(r.all()))
	}
	for l := range strings.Lines(rest) {
		if !strings.HasPrefix(l, "hint: ") {
			return missed("more than one line: %s", shorten(r.err))
		}
	}
	for _, secret := range hashLike().FindAllString(text, -1) {
		if strings.Contains(r.all(), secret) {
			return missed("a hash is told: %s", shorten(r.all()))
		}
	}
	if strings.Contains(r.all(), plainPassword) {
		return missed("a password is told: %s", shorten(r.all()))
	}
	return nil
}

// hashLike finds what may be salts and hashes.
func hashLike() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9+/=_-]{16,}`) }

// shorten returns the beginning of a text.
func shorten(text string) string { return text[:min(len(text), 600)] }

// untouched wants the broker to be the one that it was, with the files that it had, and
// to let its user in.
func (f *fileTrial) untouched(ctx context.Context) error {
	c, err := f.b.Engine.ContainerInspect(ctx, f.container(broker))
	if err != nil {
		return err
	}
	if !c.State.Running || c.State.StartedAt != f.began || c.RestartCount != 0 {
		return missed("the broker is %s, started at %s, restarted %d times; want the one of %s", c.State.Status, c.State.StartedAt, c.RestartCount, f.began)
	}
	sums, err := f.held(ctx)
	if err != nil {
		return err
	}
	if sums != f.sums {
		return missed("the broker has other files: %s, want %s", sums, f.sums)
	}
	if err := f.roundTrip(ctx, user, f.password, "x/y"); err != nil {
		return missed("the user cannot log in: %w", err)
	}
	return nil
}

// Relative paths of the files of the users.
const (
	passwdFile = "mosquitto/passwd"
	aclFile    = "mosquitto/acl"
)
