package lifecycle

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// LogReader is the Engine as far as logs need it.
type LogReader interface {
	Observe(ctx context.Context, q plan.Query) (plan.Observed, error)
	Inspect(ctx context.Context, id string) (plan.Details, error)
	Logs(ctx context.Context, id string, o plan.LogOptions, each func(plan.LogLine) error) error
	Events(ctx context.Context, project string, since time.Time, each func(plan.EngineEvent) error) error
	PastEvents(ctx context.Context, project string, since, until time.Time) ([]plan.EngineEvent, error)
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

// merge reads all containers at once and passes on the oldest line each time.
// It returns how far each container was read.
func merge(ctx context.Context, r LogReader, project string, services []string, o plan.LogOptions, each func(LogEntry) error) (map[string]position, error) {
	observed, err := r.Observe(ctx, plan.Query{Project: project})
	if err != nil {
		return nil, err
	}
	o.Follow = false
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	g, inner := errgroup.WithContext(inner)
	var streams []*stream
	for _, c := range observed.Containers {
		if !wanted(c, services) {
			continue
		}
		s := &stream{container: c, lines: make(chan plan.LogLine, 64)}
		streams = append(streams, s)
		g.Go(func() error { return s.read(inner, r, o) })
	}
	read := map[string]position{}
	err = drain(streams, func(s *stream, line plan.LogLine) error {
		p, begun := read[s.container.ID]
		if !begun {
			p.floor = line.Time
		}
		p.advance(line)
		read[s.container.ID] = p
		return each(LogEntry{Service: s.container.Service(), Line: line})
	})
	cancel()
	werr := g.Wait()
	switch {
	case err != nil:
		return read, err // a reader then only stopped because of it
	case ctx.Err() != nil:
		return read, ctx.Err()
	}
	return read, werr
}

// wanted reports whether a container is of one of the services; an empty list
// means all.
func wanted(c plan.Container, services []string) bool {
	return len(services) == 0 || slices.Contains(services, c.Service())
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
	return readLog(ctx, r, s.container.ID, o, func(l plan.LogLine) error {
		select {
		case s.lines <- l:
			return nil
		case <-ctx.Done():
			return errStopped
		}
	})
}

// readLog reads the log of a container, with a terminal or without: the Engine
// sends it in two formats.
func readLog(ctx context.Context, r LogReader, id string, o plan.LogOptions, each func(plan.LogLine) error) error {
	d, err := r.Inspect(ctx, id)
	if err != nil {
		return err
	}
	o.TTY = d.TTY
	return r.Logs(ctx, id, o, each)
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
