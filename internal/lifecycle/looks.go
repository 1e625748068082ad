package lifecycle

import (
	"context"
	"time"

	"mqtunnel/internal/probe"
)

// Between two looks from inside is a pause, longer each time: every one makes a
// container.
const (
	firstLookPause = time.Second
	lastLookPause  = 8 * time.Second
)

// looks has the probe run in the background, one look at a time. Its methods but
// run are of one goroutine.
type looks struct {
	wanted chan bool // has room for the one that is asked for: with the way to the edge?
	done   chan looked

	last    looked // zero until one has come back
	pending bool   // one is asked for or under way
	next    time.Time
	pause   time.Duration
}

// looked is the outcome of one look from inside.
type looked struct {
	report probe.Report
	err    error
	at     time.Time
}

func newLooks() *looks {
	return &looks{wanted: make(chan bool, 1), done: make(chan looked), pause: firstLookPause}
}

// run looks whenever it is asked to, until ctx ends.
func (l *looks) run(ctx context.Context, e Prober, v View) {
	for {
		select {
		case v.Request.Edge = <-l.wanted:
		case <-ctx.Done():
			return
		}
		report, _, err := Look(ctx, e, v)
		select {
		case l.done <- looked{report: report, err: err, at: time.Now()}:
		case <-ctx.Done():
			return
		}
	}
}

// ask asks for a look, unless one is under way or was just taken. With edge it looks
// at the way to Cloudflare's edge too.
func (l *looks) ask(edge bool) {
	if l.pending || time.Now().Before(l.next) {
		return
	}
	l.pending = true
	l.wanted <- edge
}

// take takes over a look that has come back, without waiting, and reports whether
// there was one.
func (l *looks) take() bool {
	select {
	case l.last = <-l.done:
		l.pending = false
		l.next = time.Now().Add(l.pause)
		l.pause = min(2*l.pause, lastLookPause)
		return true
	default:
		return false
	}
}

// hurry makes the pauses short again, for a stage that begins.
func (l *looks) hurry() { l.next, l.pause = time.Time{}, firstLookPause }
