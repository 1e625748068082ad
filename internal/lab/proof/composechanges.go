package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lab/engineproxy"
)

// alteration is something that one tool brings about and the other one finds.
type alteration struct {
	what    string
	service string // that is to be recreated, "" for none
	make    func(context.Context) error
}

// changes has each kind of alteration be brought about by either tool in turns.
func (s *shared) changes(ctx context.Context) error {
	by := s.first
	for _, c := range []alteration{
		{"a user was added", "", func(ctx context.Context) error { return s.enters(ctx, "second") }},
		{"a setting was changed", broker, func(context.Context) error { return s.set(config.KeySaveInterval, "30") }},
		{"the token was changed", connector, s.newToken},
		{"the override was changed", connector, func(context.Context) error { s.round++; return s.adorn() }},
		{"the setting was changed back", broker, func(context.Context) error { return s.set(config.KeySaveInterval, "") }},
	} {
		if err := c.make(ctx); err != nil {
			return fmt.Errorf("%s: %w", c.what, err)
		}
		var err error
		if c.service == "" {
			err = s.unchanged(ctx, theirs, c.what)
		} else {
			err = s.recreates(ctx, by, c)
		}
		if err == nil {
			err = s.unchanged(ctx, by.other(), c.what)
		}
		if err == nil {
			err = s.serves(ctx)
		}
		if err != nil {
			return err
		}
		by = by.other()
	}
	return s.whileStopped(ctx)
}

// enters adds a user to the running broker, who is let in.
func (s *shared) enters(ctx context.Context, name string) error {
	password, err := s.addUser(ctx, name)
	if err != nil {
		return err
	}
	return s.roundTrip(ctx, name, password, "interop/"+name)
}

// newToken stores another token of the tunnel, and makes the old one worthless.
func (s *shared) newToken(ctx context.Context) error {
	fresh, err := s.lab.Control.Rotate(ctx, s.tunnel.TunnelID)
	if err != nil {
		return err
	}
	s.tunnel = fresh
	r, err := s.mqtunnel(ctx, fresh.Token.Reveal(), "token", "set") // the way people give it
	if err == nil && r.code != 0 {
		err = fmt.Errorf("mqtunnel token set: exit %d: %s", r.code, r.err)
	}
	return err
}

// recreates brings the project up with a tool and wants just one container made anew.
func (s *shared) recreates(ctx context.Context, by tool, c alteration) error {
	if by == theirs {
		if _, err := s.must(ctx, "render", "--write"); err != nil {
			return err
		}
	}
	was, err := s.ids(ctx)
	if err != nil {
		return err
	}
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	got, err := s.upBy(ctx, by)
	if err != nil {
		return fmt.Errorf("after %s: %w", c.what, err)
	}
	is, err := s.ids(ctx)
	if err != nil {
		return err
	}
	after, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	stays, changed := is.broker, was.connector != is.connector && was.broker == is.broker
	if c.service == broker {
		stays, changed = is.connector, was.broker != is.broker && was.connector == is.connector
	}
	touched := slices.ContainsFunc(got.changes, func(call engineproxy.Call) bool { return containerOf(call) == stays })
	if !changed || touched || got.creates() != 1 {
		return missed("after %s, up by %s makes %s: %v", c.what, by, got, got.changes)
	}
	// What is left of the difference when the replaced container is taken out.
	for what, state := range before {
		if !strings.HasPrefix(what, "file ") && !strings.Contains(what, s.container(c.service)) && after[what] != state {
			return missed("after %s, up by %s changes %s", c.what, by, what)
		}
	}
	s.tally.recreated++
	return nil
}

// whileStopped adds a user while the broker is stopped, and has the other tool start it.
func (s *shared) whileStopped(ctx context.Context) error {
	if _, _, err := s.byName(ctx, "stop"); err != nil {
		return err
	}
	late, err := s.addUser(ctx, "late")
	if err != nil {
		return err
	}
	if _, err := s.upBy(ctx, s.first.other()); err != nil {
		return err
	}
	if err := eventually(ctx, back, func() error { return s.roundTrip(ctx, "late", late, "interop/late") }); err != nil {
		return missed("a user who was added while the broker was stopped: %w", err)
	}
	if err := s.unchanged(ctx, ours, "a user was added to a stopped broker"); err != nil {
		return err
	}
	return s.unchanged(ctx, theirs, "a user was added to a stopped broker")
}
