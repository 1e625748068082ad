package doctor

import (
	"bytes"
	"context"
	"crypto/x509"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/world"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// patience bounds every wait of these tests.
const patience = time.Minute

// publicLab is a world with a connector of one tunnel, and a broker behind it.
type publicLab struct {
	*world.World
	*control.Client

	tunnel  control.Credentials
	pool    *x509.CertPool
	failing atomic.Int32 // of so many requests one fails at the broker, 0 none
}

// startPublicLab starts it, with the lab's stand-in for cloudflared as connector.
func startPublicLab(t *testing.T) *publicLab {
	t.Helper()
	at := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 79, 1, last}) }
	l := &publicLab{pool: x509.NewCertPool()}
	addresses := []netip.Addr{at(1), at(2), at(3), at(4)}
	var err error
	l.World, err = world.Open(t.Context(), world.Options{Addresses: addresses, Public: at(9), Bind: at(9), QUICPercentage: 0})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := l.Serve(ctx); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() { stop(); serving.Wait() })
	l.pool.AppendCertsFromPEM(l.World.CA())
	l.Client = control.NewClient(l.ControlURL())
	if err := l.WaitHealthy(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.tunnel, err = l.CreateTunnel(t.Context(), control.TunnelRequest{
		Name: "t", Hostnames: []control.Rule{{Hostname: publicName, Service: l.broker(t)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.connector(t, addresses)
	return l
}

// broker runs a broker that knows the probe's account, and returns its service URL.
func (l *publicLab) broker(t *testing.T) string {
	t.Helper()
	broker := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := broker.AddHook(new(auth.Hook), &auth.Options{Ledger: &auth.Ledger{
		Auth: auth.AuthRules{{Username: mosquitto.ProbeUser, Password: "right", Allow: true}},
	}}); err != nil {
		t.Fatal(err)
	}
	if err := broker.Serve(); err != nil {
		t.Fatal(err)
	}
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if every := l.failing.Load(); every > 0 && requests.Add(1)%every == 0 {
			panic(http.ErrAbortHandler) // closes without an answer, as a port that is no WebSocket's
		}
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{probe.Subprotocol}})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		_ = broker.EstablishConnection("ws", websocket.NetConn(context.Background(), ws, websocket.MessageBinary))
	}))
	t.Cleanup(func() {
		if err := broker.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return server.URL
}

// connector runs the stand-in until the test ends, and waits until it serves.
func (l *publicLab) connector(t *testing.T, addresses []netip.Addr) {
	t.Helper()
	dir := t.TempDir()
	binary, ca, token := filepath.Join(dir, "cloudflared"), filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "mqtunnel/cmd/mqtunnel-lab/connector").CombinedOutput(); err != nil {
		t.Fatalf("build the stand-in: %v\n%s", err, out)
	}
	// This file is how the connector takes its token.
	for path, text := range map[string]string{ca: string(l.World.CA()), token: l.tunnel.Token.Reveal()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var edges []string
	for _, a := range addresses {
		edges = append(edges, netip.AddrPortFrom(a, l.EdgePort()).String())
	}
	ctx, stop := context.WithCancel(context.Background())
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, "--no-autoupdate", "tunnel", "--metrics", "127.0.0.1:0", "run")
	cmd.Stderr = &log
	cmd.Env = []string{
		"TUNNEL_EDGE=" + strings.Join(edges, ","), "TUNNEL_CACERT=" + ca, "TUNNEL_TOKEN_FILE=" + token,
		"TUNNEL_TRANSPORT_PROTOCOL=http2", "TUNNEL_NO_PRECHECKS=true", "HOME=" + dir,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("%s", &log)
		}
	})
	wait, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := l.WaitTunnel(wait, l.tunnel.TunnelID, func(s control.TunnelState) bool {
		return s.Connections() == 4 && s.Connectors[0].Connections[0].ConfigVersion == 0
	}); err != nil {
		t.Fatal(err)
	}
}

// public returns where the public side listens.
func (l *publicLab) public(t *testing.T) (host, port string) {
	t.Helper()
	host, port, err := net.SplitHostPort(l.PublicAddress())
	if err != nil {
		t.Fatal(err)
	}
	return host, port
}

