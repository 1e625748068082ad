package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/plan"
)

func TestLogsKeepStampsAndOrder(t *testing.T) {
	b := newBench(t)
	id := b.start(b.service("print", "print", "one", "two", "three", "four"))
	b.until(id, "it has ended", exited)
	all := b.logs(id, plan.LogOptions{Tail: -1})
	if texts(all) != "one|two|three|four" {
		t.Fatalf("log is %q", texts(all))
	}
	for i, l := range all {
		if l.Stderr || l.Time.IsZero() || (i > 0 && !l.Time.After(all[i-1].Time)) {
			t.Errorf("line %d is %+v", i, l)
		}
	}
	for _, c := range []struct {
		name string
		o    plan.LogOptions
		want string
	}{
		{"tail 1", plan.LogOptions{Tail: 1}, "four"},
		{"tail 0", plan.LogOptions{}, ""},
		{"since is inclusive", plan.LogOptions{Tail: -1, Since: all[2].Time}, "three|four"},
		{"since to the nanosecond", plan.LogOptions{Tail: -1, Since: all[2].Time.Add(1)}, "four"},
		{"until", plan.LogOptions{Tail: -1, Until: all[1].Time}, "one|two"},
		{"follow ends with the container", plan.LogOptions{Tail: 2, Follow: true}, "three|four"},
	} {
		if got := texts(b.logs(id, c.o)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	stop := errors.New("enough")
	seen := 0
	err := b.Logs(t.Context(), id, plan.LogOptions{Tail: -1}, func(plan.LogLine) error { seen++; return stop })
	if !errors.Is(err, stop) || seen != 1 {
		t.Errorf("after an error of the reader: %v, %d lines", err, seen)
	}
}

func TestLogsTellTheStreamsApart(t *testing.T) {
	b := newBench(t)
	id := b.start(b.service("streams", "exit", "3"))
	if d := b.until(id, "it has ended", exited); d.ExitCode != 3 {
		t.Errorf("exit code %d, want 3", d.ExitCode)
	}
	for _, l := range b.logs(id, plan.LogOptions{Tail: -1}) {
		if want := map[bool]string{false: "to stdout", true: "to stderr"}[l.Stderr]; l.Text != want || l.Time.IsZero() {
			t.Errorf("line %+v, want %s", l, want)
		}
	}
}

func TestLongAndUnterminatedLinesArePassedOn(t *testing.T) {
	b := newBench(t)
	for _, terminal := range []bool{false, true} {
		c := b.service(fmt.Sprint("long", terminal), "long", "40000")
		c.Service.Spec.TTY = terminal
		id := b.start(c)
		b.until(id, "it has ended", exited)
		lines := b.logs(id, plan.LogOptions{Tail: -1, TTY: terminal})
		if len(lines) != 2 || lines[1].Text != "the end" || lines[0].Time.IsZero() || lines[1].Time.IsZero() {
			t.Fatalf("terminal %v: %d lines, the last %q", terminal, len(lines), lines[len(lines)-1].Text)
		}
		// With a terminal the Engine's stamps stand within a long line.
		if !terminal && lines[0].Text != strings.Repeat("x", 40000) {
			t.Errorf("a line of 40000 bytes came back as %d, with other than x: %v", len(lines[0].Text), strings.Trim(lines[0].Text, "x") != "")
		}
	}
}

func TestFollowedLogsAndEventsShowAStopAndEndByTheirContext(t *testing.T) {
	b := newBench(t)
	since := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events, ended := make(chan plan.EngineEvent, 64), make(chan error, 1)
	go func() {
		ended <- b.Events(ctx, b.project, since, func(e plan.EngineEvent) error { events <- e; return nil })
	}()
	c := b.service("mosquitto", "serve")
	c.Service.Spec.Health = &plan.Health{Test: []string{"CMD", "/app", "ok"}, Interval: 200 * time.Millisecond}
	id := b.start(c)
	awaitEvent(t, events, "health_status: healthy")
	lines, followed := make(chan string, 64), make(chan error, 1)
	go func() {
		followed <- b.Logs(ctx, id, plan.LogOptions{Tail: -1, Follow: true}, func(l plan.LogLine) error { lines <- l.Text; return nil })
	}()
	awaitLine(t, lines, "ready")
	if err := b.Kill(ctx, id, "SIGHUP"); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "reloaded")
	if err := b.Stop(ctx, id, nil); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, lines, "bye")
	if err := <-followed; err != nil {
		t.Errorf("following to the end: %v", err)
	}
	e := awaitEvent(t, events, "die")
	if e.ContainerID != id || e.Service != "mosquitto" || e.Attributes["exitCode"] != "0" || e.Time.Before(since.Add(-time.Minute)) {
		t.Errorf("event %+v", e)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("events after a cancel: %v", err)
	}
}

func TestPastEventsTellHowARunEndedAndComeToAnEnd(t *testing.T) {
	b := newBench(t)
	c := b.service("mosquitto", "exit", "3")
	c.Service.Spec.Restart = plan.Restart{Name: "unless-stopped"}
	id := b.start(c)
	d := b.until(id, "it was started again", func(d plan.Details) bool { return d.RestartCount > 0 && d.State == plan.StateRestarting })
	past, err := b.PastEvents(t.Context(), b.project, d.StartedAt.Add(-time.Minute), d.FinishedAt.Add(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	ended := 0
	for _, e := range past {
		if e.ContainerID == id && e.Action == "die" && e.Attributes["exitCode"] == "3" {
			ended++
		}
	}
	if ended == 0 {
		t.Errorf("no end with exit code 3 among %+v", past)
	}
	none, err := b.PastEvents(t.Context(), b.project, d.StartedAt.Add(-2*time.Hour), d.StartedAt.Add(-time.Hour))
	if err != nil || len(none) != 0 {
		t.Errorf("of an hour before: %+v, %v", none, err)
	}
}

func awaitEvent(t *testing.T, events <-chan plan.EngineEvent, action string) plan.EngineEvent {
	t.Helper()
	var seen []string
	for deadline := time.After(time.Minute); ; {
		select {
		case e := <-events:
			if e.Action == action {
				return e
			}
			seen = append(seen, e.Action)
		case <-deadline:
			t.Fatalf("no event %q; seen %v", action, seen)
		}
	}
}

func awaitLine(t *testing.T, lines <-chan string, text string) {
	t.Helper()
	var seen []string
	for deadline := time.After(time.Minute); !slices.Contains(seen, text); {
		select {
		case l := <-lines:
			seen = append(seen, l)
		case <-deadline:
			t.Fatalf("no line %q; seen %q", text, seen)
		}
	}
}
