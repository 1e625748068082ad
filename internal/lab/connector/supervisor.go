package connector

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// settleDelay is how long the connections to the edge start apart.
const settleDelay = time.Second

// slot is one of the connections that a connector keeps.
type slot struct {
	*connector
	index      uint8
	protocol   string
	fellBack   bool
	backoff    *backoff
	failures   uint // dials that failed in a row
	registered chan struct{}
	once       sync.Once
}

// outcome is the end of a slot's attempt.
type outcome struct {
	slot *slot
	err  error
}

// supervise keeps the connections up until the run ends. It returns an error only before the first registration.
func (c *connector) supervise(ctx context.Context) error {
	edge, err := c.discover(ctx)
	if err != nil {
		return err
	}
	c.edge = edge
	if c.settings.slots > edge.size() {
		c.log.info(fmt.Sprintf("You requested %d HA connections but I can give you at most %d.", c.settings.slots, edge.size()), nil)
		c.settings.slots = edge.size()
	}
	var attempts sync.WaitGroup
	defer attempts.Wait()
	attempts.Go(func() { c.refreshLocal(ctx) })
	results := make(chan outcome, c.settings.slots)
	first := c.newSlot(0, c.first)
	attempts.Go(func() { results <- outcome{first, first.untilRegistered(ctx)} })
	select {
	case <-first.registered:
	case o := <-results:
		if o.err != nil && !c.isStopping() {
			c.log.failure("initial tunnel connection failed", o.err, nil)
			return o.err
		}
		return nil
	case <-c.stopping:
		return nil
	}
	keeper := &keeper{connector: c, attempts: &attempts, results: results, active: 1}
	for i := 1; i < c.settings.slots; i++ {
		keeper.start(ctx, c.newSlot(uint8(i), first.protocol))
		if i == c.settings.slots-1 || !sleep(ctx, settleDelay) {
			break
		}
	}
	keeper.keep(ctx)
	return nil
}

// sleep waits and says whether the context lives on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *connector) newSlot(index uint8, protocol string) *slot {
	return &slot{
		connector: c, index: index, protocol: protocol, registered: make(chan struct{}),
		backoff: &backoff{base: time.Second, limit: c.settings.retries},
	}
}

// keeper starts slots again after they ended.
type keeper struct {
	*connector
	attempts *sync.WaitGroup
	results  chan outcome
	active   int
	waiting  []*slot
}

func (k *keeper) start(ctx context.Context, s *slot) {
	k.active++
	k.attempts.Go(func() { k.results <- outcome{s, s.attempt(ctx)} })
}

// keep runs until the context ends or, after the signal to stop, the last connection has gone.
func (k *keeper) keep(ctx context.Context) {
	pauses := &backoff{base: 10 * time.Second, limit: k.settings.retries}
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			for ; k.active > 0; k.active-- {
				<-k.results
			}
			return
		case o := <-k.results:
			if k.ended(o) {
				return
			}
			if again == nil && len(k.waiting) > 0 {
				again = time.After(pauses.next())
			}
		case <-again:
			again = nil
			for _, s := range k.waiting {
				k.start(ctx, s)
			}
			k.waiting = nil
			if len(k.tracker.active()) > 0 {
				// The edge answers, so the next outage is a new one.
				pauses.reset()
			}
		}
	}
}

// ended notes a slot's end and says whether it was the last one of an orderly end.
func (k *keeper) ended(o outcome) bool {
	k.active--
	k.log.log(k.tracker.gravity(), "Connection terminated", o.err, fields{"connIndex": o.slot.index})
	if o.err != nil && !k.isStopping() {
		k.waiting = append(k.waiting, o.slot)
		return false
	}
	if k.active > 0 {
		return false
	}
	k.log.log(k.tracker.gravity(), "no more connections active and exiting", nil, nil)
	return true
}

func (c *connector) isStopping() bool {
	select {
	case <-c.stopping:
		return true
	default:
		return false
	}
}