// sources says how to look: with --connect-to, or else by the lab's own DNS.
func (l *publicLab) sources(t *testing.T, byDNS bool) Sources {
	t.Helper()
	host, port := l.public(t)
	s := Sources{
		DoH: true, Root: t.TempDir(), Service: "http://mosquitto:9001",
		Public: probe.Target{RootCAs: l.pool, Username: mosquitto.ProbeUser, Password: secret.New("right")},
	}
	if !byDNS {
		s.Public.ConnectTo = []probe.ConnectTo{
			{Host: publicName, Port: "443", ToHost: host, ToPort: port}, {Host: worldHost, Port: "443", ToHost: host, ToPort: port},
		}
		return s
	}
	s.Public.ConnectTo = []probe.ConnectTo{{Port: "443", ToPort: port}}
	s.Public.Resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.DNSAddress())
	}}
	return s
}

// look gathers what a client outside meets.
func (l *publicLab) look(t *testing.T, s Sources) *Evidence {
	t.Helper()
	e := &Evidence{At: time.Now(), Public: PublicEvidence{Served: -1}}
	e.Files.Settings = &config.Settings{Hostname: publicName, ProbePassword: secret.New("x")}
	gatherPublic(t.Context(), s, e)
	return well(e)
}

// set puts a fault on the tunnel.
func (l *publicLab) set(t *testing.T, f control.Faults) {
	t.Helper()
	if err := l.SetTunnelFaults(t.Context(), l.tunnel.TunnelID, f); err != nil {
		t.Fatal(err)
	}
}

func TestThePublicSideInALab(t *testing.T) {
	l := startPublicLab(t)
	t.Run("healthy", l.healthyIsSeenAsSuch)
	t.Run("each fault", l.eachFaultIsSeen)
	t.Run("a refused login", l.aRefusedLoginIsSeen)
	t.Run("a quiet connection", l.aQuietConnectionIsWatched)
	t.Run("given up", l.aLookThatIsGivenUpTellsNothing)
}

func (l *publicLab) healthyIsSeenAsSuch(t *testing.T) {
	for _, byDNS := range []bool{false, true} {
		e := l.look(t, l.sources(t, byDNS))
		if got := publicFindings(e); len(got) != 0 {
			t.Errorf("by DNS %t: findings %q: %+v", byDNS, got, e.Public)
		}
		p := e.Public
		if len(p.Trips) != firstTrips || p.through() != firstTrips || !p.World.found() || p.ConnectTo == byDNS || p.System.found() != byDNS {
			t.Errorf("by DNS %t: %+v, world %+v, here %+v, %v", byDNS, p, p.World, p.System, p.WorldErr)
		}
	}
	without := l.sources(t, false)
	without.DoH = false
	if e := l.look(t, without); e.Public.World != nil || e.Public.WorldErr != nil {
		t.Errorf("without DNS-over-HTTPS: %+v, %v", e.Public.World, e.Public.WorldErr)
	}
}

