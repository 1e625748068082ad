package conformance

import (
	"encoding/base64"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"
)

const (
	invalid = "Provided Tunnel token is not valid.\nSee 'cloudflared tunnel run --help'.\n"
	missing = "\"cloudflared tunnel run\" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.\nSee 'cloudflared tunnel run --help'.\n"
)

// tokens is what a connector takes for a token, and from where.
func tokens() []behaviour {
	encode := func(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }
	var all []behaviour
	for _, c := range []struct {
		name string
		text func(identity) string
	}{
		{"as issued", identity.token},
		{"wrapped over lines", func(i identity) string { return i.token()[:40] + "\n" + i.token()[40:] }},
		{"ending in CR LF", func(i identity) string { return i.token() + "\r\n" }},
		{"with an unknown key", func(i identity) string { return encode(strings.Replace(i.json(), "{", `{"x":1,`, 1)) }},
		{"with its keys in capitals", func(i identity) string {
			return encode(strings.NewReplacer(`"a":`, `"A":`, `"t":`, `"T":`, `"s":`, `"S":`).Replace(i.json()))
		}},
		{"with the tunnel ID as bare hex", func(i identity) string {
			return encode(strings.Replace(i.json(), i.tunnel.String(), strings.ReplaceAll(i.tunnel.String(), "-", ""), 1))
		}},
		{"with the tunnel ID as URN", func(i identity) string {
			return encode(strings.Replace(i.json(), i.tunnel.String(), i.tunnel.URN(), 1))
		}},
		{"of null", func(identity) string { return encode("null") }},
		{"of an empty object", func(identity) string { return encode("{}") }},
	} {
		all = append(all, behaviour{"token " + c.name + " is accepted", func(t *testing.T, s subject) {
			t.Helper()
			accepted(t, s, "TUNNEL_TOKEN="+c.text(newIdentity(t)))
		}})
	}
	for _, c := range []struct {
		name string
		text func(identity) string
	}{
		{"without its padding", func(i identity) string { return strings.TrimRight(i.token(), "=") }},
		{"in the URL alphabet", func(i identity) string {
			return base64.URLEncoding.EncodeToString([]byte(strings.Replace(i.json(), "{", `{"x":"???>>>",`, 1)))
		}},
		{"in quotes", func(i identity) string { return `"` + i.token() + `"` }},
		{"with a leading space", func(i identity) string { return " " + i.token() }},
		{"with a trailing space", func(i identity) string { return i.token() + " " }},
		{"with a space inside", func(i identity) string { return i.token()[:40] + " " + i.token()[40:] }},
		{"cut in half", func(i identity) string { return i.token()[:len(i.token())/2/4*4] }},
		{"twice", func(i identity) string { return i.token() + i.token() }},
		{"with a secret that is not base64", func(i identity) string {
			return encode(fmt.Sprintf(`{"a":%q,"t":%q,"s":"not base64"}`, i.account, i.tunnel))
		}},
		{"with a secret without padding", func(i identity) string {
			return encode(fmt.Sprintf(`{"a":%q,"t":%q,"s":%q}`, i.account, i.tunnel, base64.RawStdEncoding.EncodeToString(i.secret)))
		}},
		{"whose tunnel ID is not a UUID", func(i identity) string { return encode(strings.Replace(i.json(), i.tunnel.String(), "home", 1)) }},
		{"that is a tunnel ID", func(identity) string { return uuid.NewString() }},
		{"that is an API token", func(identity) string { return "v1.0-0123456789abcdef-0123456789" }},
	} {
		all = append(all, behaviour{"token " + c.name + " is refused with 255", func(t *testing.T, s subject) {
			t.Helper()
			refused(t, s, invalid, "TUNNEL_TOKEN="+c.text(newIdentity(t)))
		}})
	}
	return append(all, tokenSources()...)
}

// tokenSources is where a token may come from, and which source wins.
func tokenSources() []behaviour {
	inFile := func(t *testing.T, text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "token")
		write(t, path, text)
		return path
	}
	return []behaviour{
		{"no token is refused with 255", refusing(missing)},
		{"an empty token counts as none", refusing(missing, "TUNNEL_TOKEN=")},
		{"a token file is read, white space around it ignored", func(t *testing.T, s subject) {
			t.Helper()
			accepted(t, s, "TUNNEL_TOKEN_FILE="+inFile(t, " "+newIdentity(t).token()+"\r\n\n"))
		}},
		{"an empty token gives way to the token file", func(t *testing.T, s subject) {
			t.Helper()
			accepted(t, s, "TUNNEL_TOKEN=", "TUNNEL_TOKEN_FILE="+inFile(t, newIdentity(t).token()))
		}},
		{"an invalid token in a file is refused with 255", func(t *testing.T, s subject) {
			t.Helper()
			refused(t, s, invalid, "TUNNEL_TOKEN_FILE="+inFile(t, "home"))
		}},
		{"a missing token file is refused with 255", func(t *testing.T, s subject) {
			t.Helper()
			path := filepath.Join(t.TempDir(), "none")
			refused(t, s, "Failed to read token file: open "+path+": no such file or directory\nSee 'cloudflared tunnel run --help'.\n", "TUNNEL_TOKEN_FILE="+path)
		}},
		{"a directory as token file is refused with 255", func(t *testing.T, s subject) {
			t.Helper()
			path := t.TempDir()
			refused(t, s, "Failed to read token file: read "+path+": is a directory\nSee 'cloudflared tunnel run --help'.\n", "TUNNEL_TOKEN_FILE="+path)
		}},
		{"the token wins over the token file", func(t *testing.T, s subject) {
			t.Helper()
			id := newIdentity(t)
			p := accepted(t, s, "TUNNEL_TOKEN="+id.token(), "TUNNEL_TOKEN_FILE=/nonexistent")
			p.expect("Starting tunnel tunnelID=" + id.tunnel.String())
		}},
		{"the flag wins over the environment", func(t *testing.T, s subject) {
			t.Helper()
			b, id := newBench(t), newIdentity(t)
			p := s.start(b, launch{args: []string{"tunnel", "run", "--token", id.token()}, env: []string{"TUNNEL_TOKEN=home"}})
			p.expect("Starting tunnel tunnelID=" + id.tunnel.String())
		}},
		{"the flag takes its value after an equals sign", func(t *testing.T, s subject) {
			t.Helper()
			b, id := newBench(t), newIdentity(t)
			p := s.start(b, launch{args: []string{"tunnel", "run", "--token=" + id.token()}})
			p.expect("Starting tunnel tunnelID=" + id.tunnel.String())
		}},
	}
}

// refusing is the behaviour that refused shows.
func refusing(message string, env ...string) func(*testing.T, subject) {
	return func(t *testing.T, s subject) {
		t.Helper()
		refused(t, s, message, env...)
	}
}

func accepted(t *testing.T, s subject, env ...string) *process {
	t.Helper()
	p := s.start(newBench(t), launch{args: []string{"--no-autoupdate", "tunnel", "run"}, env: env})
	p.expect(` INF Starting tunnel tunnelID=[0-9a-f-]{36}$`)
	return p
}

func refused(t *testing.T, s subject, message string, env ...string) {
	t.Helper()
	p := s.start(newBench(t), launch{args: []string{"--no-autoupdate", "tunnel", "run"}, env: env})
	if code := p.wait(); code != 255 || p.err.String() != message || p.out.String() != "" {
		t.Errorf("exit %d, stdout %q, stderr %q; want 255 and %q", code, head(p.out.String()), p.err.String(), message)
	}
}
