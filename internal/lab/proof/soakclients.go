package proof

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// Of the clients of a soak.
const (
	soakSubscribers = 3
	soakTopic       = "soak/beat"
	sendEvery       = 100 * time.Millisecond
	// ackLimit is when a message counts as not taken by the broker.
	ackLimit = 2 * time.Second
	// inTransit is how long after the broker has a message a client may wait for it.
	inTransit = time.Second
	// noticed is how far Engine and client may be apart in noticing the same thing, on a
	// machine that has more to do than it can.
	noticed = 2 * time.Second
	// comeback is the pause before a client that was cut off tries again.
	comeback = 100 * time.Millisecond
)

// stay is while a client was connected. It ended by itself unless why says otherwise.
type stay struct {
	window

	why error
}

// sent is one message.
type sent struct {
	at, acknowledged time.Time // the latter zero when nobody knows whether it was taken
}

// subscriber is a client that gets messages as long as it is let, and comes back.
type subscriber struct {
	stays []stay

	mu  sync.Mutex
	got map[int]int // how often each came
}

// clients are those of a soak. What they hold is to be read when they have ended.
type clients struct {
	subscribers []*subscriber
	publishing  []stay
	sent        []sent
}

// begin starts the clients. They go on until running ends; ctx is the end of all.
func (c *clients) begin(ctx, running context.Context, group *errgroup.Group, p *project, as account) {
	for range soakSubscribers {
		s := &subscriber{got: map[int]int{}}
		c.subscribers = append(c.subscribers, s)
		group.Go(func() error {
			s.stays = staying(ctx, running, p, as, s.receive, func(client *tunnelClient) error {
				if err := client.subscribe(ctx, soakTopic); err != nil {
					return err
				}
				return nil
			}, func(client *tunnelClient) {
				select {
				case <-running.Done():
				case <-client.lost:
				}
			})
			return nil
		})
	}
	group.Go(func() error {
		ready := func(*tunnelClient) error { return nil }
		c.publishing = staying(ctx, running, p, as, ignored, ready, func(client *tunnelClient) { c.publish(ctx, running, client) })
		return nil
	})
}

// staying connects a client again and again, makes it ready and has it do its work while
// it is connected, and returns when that was.
func staying(ctx, running context.Context, p *project, as account, received func(string, string), ready func(*tunnelClient) error, work func(*tunnelClient)) (stays []stay) {
	for running.Err() == nil {
		client, err := p.connect(ctx, as, received)
		if err == nil {
			if err = ready(client); err != nil {
				_ = client.close() // lost already
			}
		}
		if err != nil {
			select {
			case <-running.Done():
			case <-time.After(comeback):
			}
			continue
		}
		at := stay{window: window{from: time.Now()}}
		work(client)
		at.to, at.why = time.Now(), client.held()
		stays = append(stays, at)
		_ = client.close() // lost, or over
	}
	return stays
}

// publish sends messages until the connection is lost. Its end is noticed when a message
// is not acknowledged.
func (c *clients) publish(ctx, running context.Context, client *tunnelClient) {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for client.held() == nil {
		select {
		case <-running.Done():
			return
		case <-client.lost:
			return
		case <-tick.C:
		}
		m := sent{at: time.Now()}
		limited, cancel := context.WithTimeout(ctx, ackLimit)
		if client.publish(limited, soakTopic, strconv.Itoa(len(c.sent)), false) == nil {
			m.acknowledged = time.Now()
		}
		cancel()
		c.sent = append(c.sent, m)
	}
}

func (s *subscriber) receive(_, payload string) {
	n, err := strconv.Atoi(payload)
	if err != nil {
		n = -1 // nobody sent it, which complete tells
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got[n]++
}

// acknowledged counts the messages that the broker took.
func (c *clients) acknowledged() (n int) {
	for _, m := range c.sent {
		if !m.acknowledged.IsZero() {
			n++
		}
	}
	return n
}

// explained wants every loss of a connection to be by a restart, and counts them.
func (c *clients) explained(list []restart) (lost int, err error) {
	all := slices.Clone(c.publishing)
	for _, s := range c.subscribers {
		all = append(all, s.stays...)
	}
	for _, at := range all {
		if at.why == nil {
			continue
		}
		lost++
		if !slices.ContainsFunc(list, func(r restart) bool { return r.within(at.to, noticed) }) {
			return lost, missed("a client lost its connection at %s, when nothing restarts (%v): %w", at.to.Format(time.StampMilli), list, at.why)
		}
	}
	return lost, nil
}

// complete wants every message that the broker took while a subscriber was connected with
// this subscriber, once, and counts them.
func (c *clients) complete() (due int, err error) {
	for i, s := range c.subscribers {
		for n, m := range c.sent {
			if m.acknowledged.IsZero() || !slices.ContainsFunc(s.stays, func(at stay) bool { return at.from.Before(m.at) && at.to.After(m.acknowledged.Add(inTransit)) }) {
				continue
			}
			due++
			if s.got[n] != 1 {
				return due, missed("message %d of %s came to client %d %d times", n, m.at.Format(time.StampMilli), i, s.got[n])
			}
		}
		if s.got[-1] > 0 {
			return due, missed("client %d got %d messages that nobody sent", i, s.got[-1])
		}
	}
	return due, nil
}

// restart is while a container was told to end and had not started again.
type restart struct {
	window

	service string
}

func (r restart) String() string {
	return fmt.Sprintf("%s from %s to %s", r.service, r.from.Format(time.StampMilli), r.to.Format(time.StampMilli))
}

// restarts are those that the Engine tells of.
type restarts struct {
	list []restart
	open map[string]time.Time // by service
}

// watch notes the restarts of a project's containers until ctx ends, which is an error too.
func (r *restarts) watch(ctx context.Context, p *project) error {
	r.open = map[string]time.Time{}
	messages, errs := p.b.Engine.Events(ctx, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", plan.LabelProject+"="+p.name),
	)})
	for {
		select {
		case m := <-messages:
			r.note(m)
		case err := <-errs:
			return err
		}
	}
}

// note notes the beginning and the end of a restart.
func (r *restarts) note(m events.Message) {
	service, at := m.Actor.Attributes[plan.LabelService], time.Unix(0, m.TimeNano)
	since, ending := r.open[service]
	switch m.Action {
	case events.ActionKill, events.ActionDie:
		if !ending {
			r.open[service] = at
		}
	case events.ActionStart:
		if !ending {
			since = at
		}
		delete(r.open, service)
		r.list = append(r.list, restart{window{since, at}, service})
	default:
	}
}

// asked wants every restart to be of the connector, in one of the windows.
func (r *restarts) asked(windows []window) error {
	if len(r.open) > 0 {
		return missed("a service has ended and not started again: %v", r.open)
	}
	if len(r.list) != len(windows) {
		return missed("%d restarts where %d were asked for: %v", len(r.list), len(windows), r.list)
	}
	for _, at := range r.list {
		if at.service != connector || !slices.ContainsFunc(windows, func(w window) bool { return w.within(at.from, 0) && w.within(at.to, 0) }) {
			return missed("%s restarted at %s, which nobody asked for", at.service, at.from.Format(time.StampMilli))
		}
	}
	return nil
}
