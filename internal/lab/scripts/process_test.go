//go:build linux

package scripts_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script.
const patience = 60 * time.Second

// poll is how often a condition is looked at.
const poll = 50 * time.Millisecond

func number(ts *testscript.TestScript, text string) int {
	n, err := strconv.Atoi(text)
	ts.Check(err)
	return n
}

// wait waits until a condition holds, and fails the script with what was seen
// last when it does not come.
func wait(ts *testscript.TestScript, what string, holds func() (seen string, ok bool)) {
	deadline := time.Now().Add(patience)
	for {
		seen, ok := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not come within %s: %s", what, patience, seen)
		}
		time.Sleep(poll)
	}
}

// find returns the path of a program of the script's PATH.
func find(ts *testscript.TestScript, program string) string {
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(filepath.ListSeparator)) {
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return found
		}
	}
	return program
}

// environ is the script's environment as far as programs need it.
func environ(ts *testscript.TestScript) []string {
	var env []string
	for _, key := range []string{
		"PATH", "HOME", "WORK", "TMPDIR", "TERM", "NO_COLOR", "SSL_CERT_FILE", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
	} {
		if value := ts.Getenv(key); value != "" {
			env = append(env, key+"="+value)
		}
	}
	return env
}

// until runs a command again until its output matches and its exit code is the
// wanted one: until 0 'pattern' mqtunnel status.
func until(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: until CODE PATTERN COMMAND [ARGUMENT...]")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	wait(ts, args[1], func() (string, bool) {
		cmd := exec.Command(find(ts, args[2]), args[3:]...)
		cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
		out, err := cmd.CombinedOutput()
		s.noSecret(ts, string(out))
		return string(out), fmt.Sprint(exitCode(ts, err)) == args[0] && pattern.Match(out)
	})
}

// process is a program in the background.
type process struct {
	cmd  *exec.Cmd
	out  *os.File
	done chan struct{} // closed when it has ended
	err  error         // how it ended
}

// begin starts a program whose output goes to a file: begin follow out.txt
// mqtunnel logs -f.
func begin(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: begin NAME FILE COMMAND [ARGUMENT...]")
	}
	out, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	p := &process{cmd: exec.Command(find(ts, args[2]), args[3:]...), out: out, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = ts.MkAbs("."), environ(ts), out, out
	ts.Check(p.cmd.Start())
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	s.begun[args[0]] = p
}

// end makes sure that the program has ended.
func (p *process) end() error {
	if p.cmd == nil {
		return nil
	}
	err := p.cmd.Process.Kill()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	<-p.done
	p.cmd = nil
	return errors.Join(err, p.out.Close())
}

// interrupt sends a background program an interrupt and wants its exit code:
// interrupt follow 130.
func interrupt(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 2 || s.begun[args[0]] == nil {
		ts.Fatalf("usage: interrupt NAME CODE")
	}
	p := s.begun[args[0]]
	ts.Check(p.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-p.done:
		if got := exitCode(ts, p.err); fmt.Sprint(got) != args[1] {
			ts.Fatalf("exit code %d, want %s", got, args[1])
		}
	case <-time.After(patience):
		ts.Fatalf("%s goes on after an interrupt", args[0])
	}
	ts.Check(p.end())
	delete(s.begun, args[0])
}

// shows waits until a file holds a pattern: shows out.txt 'New client'.
func shows(ts *testscript.TestScript, _ *script, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: shows FILE PATTERN")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	wait(ts, args[1], func() (string, bool) {
		text, err := os.ReadFile(ts.MkAbs(args[0]))
		ts.Check(err)
		return string(text), pattern.Match(text)
	})
}

// sorted wants the time stamps at the given field of a file's lines, counted from
// one, in order, and lines of both services: sorted FILE.
func sorted(ts *testscript.TestScript, _ *script, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sorted FILE")
	}
	stamp := regexp.MustCompile(`\d{4}-\d\d-\d\dT[0-9:.]+Z`)
	last, services := "", map[string]int{}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		services[strings.Fields(line)[0]]++
		text := stamp.FindString(line)
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			ts.Fatalf("no time stamp in %q", line)
		}
		if now := t.Format("2006-01-02T15:04:05.000000000Z"); now < last {
			ts.Fatalf("%s after %s: %q", now, last, line)
		} else {
			last = now
		}
	}
	if len(services) != 2 {
		ts.Fatalf("lines of %v, want both services", services)
	}
}

// masked rewrites a file with what differs from run to run replaced: masked
// stdout got.json.
func masked(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: masked FILE RESULT")
	}
	text := ts.ReadFile(args[0])
	for _, known := range []struct{ text, name string }{
		{s.current.compose, "PROJECT"},
		{s.current.dir, "DIRECTORY"},
		{s.current.host, "HOSTNAME"},
		{s.current.tunnel.TunnelID, "TUNNEL"},
		{s.lab.Mosquitto, "MOSQUITTO"},
		{s.lab.Cloudflared, "CLOUDFLARED"},
	} {
		text = strings.ReplaceAll(text, known.text, known.name)
	}
	for _, volatile := range []struct{ pattern, name string }{
		{`\d{4}-\d\d-\d\dT[0-9:.]+Z`, "TIME"},
		{`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`, "UUID"},
		{`\b(\d+\.){3}\d+\b`, "ADDRESS"},
		{`"version": "[^"]+"`, `"version": "VERSION"`},
		{`"health": "(starting|healthy)"`, `"health": "HEALTH"`},
		{`"location": "[^"]+"`, `"location": "LOCATION"`},
	} {
		text = regexp.MustCompile(volatile.pattern).ReplaceAllString(text, volatile.name)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}

// smallDisk mounts a file system of the given size in KiB on a directory, or
// fills it to the last byte: small-disk DIR 64, small-disk fill DIR.
func smallDisk(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: small-disk DIR KIBIBYTES | small-disk fill DIR")
	}
	if args[0] == "fill" {
		filler, err := os.Create(filepath.Join(ts.MkAbs(args[1]), "filler"))
		ts.Check(err)
		for size := 4096; size > 0; size /= 2 {
			for err = nil; err == nil; {
				_, err = filler.Write(bytes.Repeat([]byte{'x'}, size))
			}
			if !errors.Is(err, syscall.ENOSPC) {
				ts.Fatalf("fill %s: %v", args[1], err)
			}
		}
		ts.Check(filler.Close())
		return
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+args[1]+"k"))
	ts.Defer(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			s.tb.Error(err)
		}
	})
}