// untilRegistered tries the first connection again where cloudflared does: after a failed dial, a duplicate, and an
// Unauthorized, which may be lag on the edge's side. Anything else before the first registration is the end.
func (s *slot) untilRegistered(ctx context.Context) error {
	for {
		err := s.attempt(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		var dial *dialError
		var quic *quicError
		static := s.settings.given.text("edge") != ""
		switch {
		case strings.Contains(err.Error(), "Unauthorized"), errors.As(err, &dial), errors.As(err, &quic), errors.Is(err, errDuplicate):
		case errors.Is(err, errNoAddress) && static:
		default:
			return err
		}
	}
}

// attempt is one connection from dial to end, with the wait after it.
func (s *slot) attempt(ctx context.Context) error {
	s.counts.add("cloudflared_tunnel_ha_connections", 1)
	defer s.counts.add("cloudflared_tunnel_ha_connections", -1)
	edge, err := s.edge.address(s.index)
	if err != nil {
		return err
	}
	about := fields{"event": 0, "ip": edge.Addr(), "connIndex": s.index}
	err = s.serve(ctx, edge, about)
	s.tracker.disconnected(s.index)
	var dial *dialError
	var quic *quicError
	exhausted := false
	switch {
	case errors.As(err, &dial), errors.As(err, &quic) && quic.dialling:
		if exhausted = s.failures >= s.settings.addresses; exhausted {
			s.failures = 0
		} else {
			s.failures++
		}
		if err := s.edge.another(s.index); err != nil {
			return err
		}
	case errors.Is(err, errDuplicate):
		if err := s.edge.another(s.index); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return err
	}
	s.log.info(fmt.Sprintf("Retrying connection in up to %s", s.backoff.bound()), about)
	timer := time.NewTimer(s.backoff.next())
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopping:
		return nil
	case <-timer.C:
	}
	if exhausted {
		s.fallBack(err, about)
	}
	return err
}

// serve runs one connection and says in the log why it ended.
func (s *slot) serve(ctx context.Context, edge netip.AddrPort, about fields) error {
	s.log.info("Tunnel connection curve preferences: [X25519MLKEM768 CurveID(65074) CurveP256]", about)
	if s.protocol == protocolQUIC {
		return s.serveOverQUIC(ctx, edge, about)
	}
	conn, err := s.dialHTTP2(ctx, edge)
	if err != nil {
		s.log.log(s.tracker.gravity(), "Unable to establish connection with Cloudflare edge", err, about)
	} else {
		link := &http2Link{control: s.newControl(edge, localAddress(conn.LocalAddr())), conn: conn, proxy: s.proxy}
		err = link.serveHTTP2(ctx)
	}
	var no *refusal
	switch {
	case err == nil || errors.Is(err, context.Canceled):
	case errors.As(err, &no):
		s.log.log(s.tracker.gravity(), "Register tunnel error from server side", err, about)
	case errors.Is(err, errDuplicate):
		s.log.log(s.tracker.gravity(), "Unable to establish connection.", err, about)
	default:
		s.log.log(s.tracker.gravity(), "Serve tunnel error", err, about)
	}
	return err
}

func (s *slot) newControl(edge netip.AddrPort, local netip.Addr) *control {
	return &control{
		connector: s.connector, index: s.index, edge: edge.Addr(), protocol: s.protocol, local: local, attempts: uint8(s.backoff.retries),
		registered: func() {
			s.backoff.reset()
			s.failures = 0
			s.once.Do(func() { close(s.registered) })
		},
	}
}

// fallBack changes the protocol after too many failed dials, unless it has worked before or was asked for.
func (s *slot) fallBack(cause error, about fields) {
	if !s.mayFallBack || s.tracker.hasSpoken(s.first) {
		return
	}
	if s.protocol == protocolHTTP2 {
		if !s.fellBack && s.first != s.protocol {
			s.protocol = s.first
			s.log.info("Changing protocol to "+s.first, about)
		}
		return
	}
	if isSilent(cause) {
		s.log.warn("If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with `quic` protocol, "+
			"then most likely your machine/network is getting its egress UDP to port 7844 (or others) blocked or dropped. "+
			"Make sure to allow egress connectivity as per https://developers.cloudflare.com/cloudflare-one/connections/connect-apps/configuration/ports-and-ips/\n"+
			"If you are using private routing to this Tunnel, then ICMP, UDP (and Private DNS Resolution) will not work unless your cloudflared can connect with Cloudflare Network with `quic`.", about)
	}
	s.log.info("Switching to fallback protocol http2", about)
	s.protocol, s.fellBack = protocolHTTP2, true
	s.backoff.reset()
}
