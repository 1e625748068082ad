package conformance

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/google/uuid"
	"golang.org/x/net/http2"

	"mqtunnel/internal/lab/tunnelrpc"
)

// patience is how long a condition may take before the test says what it saw last.
const patience = 20 * time.Second

// kind is the header by which the edge says what a request is for.
const kind = "Cf-Cloudflared-Proxy-Connection-Upgrade"

// edgePort is the edge's own. Every bench has addresses of its own, so a fixed port is free where a random one may
// have been taken by a client in the meantime.
const edgePort = 7844

// benches numbers the loopback networks of the benches, so that many can run at once.
var benches atomic.Int32

// registration is what a connector said when it registered a connection.
type registration struct {
	AccountTag  string
	Secret      []byte
	TunnelID    uuid.UUID
	ConnIndex   uint8
	ConnectorID uuid.UUID
	Version     string
	Arch        string
	Features    []string
	LocalIP     []byte
	Previous    uint8
	Replace     bool
}

// verdict is what the edge answers to a registration.
type verdict struct {
	cause   string // an error, when not empty
	retry   bool
	silent  bool // never answers
	local   bool // the tunnel is managed locally
	keepTCP bool // the connection stays open after an error
}

// bench is an edge as seen on the wire, bare enough that a test decides every answer, together with the names that
// lead a connector to it.
type bench struct {
	t       *testing.T
	prefix  string // of the four edge addresses, such as 127.90.1.
	dns     string
	caFile  string
	resolv  string
	tls     *tls.Config
	verdict atomic.Pointer[verdict]
	starts  atomic.Int32 // of connectors, each with a metrics address of its own
	zone    *zone

	mu      sync.Mutex
	links   []*link
	dialled int
}

// link is one connection that a connector opened.
type link struct {
	bench        *bench
	conn         net.Conn
	address      string
	client       *http2.ClientConn //nolint:staticcheck // its successor dials, and this connection was accepted
	reg          registration
	registered   chan struct{}
	unregistered chan struct{}
	refused      atomic.Bool
	localConfig  chan []byte
	gone         chan struct{}
}

// newPrefix is a loopback network that nobody else has; the process number keeps two runs on one machine apart.
func newPrefix() string { return fmt.Sprintf("127.%d.%d.", 128+os.Getpid()%127, benches.Add(1)) }

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, prefix: newPrefix()}
	b.verdict.Store(&verdict{})
	b.makeTrust()
	b.zone = newZone(t, b)
	var listeners []net.Listener
	for i := 1; i <= 4; i++ {
		l, err := net.Listen("tcp", fmt.Sprintf("%s%d:%d", b.prefix, i, edgePort))
		if err != nil {
			t.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	var wg sync.WaitGroup
	for _, l := range listeners {
		wg.Go(func() { b.accept(&wg, l) })
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			_ = l.Close() // it may be closed already by the test
		}
		b.mu.Lock()
		for _, l := range b.links {
			_ = l.conn.Close() // the connector may have closed it first
		}
		b.mu.Unlock()
		wg.Wait()
	})
	return b
}

// edges is the value of TUNNEL_EDGE that leads to the four addresses without DNS.
func (b *bench) edges() string {
	var all []string
	for i := 1; i <= 4; i++ {
		all = append(all, fmt.Sprintf("%s%d:%d", b.prefix, i, edgePort))
	}
	return strings.Join(all, ",")
}

// makeTrust writes a certificate of its own, which is its own authority, and the resolver's configuration.
func (b *bench) makeTrust() {
	b.t.Helper()
	dir := b.t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"h2.cftunnel.com", "quic.cftunnel.com", "probe.cftunnel.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		b.t.Fatal(err)
	}
	b.tls = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"}}
	b.caFile = filepath.Join(dir, "ca.pem")
	b.dns = b.prefix + "53"
	b.resolv = filepath.Join(dir, "resolv.conf")
	write(b.t, b.caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(b.t, b.resolv, "nameserver "+b.dns+"\noptions timeout:3 attempts:3\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) accept(wg *sync.WaitGroup, l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		wg.Go(func() { b.serve(l.Addr().String(), c) })
	}
}

