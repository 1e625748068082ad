package display_test

import (
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/creack/pty"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sequence is every event, as up would send them, with two that are hostile.
func sequence() []lifecycle.Event {
	step := func(op plan.Op, subject, why string) plan.Step { return plan.Step{Op: op, Subject: subject, Why: why} }
	events := []lifecycle.Event{
		lifecycle.Notice{Text: "waiting for another mqtunnel at work on this directory"},
		lifecycle.Pulling{Progress: plan.PullProgress{Ref: "eclipse-mosquitto:2.1.2-alpine"}},
		lifecycle.Pulling{Progress: plan.PullProgress{Ref: "cloudflare/cloudflared:2026.8.2"}},
		lifecycle.Pulling{Progress: plan.PullProgress{Ref: "eclipse-mosquitto:2.1.2-alpine", Done: 1_500_000, Total: 6_000_000}},
		lifecycle.Pulled{Ref: "eclipse-mosquitto:2.1.2-alpine", Took: 12_340 * time.Millisecond},
		lifecycle.Pulled{Ref: "cloudflare/cloudflared:2026.8.2", Took: 83 * time.Second},
	}
	for _, op := range []plan.Op{
		plan.CreateNetwork, plan.CreateVolume, plan.CreateContainer, plan.CopyFiles, plan.Rename, plan.Start, plan.Unpause, plan.Stop,
		plan.Reload, plan.Remove, plan.RemoveNetwork, plan.RemoveVolume,
	} {
		s := step(op, "mosquitto", "configuration changed")
		events = append(events, lifecycle.StepBegan{Step: s}, lifecycle.StepDone{Step: s, Took: 42 * time.Millisecond})
	}
	return append(events,
		lifecycle.StepDone{Step: step(plan.CreateVolume, "data", "volume \x1b[31mx not mounted")},
		lifecycle.StageBegan{Stage: lifecycle.StageBroker},
		lifecycle.Waiting{Stage: lifecycle.StageBroker, Saw: "its container ends with exit code 1 and is started again (1 restart so far)"},
		lifecycle.StageReached{Stage: lifecycle.StageBroker, Detail: "serving, mosquitto 2.1.2", Took: 300 * time.Millisecond},
		lifecycle.StageBegan{Stage: lifecycle.StageConnector},
		lifecycle.StageReached{Stage: lifecycle.StageConnector, Detail: "running, cloudflared 2026.8.2"},
		lifecycle.StageBegan{Stage: lifecycle.StageEdge},
		lifecycle.Waiting{Stage: lifecycle.StageEdge, Saw: "UDP port 7844 is blocked", Hint: "set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env\nthen type: mqtunnel up"},
		lifecycle.Waiting{Stage: lifecycle.StageEdge, Saw: "UDP port 7844 is blocked", Hint: "set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env\nthen type: mqtunnel up"},
		lifecycle.StageReached{Stage: lifecycle.StageEdge, Detail: "connection 1 of 4 at fra08 over quic"},
		lifecycle.StageBegan{Stage: lifecycle.StageConfiguration},
		lifecycle.Waiting{Stage: lifecycle.StageConfiguration, Saw: "the public hostname leads to another host: m.example.com -> \x1b]0;owned\x07\u202e", Hint: "in the dashboard \x1b[2J"},
		lifecycle.StageReached{Stage: lifecycle.StageConfiguration, Detail: "version 4: 温度温度温度.example.com -> http://mosquitto:9001"},
		lifecycle.StageBegan{Stage: lifecycle.StageOrigin},
		lifecycle.Waiting{Stage: lifecycle.StageOrigin, Saw: strings.Repeat("温度 and a long text that does not fit on one line of a terminal, ", 3)},
		lifecycle.StageReached{Stage: lifecycle.StageOrigin, Detail: "a message came back in 5.1ms, anonymous clients refused"},
		lifecycle.StageBegan{Stage: lifecycle.StagePublic},
		lifecycle.StageReached{Stage: lifecycle.StagePublic, Detail: "a message came back through wss://m.example.com in 20.4ms"},
		lifecycle.Notice{Text: "MQTT_ALLOW_ANONYMOUS=true: everybody\nmay read", Warning: true},
		lifecycle.StageBegan{Stage: lifecycle.StagePublic}, // End takes it away
	)
}

// shown runs the sequence on a stream and returns what it wrote.
func shown(t *testing.T, terminal, color, quiet bool, events []lifecycle.Event) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	out := display.NewStream(file, nil, false)
	out.Terminal, out.Rewrites, out.Color, out.Width = terminal, terminal, color, 80
	p := display.NewProgress(out, quiet)
	for _, e := range events {
		p.Show(e)
	}
	p.End()
	p.End() // twice is harmless
	if err := errors.Join(out.Err(), file.Close()); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// visible makes escape sequences and returns readable in a golden file.
func visible(text string) string {
	return strings.NewReplacer("\x1b", "<ESC>", "\r", "<CR>\n").Replace(text)
}

func TestProgressLooksAsItShould(t *testing.T) {
	for name, c := range map[string]struct{ terminal, color, quiet bool }{
		"terminal-color": {terminal: true, color: true}, "terminal": {terminal: true}, "plain": {}, "quiet": {quiet: true},
		"quiet-terminal": {terminal: true, quiet: true},
	} {
		got := visible(shown(t, c.terminal, c.color, c.quiet, sequence()))
		golden := filepath.Join("testdata", "progress-"+name+".txt")
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-update writes it anew):\n%s", golden, diff)
		}
	}
}

