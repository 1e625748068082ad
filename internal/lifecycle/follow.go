package lifecycle

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// follower follows the logs of a project across restarts, recreates and Engine
// restarts.
type follower struct {
	reader   LogReader
	project  string
	services []string
	since    time.Time // lines from before are not wanted
	out      chan LogEntry

	mu       sync.Mutex
	read     map[string]position // by container ID
	attached map[string]bool
}

// Follow is Logs that then goes on with new lines until ctx ends or each
// returns an error. No line is lost or repeated when a container restarts, is
// recreated, or the Engine goes away for a while; what a container writes just
// before it is removed may be lost with it.
func Follow(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error) error {
	return followFrom(ctx, r, project, services, o, each, func() {})
}

// followFrom is Follow that calls reached once the lines that were there when it began
// have been passed on.
func followFrom(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error, reached func()) error {
	first := each
	if o.Tail == 0 {
		// Where the new lines begin is known by the last old one.
		o.Tail = 1
		first = func(LogEntry) error { return nil }
	}
	read, err := merge(ctx, r, project, services, o, first)
	if err != nil {
		return err
	}
	reached()
	f := &follower{
		reader: r, project: project, services: services, since: o.Since, out: make(chan LogEntry, 64),
		read: read, attached: map[string]bool{},
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return f.watch(ctx, g) })
	g.Go(func() error { return reorder(ctx, f.out, each) })
	return g.Wait()
}

const (
	// retryInterval is the pause before the Engine is asked again after it went
	// away, and before a container is looked for whose log has ended.
	retryInterval = 300 * time.Millisecond
	// eventOverlap is from how long before the list was taken events are replayed.
	eventOverlap = time.Second
)

// watch attaches to every container of the project as it appears: at once, at
// every event, and again after the Engine was away.
func (f *follower) watch(ctx context.Context, g *errgroup.Group) error {
	for {
		since := time.Now()
		if f.attachAll(ctx, g, true) == nil {
			again, cancel := context.WithCancel(ctx)
			// The events since before the list was taken are replayed, so that no
			// container slips through between the two. That goes by the Engine's
			// clock; where it is behind ours, the second list finds the container.
			g.Go(func() error {
				if pause(again, eventOverlap) == nil {
					_ = f.attachAll(again, g, false) // an Engine that went away is seen below
				}
				return nil
			})
			// How it ended does not matter: an Engine that went away is asked again.
			_ = f.reader.Events(ctx, f.project, since.Add(-eventOverlap), func(e plan.EngineEvent) error {
				if e.Action == "start" || e.Action == "die" {
					return f.attachAll(ctx, g, true)
				}
				return nil
			})
			cancel()
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
		if f.attached[c.ID] || !wanted(c, f.services) || !stopped && c.State != plan.StateRunning {
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
	start, known := f.read[c.ID]
	f.mu.Unlock()
	if !known {
		start.floor = f.since
	}
	lines := newReplay(start)
	// The error is not looked at: whether the container stopped or the Engine
	// went away, it is attached to again.
	_ = readLog(ctx, f.reader, c.ID, plan.LogOptions{Since: start.since(), Tail: -1, Follow: true}, func(l plan.LogLine) error {
		if !lines.fresh(l) {
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
	f.read[c.ID] = lines.now
	delete(f.attached, c.ID)
	f.mu.Unlock()
	for {
		if err := pause(ctx, retryInterval); err != nil {
			return err
		}
		if f.attachAll(ctx, g, false) == nil {
			return nil
		}
	}
}
