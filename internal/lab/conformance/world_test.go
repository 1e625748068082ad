package conformance

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/world"
)

// labWorld is the lab itself, for what only the whole of it shows: discovery by DNS, and QUIC.
type labWorld struct {
	*bench
	*control.Client
	world *world.World
	http  *http.Client
}

func newWorld(t *testing.T) *labWorld {
	t.Helper()
	b := &bench{t: t, prefix: newPrefix()}
	var edges []netip.Addr
	for _, last := range []string{"1", "2", "3", "4"} {
		edges = append(edges, netip.MustParseAddr(b.prefix+last))
	}
	here := netip.MustParseAddr(b.prefix + "53")
	w, err := world.Open(t.Context(), world.Options{Addresses: edges, Public: here, Bind: here, DNSPort: 53, PublicPort: 443, EdgePort: edgePort, QUICPercentage: 100})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- w.Serve(ctx) }()
	dir := t.TempDir()
	b.caFile, b.resolv = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "resolv.conf")
	write(t, b.caFile, string(w.CA()))
	write(t, b.resolv, "nameserver "+here.String()+"\noptions timeout:3 attempts:3\n")
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.CA())
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.PublicAddress())
		},
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	l := &labWorld{bench: b, Client: control.NewClient(w.ControlURL()), world: w, http: &http.Client{Transport: transport, Timeout: patience}}
	if err := l.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l
}

// up starts a connector for a fresh tunnel, with the protocol left to it.
func (l *labWorld) up(s subject, service string, env ...string) (*process, control.Credentials) {
	l.t.Helper()
	c, err := l.CreateTunnel(l.t.Context(), control.TunnelRequest{Name: "conformance", Hostnames: []control.Rule{{Hostname: "mqtt.example.com", Service: service}}})
	if err != nil {
		l.t.Fatal(err)
	}
	env = append([]string{"TUNNEL_TOKEN=" + c.Token.Reveal(), "TUNNEL_TRANSPORT_PROTOCOL=auto"}, env...)
	return s.start(l.bench, launch{args: []string{"tunnel", "run"}, env: env}), c
}

// get asks the public side and gives status and body.
func (l *labWorld) get(path string) (int, string) {
	l.t.Helper()
	resp, err := l.http.Get("https://mqtt.example.com" + path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		l.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func (l *labWorld) dial() *websocket.Conn {
	l.t.Helper()
	c, _, err := websocket.Dial(l.t.Context(), "wss://mqtt.example.com/mqtt", &websocket.DialOptions{HTTPClient: l.http, Subprotocols: []string{"mqtt"}})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = c.CloseNow() }) // it may be closed
	if c.Subprotocol() != "mqtt" {
		l.t.Errorf("subprotocol %q", c.Subprotocol())
	}
	return c
}

func exchange(ctx context.Context, c *websocket.Conn, text string) error {
	if err := c.Write(ctx, websocket.MessageBinary, []byte(text)); err != nil {
		return err
	}
	_, got, err := c.Read(ctx)
	if err == nil && string(got) != text {
		err = errors.New("came back as " + string(got))
	}
	return err
}

const registeredQUIC = ` INF Registered tunnel connection connIndex=0 connection=\S+ event=0 ip=127\.[0-9.]+ location=\S+ protocol=quic$`

