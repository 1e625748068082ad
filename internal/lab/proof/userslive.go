package proof

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/probe"
)

// What users-live wants.
const (
	liveUsers    = 100
	sampledEvery = 4 // each so manieth user is connected when it is removed
	liveLimit    = 10 * time.Minute
	refusedLimit = time.Second
	publishEvery = 50 * time.Millisecond
)

// usersLive changes users while two clients of another one go on, and wants nothing
// lost of these and the removed ones out at once.
func usersLive(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "users", (*project).usersChangeUnnoticed)
}

func (p *project) usersChangeUnnoticed(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	const steady = "steady"
	password, err := p.addUser(ctx, steady)
	if err != nil {
		return "", err
	}
	t, err := p.traffic(ctx, steady, password)
	if err != nil {
		return "", err
	}
	start := time.Now()
	c := changes{project: p, traffic: t}
	for n := range liveUsers {
		if err = c.user(ctx, "u"+strconv.Itoa(n), n%sampledEvery == 0); err != nil {
			break
		}
	}
	took := time.Since(start)
	if err := errors.Join(err, t.end(ctx)); err != nil {
		return "", err
	}
	if took > liveLimit {
		return "", missed("%d commands took %v, want at most %v", c.commands, took, liveLimit)
	}
	return fmt.Sprintf("%d users added, changed, allowed, denied and removed by %d commands in %v; meanwhile %d messages sent and %d received (%d twice), no connection lost; "+
		"%d removed users that were connected: out after at most %v", liveUsers, c.commands, took.Round(time.Second), t.sent, len(t.got), t.twice, c.refused,
		c.slowest.Round(time.Millisecond)), nil
}

// changes counts what users-live does.
type changes struct {
	*project

	traffic  *traffic
	commands int
	refused  int
	slowest  time.Duration
}

// user takes one user through the five commands. One of the sample is connected at
// the end.
func (c *changes) user(ctx context.Context, name string, sampled bool) error {
	const first, second = "first-password-of-it", "second-password-of-it"
	for _, step := range []struct {
		password string
		args     []string
	}{
		{first, []string{"add", name, "--topics", "own"}},
		{second, []string{"passwd", name}},
		{"", []string{"allow", name, "read", "steady/#"}},
		{"", []string{"deny", name, "readwrite", name + "/private/#"}},
	} {
		if err := c.run(ctx, step.password, step.args...); err != nil {
			return err
		}
	}
	remove := []string{"remove", name, "--yes"}
	if !sampled {
		return c.run(ctx, "", remove...)
	}
	client, err := c.connect(ctx, account{user: name, password: second}, ignored)
	if err != nil {
		return missed("before the removal: %w", err)
	}
	if err := c.run(ctx, "", remove...); err != nil {
		return errors.Join(err, client.close())
	}
	return c.out(ctx, client, name, second)
}

// run runs a user command and wants it in effect, and the connections unharmed.
func (c *changes) run(ctx context.Context, password string, args ...string) error {
	r, err := c.mqtunnel(ctx, password, append([]string{"user"}, args...)...)
	if err != nil {
		return err
	}
	if r.code != 0 || !strings.Contains(r.out, "in effect now") {
		return missed("mqtunnel user %s: exit %d: %s", strings.Join(args, " "), r.code, r.all())
	}
	c.commands++
	if err := c.traffic.held(); err != nil {
		return missed("after user %s %s: %w", args[0], args[1], err)
	}
	return nil
}

// out wants a removed user that was connected disconnected and refused, and measures
// how long after the command that is.
func (c *changes) out(ctx context.Context, client *tunnelClient, name, password string) error {
	start := time.Now()
	select {
	case <-client.lost:
	case <-time.After(refusedLimit):
		return errors.Join(missed("removed user %s is still connected %v after the command", name, refusedLimit), client.close())
	case <-ctx.Done():
		return errors.Join(ctx.Err(), client.close())
	}
	<-client.mqtt.Done()
	err := c.roundTrip(ctx, name, password, name+"/x")
	took := time.Since(start)
	if probe.ClassOf(err) != probe.ClassNotAuthorised || took > refusedLimit {
		return missed("removed user %s, %v after the command: %w", name, took, err)
	}
	c.refused++
	c.slowest = max(c.slowest, took)
	return nil
}

// traffic is a client that publishes and one that subscribes.
type traffic struct {
	publisher, subscriber *tunnelClient

	stop  context.CancelFunc
	group *errgroup.Group
	sent  int // belongs to the publisher's goroutine until the end

	mu    sync.Mutex
	got   map[string]struct{}
	twice int
}

// inFlight is how many messages may await their acknowledgement.
const inFlight = 10

// traffic begins to publish and subscribe as a user.
func (p *project) traffic(ctx context.Context, user, password string) (t *traffic, err error) {
	t = &traffic{got: map[string]struct{}{}}
	if t.subscriber, err = p.connect(ctx, account{user: user, password: password}, t.receive); err != nil {
		return nil, err
	}
	if t.publisher, err = p.connect(ctx, account{user: user, password: password}, ignored); err != nil {
		return nil, errors.Join(err, t.subscriber.close())
	}
	const topic = "steady/beat"
	if err = t.subscriber.subscribe(ctx, topic); err != nil {
		return nil, errors.Join(err, t.subscriber.close(), t.publisher.close())
	}
	running, stop := context.WithCancel(ctx)
	t.stop = stop
	t.group = &errgroup.Group{}
	t.group.SetLimit(1 + inFlight)
	t.group.Go(func() error {
		tick := time.NewTicker(publishEvery)
		defer tick.Stop()
		for {
			select {
			case <-running.Done():
				return nil
			case <-tick.C:
			}
			payload := strconv.Itoa(t.sent)
			t.sent++
			t.group.Go(func() error {
				if err := t.publisher.publish(ctx, topic, payload, false); err != nil {
					return missed("message %s: %w", payload, err)
				}
				return nil
			})
		}
	})
	return t, nil
}

// ignored takes messages that nobody asked for.
func ignored(string, string) {}

func (t *traffic) receive(_, payload string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, before := t.got[payload]; before {
		t.twice++
	}
	t.got[payload] = struct{}{}
}

// held is an error when one of the connections was lost.
func (t *traffic) held() error {
	for what, c := range map[string]*tunnelClient{"publisher": t.publisher, "subscriber": t.subscriber} {
		if err := c.held(); err != nil {
			return missed("the %s has lost its connection: %w", what, err)
		}
	}
	return nil
}

// end stops publishing and wants every message that was sent received.
func (t *traffic) end(ctx context.Context) error {
	t.stop()
	if err := errors.Join(t.group.Wait(), t.held()); err != nil {
		return errors.Join(err, t.publisher.close(), t.subscriber.close())
	}
	err := eventually(ctx, back, func() error {
		t.mu.Lock()
		defer t.mu.Unlock()
		for n := range t.sent {
			if _, got := t.got[strconv.Itoa(n)]; !got {
				return missed("message %d of %d has not arrived", n, t.sent)
			}
		}
		return nil
	})
	return errors.Join(err, t.held(), t.publisher.close(), t.subscriber.close())
}
