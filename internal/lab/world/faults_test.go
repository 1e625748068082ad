package world_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"mqtunnel/internal/lab/control"
)

// impatience is how long a test waits for an answer that must not come.
const impatience = 500 * time.Millisecond

func (l *lab) set(t *testing.T, f control.Faults) {
	t.Helper()
	if err := l.SetFaults(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

func (l *lab) handshake(t *testing.T, address int) error {
	t.Helper()
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: impatience}, Config: &tls.Config{RootCAs: l.pool, ServerName: "h2.cftunnel.com"}}
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", l.edge(address))
	if err != nil {
		return err
	}
	return conn.Close()
}

func (l *lab) handshakeQUIC(t *testing.T, address int) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), impatience)
	defer cancel()
	conn, err := quic.DialAddr(ctx, l.edge(address), &tls.Config{RootCAs: l.pool, ServerName: "probe.cftunnel.com", NextProtos: []string{"argotunnel"}}, nil)
	if err != nil {
		return err
	}
	return conn.CloseWithError(0, "")
}

func timesOut(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

func TestTheEdgeFailsOnCommandAndRecovers(t *testing.T) {
	l := startLab(t)
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	expired := func(err error) bool { return errors.As(err, &invalid) && invalid.Reason == x509.Expired }
	cases := []struct {
		name  string
		fault control.Faults
		is    func(error) bool
	}{
		{"refuse", control.Faults{Accept: control.AcceptRefuse}, func(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }},
		{"drop", control.Faults{Accept: control.AcceptDrop}, timesOut},
		{"stall", control.Faults{Accept: control.AcceptStall}, timesOut},
		{"delay", control.Faults{ConnectionDelay: control.Duration(time.Minute)}, timesOut},
		{"expired", control.Faults{Certificate: control.CertificateExpired}, expired},
		{"not yet valid", control.Faults{Certificate: control.CertificateNotYetValid}, expired},
		{"foreign", control.Faults{Certificate: control.CertificateForeign}, func(err error) bool { return errors.As(err, &unknown) }},
	}
	for _, c := range cases {
		l.set(t, c.fault)
		if err := l.handshake(t, 0); !c.is(err) {
			t.Errorf("%s: got %v", c.name, err)
		}
		if err := l.ClearFaults(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := l.handshake(t, 0); err != nil {
			t.Errorf("%s, cleared: %v", c.name, err)
		}
	}
}

func TestAStalledConnectionEndsWithTheFault(t *testing.T) {
	l := startLab(t)
	l.set(t, control.Faults{Accept: control.AcceptStall})
	conn, err := net.Dial("tcp", l.edge(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	for c, err := l.Counters(ctx); c.TCPConnections == 0; c, err = l.Counters(ctx) {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := l.ClearFaults(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(waitTime))
	if _, err := conn.Read(make([]byte, 1)); err == nil || timesOut(err) {
		t.Errorf("got %v, want the connection to end", err)
	}
}

func TestAFaultOfOneRegionLeavesTheOtherAlone(t *testing.T) {
	l := startLab(t)
	l.set(t, control.Faults{Accept: control.AcceptRefuse, UDP: control.UDPSilent, Region: 2})
	for i, want := range []bool{true, true, false, false} {
		if tcp, udp := l.handshake(t, i), l.handshakeQUIC(t, i); (tcp == nil) != want || (udp == nil) != want {
			t.Errorf("address %d: TCP %v, UDP %v, want both to work: %t", i, tcp, udp, want)
		}
	}
}

func TestSilentUDPBlocksQUICAndNothingElse(t *testing.T) {
	l := startLab(t)
	if err := l.handshakeQUIC(t, 1); err != nil {
		t.Fatal(err)
	}
	l.set(t, control.Faults{UDP: control.UDPSilent})
	if err := l.handshakeQUIC(t, 1); !timesOut(err) {
		t.Errorf("QUIC: got %v", err)
	}
	if err := l.handshake(t, 1); err != nil {
		t.Errorf("TCP: %v", err)
	}
	l.set(t, control.Faults{})
	if err := l.handshakeQUIC(t, 1); err != nil {
		t.Errorf("cleared: %v", err)
	}
}

func TestTheClockSkewShowsInTheDateHeader(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{ClockSkew: control.Duration(48 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	response, _ := l.get(t, "https://mqtt.example.com/")
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil || time.Until(date) < 47*time.Hour {
		t.Errorf("Date %q", response.Header.Get("Date"))
	}
}

func TestThePublicCertificateFailsForItsHostnameAlone(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	l.tunnel(t, "other.example.com", "http://127.0.0.1:1")
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{PublicCertificate: control.CertificateExpired}); err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://mqtt.example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := l.client(t).Do(request); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v, %v", response, err)
	}
	if response, _ := l.get(t, "https://other.example.com/"); response.StatusCode != 530 {
		t.Errorf("other hostname: %d", response.StatusCode)
	}
}

func TestAQuietWebSocketIsClosedOnCommandAndABusyOneIsNot(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
	l.connect(t, c, "http2", 0)
	const idle = 500 * time.Millisecond
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{IdleTimeout: control.Duration(idle)}); err != nil {
		t.Fatal(err)
	}
	ws, _, err := l.dial(t)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	for began := time.Now(); time.Since(began) < 2*idle; {
		roundTrip(t, ws, "busy")
	}
	ctx, cancel := context.WithTimeout(t.Context(), waitTime)
	defer cancel()
	if _, _, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("got %v, %v; want the connection closed by the edge", err, ctx.Err())
	}
}

func TestWhatTheControlInterfaceRefuses(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	for _, r := range []struct {
		method, path, body string
		status             int
	}{
		{"PUT", "/faults", `{"accept":"maybe"}`, 400},
		{"PUT", "/faults", `{"acept":"drop"}`, 400},
		{"PUT", "/faults", `{"registerDelay":"soon"}`, 400},
		{"PUT", "/faults", `{"quicPercentage":101}`, 400},
		{"PUT", "/tunnels/" + c.TunnelID + "/faults", `{"accept":"drop"}`, 400},
		{"PUT", "/tunnels/" + c.TunnelID + "/config", `{}`, 400},
		{"POST", "/tunnels", `{"hostnames":[{"hostname":"mqtt.example.com","service":"http://x"}]}`, 400},
		{"POST", "/tunnels/" + c.TunnelID + "/close?index=-1", ``, 400},
		{"GET", "/tunnels/nobody", ``, 404},
		{"DELETE", "/tunnels/nobody", ``, 404},
	} {
		request, err := http.NewRequestWithContext(t.Context(), r.method, l.ControlURL()+r.path, strings.NewReader(r.body))
		if err != nil {
			t.Fatal(err)
		}
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode != r.status {
			t.Errorf("%s %s %s: got %d %s, want %d", r.method, r.path, r.body, response.StatusCode, text, r.status)
		}
	}
}
