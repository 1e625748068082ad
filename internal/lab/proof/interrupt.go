package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"mqtunnel/internal/lab/engineproxy"
)

// Exit code of a command that was interrupted.
const exitInterrupted = 130

// promptly is by when an interrupted command has to end.
const promptly = time.Second

// interrupt presses Ctrl-C at every call that a command makes of the Engine, and wants
// it to stop at once, to say so, and the same command run again to come to the end of
// an undisturbed one.
func interrupt(ctx context.Context, b *Bench) (figure string, err error) {
	var s stops
	figure, err = b.disturbAll(ctx, "interrupt", []disturbance{{
		name: "interrupted", fault: engineproxy.Fault{Moment: engineproxy.During}, signal: syscall.SIGINT, ended: s.clean,
	}})
	if err != nil {
		return "", err
	}
	return figure + s.figure(), nil
}

// stops counts how interrupted commands ended.
type stops struct {
	mu        sync.Mutex
	took      []time.Duration
	completed int // those that had come to their end anyhow
}

// clean judges one end. A command that was done with its work at that moment may
// have come to its end.
func (s *stops) clean(c *operation, r result, after time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took = append(s.took, after)
	if r.code == 0 {
		s.completed++
		return nil
	}
	switch {
	case r.code != exitInterrupted || !strings.Contains(r.err, "error: interrupted"):
		return missed("it ends with exit %d: %s", r.code, r.err)
	case after > promptly:
		return missed("it ends %v later", after.Round(time.Millisecond))
	case !c.reads && !strings.Contains(r.err, "hint: "):
		return missed("it does not say what is left: %s", r.err)
	}
	return nil
}

func (s *stops) figure() string {
	slices.Sort(s.took)
	median, last := s.took[len(s.took)/2], s.took[len(s.took)-1]
	return fmt.Sprintf(", stopped after %v (median) and at most %v, %d of them at their end", median.Round(time.Millisecond), last.Round(time.Millisecond), s.completed)
}
