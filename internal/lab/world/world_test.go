package world_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/world"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const waitTime = 10 * time.Second

// blocks gives every world of a test run addresses of its own in 127.0.0.0/8.
var blocks atomic.Uint32

type lab struct {
	*world.World
	*control.Client
	addresses []netip.Addr
	pool      *x509.CertPool
}

func startLab(t *testing.T) *lab {
	t.Helper()
	n := byte(blocks.Add(1))
	addr := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 77, n, last}) }
	l := &lab{addresses: []netip.Addr{addr(1), addr(2), addr(3), addr(4)}, pool: x509.NewCertPool()}
	var err error
	l.World, err = world.Open(t.Context(), world.Options{Addresses: l.addresses, Public: addr(9), Bind: addr(9), QUICPercentage: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- l.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-served:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(waitTime):
			t.Error("the lab does not end")
		}
	})
	l.pool.AppendCertsFromPEM(l.World.CA())
	l.Client = control.NewClient(l.ControlURL())
	if err := l.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *lab) edge(i int) string {
	return netip.AddrPortFrom(l.addresses[i], l.EdgePort()).String()
}

// client returns an HTTP client that finds every host at the lab's public side.
func (l *lab) client(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: l.pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, l.PublicAddress())
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (l *lab) get(t *testing.T, url string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := l.client(t).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(body)
}

