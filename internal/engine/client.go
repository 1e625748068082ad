// Package engine talks to the Docker Engine and speaks the vocabulary of package
// plan. It is the only package that knows Docker's API, contexts and credentials;
// what it returns are values of ours and errors that a person can read.
package engine

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/docker/cli/cli/config/configfile"
	"github.com/docker/docker/api/types/versions"
	"github.com/docker/docker/client"

	"mqtunnel/internal/plan"
)

// minAPI is the API of Engine 20.10, the oldest that takes a platform at create.
const minAPI = "1.41"

// Options says which Engine to talk to.
type Options struct {
	// Context is the name of a Docker context, "" to find the Engine as the
	// docker command does.
	Context string
	// Environ is the process environment: DOCKER_HOST, DOCKER_CONTEXT,
	// DOCKER_CONFIG, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH, HOME and so on.
	Environ []string
	// Trace, if set, gets a line for every call, "GET /containers/json 200 3ms":
	// never a query, a header or a body. It is called from several goroutines.
	Trace func(line string)
}

// Client is a connection to one Docker Engine. All methods are safe for
// concurrent use. Until the first of them no call is made; that first one agrees
// on the API version, and its error explains why no Engine could be reached.
type Client struct {
	docker   *client.Client
	endpoint endpoint
	env      environ
	config   *configfile.ConfigFile
	trace    func(line string)

	// negotiating has room for one: who agrees on the API version.
	negotiating chan struct{}
	version     atomic.Pointer[plan.EngineInfo] // as the Engine told it
	info        atomic.Pointer[plan.EngineInfo]
}

// Open finds the Engine's endpoint by the rules of the docker command and
// prepares a client for it, without calling it. The error has its remedy when
// the context does not exist, Docker's configuration is broken, or the endpoint
// is plain TCP to another machine, where the tunnel token would cross in clear.
func Open(o Options) (*Client, error) {
	c, err := open(o)
	if err != nil {
		return nil, &faultError{plan.EngineUnnamed, err}
	}
	return c, nil
}

func open(o Options) (*Client, error) {
	env := newEnviron(o.Environ)
	config, err := loadConfig(env)
	if err != nil {
		return nil, err
	}
	ep, err := resolve(o.Context, env, config)
	if err != nil {
		return nil, err
	}
	if err := ep.refusePlainTCP(); err != nil {
		return nil, err
	}
	trace := o.Trace
	if trace == nil {
		trace = func(string) {}
	}
	docker, err := dial(ep, env, config, trace)
	if err != nil {
		return nil, endpointError(ep, err)
	}
	return &Client{
		docker: docker, endpoint: ep, env: env, config: config, trace: trace,
		negotiating: make(chan struct{}, 1),
	}, nil
}

// dial makes Docker's client for an endpoint, with every call going through a
// transport of ours.
func dial(ep endpoint, env environ, config *configfile.ConfigFile, trace func(string)) (*client.Client, error) {
	opts, err := ep.ClientOpts()
	if err != nil {
		return nil, err
	}
	if version := env["DOCKER_API_VERSION"]; version != "" {
		opts = append(opts, client.WithVersion(version))
	}
	if len(config.HTTPHeaders) > 0 {
		opts = append(opts, client.WithHTTPHeaders(config.HTTPHeaders))
	}
	// The client keeps the pointer to its http.Client and wraps the transport in
	// one for OpenTelemetry; ours takes the place of that one afterwards.
	var shared http.Client
	var base http.RoundTripper
	opts = append(opts, func(docker *client.Client) error {
		shared = *docker.HTTPClient()
		base = shared.Transport
		return client.WithHTTPClient(&shared)(docker)
	})
	docker, err := client.NewClientWithOpts(opts...)
	if err != nil {
		return nil, err
	}
	shared.Transport = &transport{base: base, trace: trace}
	return docker, nil
}

// Close lets idle connections go. The client must not be used afterwards.
func (c *Client) Close() error { return c.docker.Close() }

// Endpoint returns the Engine's address as Docker writes it, for example
// "unix:///var/run/docker.sock" or "ssh://pi@home".
func (c *Client) Endpoint() string { return c.endpoint.Host }

