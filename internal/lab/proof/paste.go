package proof

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// pastes is where the ways of pasting lie, with their verdicts in INDEX: name,
// verdict ("token" when it is a good one), and the error's text.
const pastes = "internal/cloudflared/testdata/pastes"

// paste gives each way of pasting to the real binary on standard input.
func paste(ctx context.Context, b *Bench) (figure string, err error) {
	index, err := os.ReadFile(filepath.Join(b.Root, pastes, "INDEX"))
	if err != nil {
		return "", err
	}
	bare, err := os.ReadFile(filepath.Join(b.Root, pastes, "bare.txt"))
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(bare))
	n, err := needlesOf(token)
	if err != nil {
		return "", err
	}
	good, bad := 0, 0
	for line := range strings.Lines(string(index)) {
		name, verdict, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		verdict, message, _ := strings.Cut(verdict, "\t")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		given := pasted{name: name, message: message, token: token, needles: n}
		if verdict == "token" {
			good++
			err = b.taken(ctx, given)
		} else {
			bad++
			err = b.refused(ctx, given)
		}
		if err != nil {
			return "", err
		}
	}
	if good+bad < 30 {
		return "", missed("%d ways of pasting, at least 30 are wanted", good+bad)
	}
	return fmt.Sprintf("%d ways of pasting: %d taken, %d refused with their cause", good+bad, good, bad), nil
}

// envBefore is what .env holds before the paste: all of it must survive.
const envBefore = "# my settings\r\nMQTT_HOSTNAME=mqtt.example.com # public\r\n\r\nexport OTHER='a # b'\r\n"

// pasted is one way of pasting.
type pasted struct {
	name    string
	message string // of the refusal
	token   string // that the good ones hold
	needles needles
	// squeezed is the text without what no token consists of.
	squeezed string
}

// holds reports whether a token is the one of the bare paste, or for a way that has
// another all that stands in it.
func (p pasted) holds(token string) bool {
	token = strings.TrimRight(token, "=")
	return token == strings.TrimRight(p.token, "=") || len(token) > len(p.token)/2 && strings.Contains(p.squeezed, token)
}

// other is what no token consists of.
var other = regexp.MustCompile(`[^A-Za-z0-9+/]+`)

// word is a run of characters that may be a secret of whatever kind.
var word = regexp.MustCompile(`[A-Za-z0-9+/_-]{20,}`)

// give gives a way of pasting to token set, and returns the .env that is left. What
// the program prints shows nothing of what was pasted.
func (b *Bench) give(ctx context.Context, dir string, p *pasted) (r result, after string, err error) {
	text, err := os.ReadFile(filepath.Join(b.Root, pastes, p.name+".txt"))
	if err != nil {
		return r, "", err
	}
	p.squeezed = other.ReplaceAllString(string(text), "")
	file := filepath.Join(dir, ".env")
	if err := os.WriteFile(file, []byte(envBefore), 0o644); err != nil { //nolint:gosec // too wide on purpose: it is to be narrowed
		return r, "", err
	}
	r, err = b.run(ctx, command{dir: dir, stdin: string(text), path: b.program(), args: []string{"token", "set", "--debug"}})
	if err != nil {
		return r, "", err
	}
	if what := p.needles.in(r.all()); what != "" {
		return r, "", missed("%s: the output of token set holds the %s", p.name, what)
	}
	for _, secret := range word.FindAllString(string(text), -1) {
		if strings.Contains(r.all(), secret) {
			return r, "", missed("%s: the output of token set repeats what was pasted", p.name)
		}
	}
	left, err := os.ReadFile(file)
	return r, string(left), err
}

// refused wants the verdict, and .env as it was.
func (b *Bench) refused(ctx context.Context, p pasted) (err error) {
	dir, err := os.MkdirTemp("", "mqtunnel-paste-")
	if err != nil {
		return err
	}
	defer finish(&err, func() error { return os.RemoveAll(dir) })
	r, after, err := b.give(ctx, dir, &p)
	if err != nil {
		return err
	}
	if r.code != 4 || p.message == "" || !strings.Contains(r.err, p.message) || after != envBefore {
		return missed("%s: exit %d, %q, want exit 4 and %q; .env unchanged: %v", p.name, r.code, r.err, p.message, after == envBefore)
	}
	return nil
}

// taken wants the token in .env, which is otherwise as it was, for its owner alone.
func (b *Bench) taken(ctx context.Context, p pasted) (err error) {
	dir, err := os.MkdirTemp("", "mqtunnel-paste-")
	if err != nil {
		return err
	}
	defer finish(&err, func() error { return os.RemoveAll(dir) })
	r, after, err := b.give(ctx, dir, &p)
	if err != nil {
		return err
	}
	if r.code != 0 {
		return missed("%s: exit %d, %s", p.name, r.code, r.err)
	}
	rest, token, _ := strings.Cut(after, "CLOUDFLARE_TUNNEL_TOKEN=")
	line, more, ended := strings.Cut(token, "\n")
	line = strings.TrimRight(line, "\r")
	if rest != envBefore || !ended || more != "" || !p.holds(line) {
		return missed("%s: .env is not what it was with the token added", p.name)
	}
	info, err := os.Stat(filepath.Join(dir, ".env"))
	if err != nil {
		return err
	}
	if info.Mode().Perm() != 0o600 {
		return missed("%s: .env has mode %v", p.name, info.Mode().Perm())
	}
	check, err := b.run(ctx, command{dir: dir, path: b.program(), args: []string{"token", "check"}})
	if err == nil && check.code != 0 {
		err = missed("%s: token check says exit %d: %s", p.name, check.code, check.err)
	}
	return err
}
