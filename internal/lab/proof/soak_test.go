package proof

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"

	"mqtunnel/internal/plan"
)

func TestALostConnectionNeedsARestart(t *testing.T) {
	restarted := []restart{{window{after(time.Minute), after(61 * time.Second)}, connector}}
	lost := errors.New("lost")
	for name, c := range map[string]struct {
		at      stay
		counted int
		bad     bool
	}{
		"the end of the soak": {stay{window{after(0), after(time.Hour)}, nil}, 0, false},
		"in a restart":        {stay{window{after(0), after(62 * time.Second)}, lost}, 1, false},
		"as one begins":       {stay{window{after(0), after(time.Minute - noticed)}, lost}, 1, false},
		"out of the blue":     {stay{window{after(0), after(30 * time.Second)}, lost}, 1, true},
	} {
		clients := clients{subscribers: []*subscriber{{stays: []stay{c.at}}}}
		if n, err := clients.explained(restarted); n != c.counted || (err != nil) != c.bad {
			t.Errorf("%s: %d losses, error %v", name, n, err)
		}
	}
}

func TestEveryMessageIsDueOnceToWhoIsConnected(t *testing.T) {
	second := func(n int) time.Time { return after(time.Duration(n) * time.Second) }
	messages := []sent{{second(0), second(1)}, {second(10), second(11)}, {second(20), time.Time{}}, {second(30), second(31)}}
	connected := []stay{{window: window{second(5), second(25)}}, {window: window{second(28), second(40)}}}
	for name, c := range map[string]struct {
		got map[int]int
		due int
		bad string
	}{
		"what was due came":                     {map[int]int{1: 1, 3: 1}, 2, ""},
		"one that nobody knows of may come too": {map[int]int{1: 1, 2: 1, 3: 1}, 2, ""},
		"one is lost":                           {map[int]int{1: 1}, 2, "message 3 "},
		"one came twice":                        {map[int]int{1: 2, 3: 1}, 1, "message 1 "},
		"one was sent by nobody":                {map[int]int{1: 1, 3: 1, -1: 1}, 2, "nobody sent"},
	} {
		clients := clients{sent: messages, subscribers: []*subscriber{{stays: connected, got: c.got}}}
		due, err := clients.complete()
		if due != c.due || (err == nil) != (c.bad == "") || err != nil && !strings.Contains(err.Error(), c.bad) {
			t.Errorf("%s: %d due, error %v", name, due, err)
		}
	}
}

func TestARestartIsFromTheFirstSignalToTheStart(t *testing.T) {
	event := func(action events.Action, at time.Duration) events.Message {
		return events.Message{
			Action: action, TimeNano: after(at).UnixNano(),
			Actor: events.Actor{Attributes: map[string]string{plan.LabelService: connector}},
		}
	}
	r := restarts{open: map[string]time.Time{}}
	for _, m := range []events.Message{
		event(events.ActionKill, time.Second), event(events.ActionDie, 3*time.Second), event(events.ActionStop, 3*time.Second), event(events.ActionStart, 4*time.Second),
	} {
		r.note(m)
	}
	if len(r.list) != 1 || !r.list[0].from.Equal(after(time.Second)) || !r.list[0].to.Equal(after(4*time.Second)) {
		t.Fatalf("restarts %+v", r.list)
	}
	if err := r.asked([]window{{after(0), after(5 * time.Second)}}); err != nil {
		t.Error(err)
	}
	if r.asked([]window{{after(2 * time.Second), after(5 * time.Second)}}) == nil {
		t.Error("a restart that began before anybody asked for it passes")
	}
	r.note(event(events.ActionDie, time.Minute))
	if r.asked([]window{{after(0), after(5 * time.Second)}}) == nil {
		t.Error("a connector that has died and not come back passes")
	}
}

func TestWhatWasFollowedIsTheLog(t *testing.T) {
	const (
		a = "mosquitto   | 2026-11-01T10:00:00.000000001Z one\n"
		b = "cloudflared | 2026-11-01T10:00:01.5Z two\n"
		c = "mosquitto   | 2026-11-01T10:00:05Z \n"
	)
	for name, tc := range map[string]struct {
		followed string
		bad      bool
	}{
		"all of it":                 {a + b + c, false},
		"the end has yet to come":   {a + b, false},
		"a line is left out":        {a + c, true},
		"a line came twice":         {a + b + b + c, true},
		"a line is of another time": {a + b + strings.Replace(c, ":05Z", ":04Z", 1), true},
	} {
		if _, err := sameLines(tc.followed, a+b+c); (err != nil) != tc.bad {
			t.Errorf("%s: error %v", name, err)
		}
	}
	const quit = `SIGQUIT: quit

goroutine 1 [select]:
main.main()

goroutine 7 [IO wait]:
created by golang.org/x/sync/errgroup.(*Group).Go in goroutine 1

goroutine 8 [IO wait]:
created by net/http.(*Transport).dialConn in goroutine 7

goroutine 9 [GC worker (idle)]:
created by runtime.gcBgMarkStartWorkers in goroutine 1
`
	if n := goroutinesIn(quit); n != 1 {
		t.Errorf("%d goroutines, want 1", n)
	}
}
