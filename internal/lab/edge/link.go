package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"mqtunnel/internal/lab/control"
)

// Request is a public request on its way to a connector.
type Request struct {
	Method, Host, Path string
	Header             http.Header
	Body               io.ReadCloser // nil for none
	ContentLength      int64         // -1 when unknown
	// WebSocket asks for an upgrade: Body and the response's body are then the
	// raw bytes of the WebSocket.
	WebSocket bool
}

// replayable reports whether a second connection may get the request: nothing
// has been read from a body then.
func (r *Request) replayable() bool { return r.Body == nil || r.WebSocket }

// Response is what the connector answered.
type Response struct {
	Status int
	Header http.Header
	Body   io.ReadCloser
	// FromConnector is true where the connector itself answered for an origin
	// that it could not reach.
	FromConnector bool
}

// carrier is one connection to a connector, by either protocol.
type carrier interface {
	// open sends one public request and returns when the response's header is there.
	open(ctx context.Context, request *Request) (*Response, error)
	// push sends a configuration and returns the version that the connector
	// runs afterwards, with an error where that is not the pushed one.
	push(ctx context.Context, version int, config []byte) (applied int, err error)
	// close ends the connection and all that runs on it.
	close()
}

// link is a connection of a connector, from its control stream on. What
// registration fills in is written once, before the link joins Edge.links; the
// rest is under Edge.mu.
type link struct {
	edge     *Edge
	carrier  carrier
	protocol string
	location string
	remote   string

	tunnelID string
	index    int
	client   control.Connector // without its connections
	since    time.Time

	// registered is closed when the answer to the registration went out.
	registered   chan struct{}
	registerOnce sync.Once

	draining      bool // unregistered: no new requests
	ended         bool // its control stream is over
	inFlight      int
	configVersion int
}

func (e *Edge) newLink(c carrier, p *point, protocol, remote string) *link {
	return &link{
		edge: e, carrier: c, protocol: protocol, location: p.location, remote: remote,
		registered: make(chan struct{}), configVersion: -1,
	}
}

// join makes a registered link take requests. An older link in the same slot of
// the same connector is cut: its peer has given it up.
func (l *link) join() {
	e := l.edge
	e.mu.Lock()
	var old *link
	for _, other := range e.links {
		if other.tunnelID == l.tunnelID && other.client.ConnectorID == l.client.ConnectorID && other.index == l.index && !other.draining {
			old = other
		}
	}
	e.links = append(e.links, l)
	e.mu.Unlock()
	if old != nil {
		old.carrier.close()
	}
	e.registry.Count(func(c *control.Counters) { c.Registrations++ })
	e.registry.CountTunnel(l.tunnelID, func(c *control.TunnelCounters) { c.Registrations++ })
	e.log.Info("registered", "tunnel", l.tunnelID, "connector", l.client.ConnectorID, "index", l.index, "protocol", l.protocol, "location", l.location, "remote", l.remote)
}

// drain stops new requests on the link.
func (l *link) drain() {
	l.edge.mu.Lock()
	l.draining = true
	l.edge.mu.Unlock()
	l.edge.registry.Count(func(c *control.Counters) { c.Unregistrations++ })
	l.edge.registry.CountTunnel(l.tunnelID, func(c *control.TunnelCounters) { c.Unregistrations++ })
	l.edge.log.Info("unregistered", "tunnel", l.tunnelID, "connector", l.client.ConnectorID, "index", l.index)
}

// end is called when the control stream is over. An unregistered link stays until
// its last request ends; any other closes at once.
func (l *link) end() {
	e := l.edge
	e.mu.Lock()
	l.ended = true
	joined := slices.Contains(e.links, l)
	lost := joined && !l.draining
	closing := !l.draining || l.inFlight == 0
	e.mu.Unlock()
	if lost {
		e.registry.CountTunnel(l.tunnelID, func(c *control.TunnelCounters) { c.Lost++ })
		e.log.Info("lost", "tunnel", l.tunnelID, "connector", l.client.ConnectorID, "index", l.index)
	}
	if closing {
		l.carrier.close()
	}
}

// leave takes the link out of the edge; its connection is gone.
func (l *link) leave() {
	e := l.edge
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links = slices.DeleteFunc(e.links, func(other *link) bool { return other == l })
}

// push sends a configuration and records what came of it.
func (l *link) push(ctx context.Context, version int, config []byte) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	applied, err := l.carrier.push(ctx, version, config)
	l.edge.mu.Lock()
	l.configVersion = applied
	l.edge.mu.Unlock()
	l.edge.registry.CountTunnel(l.tunnelID, func(c *control.TunnelCounters) {
		c.ConfigsPushed++
		if err != nil {
			c.ConfigsRefused++
		}
	})
	if err != nil {
		l.edge.log.Info("configuration refused", "tunnel", l.tunnelID, "index", l.index, "version", version, "error", err)
		return fmt.Errorf("push configuration %d to connection %d: %w", version, l.index, err)
	}
	return nil
}

// pushWhenRegistered sends the configuration as soon as the connector can know
// that it is registered, as Cloudflare does.
func (l *link) pushWhenRegistered(ctx context.Context) {
	select {
	case <-l.registered:
	case <-ctx.Done():
		return
	}
	version, config, ok := l.edge.registry.Config(l.tunnelID)
	if !ok {
		return
	}
	_ = l.push(ctx, version, config) // recorded and logged by push
}

// errRefused is what a connector's refusal of a configuration becomes.
var errRefused = errors.New("connector refused the configuration")

// releasing calls release once, when it is closed.
type releasing struct {
	io.ReadCloser
	once    sync.Once
	release func()
}

func (r *releasing) Close() error {
	err := r.ReadCloser.Close()
	r.once.Do(r.release)
	return err
}
