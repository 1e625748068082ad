package probe_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"go.uber.org/goleak"

	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

const (
	host     = "mqtt.example.test"
	username = "mqtunnel-probe"
	password = "correct-horse-battery"
	topic    = "mqtunnel/probe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within gives a test's connection a deadline.
func within(tb testing.TB, d time.Duration) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	tb.Cleanup(cancel)
	return ctx
}

// authority is a CA of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(tb testing.TB) authority {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return authority{cert, key, pool}
}

func newKey(tb testing.TB) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func (a authority) issue(tb testing.TB, name string, from, to time.Duration) tls.Certificate {
	tb.Helper()
	key := newKey(tb)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// newBroker runs a broker in the process. With an account it refuses everyone
// else, and the account may use topic, only read "deaf/…", only write "mute/…".
func newBroker(tb testing.TB, anonymous bool) *mochi.Server {
	tb.Helper()
	broker := mochi.New(&mochi.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	var err error
	if anonymous {
		err = broker.AddHook(new(auth.AllowHook), nil)
	} else {
		err = broker.AddHook(new(auth.Hook), &auth.Options{Ledger: &auth.Ledger{
			Auth: auth.AuthRules{{Username: username, Password: password, Allow: true}},
			ACL: auth.ACLRules{{Username: username, Filters: auth.Filters{
				topic: auth.ReadWrite, "deaf": auth.ReadOnly, "mute": auth.WriteOnly, "elsewhere": auth.Deny,
			}}},
		}})
	}
	if err != nil {
		tb.Fatal(err)
	}
	if err := broker.Serve(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := broker.Close(); err != nil {
			tb.Error(err)
		}
	})
	return broker
}

// mqttHandler serves the broker as MQTT over WebSocket.
func mqttHandler(broker *mochi.Server) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{probe.Subprotocol}})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		_ = broker.EstablishConnection("ws", websocket.NetConn(context.Background(), ws, websocket.MessageBinary))
	}
}

// serve answers HTTP on loopback, over TLS when there is a certificate.
func serve(tb testing.TB, handler http.Handler, certificates ...tls.Certificate) *httptest.Server {
	tb.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)
	if len(certificates) > 0 {
		server.TLS = &tls.Config{Certificates: certificates}
		server.StartTLS()
	} else {
		server.Start()
	}
	tb.Cleanup(server.Close)
	return server
}

// listen accepts TCP on loopback and hands each connection to handle.
func listen(tb testing.TB, handle func(net.Conn)) string {
	tb.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(conn)
			_ = conn.Close()
		}
	}()
	tb.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// to points a target for host at an address.
func to(scheme, address string) probe.Target {
	addressHost, port, _ := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://"))
	return probe.Target{
		URL:       scheme + "://" + host + "/mqtt",
		ConnectTo: []probe.ConnectTo{{ToHost: addressHost, ToPort: port}},
		Username:  username,
		Password:  secret.New(password),
	}
}
