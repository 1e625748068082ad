package lifecycle

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestLooksBecomeRarerAndNoTwoRunAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLooks()
		var at []time.Duration
		start := time.Now()
		for range 40 * 20 { // 40 s of asking at every tick
			l.ask(false)
			l.ask(false)
			select {
			case <-l.wanted:
				at = append(at, time.Since(start))
				go func() { l.done <- looked{at: time.Now()} }()
				synctest.Wait()
			default:
			}
			l.take()
			if err := pause(t.Context(), tick); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(at); n < 6 || n > 9 {
			t.Errorf("%d looks in 40 s: %v", n, at)
		}
		l.hurry()
		l.ask(false)
		if len(l.wanted) != 1 {
			t.Error("a stage that begins waits for the pause of the one before")
		}
	})
}
