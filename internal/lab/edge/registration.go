package edge

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/google/uuid"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
	"mqtunnel/internal/lab/tunnelrpc"
)

// serveControl runs the registration RPC on a link's control stream until either
// side ends it.
func (l *link) serveControl(ctx context.Context, stream io.ReadWriteCloser) {
	s := &registration{link: l, ctx: ctx}
	conn := rpc.NewConn(rpc.NewStreamTransport(&watched{ReadWriteCloser: stream, s: s}), &rpc.Options{
		BootstrapClient: capnp.Client(tunnelrpc.RegistrationServer_ServerToClient(s)),
		BaseContext:     func() context.Context { return ctx },
	})
	select {
	case <-conn.Done():
	case <-ctx.Done():
		_ = conn.Close() // the connection is going away anyway
	}
	l.end()
}

// registration serves the RPC interface that a connector calls. It lives as long
// as its control stream.
type registration struct {
	link *link
	ctx  context.Context //nolint:containedctx // the connection's own: the RPC library's call contexts end with the call
	// answered is set when the next write carries the answer to a registration.
	answered atomic.Bool
}

// watched tells a link when the answer to its registration has been written.
type watched struct {
	io.ReadWriteCloser
	s *registration
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.ReadWriteCloser.Write(p)
	if w.s.answered.Load() {
		w.s.link.registerOnce.Do(func() { close(w.s.link.registered) })
	}
	return n, err
}

// attempt is what a connector sends to register one connection.
type attempt struct {
	account  string
	tunnelID string
	secret   []byte
	index    int
	client   control.Connector
}

// RegisterConnection serves the call of that name.
func (s *registration) RegisterConnection(ctx context.Context, call tunnelrpc.RegistrationServer_registerConnection) error {
	// Results are allocated in any case: cloudflared panics on an answer without content.
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	a, err := readAttempt(call.Args())
	if err != nil {
		return refuse(response, err)
	}
	faults := s.link.edge.registry.Faults(a.tunnelID)
	if err := pause(ctx, time.Duration(faults.RegisterDelay)); err != nil {
		return err
	}
	if err := s.admit(a, faults); err != nil {
		reg := s.link.edge.registry
		reg.Count(func(c *control.Counters) { c.RefusedRegistrations[err.Error()]++ })
		reg.CountTunnel(a.tunnelID, func(c *control.TunnelCounters) { c.RefusedRegistrations++ })
		s.link.edge.log.Info("registration refused", "tunnel", a.tunnelID, "index", a.index, "error", err)
		return refuse(response, err)
	}
	l := s.link
	l.tunnelID, l.index, l.client, l.since = a.tunnelID, a.index, a.client, time.Now().UTC()
	details, err := response.Result().NewConnectionDetails()
	if err != nil {
		return err
	}
	id := uuid.New()
	if err := details.SetUuid(id[:]); err != nil {
		return err
	}
	if err := details.SetLocationName(l.location); err != nil {
		return err
	}
	details.SetTunnelIsRemotelyManaged(true)
	l.join()
	s.answered.Store(true)
	l.edge.tasks.Go(func() { l.pushWhenRegistered(s.ctx) })
	return nil
}

func (s *registration) admit(a attempt, faults control.Faults) error {
	if faults.RegisterError != "" {
		return fault(faults.RegisterError)
	}
	if s.link.tunnelID != "" {
		return fault("connection is registered already")
	}
	return s.link.edge.registry.Authenticate(a.account, a.tunnelID, a.secret)
}

// UnregisterConnection serves the call of that name.
func (s *registration) UnregisterConnection(_ context.Context, call tunnelrpc.RegistrationServer_unregisterConnection) error {
	_, err := call.AllocResults()
	s.link.drain()
	return err
}

// UpdateLocalConfiguration serves the call of that name, which only connectors of
// locally managed tunnels make.
func (s *registration) UpdateLocalConfiguration(_ context.Context, call tunnelrpc.RegistrationServer_updateLocalConfiguration) error {
	_, err := call.AllocResults()
	return err
}

// fault is a refusal whose words were set from outside.
type fault string

// Error returns the refusal's words.
func (f fault) Error() string { return string(f) }

func refuse(response tunnelrpc.ConnectionResponse, cause error) error {
	e, err := response.Result().NewError()
	if err != nil {
		return err
	}
	e.SetShouldRetry(true)
	return e.SetCause(cause.Error())
}

func readAttempt(args tunnelrpc.RegistrationServer_registerConnection_Params) (attempt, error) {
	a := attempt{index: int(args.ConnIndex())}
	auth, err := args.Auth()
	if err != nil {
		return a, fmt.Errorf("read credentials: %w", err)
	}
	if a.account, err = auth.AccountTag(); err != nil {
		return a, fmt.Errorf("read account tag: %w", err)
	}
	if a.secret, err = auth.TunnelSecret(); err != nil {
		return a, fmt.Errorf("read secret: %w", err)
	}
	raw, err := args.TunnelId()
	if err != nil {
		return a, fmt.Errorf("read tunnel ID: %w", err)
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		return a, registry.ErrTunnelNotFound
	}
	a.tunnelID = id.String()
	options, err := args.Options()
	if err != nil {
		return a, fmt.Errorf("read options: %w", err)
	}
	a.client, err = readClient(options)
	return a, err
}

func readClient(options tunnelrpc.ConnectionOptions) (control.Connector, error) {
	c := control.Connector{Features: []string{}}
	info, err := options.Client()
	if err != nil {
		return c, fmt.Errorf("read client: %w", err)
	}
	raw, err := info.ClientId()
	if err != nil {
		return c, fmt.Errorf("read connector ID: %w", err)
	}
	id, err := uuid.FromBytes(raw)
	if err != nil {
		return c, fmt.Errorf("read connector ID: %w", err)
	}
	c.ConnectorID = id.String()
	if c.Version, err = info.Version(); err != nil {
		return c, fmt.Errorf("read version: %w", err)
	}
	if c.Arch, err = info.Arch(); err != nil {
		return c, fmt.Errorf("read architecture: %w", err)
	}
	features, err := info.Features()
	if err != nil {
		return c, fmt.Errorf("read features: %w", err)
	}
	for i := range features.Len() {
		f, err := features.At(i)
		if err != nil {
			return c, fmt.Errorf("read features: %w", err)
		}
		c.Features = append(c.Features, f)
	}
	return c, nil
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
