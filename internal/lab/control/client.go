package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// AllConnections as the index of Client.Close closes every connection of the tunnel.
const AllConnections = -1

// maxAnswerBytes bounds what the client reads of one answer.
const maxAnswerBytes = 16 << 20

// StatusError is an answer of the lab that is not a success.
type StatusError struct {
	Method, Path string
	Status       int
	Message      string
}

// Error names the request and the lab's reason.
func (e *StatusError) Error() string {
	return fmt.Sprintf("lab: %s %s: %d: %s", e.Method, e.Path, e.Status, e.Message)
}

// Client asks one lab. It is safe for concurrent use.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client for the control interface at base, such as
// "http://127.0.0.1:8001". It never uses a proxy.
func NewClient(base string) *Client {
	return &Client{
		base: strings.TrimSuffix(base, "/"),
		http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
}

// Healthy returns nil when everything in the lab listens.
func (c *Client) Healthy(ctx context.Context) error {
	return c.call(ctx, http.MethodGet, "/healthz", nil, nil)
}

// WaitHealthy waits until the lab is healthy or ctx ends; the error then says what was seen last.
func (c *Client) WaitHealthy(ctx context.Context) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := c.Healthy(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the lab: %w (last: %w)", ctx.Err(), err)
		case <-tick.C:
		}
	}
}

// CA returns the certificate of the lab's certificate authority in PEM.
func (c *Client) CA(ctx context.Context) ([]byte, error) {
	var pem []byte
	err := c.call(ctx, http.MethodGet, "/ca.pem", nil, &pem)
	return pem, err
}

// CreateTunnel makes a fresh tunnel.
func (c *Client) CreateTunnel(ctx context.Context, request TunnelRequest) (Credentials, error) {
	var out Credentials
	err := c.call(ctx, http.MethodPost, "/tunnels", request, &out)
	return out, err
}

// Tunnel returns what the edge knows of a tunnel.
func (c *Client) Tunnel(ctx context.Context, tunnelID string) (TunnelState, error) {
	var out TunnelState
	err := c.call(ctx, http.MethodGet, tunnelPath(tunnelID, ""), nil, &out)
	return out, err
}

// WaitTunnel waits until done holds for the tunnel or ctx ends; it returns the state seen last.
func (c *Client) WaitTunnel(ctx context.Context, tunnelID string, done func(TunnelState) bool) (TunnelState, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		state, err := c.Tunnel(ctx, tunnelID)
		if err != nil || done(state) {
			return state, err
		}
		select {
		case <-ctx.Done():
			return state, fmt.Errorf("wait for tunnel %s with %d connections: %w", tunnelID, state.Connections(), ctx.Err())
		case <-tick.C:
		}
	}
}

// Configure replaces the configuration and pushes it to all connections.
func (c *Client) Configure(ctx context.Context, tunnelID string, config TunnelConfig) (PushResult, error) {
	var out PushResult
	err := c.call(ctx, http.MethodPut, tunnelPath(tunnelID, "/config"), config, &out)
	return out, err
}

// Rotate gives the tunnel a new secret. Registered connections stay; the old
// token opens no new ones.
func (c *Client) Rotate(ctx context.Context, tunnelID string) (Credentials, error) {
	var out Credentials
	err := c.call(ctx, http.MethodPost, tunnelPath(tunnelID, "/rotate"), nil, &out)
	return out, err
}

// Delete forgets the tunnel and closes its connections. Its hostnames go on
// pointing at the edge, which answers 530.
func (c *Client) Delete(ctx context.Context, tunnelID string) error {
	return c.call(ctx, http.MethodDelete, tunnelPath(tunnelID, ""), nil, nil)
}

// Close cuts the connections with this index, of every connector, and returns
// how many there were; AllConnections cuts all.
func (c *Client) Close(ctx context.Context, tunnelID string, index int) (int, error) {
	path := tunnelPath(tunnelID, "/close")
	if index != AllConnections {
		path += "?index=" + strconv.Itoa(index)
	}
	var out CloseResult
	err := c.call(ctx, http.MethodPost, path, nil, &out)
	return out.Closed, err
}

// SetFaults replaces the faults of the world.
func (c *Client) SetFaults(ctx context.Context, faults Faults) error {
	return c.call(ctx, http.MethodPut, "/faults", faults, nil)
}

// SetTunnelFaults replaces the faults of one tunnel.
func (c *Client) SetTunnelFaults(ctx context.Context, tunnelID string, faults Faults) error {
	return c.call(ctx, http.MethodPut, tunnelPath(tunnelID, "/faults"), faults, nil)
}

// ClearFaults clears the faults of the world and of every tunnel.
func (c *Client) ClearFaults(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/faults", nil, nil)
}

// Counters returns what the lab saw since it started.
func (c *Client) Counters(ctx context.Context) (Counters, error) {
	var out Counters
	err := c.call(ctx, http.MethodGet, "/counters", nil, &out)
	return out, err
}

func tunnelPath(tunnelID, rest string) string { return "/tunnels/" + url.PathEscape(tunnelID) + rest }

// call sends in as JSON and decodes the answer into out, or copies it when out is *[]byte.
func (c *Client) call(ctx context.Context, method, path string, in, out any) (err error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("lab: encode %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return fmt.Errorf("lab: read %s %s: %w", method, path, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		return &StatusError{method, path, response.StatusCode, strings.TrimSpace(string(data))}
	}
	switch out := out.(type) {
	case nil:
		return nil
	case *[]byte:
		*out = data
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("lab: decode %s %s: %w", method, path, err)
	}
	return nil
}
