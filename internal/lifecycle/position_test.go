package lifecycle

import (
	"slices"
	"testing"
	"time"

	"mqtunnel/internal/plan"
)

func TestAReplayTellsNewLinesFromOld(t *testing.T) {
	line := func(s int, stderr bool) plan.LogLine {
		return plan.LogLine{Time: time.Unix(1000, int64(s)), Stderr: stderr}
	}
	var p position
	p.floor = time.Unix(1000, 10)
	// The line of the other stream was written later though its stamp is older.
	for _, l := range []plan.LogLine{line(10, false), line(30, false), line(30, false), line(20, true)} {
		p.advance(l)
	}
	r := newReplay(p)
	var got []bool
	for _, l := range []plan.LogLine{
		line(5, false), line(10, false), line(30, false), line(30, false), line(20, true), // read before, or before the floor
		line(30, false), line(25, true), line(31, false), line(31, false), line(20, true), // new
	} {
		got = append(got, r.fresh(l))
	}
	if want := append(slices.Repeat([]bool{false}, 5), slices.Repeat([]bool{true}, 5)...); !slices.Equal(got, want) {
		t.Errorf("fresh %v, want %v", got, want)
	}
	if s := p.since(); !s.Equal(p.floor) {
		t.Errorf("read again from %v, want the floor", s)
	}
	p.floor = time.Unix(1, 0)
	if s := p.since(); !s.Equal(time.Unix(1000, 30).Add(-disorder)) {
		t.Errorf("read again from %v", s)
	}
	if s := (position{}).since(); !s.IsZero() {
		t.Errorf("nothing read: read again from %v", s)
	}
}
