// Package edge is the lab's stand-in for Cloudflare's edge as connectors see
// it: it takes their connections over TLS and QUIC on port 7844, registers them
// by Cap'n Proto, pushes configurations and sends public requests down to them.
// The protocol is the one that cloudflared 2026.8 speaks.
package edge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
)

// ErrNoConnector is returned for a request to a tunnel without a live
// connection; Cloudflare answers the client with error 1033.
var ErrNoConnector = errors.New("no connector is connected")

// pushTimeout is how long a connector may take to apply a configuration.
const pushTimeout = 5 * time.Second

// Edge holds the connections of all connectors. It is safe for concurrent use.
type Edge struct {
	registry  *registry.Registry
	authority *ca.Authority
	log       *slog.Logger
	points    []*point
	tasks     sync.WaitGroup

	mu    sync.Mutex
	links []*link
	next  int // where the last request went
}

// New returns an edge that listens on nothing yet.
func New(reg *registry.Registry, authority *ca.Authority, log *slog.Logger) *Edge {
	return &Edge{registry: reg, authority: authority, log: log}
}

// Listen opens TCP and UDP on every address: the first half is region 1, the
// rest region 2.
func (e *Edge) Listen(ctx context.Context, addresses []netip.AddrPort) error {
	for i, address := range addresses {
		region := 1
		if i >= (len(addresses)+1)/2 {
			region = 2
		}
		p := &point{edge: e, address: address, region: region, location: fmt.Sprintf("lab%02d", i+1)}
		if err := p.listen(ctx); err != nil {
			return errors.Join(fmt.Errorf("listen at the edge: %w", err), e.closePoints())
		}
		e.points = append(e.points, p)
	}
	return nil
}

// Serve serves until ctx ends, then closes every connection and returns when
// nothing of the edge runs any more.
func (e *Edge) Serve(ctx context.Context) error {
	for _, p := range e.points {
		p.start(ctx)
	}
	<-ctx.Done()
	err := e.closePoints()
	e.closeWhere(func(*link) bool { return true })
	e.tasks.Wait()
	return err
}

// ApplyFaults makes the listeners follow the faults of the world.
func (e *Edge) ApplyFaults(ctx context.Context) error {
	var errs []error
	for _, p := range e.points {
		errs = append(errs, p.apply(ctx))
	}
	return errors.Join(errs...)
}

func (e *Edge) closePoints() error {
	var errs []error
	for _, p := range e.points {
		errs = append(errs, p.close())
	}
	return errors.Join(errs...)
}

// Connectors returns the registered connections of a tunnel, by connector.
func (e *Edge) Connectors(tunnelID string) []control.Connector {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []control.Connector{}
	for _, l := range e.links {
		if l.tunnelID != tunnelID {
			continue
		}
		i := slices.IndexFunc(out, func(c control.Connector) bool { return c.ConnectorID == l.client.ConnectorID })
		if i < 0 {
			i = len(out)
			out = append(out, l.client)
		}
		out[i].Connections = append(out[i].Connections, control.Connection{
			Index: l.index, Location: l.location, Protocol: l.protocol, Remote: l.remote,
			Since: l.since, Draining: l.draining, InFlight: l.inFlight, ConfigVersion: l.configVersion,
		})
	}
	for _, c := range out {
		slices.SortFunc(c.Connections, func(a, b control.Connection) int { return cmp.Compare(a.Index, b.Index) })
	}
	return out
}

// Push sends the tunnel's configuration to all its connections at once.
func (e *Edge) Push(ctx context.Context, tunnelID string) control.PushResult {
	version, config, ok := e.registry.Config(tunnelID)
	result := control.PushResult{Version: version}
	if !ok {
		return result
	}
	var mu sync.Mutex
	var pushes sync.WaitGroup
	for _, l := range e.live(tunnelID) {
		pushes.Go(func() {
			err := l.push(ctx, version, config)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				result.Refused = append(result.Refused, err.Error())
				return
			}
			result.Applied++
		})
	}
	pushes.Wait()
	return result
}

// Close cuts the tunnel's connections with this index, or all of them for
// control.AllConnections, and returns how many there were.
func (e *Edge) Close(tunnelID string, index int) int {
	return e.closeWhere(func(l *link) bool {
		return l.tunnelID == tunnelID && (index == control.AllConnections || l.index == index)
	})
}

func (e *Edge) closeWhere(match func(*link) bool) int {
	e.mu.Lock()
	var cut []*link
	for _, l := range e.links {
		if match(l) {
			cut = append(cut, l)
		}
	}
	e.mu.Unlock()
	for _, l := range cut {
		l.carrier.close()
	}
	return len(cut)
}

// Do sends a public request to a connection of the tunnel, in turn. Where a
// connection dies before it took the request, the next one gets it. The caller
// closes the response's body.
func (e *Edge) Do(ctx context.Context, tunnelID string, request *Request) (*Response, error) {
	var last error
	for range max(1, len(e.live(tunnelID))) {
		l := e.pick(tunnelID)
		if l == nil {
			break
		}
		response, err := l.carrier.open(ctx, request)
		if err == nil {
			response.Body = &releasing{ReadCloser: response.Body, release: func() { e.release(l) }}
			return response, nil
		}
		e.release(l)
		last = err
		if ctx.Err() != nil || !request.replayable() {
			return nil, err
		}
	}
	if last != nil {
		return nil, last
	}
	return nil, ErrNoConnector
}

// live returns the connections of a tunnel that take new requests.
func (e *Edge) live(tunnelID string) []*link {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.liveLocked(tunnelID)
}

// liveLocked orders them so that the connectors of a tunnel are served in turn.
func (e *Edge) liveLocked(tunnelID string) []*link {
	var out []*link
	for _, l := range e.links {
		if l.tunnelID == tunnelID && !l.draining {
			out = append(out, l)
		}
	}
	slices.SortStableFunc(out, func(a, b *link) int { return cmp.Compare(a.index, b.index) })
	return out
}

// pick chooses the next connection in turn and counts a request on it, under
// one lock with draining: a connection that has unregistered gets none.
func (e *Edge) pick(tunnelID string) *link {
	e.mu.Lock()
	defer e.mu.Unlock()
	live := e.liveLocked(tunnelID)
	if len(live) == 0 {
		return nil
	}
	e.next++
	l := live[e.next%len(live)]
	l.inFlight++
	return l
}

func (e *Edge) release(l *link) {
	e.mu.Lock()
	l.inFlight--
	done := l.ended && l.inFlight == 0
	e.mu.Unlock()
	if done {
		l.carrier.close()
	}
}
