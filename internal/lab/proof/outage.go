package proof

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"
	"golang.org/x/sync/errgroup"
)

// How clients notice an outage.
const (
	// knockEvery is how often a new client comes, and a message of one that is
	// connected: no outage is known more exactly.
	knockEvery = 50 * time.Millisecond
	// knockLimit is for how long a new client waits to be let in.
	knockLimit = 2 * time.Second
	// knocksAtOnce bounds the clients that are at the door at the same time, those
	// that still take their leave among them.
	knocksAtOnce = 200
	// Clients are served well when there was no break in that for some time.
	servedFor, breakFor = 2 * time.Second, time.Second
	// serveLimit bounds how long after a change clients may have to wait.
	serveLimit = time.Minute
)

// outage is for how long clients were cut off.
type outage struct {
	fresh     time.Duration // no new client got in
	connected time.Duration // a client that was connected got no message
}

// visitors are new clients that come all the time, and one that stays connected as
// long as it is let.
type visitors struct {
	p     *project
	as    account
	stop  context.CancelFunc
	group *errgroup.Group

	mu      sync.Mutex
	entries []time.Time // when a new client got in
	beats   []time.Time // when a message came back to the client that stays
	refusal error       // the last one
}

// visitors begin to come.
func (p *project) visitors(ctx context.Context, as account) *visitors {
	running, stop := context.WithCancel(ctx)
	v := &visitors{p: p, as: as, stop: stop, group: &errgroup.Group{}}
	v.group.SetLimit(2 + knocksAtOnce)
	v.group.Go(func() error { return v.stay(running) })
	v.group.Go(func() error {
		tick := time.NewTicker(knockEvery)
		defer tick.Stop()
		for {
			select {
			case <-running.Done():
				return nil
			case <-tick.C:
				v.group.Go(func() error { return v.knock(ctx) })
			}
		}
	})
	return v
}

// knock connects and leaves again.
func (v *visitors) knock(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, knockLimit)
	defer cancel()
	client, err := v.p.connect(limited, v.as, ignored)
	v.mu.Lock()
	if err == nil {
		v.entries = append(v.entries, time.Now())
	} else {
		v.refusal = err
	}
	v.mu.Unlock()
	if err == nil {
		_ = client.close() // it was let in, which is all that is asked
	}
	return ctx.Err()
}

// stay connects again and again, and while connected sends messages to itself.
func (v *visitors) stay(ctx context.Context) error {
	for ctx.Err() == nil {
		client, err := v.p.connect(ctx, v.as, func(string, string) {
			v.mu.Lock()
			defer v.mu.Unlock()
			v.beats = append(v.beats, time.Now())
		})
		if err != nil {
			select {
			case <-ctx.Done():
			case <-time.After(knockEvery):
			}
			continue
		}
		v.beat(ctx, client)
		_ = client.close() // it is lost, or over
	}
	return nil
}

// beat sends messages until the connection is lost.
func (v *visitors) beat(ctx context.Context, client *tunnelClient) {
	const topic = "outage/beat"
	if client.subscribe(ctx, topic) != nil {
		return // lost already
	}
	tick := time.NewTicker(knockEvery)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-client.lost:
			return
		case <-tick.C:
		}
		// Nothing waits for an answer that does not come: what comes back is the answer.
		if _, err := client.mqtt.Publish(ctx, &paho.Publish{Topic: topic, Payload: []byte(strconv.Itoa(n))}); err != nil {
			return
		}
	}
}

// served waits until new clients get in and the one that stays gets its messages, without
// a break.
func (v *visitors) served(ctx context.Context) error {
	since := time.Now()
	return eventually(ctx, serveLimit, func() error {
		v.mu.Lock()
		defer v.mu.Unlock()
		switch {
		case !unbroken(v.entries, since, time.Now()):
			return missed("new clients do not get in without a break: %w", v.refusal)
		case !unbroken(v.beats, since, time.Now()):
			return missed("the client that stays does not get its messages without a break")
		}
		return nil
	})
}

// unbroken reports whether there was no break among the times, in the last while and not
// longer ago than since.
func unbroken(times []time.Time, since, now time.Time) bool {
	from := now.Add(-servedFor)
	if from.Before(since) {
		return false // not long enough yet
	}
	last := from
	for _, at := range times {
		if at.Before(from) {
			continue
		}
		if at.Sub(last) > breakFor {
			return false
		}
		last = at
	}
	return now.Sub(last) <= breakFor
}

// leave ends the visits and returns the outage that there was.
func (v *visitors) leave() (outage, error) {
	v.stop()
	if err := v.group.Wait(); err != nil {
		return outage{}, err
	}
	return outage{fresh: longestBreak(v.entries), connected: longestBreak(v.beats)}, nil
}

// longestBreak is the longest time from one to the next, less what is usual.
func longestBreak(times []time.Time) (longest time.Duration) {
	for i := 1; i < len(times); i++ {
		longest = max(longest, times[i].Sub(times[i-1])-knockEvery)
	}
	return longest
}

// during measures the outage that something brings about.
func (p *project) during(ctx context.Context, as account, run func() error) (o outage, err error) {
	v := p.visitors(ctx, as)
	err = v.served(ctx)
	if err == nil {
		err = run()
	}
	if err == nil {
		err = v.served(ctx)
	}
	o, lerr := v.leave()
	return o, errors.Join(err, lerr)
}
