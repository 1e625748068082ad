package proof

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	good, bad := 0, 0
	for line := range strings.Lines(string(index)) {
		name, verdict, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		verdict, message, _ := strings.Cut(verdict, "\t")
		if name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if err := b.pasteOne(ctx, name, verdict == "token", message); err != nil {
			return "", err
		}
		if verdict == "token" {
			good++
		} else {
			bad++
		}
	}
	if good+bad < 30 {
		return "", missed("%d ways of pasting, at least 30 are wanted", good+bad)
	}
	return fmt.Sprintf("%d ways of pasting: %d taken, %d refused with their cause", good+bad, good, bad), nil
}

// envBefore is what .env holds before the paste: all of it must survive.
const envBefore = "# my settings\r\nMQTT_HOSTNAME=mqtt.example.com # public\r\n\r\nexport OTHER='a # b'\r\n"

func (b *Bench) pasteOne(ctx context.Context, name string, good bool, message string) (err error) {
	text, err := os.ReadFile(filepath.Join(b.Root, pastes, name+".txt"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mqtunnel-paste-")
	if err != nil {
		return err
	}
	defer finish(&err, func() error { return os.RemoveAll(dir) })
	file := filepath.Join(dir, ".env")
	if err := os.WriteFile(file, []byte(envBefore), 0o600); err != nil {
		return err
	}
	r, err := b.run(ctx, command{dir: dir, stdin: string(text), path: b.binary("mqtunnel"), args: []string{"token", "set"}})
	if err != nil {
		return err
	}
	after, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !good {
		if r.code != 4 || !strings.Contains(r.err, message) || string(after) != envBefore {
			return missed("%s: exit %d, %q, want exit 4 and %q; .env unchanged: %v", name, r.code, r.err, message, string(after) == envBefore)
		}
		return nil
	}
	if r.code != 0 {
		return missed("%s: exit %d, %s", name, r.code, r.err)
	}
	rest, token, found := strings.Cut(string(after), "CLOUDFLARE_TUNNEL_TOKEN=")
	if !found || rest != envBefore || !strings.HasPrefix(token, "eyJ") || strings.Count(token, "\n") != 1 || strings.ContainsAny(token, " '\"") {
		return missed("%s: .env is not what it was with the token added", name)
	}
	check, err := b.run(ctx, command{dir: dir, path: b.binary("mqtunnel"), args: []string{"token", "check"}})
	if err == nil && check.code != 0 {
		err = missed("%s: token check says exit %d: %s", name, check.code, check.err)
	}
	return err
}
