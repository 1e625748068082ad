package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
)

// victim is the user whose topics the others want; admin may use all.
const (
	victim  = "bob"
	admin   = "admin"
	private = victim + "/secret" // holds a retained message of the victim's
)

// attackers are users with topics of their own, some with names that begin as the
// victim's does or that it begins with.
func attackers() []string { return []string{"alice", "bo", "bob2", "BOB", "b.o_b-", "bob-"} }

// disguises are client IDs that mean something elsewhere.
func disguises() []string {
	return []string{victim, victim + "/#", "#", "+", "%u", "%c", mosquitto.ProbeUser, "", "x' or u'" + victim, "../" + victim}
}

// forbidden are filters that reach beyond an attacker's own topics.
func forbidden() []string {
	return []string{
		"#", "+/#", "+/+", "+/secret", victim, victim + "/#", victim + "/+", private, "/#", "/" + victim + "/#", "+/+/#",
		"$share/g/#", "$share/g/" + victim + "/#", "$share/" + victim + "/+/secret", "$SYS/#", "$SYS/broker/clients/#",
		"mqtunnel/#", mosquitto.ProbeTopics, "home/lock",
	}
}

// targets are topics that an attacker must not write to.
func targets() []string {
	return []string{private, victim + "/x", victim, "home/lock", "mqtunnel/probe/x", "mqtunnel/health", "$SYS/broker/x", "/" + victim + "/x", "$share/g/" + private}
}

// usersIsolation lets users try to reach what is another one's, through the tunnel, on
// both versions of the broker.
func usersIsolation(ctx context.Context, b *Bench) (figure string, err error) {
	return b.onVersions(ctx, "isolation", isolatedOn)
}

func isolatedOn(ctx context.Context, list []onVersion) (figure string, err error) {
	attacks := 0
	for _, p := range list {
		n, err := p.isolated(ctx)
		if err != nil {
			return "", fmt.Errorf("mosquitto %s: %w", p.version, err)
		}
		attacks += n
	}
	return fmt.Sprintf("mosquitto %s: %d connections of %d users and of the probe's account tried %d filters, %d topics and a will each: nothing read, nothing written",
		strings.Join(images.Versions(), " and "), attacks, len(attackers()), len(forbidden()), len(targets())), nil
}

// isolated runs all attacks on one project.
func (p *project) isolated(ctx context.Context) (attacks int, err error) {
	if err := p.up(ctx); err != nil {
		return 0, err
	}
	passwords := map[string]string{}
	for _, name := range append(attackers(), victim) {
		if passwords[name], err = p.addOwn(ctx, name); err != nil {
			return 0, err
		}
	}
	if passwords[admin], err = p.addUser(ctx, admin); err != nil {
		return 0, err
	}
	settings, err := config.Load(p.dir, nil)
	if err != nil {
		return 0, err
	}
	passwords[mosquitto.ProbeUser] = settings.ProbePassword.Reveal() // the account is one of the attackers
	bob, err := p.listen(ctx, account{user: victim, password: passwords[victim]})
	if err != nil {
		return 0, err
	}
	defer finish(&err, bob.close)
	if err := errors.Join(bob.publish(ctx, private, "kept", true), bob.subscribe(ctx, victim+"/#")); err != nil {
		return 0, err
	}
	chief, err := p.listen(ctx, account{user: admin, password: passwords[admin]})
	if err != nil {
		return 0, err
	}
	defer finish(&err, chief.close)
	for _, name := range append(attackers(), mosquitto.ProbeUser) {
		for _, id := range disguises() {
			if err := p.attack(ctx, account{user: name, password: passwords[name], id: id}, chief); err != nil {
				return 0, fmt.Errorf("%s as client %q: %w", name, id, err)
			}
			attacks++
		}
	}
	if err := bob.publish(ctx, victim+"/end", "over", false); err != nil {
		return 0, err
	}
	if err := bob.until(ctx, victim+"/end"); err != nil {
		return 0, err
	}
	for _, m := range bob.all() {
		if strings.Contains(m, "attack") {
			return 0, missed("%s got %q", victim, m)
		}
	}
	return attacks, p.unharmed(ctx, passwords[victim])
}