var escape = regexp.MustCompile(`\x1b\[[0-9;]*[mK]`)

// columns counts those that a text takes on a terminal at most.
func columns(text string) int {
	n := 0
	for _, r := range text {
		n++
		if unicode.In(r, unicode.Han, unicode.Hangul, unicode.Hiragana, unicode.Katakana) {
			n++
		}
	}
	return n
}

func TestALineThatIsRewrittenFitsOnTheTerminal(t *testing.T) {
	out := escape.ReplaceAllString(shown(t, true, true, false, sequence()), "")
	transient := 0
	for line := range strings.SplitSeq(out, "\n") {
		parts := strings.Split(line, "\r")
		for _, part := range parts[:len(parts)-1] { // the last stays
			transient++
			if n := columns(part); n > 79 {
				t.Errorf("%d columns: %q", n, part)
			}
		}
	}
	if transient < 20 {
		t.Errorf("only %d lines were rewritten", transient)
	}
}

func TestNoOutsideTextMovesTheTerminal(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		out := escape.ReplaceAllString(shown(t, terminal, terminal, false, sequence()), "")
		for _, r := range out {
			if r != '\n' && (!terminal || r != '\r') && !unicode.IsGraphic(r) {
				t.Errorf("terminal %v: U+%04X gets through", terminal, r)
			}
		}
		if !strings.Contains(out, `\x1b]0;owned\x07U+202E`) {
			t.Errorf("terminal %v: the hostile text is not shown", terminal)
		}
	}
}

func TestAPullIsToldEveryFewSecondsForEachImage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		p := display.NewProgress(display.NewStream(file, nil, false), false)
		for second := range 12 {
			for _, ref := range []string{"a:1", "b:1"} {
				p.Show(lifecycle.Pulling{Progress: plan.PullProgress{Ref: ref, Done: int64(second) * 1_000_000, Total: 12_000_000}})
			}
			time.Sleep(time.Second) // of synctest
		}
		text, err := os.ReadFile(file.Name())
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		want := "note pulling a:1 0B of 12MB\nnote pulling b:1 0B of 12MB\nnote pulling a:1 5MB of 12MB\nnote pulling b:1 5MB of 12MB\n" +
			"note pulling a:1 10MB of 12MB\nnote pulling b:1 10MB of 12MB\n"
		if diff := cmp.Diff(want, string(text)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestColourNeedsATerminalThatWantsIt(t *testing.T) {
	master, terminal, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(master.Close(), terminal.Close()) }() // nothing is left to write
	if err := pty.Setsize(terminal, &pty.Winsize{Rows: 24, Cols: 132}); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }() // nothing is left to write
	for name, c := range map[string]struct {
		file            *os.File
		environ         []string
		noColor         bool
		terminal, color bool
		width           int
	}{
		"terminal":           {terminal, []string{"TERM=xterm"}, false, true, true, 132},
		"no environment":     {terminal, nil, false, true, true, 132},
		"NO_COLOR":           {terminal, []string{"NO_COLOR=1"}, false, true, false, 132},
		"NO_COLOR, empty":    {terminal, []string{"NO_COLOR="}, false, true, true, 132},
		"NO_COLORS":          {terminal, []string{"NO_COLORS=1"}, false, true, true, 132},
		"--no-color":         {terminal, nil, true, true, false, 132},
		"TERM=dumb":          {terminal, []string{"TERM=dumb"}, false, true, false, 132},
		"TERM=dumb overrode": {terminal, []string{"TERM=dumb", "TERM=xterm"}, false, true, true, 132},
		"file":               {file, []string{"TERM=xterm"}, false, false, false, 80},
	} {
		s := display.NewStream(c.file, c.environ, c.noColor)
		if s.Terminal != c.terminal || s.Color != c.color || s.Rewrites != c.color || s.Width != c.width {
			t.Errorf("%s: terminal %v, colour %v, rewritten lines %v, width %d", name, s.Terminal, s.Color, s.Rewrites, s.Width)
		}
		want := "x"
		if c.color {
			want = "\x1b[32mx\x1b[0m"
		}
		if got := s.Paint(display.Good, "x"); got != want || s.Paint(display.Good, "") != "" {
			t.Errorf("%s: painted %q", name, got)
		}
	}
	if err := pty.Setsize(terminal, &pty.Winsize{}); err != nil {
		t.Fatal(err)
	}
	if s := display.NewStream(terminal, nil, false); s.Width != 80 {
		t.Errorf("a terminal that does not know its width: %d", s.Width)
	}
}

func TestAStreamRemembersThatItBroke(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	out := display.NewStream(w, nil, false)
	for range 3 {
		if _, err := io.WriteString(out, "x"); err == nil {
			t.Error("a write to nobody is no error")
		}
	}
	if out.Err() == nil {
		t.Error("the error is forgotten")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLinesOfSeveralWritersStayWhole(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	out := display.NewStream(file, nil, false)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_, _ = io.WriteString(out, "one line\n") // Err tells
			}
		})
	}
	wg.Wait()
	text, err := os.ReadFile(file.Name())
	if err := errors.Join(err, out.Err(), file.Close()); err != nil || string(text) != strings.Repeat("one line\n", 400) {
		t.Errorf("%v, %d bytes", err, len(text))
	}
}

func TestTextOfSeveralLinesKeepsThem(t *testing.T) {
	if got := display.SafeLines("a\x1b\nb\tc\n"); got != "a\\x1b\nb\\tc\n" {
		t.Errorf("%q", got)
	}
}
