package world_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3/rpc"
	"github.com/google/uuid"
	"golang.org/x/net/http2"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/tunnelrpc"
)

// peer is the other end of the edge's protocol, as small as it can be: one
// connection of one connector, which takes every request to the first ingress rule.
type peer struct {
	requests atomic.Int32
	closed   chan struct{}
	configs  chan string
	server   tunnelrpc.RegistrationServer
	control  io.ReadWriteCloser
	ready    chan struct{}

	applied sync.Once
	routed  chan struct{} // closed once there is an ingress rule
	service atomic.Value  // of the first rule
}

func newPeer() *peer {
	return &peer{
		closed: make(chan struct{}), configs: make(chan string, 8), ready: make(chan struct{}), routed: make(chan struct{}),
	}
}

// connect registers a connection; over http2 at the first address, over QUIC at the last.
func (l *lab) connect(t *testing.T, c control.Credentials, protocol string, index uint8) *peer {
	t.Helper()
	p, err := l.register(t, c, protocol, index)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (l *lab) refused(t *testing.T, c control.Credentials, want string) {
	t.Helper()
	for i, protocol := range []string{"http2", "quic"} {
		p, err := l.register(t, c, protocol, uint8(i))
		if err == nil || err.Error() != want {
			t.Errorf("%s: got %v, want %q", protocol, err, want)
		}
		// A connector that is refused ends its control stream; the edge closes.
		_ = p.control.Close()
		p.waitClosed(t)
	}
}

func (l *lab) register(t *testing.T, c control.Credentials, protocol string, index uint8) (*peer, error) {
	t.Helper()
	p := newPeer()
	ctx, stop := context.WithCancel(context.Background())
	if protocol == "quic" {
		p.dialQUIC(ctx, t, l)
	} else {
		p.dialHTTP2(t, l)
	}
	select {
	case <-p.ready:
	case <-time.After(waitTime):
		t.Fatal("no control stream")
	}
	conn := rpc.NewConn(rpc.NewStreamTransport(p.control), nil)
	p.server = tunnelrpc.RegistrationServer(conn.Bootstrap(ctx))
	t.Cleanup(func() {
		p.server.Release()
		_ = conn.Close()
		stop()
	})
	answer, release := p.server.RegisterConnection(ctx, func(a tunnelrpc.RegistrationServer_registerConnection_Params) error {
		return fillRegistration(a, c, index)
	})
	defer release()
	results, err := answer.Struct()
	if err != nil {
		t.Fatalf("register: %v", err)
	}
	result, err := results.Result()
	if err != nil {
		t.Fatal(err)
	}
	if result.Result().Which() == tunnelrpc.ConnectionResponse_result_Which_error {
		e, err := result.Result().Error()
		if err != nil {
			t.Fatal(err)
		}
		cause, _ := e.Cause()
		return p, fmt.Errorf("%s", cause)
	}
	return p, nil
}

func fillRegistration(a tunnelrpc.RegistrationServer_registerConnection_Params, c control.Credentials, index uint8) error {
	raw, err := base64.StdEncoding.DecodeString(c.Token.Reveal())
	if err != nil {
		return err
	}
	var token struct {
		A string
		T uuid.UUID
		S []byte
	}
	if err := json.Unmarshal(raw, &token); err != nil {
		return err
	}
	auth, err := a.NewAuth()
	if err != nil {
		return err
	}
	_ = auth.SetAccountTag(token.A)
	_ = auth.SetTunnelSecret(token.S)
	_ = a.SetTunnelId(token.T[:])
	a.SetConnIndex(index)
	options, err := a.NewOptions()
	if err != nil {
		return err
	}
	client, err := options.NewClient()
	if err != nil {
		return err
	}
	id := uuid.New()
	_ = client.SetVersion("test")
	return client.SetClientId(id[:])
}

func (p *peer) unregister(t *testing.T) {
	t.Helper()
	answer, release := p.server.UnregisterConnection(t.Context(), nil)
	defer release()
	if _, err := answer.Struct(); err != nil {
		t.Fatal(err)
	}
	_ = p.control.Close()
}

func (p *peer) waitClosed(t *testing.T) {
	t.Helper()
	select {
	case <-p.closed:
	case <-time.After(waitTime):
		t.Fatal("the edge does not close the connection")
	}
}

func (p *peer) waitConfig(t *testing.T) string {
	t.Helper()
	select {
	case c := <-p.configs:
		return c
	case <-time.After(waitTime):
		t.Fatal("no configuration was pushed")
		return ""
	}
}

func (p *peer) configured() bool { return len(p.configs) > 0 }

func (p *peer) apply(config string) {
	var c control.TunnelConfig
	_ = json.Unmarshal([]byte(config), &c)
	if len(c.Ingress) > 0 {
		p.service.Store(c.Ingress[0].Service)
		p.applied.Do(func() { close(p.routed) })
	}
	p.configs <- config
}

// origin returns the address of the first rule's service. Requests may come before
// the configuration, so it waits for that.
func (p *peer) origin() string {
	select {
	case <-p.routed:
		return strings.TrimPrefix(p.service.Load().(string), "http://")
	case <-time.After(waitTime):
		return ""
	}
}

func (p *peer) dialHTTP2(t *testing.T, l *lab) {
	t.Helper()
	conn, err := tls.Dial("tcp", l.edge(0), &tls.Config{RootCAs: l.pool, ServerName: "h2.cftunnel.com"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(); <-p.closed })
	go func() {
		defer close(p.closed)
		(&http2.Server{}).ServeConn(conn, &http2.ServeConnOpts{Handler: p}) //nolint:staticcheck // its successor accepts, and this connection was dialled
	}()
}

// ServeHTTP takes what the edge sends over http2.
func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch kind := r.Header.Get("Cf-Cloudflared-Proxy-Connection-Upgrade"); kind {
	case "control-stream":
		done := make(chan struct{})
		stream := &h2Stream{w: w, r: r.Body, done: done}
		p.control = stream
		close(p.ready)
		select {
		case <-done:
		case <-r.Context().Done():
			_ = stream.Close()
		}
	case "update-configuration":
		var push struct {
			Version int
			Config  json.RawMessage
		}
		_ = json.NewDecoder(r.Body).Decode(&push)
		p.apply(string(push.Config))
		_, _ = fmt.Fprintf(w, `{"lastAppliedVersion":%d,"err":null}`, push.Version)
	default:
		p.requests.Add(1)
		up := r.Clone(r.Context())
		up.Header.Del("Cf-Cloudflared-Proxy-Connection-Upgrade")
		conn, reader, response, err := askOrigin(p.origin(), up, kind == "websocket")
		if err != nil {
			w.Header().Set("Cf-Cloudflared-Response-Meta", `{"src":"cloudflared"}`)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = conn.Close() }()
		var pairs []string
		for name, values := range response.Header {
			for _, v := range values {
				pairs = append(pairs, base64.RawStdEncoding.EncodeToString([]byte(name))+":"+base64.RawStdEncoding.EncodeToString([]byte(v)))
			}
		}
		w.Header().Set("Cf-Cloudflared-Response-Headers", strings.Join(pairs, ";"))
		w.Header().Set("Cf-Cloudflared-Response-Meta", `{"src":"origin"}`)
		if kind != "websocket" || response.StatusCode != http.StatusSwitchingProtocols {
			w.WriteHeader(response.StatusCode)
			_, _ = io.Copy(w, response.Body)
			return
		}
		w.WriteHeader(http.StatusOK)
		down := &h2Stream{w: w}
		_, _ = down.Write(nil)
		join(conn, reader, r.Body, down)
	}
}

