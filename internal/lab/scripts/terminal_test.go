//go:build linux

package scripts_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/creack/pty"
	"github.com/rogpeppe/go-internal/testscript"
)

// terminal runs a command on a terminal of its own, as the file SESSION says, and
// wants its exit code: terminal 0 SESSION mqtunnel up. What showed stands in the
// file screen then. The lines of SESSION:
//
//	< TEXT     wait until TEXT shows, after what was waited for before
//	> TEXT     type TEXT and Enter
//	paste      type the current tunnel's token and Enter
//	config X   push a configuration, as the command config does
//	^C         type that
func terminal(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: terminal CODE SESSION COMMAND [ARGUMENT...]")
	}
	cmd := exec.Command(find(ts, args[2]), args[3:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), environ(ts)
	file, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 25, Cols: 200})
	ts.Check(err)
	show := &screen{changed: make(chan struct{}, 1), closed: make(chan struct{})}
	go show.read(file)
	// Closing the terminal hangs up on whatever still runs there.
	defer func() { _ = file.Close() }() // nothing is left to write
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		what, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = os.Expand(text, ts.Getenv)
		var err error
		switch what {
		case "<":
			err = show.wait(text)
		case ">":
			_, err = file.WriteString(text + "\r")
		case "paste":
			_, err = file.WriteString(s.current.tunnel.Token.Reveal() + "\r") // as a person pastes it
		case "config":
			config(ts, s, false, strings.Fields(text))
		case "^C":
			_, err = file.WriteString("\x03")
		default:
			err = errors.New("a line of a session does not begin so")
		}
		if err != nil {
			ts.Fatalf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	ts.Check(show.end())
	got := exitCode(ts, cmd.Wait())
	shown := show.text()
	ts.Logf("[screen]\n%s", shown)
	ts.Check(os.WriteFile(ts.MkAbs("screen"), []byte(shown), 0o600))
	s.noSecret(ts, shown)
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

// take moves past text if it has shown.
func (s *screen) take(text string) (rest string, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest = string(s.shown[s.seen:])
	at := strings.Index(rest, text)
	if at >= 0 {
		s.seen += at + len(text)
	}
	return rest, at >= 0
}

// wait returns once text has shown.
func (s *screen) wait(text string) error {
	deadline := time.After(patience)
	closed := false
	for {
		rest, found := s.take(text)
		switch {
		case found:
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