// Local reports whether the Engine is reached through a socket of this machine.
// Behind Docker Desktop the containers still run in a virtual machine.
func (c *Client) Local() bool { return c.endpoint.socket() != "" }

// Ping asks the Engine whether it is there, in one call. The error is a
// remedy.Error with code Engine that says what was tried and what to do.
func (c *Client) Ping(ctx context.Context) (plan.EngineInfo, error) {
	bounded, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	ping, err := c.docker.Ping(bounded)
	if err != nil {
		if ctx.Err() != nil {
			return plan.EngineInfo{}, ctx.Err()
		}
		return plan.EngineInfo{}, c.explain(err)
	}
	info := plan.EngineInfo{Endpoint: c.Endpoint(), API: ping.APIVersion, OS: ping.OSType}
	if err := c.refuseUnsuitable(info); err != nil {
		return plan.EngineInfo{}, err
	}
	if c.info.Load() == nil {
		if err := c.acquire(ctx); err != nil {
			return plan.EngineInfo{}, err
		}
		defer c.release()
		if c.info.Load() == nil {
			c.docker.NegotiateAPIVersionPing(ping)
			c.info.Store(&info)
		}
	}
	return info, nil
}

// Version returns all of what the Engine says about itself. It is asked once.
func (c *Client) Version(ctx context.Context) (plan.EngineInfo, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return plan.EngineInfo{}, err
	}
	if known := c.version.Load(); known != nil {
		return *known, nil
	}
	v, err := docker.ServerVersion(ctx)
	if err != nil {
		return plan.EngineInfo{}, fmt.Errorf("read Engine version: %w", clean(err))
	}
	info := plan.EngineInfo{Endpoint: c.Endpoint(), Version: v.Version, API: v.APIVersion, OS: v.Os, Arch: v.Arch}
	c.version.Store(&info)
	return info, nil
}

// api returns Docker's client once the API version is agreed on. That has to
// happen before any other call and only once, since Docker's client reads its
// version without a lock.
func (c *Client) api(ctx context.Context) (*client.Client, error) {
	if c.info.Load() != nil {
		return c.docker, nil
	}
	if err := c.acquire(ctx); err != nil {
		return nil, err
	}
	ready := c.info.Load() != nil
	c.release()
	if ready {
		return c.docker, nil
	}
	if _, err := c.Ping(ctx); err != nil {
		return nil, err
	}
	return c.docker, nil
}

func (c *Client) acquire(ctx context.Context) error {
	select {
	case c.negotiating <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) release() { <-c.negotiating }

// speaks reports whether the agreed API is at least version.
func (c *Client) speaks(version string) bool {
	return versions.GreaterThanOrEqualTo(c.docker.ClientVersion(), version)
}

// transport makes every call visible to the trace, and marks what went wrong
// below HTTP so that it is still known above Docker's client, which throws the
// cause away.
type transport struct {
	base  http.RoundTripper
	trace func(line string)
}

// RoundTrip does one call.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	start := time.Now()
	res, err := t.base.RoundTrip(req)
	if err != nil {
		t.trace(traceLine(req.Method, req.URL.Path, "error", start))
		if req.Context().Err() != nil {
			return nil, err
		}
		return nil, &transportError{err: err}
	}
	t.trace(traceLine(req.Method, req.URL.Path, fmt.Sprint(res.StatusCode), start))
	return res, nil
}

// traceLine writes one call without the version that every path begins with.
func traceLine(method, path, result string, start time.Time) string {
	return fmt.Sprintf("%s %s %s %s", method, apiVersionPrefix(path), result,
		time.Since(start).Round(time.Millisecond))
}

// apiVersionPrefix takes "/v1.41" off a path.
func apiVersionPrefix(path string) string {
	if len(path) < 3 || path[1] != 'v' || path[2] < '0' || path[2] > '9' {
		return path
	}
	for i := 2; i < len(path); i++ {
		if path[i] == '/' {
			return path[i:]
		}
	}
	return path
}
