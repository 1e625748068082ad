package proof

import (
	"testing"
	"time"
)

// after is a moment of the tests.
func after(d time.Duration) time.Time {
	return time.Date(2026, 11, 1, 10, 0, 0, 0, time.UTC).Add(d)
}

func TestAnOutageIsTheLongestBreak(t *testing.T) {
	const ms = time.Millisecond
	times := []time.Time{after(0), after(50 * ms), after(350 * ms), after(360 * ms), after(500 * ms)}
	if got, want := longestBreak(times), 300*ms-knockEvery; got != want {
		t.Errorf("the longest break is %v, want %v", got, want)
	}
	got := median([]outage{{3 * ms, 9 * ms}, {ms, 2 * ms}, {5 * ms, 4 * ms}, {4 * ms, 5 * ms}})
	if want := (outage{4 * ms, 5 * ms}); got != want {
		t.Errorf("median %v, want %v", got, want)
	}
}

func TestClientsAreServedWhenThereIsNoBreak(t *testing.T) {
	var times []time.Time
	for at := time.Duration(0); at < 10*time.Second; at += knockEvery {
		times = append(times, after(at))
	}
	for name, c := range map[string]struct {
		since, now time.Duration
		want       bool
	}{
		"all the time":           {time.Second, 9 * time.Second, true},
		"not yet for long":       {8 * time.Second, 9 * time.Second, false},
		"not any more":           {time.Second, 10*time.Second + breakFor, false},
		"only just":              {time.Second, 10*time.Second + breakFor - 2*knockEvery, true},
		"long ago":               {time.Second, time.Hour, false},
		"again after they began": {-10 * time.Second, time.Second / 2, false},
	} {
		if got := unbroken(times, after(c.since), after(c.now)); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
