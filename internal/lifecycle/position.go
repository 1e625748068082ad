package lifecycle

import (
	"time"

	"mqtunnel/internal/plan"
)

// disorder is how far behind a line of one stream a line of the other may be
// written although its stamp is older: the Engine stamps each before it takes the
// log's lock.
const disorder = time.Second

// position is how far a container's log was read. Each of its two streams is in
// order by itself.
type position struct {
	floor time.Time // lines from before were not asked for
	marks [2]mark   // standard output, standard error
}

// mark is the stamp of a stream's last line that was read, and how many lines
// carried that very stamp, since the Engine's filter includes them all again.
type mark struct {
	last  time.Time
	count int
}

func streamOf(l plan.LogLine) int {
	if l.Stderr {
		return 1
	}
	return 0
}

// advance moves the position past a line.
func (p *position) advance(l plan.LogLine) {
	m := &p.marks[streamOf(l)]
	if l.Time.Equal(m.last) {
		m.count++
		return
	}
	m.last, m.count = l.Time, 1
}

// since is from when the log has to be read again so that no line is missed.
func (p position) since() time.Time {
	latest := p.marks[0].last
	if p.marks[1].last.After(latest) {
		latest = p.marks[1].last
	}
	if latest.IsZero() {
		return p.floor
	}
	if from := latest.Add(-disorder); from.After(p.floor) {
		return from
	}
	return p.floor
}

// replay tells new lines from those that were read before, in a log that is read
// again from a position on.
type replay struct {
	start, now position
	seen       [2]int // lines with the stamp of the start's mark
}

func newReplay(p position) *replay { return &replay{start: p, now: p} }

// fresh reports whether the line is new, and moves the position past it.
func (r *replay) fresh(l plan.LogLine) bool {
	i := streamOf(l)
	before := r.start.marks[i]
	if l.Time.Before(r.start.floor) || l.Time.Before(before.last) {
		return false
	}
	if l.Time.Equal(before.last) {
		r.seen[i]++
		if r.seen[i] <= before.count {
			return false
		}
	}
	r.now.advance(l)
	return true
}
