//go:build unix

package main

import (
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mqtunnel": main})
}

// Synthetic secrets. None of them may show in what the program prints.
const (
	account      = "0123456789abcdef0123456789abcdef"
	tunnel       = "11111111-2222-4333-8444-555555555555"
	tunnelSecret = "synthetic-secret-for-tests-only!"
)

// token returns a tunnel token for a tunnel and a secret of the tests.
func token(tunnel, secret string) string {
	encode := base64.StdEncoding.EncodeToString
	return encode(fmt.Appendf(nil, `{"a":%q,"t":%q,"s":%q}`, account, tunnel, encode([]byte(secret))))
}

// TestScripts runs the command line as a user does, without an Engine.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Setup:               setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":     code,
			"mode":     mode,
			"terminal": terminal,
			"unlisten": unlisten,
			"nobody":   nobody,
		},
	})
}

// setup gives a script an Engine's address where nothing is, and tokens: $TOKEN
// of tunnel $TUNNEL in token.txt and another one in token2.txt.
func setup(env *testscript.Env) error {
	first, second := token(tunnel, tunnelSecret), token("99999999-2222-4333-8444-555555555555", "another-secret-of-the-tests-only!")
	env.Setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("TERM", "xterm")
	env.Setenv("ACCOUNT", account)
	env.Setenv("TUNNEL", tunnel)
	env.Setenv("TOKEN", first)
	for name, text := range map[string]string{"token.txt": first, "token2.txt": second} {
		if err := os.WriteFile(filepath.Join(env.WorkDir, name), []byte(text+"\n"), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// code runs a command and wants its exit code: code 4 mqtunnel token set.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND [ARGUMENT...]")
	}
	got := exitCode(ts, ts.Exec(args[1], args[2:]...))
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
	noSecret(ts, ts.ReadFile("stdout")+ts.ReadFile("stderr"))
}

func exitCode(ts *testscript.TestScript, err error) int {
	if err == nil {
		return 0
	}
	exit, ok := err.(*exec.ExitError) //nolint:errorlint // as testscript returns it
	if !ok {
		ts.Fatalf("run: %v", err)
	}
	return exit.ExitCode()
}

// noSecret fails the script when output shows a token, a part of it, or its
// secret.
func noSecret(ts *testscript.TestScript, output string) {
	secrets := []string{tunnelSecret, base64.StdEncoding.EncodeToString([]byte(tunnelSecret))}
	for _, name := range []string{"token.txt", "token2.txt"} {
		text := strings.TrimSpace(ts.ReadFile(ts.MkAbs(filepath.Join(ts.Getenv("WORK"), name))))
		secrets = append(secrets, text[:40], text[len(text)-40:])
	}
	for _, s := range secrets {
		if strings.Contains(output, s) {
			ts.Fatalf("the output shows a secret:\n%s", output)
		}
	}
}

// mode wants the permission bits of a file: mode 0600 .env.
func mode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mode BITS FILE")
	}
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}

// TestEveryPasteHasItsVerdict gives every way in which people paste a token to
// the real program: a good one is stored, a bad one is named, exit 4, and .env is
// as it was.
func TestEveryPasteHasItsVerdict(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "internal", "cloudflared", "testdata", "pastes")
	index, err := os.ReadFile(filepath.Join(dir, "INDEX"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(index)) {
		name, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		verdict, message, _ := strings.Cut(rest, "\t")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			const before = "# mine\nFOO=bar\n"
			want := before
			if verdict == "token" {
				message = ""
			}
			project := t.TempDir()
			env := filepath.Join(project, ".env")
			if err := os.WriteFile(env, []byte(before), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("mqtunnel", "token", "set")
			cmd.Dir, cmd.Stdin = project, strings.NewReader(string(text))
			cmd.Env = append(os.Environ(), "DOCKER_HOST=unix:///nonexistent/docker.sock")
			out, err := cmd.CombinedOutput()
			after, rerr := os.ReadFile(env)
			if rerr != nil {
				t.Fatal(rerr)
			}
			switch {
			case message == "" && (err != nil || !strings.Contains(string(after), before+"CLOUDFLARE_TUNNEL_TOKEN=eyJ")):
				t.Errorf("%q: %v\n%s\n.env:\n%s", text, err, out, after)
			case message != "" && (cmd.ProcessState.ExitCode() != 4 || string(after) != want || !strings.HasPrefix(string(out), "error: "+message+"\nhint: ")):
				t.Errorf("%q: exit %d, want 4 and %q:\n%s\n.env:\n%s", text, cmd.ProcessState.ExitCode(), message, out, after)
			}
		})
	}
}