// tunnel makes a tunnel whose hostname leads to service.
func (l *lab) tunnel(t *testing.T, hostname, service string) control.Credentials {
	t.Helper()
	c, err := l.CreateTunnel(t.Context(), control.TunnelRequest{
		Name: t.Name(), Hostnames: []control.Rule{{Hostname: hostname, Service: service}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (l *lab) waitConnections(t *testing.T, id string, n int) control.TunnelState {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	state, err := l.WaitTunnel(ctx, id, func(s control.TunnelState) bool { return s.Connections() == n })
	if err != nil {
		t.Fatalf("want %d connections: %v", n, err)
	}
	return state
}

// echo is an origin that sends back what it gets, over WebSocket and HTTP.
func echo(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			w.Header().Set("X-Host", r.Host)
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.Copy(w, r.Body)
			return
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		for {
			kind, data, err := ws.Read(r.Context())
			if err != nil {
				return
			}
			if err := ws.Write(r.Context(), kind, data); err != nil {
				return
			}
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (l *lab) dial(t *testing.T) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	return websocket.Dial(ctx, "wss://mqtt.example.com/mqtt", &websocket.DialOptions{HTTPClient: l.client(t), Subprotocols: []string{"mqtt"}})
}

func roundTrip(t *testing.T, ws *websocket.Conn, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	if err := ws.Write(ctx, websocket.MessageBinary, []byte(text)); err != nil {
		t.Fatal(err)
	}
	_, got, err := ws.Read(ctx)
	if err != nil || string(got) != text {
		t.Fatalf("sent %q, got %q, %v", text, got, err)
	}
}

func TestAWebSocketPassesThroughEitherProtocol(t *testing.T) {
	for _, protocol := range []string{"http2", "quic"} {
		t.Run(protocol, func(t *testing.T) {
			l := startLab(t)
			origin := echo(t)
			c := l.tunnel(t, "mqtt.example.com", origin.URL)
			peer := l.connect(t, c, protocol, 0)
			if got := peer.waitConfig(t); !strings.Contains(got, origin.URL) {
				t.Errorf("pushed configuration %s lacks %s", got, origin.URL)
			}
			ws, response, err := l.dial(t)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			if ws.Subprotocol() != "mqtt" || response.Header.Get("Server") != "cloudflare" || response.Header.Get("Cf-Ray") == "" {
				t.Errorf("subprotocol %q, header %v", ws.Subprotocol(), response.Header)
			}
			for i := range 20 {
				roundTrip(t, ws, fmt.Sprintf("message %d %s", i, strings.Repeat("x", i*1000)))
			}
			state := l.waitConnections(t, c.TunnelID, 1)
			connection := state.Connectors[0].Connections[0]
			if connection.Protocol != protocol || connection.InFlight != 1 || state.Counters.OpenWebSockets != 1 {
				t.Errorf("state with an open WebSocket: %+v %+v", connection, state.Counters)
			}
			if err := ws.Close(websocket.StatusNormalClosure, ""); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), waitTime)
			defer cancel()
			if _, err := l.WaitTunnel(ctx, c.TunnelID, func(s control.TunnelState) bool {
				return s.Counters.OpenWebSockets == 0 && s.Connectors[0].Connections[0].InFlight == 0
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestAPlainRequestPassesThroughEitherProtocol(t *testing.T) {
	for _, protocol := range []string{"http2", "quic"} {
		t.Run(protocol, func(t *testing.T) {
			l := startLab(t)
			c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
			l.connect(t, c, protocol, 0)
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://mqtt.example.com/x?y=1", strings.NewReader("body"))
			if err != nil {
				t.Fatal(err)
			}
			response, err := l.client(t).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			body, err := io.ReadAll(response.Body)
			if err != nil || string(body) != "body" || response.StatusCode != http.StatusTeapot || response.Header.Get("X-Host") != "mqtt.example.com" {
				t.Errorf("got %d %q %v, %v", response.StatusCode, body, response.Header, err)
			}
		})
	}
}

func TestPublicStatusesAreCloudflares(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	check := func(when string, status int, body string) {
		t.Helper()
		response, got := l.get(t, "https://mqtt.example.com/")
		if response.StatusCode != status || !strings.Contains(got, body) {
			t.Errorf("%s: got %d %q, want %d with %q", when, response.StatusCode, got, status, body)
		}
		date, err := http.ParseTime(response.Header.Get("Date"))
		if err != nil || time.Since(date).Abs() > waitTime || response.Header.Get("Server") != "cloudflare" {
			t.Errorf("%s: Date %q, Server %q", when, response.Header.Get("Date"), response.Header.Get("Server"))
		}
	}
	check("no connector", 530, "error code: 1033")
	l.connect(t, c, "http2", 0)
	check("dead origin", 502, "error code: 502")
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{PublicStatus: 403}); err != nil {
		t.Fatal(err)
	}
	check("fault", 403, "error code: 403")
	if err := l.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(t.Context(), c.TunnelID); err != nil {
		t.Fatal(err)
	}
	check("deleted", 530, "error code: 1033")
}

func TestAnAccessPolicyRedirectsUnlessTheServiceTokenFits(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
	l.connect(t, c, "http2", 0)
	err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{PublicRedirect: control.RedirectAccess, AccessClientID: "id", AccessClientSecret: "s3"})
	if err != nil {
		t.Fatal(err)
	}
	response, _ := l.get(t, "https://mqtt.example.com/mqtt")
	if to := response.Header.Get("Location"); response.StatusCode != 302 || !strings.HasPrefix(to, "https://lab.cloudflareaccess.com/") {
		t.Errorf("got %d to %q", response.StatusCode, to)
	}
	response, _ = l.get(t, "https://mqtt.example.com/", "Cf-Access-Client-Id", "id", "Cf-Access-Client-Secret", "s3")
	if response.StatusCode != http.StatusTeapot {
		t.Errorf("with the service token: %d", response.StatusCode)
	}
}

func TestAStrippedUpgradeReachesTheOriginAsAPlainRequest(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
	l.connect(t, c, "http2", 0)
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{StripUpgrade: true}); err != nil {
		t.Fatal(err)
	}
	_, response, err := l.dial(t)
	if err == nil || response == nil || response.StatusCode != http.StatusTeapot {
		t.Errorf("got %v, %v", response, err)
	}
}

func TestAConnectionThatUnregisteredOnlyFinishesWhatItCarries(t *testing.T) {
	for _, protocol := range []string{"http2", "quic"} {
		t.Run(protocol, func(t *testing.T) {
			l := startLab(t)
			c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
			old := l.connect(t, c, protocol, 0)
			ws, _, err := l.dial(t)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			l.connect(t, c, protocol, 1)
			old.unregister(t)
			roundTrip(t, ws, "still there")
			for range 8 {
				other, _, err := l.dial(t)
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, other, "new one")
				_ = other.CloseNow()
			}
			if n := old.requests.Load(); n != 1 {
				t.Errorf("the unregistered connection got %d requests, want its first alone", n)
			}
			if state := l.waitConnections(t, c.TunnelID, 2); state.Counters.Unregistrations != 1 {
				t.Errorf("counters %+v", state.Counters)
			}
			_ = ws.Close(websocket.StatusNormalClosure, "")
			old.waitClosed(t)
			if state := l.waitConnections(t, c.TunnelID, 1); state.Counters.Lost != 0 {
				t.Errorf("counters %+v", state.Counters)
			}
		})
	}
}