// serve is the edge's side of one connection: it is the HTTP/2 client and opens the control stream.
func (b *bench) serve(address string, raw net.Conn) {
	b.mu.Lock()
	b.dialled++
	b.mu.Unlock()
	conn := tls.Server(raw, b.tls)
	defer closing(conn)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil || conn.ConnectionState().ServerName == "probe.cftunnel.com" {
		return
	}
	client, err := (&http2.Transport{DisableCompression: true}).NewClientConn(conn) //nolint:staticcheck // as for link.client
	if err != nil {
		return
	}
	l := &link{
		bench: b, conn: conn, address: address, client: client, registered: make(chan struct{}), unregistered: make(chan struct{}),
		localConfig: make(chan []byte, 1), gone: make(chan struct{}),
	}
	defer close(l.gone)
	up, upWriter := io.Pipe()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://edge/", up)
	if err != nil {
		return
	}
	req.Header.Set(kind, "control-stream")
	resp, err := client.RoundTrip(req)
	if err != nil {
		return
	}
	defer closing(resp.Body)
	main := tunnelrpc.RegistrationServer_ServerToClient(l)
	peer := rpc.NewConn(rpc.NewStreamTransport(stream{resp.Body, upWriter}), &rpc.Options{BootstrapClient: capnp.Client(main)})
	<-peer.Done()
	_, _ = resp.Body.Close(), upWriter.Close() // the stream is over
	hold := l.refused.Load()                   // it is closed in time, so that the connector has seen the answer before
	if !hold && l.isUnregistered() == "" {
		return
	}
	// After an orderly end the real edge closes the connection when no request is left on it.
	for deadline := time.Now().Add(patience * 2); time.Now().Before(deadline); {
		if s := client.State(); s.Closed || (!hold && s.StreamsActive == 0) {
			return
		}
		pause()
	}
}

// isUnregistered is "yes" once the connector took its connection off.
func (l *link) isUnregistered() string {
	select {
	case <-l.unregistered:
		return "yes"
	default:
		return ""
	}
}

// pause is the interval between two looks at a condition.
func pause() { time.Sleep(20 * time.Millisecond) }

type stream struct {
	io.Reader
	io.WriteCloser
}

// RegisterConnection records what the connector says and answers as the test decided.
func (l *link) RegisterConnection(ctx context.Context, call tunnelrpc.RegistrationServer_registerConnection) error {
	reg, err := readRegistration(call.Args())
	if err != nil {
		return err
	}
	l.reg = reg
	l.bench.mu.Lock()
	l.bench.links = append(l.bench.links, l)
	l.bench.mu.Unlock()
	v := l.bench.verdict.Load()
	if v.silent {
		<-ctx.Done()
		return ctx.Err()
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	response, err := results.NewResult()
	if err != nil {
		return err
	}
	if v.cause != "" {
		refusal, err := response.Result().NewError()
		if err != nil {
			return err
		}
		l.refused.Store(true)
		refusal.SetShouldRetry(v.retry)
		if !v.keepTCP {
			time.AfterFunc(300*time.Millisecond, func() { _ = l.conn.Close() }) // gone already is as good
		}
		return refusal.SetCause(v.cause)
	}
	details, err := response.Result().NewConnectionDetails()
	if err != nil {
		return err
	}
	details.SetTunnelIsRemotelyManaged(!v.local)
	id := uuid.New()
	close(l.registered)
	return errors.Join(details.SetUuid(id[:]), details.SetLocationName(fmt.Sprintf("lab%02d", reg.ConnIndex+1)))
}

// UnregisterConnection notes that the connector takes its connection off.
func (l *link) UnregisterConnection(_ context.Context, call tunnelrpc.RegistrationServer_unregisterConnection) error {
	close(l.unregistered)
	_, err := call.AllocResults()
	return err
}

// UpdateLocalConfiguration keeps the configuration that a connector reports for a locally managed tunnel.
func (l *link) UpdateLocalConfiguration(_ context.Context, call tunnelrpc.RegistrationServer_updateLocalConfiguration) error {
	config, err := call.Args().Config()
	if err != nil {
		return err
	}
	l.localConfig <- bytes.Clone(config)
	_, err = call.AllocResults()
	return err
}

// all is every connection that came as far as registering, in that order.
func (b *bench) all() []*link {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*link(nil), b.links...)
}

// waitLinks waits until n registrations were seen.
func (b *bench) waitLinks(n int) []*link {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("%d registrations", n), func() (bool, string) {
		got := len(b.all())
		return got >= n, fmt.Sprint(got)
	})
	return b.all()
}

func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	eventuallyWithin(t, patience, what, holds)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, holds func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		ok, last := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no %s within %s; last seen: %s", what, limit, last)
		}
		pause()
	}
}

// push sends a configuration as the edge does and returns the connector's answer.
func (l *link) push(version int, config string) string {
	l.bench.t.Helper()
	body := fmt.Sprintf(`{"version":%d,"config":%s}`, version, config)
	resp := l.send(http.MethodPut, "edge", "/", http.Header{kind: {"update-configuration"}}, strings.NewReader(body))
	defer closing(resp.Body)
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		l.bench.t.Fatal(err)
	}
	return fmt.Sprintf("%d %s", resp.StatusCode, answer)
}

// send carries one request to the connector.
func (l *link) send(method, host, path string, header http.Header, body io.Reader) *http.Response {
	l.bench.t.Helper()
	req, err := http.NewRequestWithContext(l.bench.t.Context(), method, "https://"+host+path, body)
	if err != nil {
		l.bench.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	resp, err := l.client.RoundTrip(req)
	if err != nil {
		l.bench.t.Fatalf("%s https://%s%s: %v", method, host, path, err)
	}
	return resp
}