type h2Stream struct {
	w    http.ResponseWriter
	r    io.ReadCloser
	mu   sync.Mutex
	done chan struct{}
	once sync.Once
}

func (s *h2Stream) Read(b []byte) (int, error) { return s.r.Read(b) }

func (s *h2Stream) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.done:
		return 0, io.ErrClosedPipe
	default:
	}
	n, err := s.w.Write(b)
	_ = http.NewResponseController(s.w).Flush()
	return n, err
}

func (s *h2Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.once.Do(func() { close(s.done) })
	return nil
}

func askOrigin(address string, r *http.Request, webSocket bool) (net.Conn, *bufio.Reader, *http.Response, error) {
	conn, err := net.DialTimeout("tcp", address, waitTime)
	if err != nil {
		return nil, nil, nil, err
	}
	r.RequestURI = ""
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	if webSocket {
		r.Body, r.ContentLength = nil, 0
		r.Header.Set("Connection", "Upgrade")
		r.Header.Set("Upgrade", "websocket")
		r.Header.Set("Sec-Websocket-Version", "13")
	}
	if err := r.Write(conn); err != nil {
		_ = conn.Close()
		return nil, nil, nil, err
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, r)
	if err != nil {
		_ = conn.Close()
		return nil, nil, nil, err
	}
	return conn, reader, response, nil
}

func join(origin net.Conn, fromOrigin io.Reader, fromEdge io.Reader, toEdge io.Writer) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(origin, fromEdge)
		_ = origin.Close()
	}()
	_, _ = io.Copy(toEdge, fromOrigin)
	if c, ok := fromEdge.(io.Closer); ok {
		_ = c.Close()
	}
	<-done
}
