package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"capnproto.org/go/capnp/v3/rpc"
	"github.com/google/uuid"

	"mqtunnel/internal/lab/tunnelrpc"
)

// refusal is the edge's no to a registration.
type refusal struct{ cause string }

// Error is the edge's own text.
func (r *refusal) Error() string { return r.cause }

// errDuplicate is the edge's no to a second connection from the same connector to the same server.
var errDuplicate = errors.New("already connected to this server, trying another address")

// details is the edge's yes.
type details struct {
	connection uuid.UUID
	location   string
	remote     bool
}

// control is the conversation about one connection, carried by its control stream.
type control struct {
	*connector
	index    uint8
	edge     netip.Addr
	protocol string
	local    netip.Addr
	attempts uint8
	// registered is called once the edge said yes.
	registered func()
	// stopped holds after an orderly end began.
	stopped bool
}

// serve registers the connection, holds it until the run ends or the stream does, and takes it off again.
func (c *control) serve(ctx context.Context, stream io.ReadWriteCloser) error {
	conn := rpc.NewConn(rpc.NewStreamTransport(stream), &rpc.Options{Logger: quiet{}})
	defer conn.Close() //nolint:errcheck // the edge may have gone first
	server := tunnelrpc.RegistrationServer(conn.Bootstrap(ctx))
	defer server.Release()
	known, err := c.register(ctx, server)
	if err != nil {
		kind := "server_error"
		if errors.Is(err, errDuplicate) {
			kind = "dup_edge_conn"
		}
		c.counts.add(fmt.Sprintf("cloudflared_tunnel_tunnel_register_fail{error=%q,rpcName=\"registerConnection\"}", kind), 1)
		return err
	}
	c.counts.add(`cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"}`, 1)
	c.counts.located(c.index, known.location)
	c.tracker.connected(c.index, c.protocol, c.edge)
	c.log.info("Registered tunnel connection", fields{
		"event": 0, "connection": known.connection, "connIndex": c.index, "location": known.location, "ip": c.edge, "protocol": c.protocol,
	})
	c.registered()
	if c.index == 0 && !known.remote {
		if err := c.sendLocal(ctx, server); err != nil {
			c.log.failure("unable to send local configuration", err, nil)
		}
	}
	return c.hold(ctx, conn, server)
}

// hold waits for the end and takes the connection off.
func (c *control) hold(ctx context.Context, conn *rpc.Conn, server tunnelrpc.RegistrationServer) error {
	var gone error
	select {
	case <-ctx.Done():
		gone = errors.New("client disconnected")
	case <-c.stopping:
		c.stopped = true
	}
	c.tracker.disconnected(c.index)
	if gone != nil {
		return fmt.Errorf("Error shutting down control stream: %w", gone)
	}
	bounded, cancel := context.WithTimeout(ctx, c.settings.grace)
	defer cancel()
	call, release := server.UnregisterConnection(bounded, nil)
	defer release()
	c.count("unregister_connection")
	select {
	case <-call.Done():
	case <-conn.Done():
	}
	if _, err := call.Struct(); err != nil {
		return fmt.Errorf("Error shutting down control stream: %w", err)
	}
	c.log.info("Unregistered tunnel connection", fields{"event": 0, "connIndex": c.index, "ip": c.edge})
	return nil
}

func (c *control) count(method string) {
	c.counts.add(fmt.Sprintf("cloudflared_rpc_client_operations{handler=\"registration\",method=%q}", method), 1)
}

// register makes the one call that opens a connection for traffic; the edge has the RPC timeout to answer.
func (c *control) register(ctx context.Context, server tunnelrpc.RegistrationServer) (details, error) {
	bounded, cancel := context.WithTimeout(ctx, c.settings.rpc)
	defer cancel()
	answer, release := server.RegisterConnection(bounded, c.fill)
	defer release()
	c.count("register_connection")
	known, err := readAnswer(answer)
	if err == nil {
		return known, nil
	}
	c.counts.add(`cloudflared_rpc_client_failures{handler="registration",method="register_connection"}`, 1)
	if bounded.Err() != nil && ctx.Err() == nil {
		return details{}, &refusal{context.DeadlineExceeded.Error()}
	}
	return details{}, err
}

// fill writes the parameters of the call.
func (c *control) fill(params tunnelrpc.RegistrationServer_registerConnection_Params) error {
	params.SetConnIndex(c.index)
	auth, err := params.NewAuth()
	if err != nil {
		return err
	}
	options, err := params.NewOptions()
	if err != nil {
		return err
	}
	options.SetNumPreviousAttempts(c.attempts)
	client, err := options.NewClient()
	if err != nil {
		return err
	}
	names := []string{"allow_remote_config", "serialized_headers", "support_datagram_v2", "support_quic_eof", "management_logs"}
	list, err := client.NewFeatures(int32(len(names)))
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := list.Set(i, name); err != nil {
			return err
		}
	}
	tunnel, local := c.settings.token.TunnelID, c.local.As16()
	return errors.Join(
		auth.SetAccountTag(c.settings.token.AccountTag), auth.SetTunnelSecret(c.settings.token.Secret),
		params.SetTunnelId(tunnel[:]), options.SetOriginLocalIp(local[:]), client.SetClientId(c.id[:]),
		client.SetVersion(Version), client.SetArch(osArch()),
	)
}

func readAnswer(answer tunnelrpc.RegistrationServer_registerConnection_Results_Future) (details, error) {
	results, err := answer.Struct()
	if err != nil {
		return details{}, &refusal{err.Error()}
	}
	response, err := results.Result()
	if err != nil {
		return details{}, &refusal{err.Error()}
	}
	if response.Result().Which() == tunnelrpc.ConnectionResponse_result_Which_error {
		no, err := response.Result().Error()
		if err != nil {
			return details{}, err
		}
		cause, err := no.Cause()
		if err != nil {
			return details{}, err
		}
		if cause == "EDUPCONN" {
			return details{}, errDuplicate
		}
		return details{}, &refusal{cause}
	}
	yes, err := response.Result().ConnectionDetails()
	if err != nil {
		return details{}, err
	}
	raw, err := yes.Uuid()
	if err != nil {
		return details{}, err
	}
	location, err := yes.LocationName()
	if err != nil {
		return details{}, err
	}
	connection, err := uuid.FromBytes(raw)
	return details{connection: connection, location: location, remote: yes.TunnelIsRemotelyManaged()}, err
}

// sendLocal tells the edge the configuration of a tunnel that is not managed in the dashboard.
func (c *control) sendLocal(ctx context.Context, server tunnelrpc.RegistrationServer) error {
	config, err := c.config.shown()
	if err != nil {
		return err
	}
	bounded, cancel := context.WithTimeout(ctx, c.settings.rpc)
	defer cancel()
	call, release := server.UpdateLocalConfiguration(bounded, func(p tunnelrpc.RegistrationServer_updateLocalConfiguration_Params) error {
		return p.SetConfig(config)
	})
	defer release()
	c.counts.add("cloudflared_config_local_config_pushes", 1)
	_, err = call.Struct()
	return err
}

// quiet is a logger of the RPC library that says nothing: its lines are not cloudflared's.
type quiet struct{}

// Debug drops a line.
func (quiet) Debug(string, ...any) {}

// Info drops a line.
func (quiet) Info(string, ...any) {}

// Warn drops a line.
func (quiet) Warn(string, ...any) {}

// Error drops a line.
func (quiet) Error(string, ...any) {}
