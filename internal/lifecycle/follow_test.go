package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mqtunnel/internal/plan"
)

// listener keeps what is passed on.
type listener struct {
	mu      sync.Mutex
	entries []LogEntry
}

func (l *listener) take(e LogEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries = append(l.entries, e)
	return nil
}

// texts returns the lines of a service, or of all.
func (l *listener) texts(service string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var texts []string
	for _, e := range l.entries {
		if service == "" || e.Service == service {
			texts = append(texts, e.Line.Text)
		}
	}
	return texts
}

// disorder counts the lines that came after one with a later stamp.
func (l *listener) disorder() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for i := 1; i < len(l.entries); i++ {
		if l.entries[i].Line.Time.Before(l.entries[i-1].Line.Time) {
			n++
		}
	}
	return n
}

// follow follows until the returned function is called.
func follow(t *testing.T, r LogReader, project string, o plan.LogOptions, l *listener) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Follow(ctx, r, project, nil, o, l.take) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Follow ended with %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func TestLogsAreMergedByTime(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	a := s.start("a", 1, "every", "7")
	b := s.start("b", 1, "every", "11")
	until(t, "there are lines", func() bool { return len(s.all(a)) > 40 && len(s.all(b)) > 40 })
	s.must(s.Stop(t.Context(), a, nil))
	s.must(s.Stop(t.Context(), b, nil))
	for name, c := range map[string]struct {
		services []string
		o        plan.LogOptions
		a, b     int // lines, -1 for all
	}{
		"all":         {nil, plan.LogOptions{Tail: -1}, -1, -1},
		"one service": {[]string{"b"}, plan.LogOptions{Tail: -1}, 0, -1},
		"tail":        {nil, plan.LogOptions{Tail: 3}, 3, 3},
		"tail 0":      {nil, plan.LogOptions{}, 0, 0},
		"future":      {nil, plan.LogOptions{Tail: -1, Since: time.Now().Add(time.Hour)}, 0, 0},
		"past":        {nil, plan.LogOptions{Tail: -1, Until: time.Now().Add(-time.Hour)}, 0, 0},
	} {
		var l listener
		s.must(Logs(t.Context(), s, s.project, c.services, c.o, l.take))
		for service, want := range map[string]int{"a": c.a, "b": c.b} {
			all := s.all(map[string]string{"a": a, "b": b}[service])
			if want < 0 {
				want = len(all)
			}
			if got := l.texts(service); !slices.Equal(got, all[len(all)-want:]) {
				t.Errorf("%s: %d lines of %s, want the last %d", name, len(got), service, want)
			}
		}
		// Within a container the two streams may be a moment out of order.
		if n := l.disorder(); n > 4 {
			t.Errorf("%s: %d of %d lines out of order", name, n, len(l.entries))
		}
	}
}

func TestAReaderThatStopsEndsTheLogs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.start("a", 1, "burst", "5000")
	s.start("b", 1, "burst", "5000")
	boom := errors.New("boom")
	n := 0
	each := func(LogEntry) error {
		if n++; n == 1000 {
			return boom
		}
		return nil
	}
	if err := Logs(t.Context(), s, s.project, nil, plan.LogOptions{Tail: -1}, each); !errors.Is(err, boom) || n != 1000 {
		t.Errorf("%v after %d lines", err, n)
	}
	n = 0
	if err := Follow(t.Context(), s, s.project, nil, plan.LogOptions{Tail: 10}, func(LogEntry) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("Follow: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := Logs(ctx, s, s.project, nil, plan.LogOptions{Tail: -1}, func(LogEntry) error { cancel(); return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestFollowBeginsWhereItIsAskedTo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.start("a", 1, "burst", "50")
	until(t, "there are lines", func() bool { return len(s.all(id)) == 50 })
	for name, c := range map[string]struct {
		o    plan.LogOptions
		want int // lines of before
	}{
		"all":    {plan.LogOptions{Tail: -1}, 50},
		"tail":   {plan.LogOptions{Tail: 5}, 5},
		"tail 0": {plan.LogOptions{}, 0},
		"since":  {plan.LogOptions{Tail: -1, Since: time.Now()}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := len(s.all(id))
			var l listener
			stop := follow(t, s, s.project, c.o, &l)
			b := s.start("b-"+strings.ReplaceAll(name, " ", ""), 1, "lines", "3")
			until(t, "the new service is heard", func() bool { return len(l.texts("b-"+strings.ReplaceAll(name, " ", ""))) == 3 })
			stop()
			want := c.want
			if name == "all" {
				want = all
			}
			if got := len(l.texts("a")); got != want {
				t.Errorf("%d lines of before, want %d", got, want)
			}
			s.must(s.Remove(t.Context(), b, true))
		})
	}
}

func TestFollowLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := t.Context()
	a := s.start("a", 1, "every", "3")
	var l listener
	stop := follow(t, s, s.project, plan.LogOptions{Tail: -1}, &l)
	heard := func(what string) {
		t.Helper()
		n := len(l.texts(""))
		until(t, "lines come "+what, func() bool { return len(l.texts("")) > n+30 })
	}
	heard("at first")
	grace := 5 * time.Second
	for range 3 {
		s.must(s.Restart(ctx, a, &grace))
	}
	heard("after restarts")
	s.must(s.Kill(ctx, a, "KILL"))
	until(t, "it is dead", func() bool { d, err := s.Inspect(ctx, a); return err == nil && d.State == plan.StateExited })
	s.must(s.Start(ctx, a))
	heard("after a kill")
	b := s.start("b", 1, "every", "5")
	until(t, "a second service is heard", func() bool { return len(l.texts("b")) > 10 })
	s.must(s.Stop(ctx, a, &grace))
	oldA := s.all(a)
	until(t, "its last line is heard", func() bool { texts := l.texts("a"); return texts[len(texts)-1] == oldA[len(oldA)-1] })
	s.must(s.Remove(ctx, a, true))
	a = s.start("a", 2, "every", "3")
	heard("after a recreate")
	s.must(s.Stop(ctx, a, &grace))
	s.must(s.Stop(ctx, b, &grace))
	wantA, wantB := slices.Concat(oldA, s.all(a)), s.all(b)
	until(t, "the ends are heard", func() bool { return len(l.texts("a")) >= len(wantA) && len(l.texts("b")) >= len(wantB) })
	stop()
	compare(t, "a", l.texts("a"), wantA)
	compare(t, "b", l.texts("b"), wantB)
}

// compare compares what was heard with the logs themselves, as sets: the order of
// two streams is that of their stamps.
func compare(t *testing.T, service string, got, want []string) {
	t.Helper()
	counts := map[string]int{}
	for _, l := range want {
		counts[l]++
	}
	for _, l := range got {
		counts[l]--
	}
	for line, n := range counts {
		if n != 0 && line != "bye" {
			t.Errorf("%s: %q lost %d times", service, line, n)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d lines, want %d", service, len(got), len(want))
	}
}

// door is a socket that leads to the Engine and can be shut.
type door struct {
	t    *testing.T
	path string

	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
	wg       sync.WaitGroup
}

func newDoor(t *testing.T) *door {
	t.Helper()
	d := &door{t: t, path: filepath.Join(t.TempDir(), "docker.sock")}
	d.open()
	t.Cleanup(d.shut)
	return d
}

func (d *door) open() {
	l, err := net.Listen("unix", d.path)
	if err != nil {
		d.t.Fatal(err)
	}
	d.mu.Lock()
	d.listener = l
	d.mu.Unlock()
	d.wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", "/var/run/docker.sock")
			if err != nil {
				d.t.Error(err)
				_ = in.Close()
				return
			}
			d.mu.Lock()
			d.conns = append(d.conns, in, out)
			d.mu.Unlock()
			d.wg.Go(func() { _, _ = io.Copy(out, in); _ = out.Close() })
			d.wg.Go(func() { _, _ = io.Copy(in, out); _ = in.Close() })
		}
	})
}

// shut ends all connections, and nothing listens any more.
func (d *door) shut() {
	d.mu.Lock()
	_ = d.listener.Close() // also removes the socket
	for _, c := range d.conns {
		_ = c.Close()
	}
	d.conns = nil
	d.mu.Unlock()
	d.wg.Wait()
}

func TestFollowOutlivesTheEngine(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	ctx := t.Context()
	a := s.start("a", 1, "every", "5")
	d := newDoor(t)
	through := open(t, "unix://"+d.path)
	var l listener
	stop := follow(t, through, s.project, plan.LogOptions{Tail: -1}, &l)
	until(t, "there are lines", func() bool { return len(l.texts("a")) > 20 })
	for round := range 2 {
		d.shut()
		before := len(s.all(a))
		until(t, "lines are missed", func() bool { return len(s.all(a)) > before+50 })
		if round == 1 { // what starts and ends meanwhile is heard too
			s.start("b", 1, "lines", "7")
		}
		d.open()
		n := len(l.texts("a"))
		until(t, "lines come again", func() bool { return len(l.texts("a")) > n+60 })
	}
	until(t, "the other is heard", func() bool { return len(l.texts("b")) == 7 })
	grace := 5 * time.Second
	s.must(s.Stop(ctx, a, &grace))
	want := s.all(a)
	until(t, "the end is heard", func() bool { return len(l.texts("a")) >= len(want) })
	stop()
	compare(t, "a", l.texts("a"), want)
}

func TestMemoryDoesNotGrowWithTheLog(t *testing.T) {
	s := newSite(t)
	const lines = 200_000
	for _, service := range []string{"a", "b"} {
		s.start(service, 1, "lines", fmt.Sprint(lines/2))
	}
	until(t, "all is written", func() bool {
		o, err := s.Observe(t.Context(), plan.Query{Project: s.project})
		return err == nil && !slices.ContainsFunc(o.Containers, func(c plan.Container) bool { return c.State != plan.StateExited })
	})
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, most, n := heap(), uint64(0), 0
	count := func(LogEntry) error {
		if n++; n%50_000 == 0 {
			most = max(most, heap())
		}
		return nil
	}
	s.must(Logs(t.Context(), s, s.project, nil, plan.LogOptions{Tail: -1}, count))
	if n != lines {
		t.Errorf("%d lines, want %d", n, lines)
	}
	if most > before+4<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, most)
	}
}

func TestAContainerWithATerminalIsReadToo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	id := s.add("a", 1, true, "lines", "20")
	s.must(s.Start(t.Context(), id))
	var l listener
	stop := follow(t, s, s.project, plan.LogOptions{Tail: -1}, &l)
	until(t, "all is heard", func() bool { return len(l.texts("a")) >= 20 })
	stop()
	if got := l.texts("a"); len(got) != 20 || got[0] != "line 0" || got[19] != "line 19" {
		t.Errorf("%q", got)
	}
}
