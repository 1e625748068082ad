//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait for something to show on a terminal.
const patience = 30 * time.Second

// terminal runs a command on a terminal of its own, as the file SESSION says, and
// wants its exit code: terminal 0 SESSION sh -i. What showed stands in the file
// screen then. The lines of SESSION:
//
//	< TEXT   wait until TEXT shows, after what was waited for before
//	> TEXT   type TEXT and Enter
//	| TEXT   a line that is pasted together with the next line typed
//	^C ^D    type that
func terminal(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal CODE SESSION COMMAND [ARGUMENT...]")
	}
	path := args[2]
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(filepath.ListSeparator)) {
		if found, err := exec.LookPath(filepath.Join(dir, args[2])); err == nil {
			path = found
			break
		}
	}
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, key := range []string{
		"PATH", "HOME", "WORK", "DOCKER_HOST", "TMPDIR", "TERM", "NO_COLOR", "PS1", "GOCOVERDIR", "MQTT_HOSTNAME", "CLOUDFLARE_TUNNEL_TOKEN",
	} {
		if value := ts.Getenv(key); value != "" {
			cmd.Env = append(cmd.Env, key+"="+value)
		}
	}
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 25, Cols: 200})
	ts.Check(err)
	s := &screen{changed: make(chan struct{}, 1), closed: make(chan struct{})}
	go s.read(file)
	// Closing the terminal hangs up on whatever still runs there.
	defer func() { _ = file.Close() }() // nothing is left to write
	paste := ""
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		what, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = os.Expand(text, ts.Getenv)
		var err error
		switch what {
		case "<":
			err = s.wait(text)
		case "|":
			paste += text + "\r"
		case ">":
			_, err = file.WriteString(paste + text + "\r")
			paste = ""
		case "^C":
			_, err = file.WriteString("\x03")
		case "^D":
			_, err = file.WriteString("\x04")
		case "":
		default:
			err = fmt.Errorf("a line of a session does not begin with %q", what)
		}
		if err != nil {
			ts.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	err = s.end()
	if err != nil {
		ts.Fatalf("%v", err)
	}
	got := exitCode(ts, cmd.Wait())
	shown := s.text()
	ts.Logf("[screen]\n%s", shown)
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(shown), 0o600))
	noSecret(ts, shown)
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// screen collects what shows on a terminal.
type screen struct {
	mu      sync.Mutex
	shown   []byte
	seen    int // how much of it was waited for
	changed chan struct{}
	closed  chan struct{}
}

// read runs until the last process has left the terminal.
func (s *screen) read(file *os.File) {
	defer close(s.closed)
	buffer := make([]byte, 4096)
	for {
		n, err := file.Read(buffer)
		s.mu.Lock()
		s.shown = append(s.shown, buffer[:n]...)
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
		if err != nil {
			return
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(string(s.shown), "\r\n", "\n")
}

// wait returns once text has shown.
func (s *screen) wait(text string) error {
	deadline := time.After(patience)
	closed := false
	for {
		s.mu.Lock()
		at := strings.Index(string(s.shown[s.seen:]), text)
		if at >= 0 {
			s.seen += at + len(text)
		}
		rest := string(s.shown[s.seen:])
		s.mu.Unlock()
		switch {
		case at >= 0:
			return nil
		case closed:
			return fmt.Errorf("the program ended before %q showed, after: %q", text, rest)
		}
		select {
		case <-s.changed:
		case <-s.closed:
			closed = true
		case <-deadline:
			return fmt.Errorf("%q did not show within %s, but: %q", text, patience, rest)
		}
	}
}

// end waits until the terminal is left.
func (s *screen) end() error {
	select {
	case <-s.closed:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the program did not end within %s; it showed: %q", patience, s.text())
	}
}

// unlisten makes a socket file on which nobody listens: unlisten docker.sock.
func unlisten(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: unlisten FILE")
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: ts.MkAbs(args[0]), Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	ts.Check(l.Close())
}

// nobody runs a command as another user, who may read the script's files and
// nothing else, and wants its exit code: nobody 5 mqtunnel status. Where the tests
// do not run as root, that user is who runs them.
func nobody(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: nobody CODE COMMAND [ARGUMENT...]")
	}
	bin := ""
	for dir := range strings.SplitSeq(ts.Getenv("PATH"), string(filepath.ListSeparator)) {
		if found, err := exec.LookPath(filepath.Join(dir, args[1])); err == nil {
			bin = found
			break
		}
	}
	for _, path := range []string{bin, ts.Getenv("WORK")} {
		for dir := path; dir != filepath.Clean(os.TempDir()) && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			ts.Check(os.Chmod(dir, 0o755))
		}
	}
	cmd := exec.Command(bin, args[2:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + ts.Getenv("HOME"), "DOCKER_HOST=" + ts.Getenv("DOCKER_HOST")}
	if os.Getuid() == 0 {
		const id = 65534
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
	}
	out, err := cmd.CombinedOutput()
	ts.Logf("[output]\n%s", out)
	ts.Check(os.WriteFile(ts.MkAbs("output"), out, 0o600))
	noSecret(ts, string(out))
	if got := exitCode(ts, err); fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}