// inTheWorld is behaviours in the whole lab, by the protocol that a connector chooses itself.
func inTheWorld() []behaviour {
	return []behaviour{
		{"auto registers over quic where UDP answers", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, _ := l.up(s, "http://127.0.0.1:1")
			p.expect(` INF Initial protocol quic$`, ` INF Tunnel connection curve preferences: .* connIndex=0 event=0 ip=127\.`, registeredQUIC, "Registered tunnel connection connIndex=3 ")
			if got := p.awaitGet("/diag/tunnel", 200); strings.Count(got, `"isConnected":true,"protocol":1,`) != 4 {
				t.Error(got)
			}
		}},
		{"a healthy world passes the pre-checks", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, _ := l.up(s, "http://127.0.0.1:1", "TUNNEL_NO_PRECHECKS=false")
			p.expectWithin(2*patience, ` INF \|  UDP Connectivity  region1\.v2\.argotunnel\.com  PASS    QUIC connection successful`, ` INF \|  Cloudflare API    api\.cloudflare\.com:443     PASS    API is reachable`,
				` INF \|  SUMMARY: Environment is healthy\. cloudflared will use 'quic' as primary protocol\.\s+\|$`, ` INF precheck complete hard_fail=false run_id=\S+ suggested_protocol=quic$`)
		}},
		{"a configuration arrives over quic", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, c := l.up(s, "http://127.0.0.1:1")
			p.expect(registeredQUIC)
			p.expect(` INF Updated to new configuration config=.* version=0$`)
			if _, err := l.Configure(t.Context(), c.TunnelID, control.TunnelConfig{Ingress: []control.Rule{{Service: "http_status:410"}}}); err != nil {
				t.Fatal(err)
			}
			p.expect(` INF Updated to new configuration config=.* version=1$`)
			if got := p.awaitGet("/config", 200); !strings.HasPrefix(got, `{"version":1,`) || !strings.Contains(got, "http_status:410") {
				t.Error(got)
			}
		}},
		{"requests and WebSockets pass over quic", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, c := l.up(s, site(t).URL)
			p.expect(registeredQUIC)
			p.expect("Updated to new configuration")
			if code, body := l.get("/path?q=1"); code != 418 || !strings.Contains(body, "GET /path?q=1 host=mqtt.example.com ") || !strings.Contains(body, `conn="keep-alive"`) {
				t.Error(code, body)
			}
			if _, err := l.Configure(t.Context(), c.TunnelID, control.TunnelConfig{Ingress: []control.Rule{{Hostname: "mqtt.example.com", Service: echoSite(t).URL}, {Service: "http_status:404"}}}); err != nil {
				t.Fatal(err)
			}
			ws := l.dial()
			for range 20 {
				if err := exchange(t.Context(), ws, "over and over"); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{"a refusing origin is a 502 and two lines over quic", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, _ := l.up(s, "http://127.0.0.1:1")
			p.expect("Updated to new configuration")
			if code, _ := l.get("/mqtt"); code != 502 {
				t.Error(code)
			}
			const cause = `error="Unable to reach the origin service\. The service may be down or it may not be responding to traffic from cloudflared: dial tcp 127\.0\.0\.1:1: connect: connection refused"`
			p.expect(` ERR  `+cause+` connIndex=\d event=1 ingressRule=0 originService=http://127\.0\.0\.1:1$`, ` ERR Request failed `+cause+` connIndex=\d dest=https://mqtt\.example\.com/mqtt event=0 ip=127\.[0-9.]+ type=http$`)
		}},
		{"every refusal over quic is tried again, its reason not told", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			if err := l.SetFaults(t.Context(), control.Faults{RegisterError: "tunnel limit reached"}); err != nil {
				t.Fatal(err)
			}
			p, _ := l.up(s, "http://127.0.0.1:1")
			p.expect(` ERR failed to run the datagram handler error="context canceled" connIndex=0 event=0 ip=127\.`, ` ERR failed to serve tunnel connection error="control stream encountered a failure while serving" connIndex=0 event=0 ip=127\.`,
				` ERR Serve tunnel error error="control stream encountered a failure while serving" connIndex=0 event=0 ip=127\.`, ` INF Retrying connection in up to 2s connIndex=0`)
			if n := p.count("tunnel limit reached"); n != 0 {
				t.Errorf("the reason stands in %d lines", n)
			}
			if err := l.ClearFaults(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.expect(registeredQUIC)
		}},
		{"a connection lost over quic comes back", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, c := l.up(s, "http://127.0.0.1:1")
			p.expect(registeredQUIC, "Registered tunnel connection connIndex=3 ")
			if _, err := l.Close(t.Context(), c.TunnelID, 0); err != nil {
				t.Fatal(err)
			}
			p.expect(` ERR failed to accept incoming stream requests error="failed to accept QUIC stream: Application error 0x0 \(remote\)`, ` INF Retrying connection in up to 1s connIndex=0 `, registeredQUIC)
		}},
		{"SIGTERM over quic with an open WebSocket takes the grace period", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			p, _ := l.up(s, echoSite(t).URL, "TUNNEL_GRACE_PERIOD=2s")
			p.expect("Updated to new configuration", "Registered tunnel connection connIndex=3 ")
			ws := l.dial()
			began := time.Now()
			p.signal(syscall.SIGTERM)
			p.expect(` INF Unregistered tunnel connection connIndex=\d event=0 ip=127\.`)
			p.awaitGet("/ready", 503)
			if err := exchange(t.Context(), ws, "after"); err != nil {
				t.Error(err)
			}
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
			if took := time.Since(began); took < 2*time.Second {
				t.Errorf("it ended after %s", took)
			}
		}},
		{"without answers over UDP auto keeps trying quic first", func(t *testing.T, s subject) {
			t.Helper()
			l := newWorld(t)
			if err := l.SetFaults(t.Context(), control.Faults{UDP: "silent"}); err != nil {
				t.Fatal(err)
			}
			p, _ := l.up(s, "http://127.0.0.1:1")
			p.expect(` ERR Failed to dial a quic connection error="failed to dial to edge with quic: timeout: no recent network activity"`, ` INF Retrying connection in up to 2s connIndex=0`)
		}},
	}
}