func (l *publicLab) eachFaultIsSeen(t *testing.T) {
	const page = `<a href="https://team.cloudflareaccess.com/cdn-cgi/access/login">`
	elsewhere := "127.79.1.8" // where nothing listens
	for _, c := range []struct {
		name  string
		fault control.Faults
		byDNS bool
		every int32
		want  string
	}{
		{"no connector known", control.Faults{PublicStatus: 530}, false, 0, "edge-connector"},
		{"no tunnel", control.Faults{PublicStatus: 530, PublicCode: 1016}, false, 0, "edge-tunnel"},
		{"502", control.Faults{PublicStatus: 502}, false, 0, "edge-origin"},
		{"503", control.Faults{PublicStatus: 503}, false, 0, "edge-configured"},
		{"404", control.Faults{PublicStatus: 404}, false, 0, "edge-rule"},
		{"403", control.Faults{PublicStatus: 403}, false, 0, "edge-allowed"},
		{"an Access login", control.Faults{PublicRedirect: control.RedirectAccess}, false, 0, "edge-access"},
		{"an Access login of status 200", control.Faults{PublicStatus: 200, PublicBody: page}, false, 0, "edge-access"},
		{"a redirect", control.Faults{PublicRedirect: "https://www.example.com/"}, false, 0, "edge-redirect"},
		{"429", control.Faults{PublicStatus: 429}, false, 0, "edge-rate"},
		{"522", control.Faults{PublicStatus: 522}, false, 0, "edge-server"},
		{"504", control.Faults{PublicStatus: 504}, false, 0, "edge-server"},
		{"WebSockets off", control.Faults{StripUpgrade: true}, false, 0, "edge-websocket"},
		{"418", control.Faults{PublicStatus: 418}, false, 0, "edge-answer"},
		{"expired", control.Faults{PublicCertificate: control.CertificateExpired}, false, 0, "edge-certificate"},
		{"not yet valid", control.Faults{PublicCertificate: control.CertificateNotYetValid}, false, 0, "edge-certificate"},
		{"intercepted", control.Faults{PublicCertificate: control.CertificateForeign}, false, 0, "edge-certificate"},
		{"a second connector", control.Faults{}, false, 2, "one-broker"},
		{"no such name", control.Faults{DNS: control.DNSNXDomain}, false, 0, "name-exists"},
		{"no such name, by DNS", control.Faults{DNS: control.DNSNXDomain}, true, 0, "name-exists"},
		{"the name of another tunnel", control.Faults{DNSAnswer: "b.cfargotunnel.com"}, false, 0, "name-proxied"},
		{"in clear", control.Faults{DNSAnswer: "fd10:aec2:5dae::1"}, false, 0, "name-proxied"},
		{"another address", control.Faults{DNSAnswer: elsewhere}, true, 0, "name-target"},
		{"another address here", control.Faults{DNSAnswer: elsewhere, DNSOver: control.OverPlain}, true, 0, "name-here"},
		{"unknown here", control.Faults{DNS: control.DNSNXDomain, DNSOver: control.OverPlain}, true, 0, "name-here"},
		{"failing here", control.Faults{DNS: control.DNSServFail, DNSOver: control.OverPlain}, true, 0, "name-here"},
	} {
		l.set(t, c.fault)
		l.failing.Store(c.every)
		began := time.Now()
		e := l.look(t, l.sources(t, c.byDNS))
		if took := time.Since(began); took > time.Second {
			t.Logf("%s: %v", c.name, took)
		}
		if got := publicFindings(e); !slices.Equal(got, []string{c.want + " failed"}) {
			t.Errorf("%s: got %q, want %s\nhere %v\nworld %v %v\n%s", c.name, got, c.want, e.Public.System, e.Public.World, e.Public.WorldErr,
				strings.Join(e.Public.tripLines(), "\n"))
		}
	}
	l.failing.Store(0)
	l.set(t, control.Faults{})
	if got := publicFindings(l.look(t, l.sources(t, true))); len(got) != 0 {
		t.Errorf("all mended: %q", got)
	}
}

func (l *publicLab) aRefusedLoginIsSeen(t *testing.T) {
	s := l.sources(t, false)
	s.Public.Password = secret.New("wrong")
	e := l.look(t, s)
	if got := publicFindings(e); !slices.Equal(got, []string{"one-broker failed"}) || len(e.Public.Trips) != firstTrips+furtherTrips {
		t.Errorf("got %q of %d round trips", got, len(e.Public.Trips))
	}
	e.Inside.Report = nil
	if got := publicFindings(e); !slices.Equal(got, []string{"public-login failed"}) {
		t.Errorf("inside not seen: got %q", got)
	}
}

func (l *publicLab) aQuietConnectionIsWatched(t *testing.T) {
	s := l.sources(t, false)
	s.Soak = 2 * time.Second
	if o := judgeIdle(l.look(t, s)); o.Status != Passed {
		t.Errorf("healthy: %+v", o)
	}
	l.set(t, control.Faults{IdleTimeout: control.Duration(500 * time.Millisecond)})
	s.Soak = patience
	if o := judgeIdle(l.look(t, s)); o.Status != Failed || !strings.HasPrefix(o.Sentence, "a quiet connection was lost after ") {
		t.Errorf("with an idle cut-off: %+v", o)
	}
}

func (l *publicLab) aLookThatIsGivenUpTellsNothing(t *testing.T) {
	e := &Evidence{At: time.Now(), Files: FilesEvidence{Settings: &config.Settings{Hostname: publicName}}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	gatherPublic(ctx, l.sources(t, true), e)
	if got := publicFindings(e); len(got) != 0 {
		t.Errorf("got %q: %+v", got, e.Public)
	}
}
