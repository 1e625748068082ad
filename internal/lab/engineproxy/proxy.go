// Package engineproxy stands between a client and the Docker Engine. It passes
// calls through, tells which there were, and at one of them does what it is told:
// the call fails, waits, is cut off, or its client is killed.
package engineproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"regexp"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Options says where a proxy listens and whom it stands for.
type Options struct {
	Socket string      // path of the Unix socket to listen at; what lies there is replaced
	Mode   os.FileMode // of the socket, 0 for 0600
	// Dial connects to the Engine.
	Dial func(context.Context) (net.Conn, error)
	// Rewrite, if set, changes a request on its way to the Engine.
	Rewrite func(*http.Request)
	// Answer, if set, changes what the Engine answers.
	Answer func(*http.Response) error
}

// Proxy is an Engine's socket with something in between. It is safe for concurrent
// use.
type Proxy struct {
	options   Options
	server    *http.Server
	transport *http.Transport
	group     errgroup.Group

	mu     sync.Mutex
	calls  []Call
	round  int // counts how often the calls were forgotten
	fault  Fault
	struck bool
}

// Call is one request that came through.
type Call struct {
	Method string
	Path   string // without the version of the API
	Query  string // as it came, "name=a&platform="
	Status int    // of the answer, 0 while there is none
}

// Changes reports whether the call asks for anything but to read.
func (c Call) Changes() bool { return c.Method != http.MethodGet && c.Method != http.MethodHead }

// String writes the call as "POST /containers/create 201".
func (c Call) String() string { return fmt.Sprintf("%s %s %d", c.Method, c.Path, c.Status) }

// readHeaderTimeout is long: a client of this machine is not an attacker.
const readHeaderTimeout = time.Minute

// Listen starts a proxy.
func Listen(ctx context.Context, o Options) (*Proxy, error) {
	if err := os.Remove(o.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "unix", o.Socket)
	if err != nil {
		return nil, err
	}
	mode := o.Mode
	if mode == 0 {
		mode = 0o600
	}
	if err := os.Chmod(o.Socket, mode); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p := &Proxy{
		options:   o,
		transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return o.Dial(ctx) }},
	}
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: readHeaderTimeout, ErrorLog: log.New(io.Discard, "", 0)}
	p.group.Go(func() error { return p.server.Serve(listener) })
	return p, nil
}

// Host is the address of the proxy as DOCKER_HOST takes it.
func (p *Proxy) Host() string { return "unix://" + p.options.Socket }

// Close ends the proxy, with all calls that are under way, and removes its socket.
func (p *Proxy) Close() error {
	err := p.server.Close()
	if serveErr := p.group.Wait(); !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	p.transport.CloseIdleConnections()
	return err
}

// Calls lists the calls since the proxy was opened, or armed, or told to forget, in
// the order in which they came.
func (p *Proxy) Calls() []Call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

// Forget starts the list of calls anew, and no fault strikes any more.
func (p *Proxy) Forget() { p.Arm(Fault{}) }

// Arm starts the list of calls anew; the fault strikes once.
func (p *Proxy) Arm(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls, p.fault, p.struck = nil, f, false
	p.round++
}

// Struck returns the call that the fault has struck, if there was one.
func (p *Proxy) Struck() (Call, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.struck {
		return Call{}, false
	}
	return p.calls[p.fault.Call-1], true
}

// versioned is the beginning of a path that names an API version.
var versioned = regexp.MustCompile(`^/v1\.\d+/`)

// Unversioned returns the path of a call without the version of the API.
func Unversioned(path string) string { return versioned.ReplaceAllString(path, "/") }

// begin notes a call and returns its place, and the fault that is to strike it.
func (p *Proxy) begin(r *http.Request) passage {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, Call{Method: r.Method, Path: Unversioned(r.URL.Path), Query: r.URL.RawQuery})
	at := passage{proxy: p, call: len(p.calls), round: p.round}
	if !p.struck && p.fault.Call == at.call {
		p.struck = true
		at.fault = p.fault
	}
	return at
}

// answered notes the status of a call, unless the calls were forgotten meanwhile.
func (p *Proxy) answered(at passage, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.round == p.round {
		p.calls[at.call-1].Status = status
	}
}

// serve passes one call on.
func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	at := p.begin(r)
	if at.fault.Moment == Before && at.strike(w) {
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	reverse := httputil.ReverseProxy{
		FlushInterval: -1, // logs and events come as they are
		ErrorLog:      log.New(io.Discard, "", 0),
		Transport:     p.transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "docker", "docker"
			if p.options.Rewrite != nil {
				p.options.Rewrite(r.Out)
			}
		},
		ModifyResponse: func(r *http.Response) error {
			p.answered(at, r.StatusCode)
			if p.options.Answer != nil {
				if err := p.options.Answer(r); err != nil {
					return err
				}
			}
			return at.answer(r)
		},
		// Neither an Engine that is away nor a fault has an answer.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	reverse.ServeHTTP(w, at.during(r.WithContext(ctx), cancel))
}
