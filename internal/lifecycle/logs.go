package lifecycle

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// LogReader is the Engine as far as logs need it.
type LogReader interface {
	Observe(ctx context.Context, q plan.Query) (plan.Observed, error)
	Logs(ctx context.Context, id string, o plan.LogOptions, each func(plan.LogLine) error) error
	Events(ctx context.Context, project string, since time.Time, each func(plan.EngineEvent) error) error
}

// LogEntry is one line of one service.
type LogEntry struct {
	Service string
	Line    plan.LogLine
}

// errStopped ends a stream whose reader has gone.
var errStopped = errors.New("reader stopped")

// Logs passes the lines of the services' containers to each, merged by the
// Engine's time stamps; an empty list means all services. Memory does not grow
// with the logs. It ends at the end of the logs, or with the first error of the
// Engine or of each.
func Logs(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error) error {
	_, err := merge(ctx, r, project, services, o, each)
	return err
}

// position is how far a container's log was read: the stamp of the last line
// and how many lines carried that very stamp, since the Engine's filter includes
// them all again.
type position struct {
	last  time.Time
	count int
}

// advance moves the position past a line and reports whether the line is new.
// seen counts lines of the stream at hand that carry the stamp of start.
func (p *position) advance(start position, seen *int, line plan.LogLine) bool {
	if line.Time.Before(start.last) {
		return false
	}
	if line.Time.Equal(start.last) {
		*seen++
		if *seen <= start.count {
			return false
		}
	}
	if line.Time.Equal(p.last) {
		p.count++
	} else {
		p.last, p.count = line.Time, 1
	}
	return true
}

// merge reads all containers at once and passes on the oldest line each time.
// It returns how far each container was read.
func merge(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error) (map[string]position, error) {
	observed, err := r.Observe(ctx, plan.Query{Project: project})
	if err != nil {
		return nil, err
	}
	o.Follow = false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	var streams []*stream
	for _, c := range observed.Containers {
		if len(services) > 0 && !slices.Contains(services, c.Service()) {
			continue
		}
		s := &stream{container: c, lines: make(chan plan.LogLine, 64)}
		streams = append(streams, s)
		g.Go(func() error { return s.read(ctx, r, o) })
	}
	read := map[string]position{}
	err = drain(streams, func(s *stream, line plan.LogLine) error {
		p := read[s.container.ID]
		seen := 0
		p.advance(position{}, &seen, line)
		read[s.container.ID] = p
		return each(LogEntry{Service: s.container.Service(), Line: line})
	})
	cancel()
	if werr := g.Wait(); err == nil && !errors.Is(werr, context.Canceled) {
		err = werr
	}
	return read, err
}

// stream is the log of one container on its way to the merge.
type stream struct {
	container plan.Container
	lines     chan plan.LogLine
	head      plan.LogLine
	open      bool
}

// read fills the channel until the log ends, and closes it.
func (s *stream) read(ctx context.Context, r LogReader, o plan.LogOptions) error {
	defer close(s.lines)
	return r.Logs(ctx, s.container.ID, o, func(l plan.LogLine) error {
		select {
		case s.lines <- l:
			return nil
		case <-ctx.Done():
			return errStopped
		}
	})
}

// next takes the stream's next line to its head.
func (s *stream) next() { s.head, s.open = <-s.lines }

// drain passes on the lines of all streams, the oldest first.
func drain(streams []*stream, each func(*stream, plan.LogLine) error) error {
	for _, s := range streams {
		s.next()
	}
	for {
		var oldest *stream
		for _, s := range streams {
			if s.open && (oldest == nil || s.head.Time.Before(oldest.head.Time)) {
				oldest = s
			}
		}
		if oldest == nil {
			return nil
		}
		if err := each(oldest, oldest.head); err != nil {
			return err
		}
		oldest.next()
	}
}

// follower follows the logs of a project across restarts, recreates and Engine
// restarts.
type follower struct {
	reader   LogReader
	project  string
	services []string
	out      chan LogEntry

	mu       sync.Mutex
	read     map[string]position // by container ID
	attached map[string]bool
}

// Follow is Logs that then goes on with new lines until ctx ends or each
// returns an error. No line is lost or repeated when a container restarts, is
// recreated, or the Engine goes away for a while.
func Follow(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error) error {
	read, err := merge(ctx, r, project, services, o, each)
	if err != nil {
		return err
	}
	f := &follower{reader: r, project: project, services: services, out: make(chan LogEntry, 64), read: read, attached: map[string]bool{}}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.watch(ctx, g) })
	g.Go(func() error { return reorder(ctx, f.out, each) })
	return g.Wait()
}