// addOwn adds a user with topics of its own.
func (p *project) addOwn(ctx context.Context, name string) (password string, err error) {
	out, err := p.must(ctx, "--quiet", "user", "add", name, "--topics", "own", "--generate")
	if err != nil {
		return "", err
	}
	_, password, _ = strings.Cut(strings.TrimSpace(out), "password: ")
	return password, nil
}

// unharmed wants the victim's retained message as it was, and no other.
func (p *project) unharmed(ctx context.Context, password string) (err error) {
	again, err := p.listen(ctx, account{user: victim, password: password})
	if err != nil {
		return err
	}
	defer finish(&err, again.close)
	if err := again.subscribe(ctx, victim+"/#"); err != nil {
		return err
	}
	if err := again.publish(ctx, victim+"/end", "over", false); err != nil {
		return err
	}
	if err := again.until(ctx, victim+"/end"); err != nil {
		return err
	}
	if got, want := again.all(), []string{private + "=kept", victim + "/end=over"}; !slices.Equal(got, want) {
		return missed("%s finds %q, want %q", victim, got, want)
	}
	return nil
}

// attack connects as a user, tries everything, and wants nothing that is not the
// user's own. Its will goes to the victim when the connection breaks.
func (p *project) attack(ctx context.Context, as account, chief *listener) error {
	own := as.user + "/"
	if as.user == mosquitto.ProbeUser {
		own = "mqtunnel/probe/"
	}
	as.will = &paho.WillMessage{Topic: victim + "/will", Payload: []byte("attack"), QoS: 1, Retain: true}
	l, err := p.listen(ctx, as)
	if err != nil {
		return err
	}
	// Refused one by one or not, what counts is what arrives.
	for _, filter := range forbidden() {
		_ = l.subscribe(ctx, filter)
	}
	for _, topic := range targets() {
		if !strings.HasPrefix(topic, own) {
			_ = l.publish(ctx, topic, "attack", true)
		}
	}
	if err := l.held(); err != nil {
		return missed("an attempt ended the connection: %w", err)
	}
	end := own + "end"
	if err := l.subscribe(ctx, end); err != nil {
		return err
	}
	for _, topic := range []string{victim + "/x", private + "/y", "home/lock", "mqtunnel/other"} {
		if err := chief.publish(ctx, topic, "private", false); err != nil {
			return err
		}
	}
	if err := l.publish(ctx, end, "over", false); err != nil {
		return err
	}
	if err := l.until(ctx, end); err != nil {
		return err
	}
	for _, m := range l.all() {
		figure := as.user == mosquitto.ProbeUser && strings.HasPrefix(m, "$SYS/")
		if !figure && !strings.HasPrefix(m, own) {
			return missed("it got %q", m)
		}
	}
	return l.conn.Close() // without a goodbye, so that the broker publishes the will
}

// listener is a client that remembers what it gets.
type listener struct {
	*tunnelClient

	mu   sync.Mutex
	got  []string // topic=payload
	came chan struct{}
}

// listen connects a client that remembers.
func (p *project) listen(ctx context.Context, as account) (l *listener, err error) {
	l = &listener{came: make(chan struct{}, 1)}
	l.tunnelClient, err = p.connect(ctx, as, func(topic, payload string) {
		l.mu.Lock()
		l.got = append(l.got, topic+"="+payload)
		l.mu.Unlock()
		select {
		case l.came <- struct{}{}:
		default:
		}
	})
	return l, err
}

func (l *listener) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

// until waits for a message on a topic. The broker sends in order: what was published
// before, and is let through, has come by then.
func (l *listener) until(ctx context.Context, topic string) error {
	deadline := time.NewTimer(connectLimit)
	defer deadline.Stop()
	for {
		if slices.ContainsFunc(l.all(), func(m string) bool { return strings.HasPrefix(m, topic+"=") }) {
			return nil
		}
		select {
		case <-l.came:
		case <-l.lost:
			return fmt.Errorf("waiting for %s: %w", topic, l.why)
		case <-deadline.C:
			return fmt.Errorf("no message on %s within %v", topic, connectLimit)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