// retryInterval is the pause before the Engine is asked again after it went
// away, and between two attempts at a container that is not running.
const retryInterval = 300 * time.Millisecond

// watch attaches to every container of the project as it appears: at once, at
// every event, and again after the Engine was away.
func (f *follower) watch(ctx context.Context, g *errgroup.Group) error {
	for {
		since := time.Now()
		if err := f.attachAll(ctx, g, true); err == nil {
			// The events since before the list was taken are replayed, so that no
			// container slips through between the two.
			err = f.reader.Events(ctx, f.project, since.Add(-time.Second), func(e plan.EngineEvent) error {
				if e.Action == "start" || e.Action == "die" {
					return f.attachAll(ctx, g, true)
				}
				return nil
			})
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_ = err // an Engine that went away is asked again below
		}
		if err := pause(ctx, retryInterval); err != nil {
			return err
		}
	}
}

// attachAll follows every container of the services that is not followed yet:
// those that run, and with stopped the others too, for lines that they left.
func (f *follower) attachAll(ctx context.Context, g *errgroup.Group, stopped bool) error {
	observed, err := f.reader.Observe(ctx, plan.Query{Project: f.project})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range observed.Containers {
		if f.attached[c.ID] || len(f.services) > 0 && !slices.Contains(f.services, c.Service()) {
			continue
		}
		if !stopped && c.State != plan.StateRunning {
			continue
		}
		f.attached[c.ID] = true
		g.Go(func() error { return f.stream(ctx, g, c) })
	}
	return nil
}

// stream passes on one container's lines until its log ends, and lets go of it:
// the next start attaches again where it ended. A container that was quick to
// start again has had its event already, so it is looked for once more.
func (f *follower) stream(ctx context.Context, g *errgroup.Group, c plan.Container) error {
	f.mu.Lock()
	start := f.read[c.ID]
	f.mu.Unlock()
	now, seen := start, 0
	// The error is not looked at: whether the container stopped or the Engine
	// went away, watch attaches again.
	_ = f.reader.Logs(ctx, c.ID, plan.LogOptions{Since: start.last, Tail: -1, Follow: true}, func(l plan.LogLine) error {
		if !now.advance(start, &seen, l) {
			return nil
		}
		select {
		case f.out <- LogEntry{Service: c.Service(), Line: l}:
			return nil
		case <-ctx.Done():
			return errStopped
		}
	})
	f.mu.Lock()
	f.read[c.ID] = now
	delete(f.attached, c.ID)
	f.mu.Unlock()
	if err := pause(ctx, retryInterval); err != nil {
		return err
	}
	// An Engine that does not answer now is asked again by watch.
	_ = f.attachAll(ctx, g, false)
	return nil
}

// How long live lines are held back to be put in order, and how many at most.
const (
	reorderWindow = 100 * time.Millisecond
	reorderLines  = 4096
)

// held is a line with the time at which it came in.
type held struct {
	entry LogEntry
	since time.Time
}

// reorder passes on live lines by time stamp: each is held for a moment, since
// lines of two containers come over two connections.
func reorder(ctx context.Context, in <-chan LogEntry, each func(LogEntry) error) error {
	var queue []held
	tick := time.NewTicker(reorderWindow / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return errors.Join(flush(&queue, time.Time{}, each), ctx.Err())
		case e := <-in:
			at, _ := slices.BinarySearchFunc(queue, e, func(h held, e LogEntry) int {
				if h.entry.Line.Time.After(e.Line.Time) {
					return 1
				}
				return -1
			})
			queue = slices.Insert(queue, at, held{entry: e, since: time.Now()})
			if len(queue) < reorderLines {
				continue
			}
			if err := flush(&queue, time.Time{}, each); err != nil {
				return err
			}
		case now := <-tick.C:
			if err := flush(&queue, now.Add(-reorderWindow), each); err != nil {
				return err
			}
		}
	}
}

// flush passes on the lines at the queue's front that came in before the given
// time, or all of them when it is zero.
func flush(queue *[]held, before time.Time, each func(LogEntry) error) error {
	n := 0
	for _, h := range *queue {
		if !before.IsZero() && h.since.After(before) {
			break
		}
		if err := each(h.entry); err != nil {
			return err
		}
		n++
	}
	*queue = slices.Delete(*queue, 0, n)
	return nil
}
