package probe_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/quic-go/quic-go"

	"mqtunnel/internal/probe"
)

// fakeEdge is Cloudflare's edge on loopback: two regions, and the DNS that names
// them. Its faults are set before it starts.
type fakeEdge struct {
	rcodes  map[string]int // by name, lower case with the final dot; -1 never answers
	regions [2]bool        // which answer at all
	noTLS   bool           // TCP closes each connection at once
	noUDP   bool           // UDP takes packets and says nothing

	port uint16
}

// start returns the look at the edge.
func (f *fakeEdge) start(t *testing.T) probe.EdgeLook {
	t.Helper()
	certificate := newAuthority(t).issue(t, "h2.cftunnel.com", -time.Hour, time.Hour)
	for i := range f.regions {
		if f.regions[i] {
			f.listen(t, fmt.Sprintf("127.0.0.%d", 2+i), certificate)
		}
	}
	server := listenPacket(t, "127.0.0.1:0")
	d := &dns.Server{PacketConn: server, Handler: dns.HandlerFunc(f.answer)}
	serving := make(chan struct{})
	go func() { defer close(serving); _ = d.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Close(); <-serving })
	address := server.LocalAddr().String()
	return probe.EdgeLook{
		Resolver: &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "udp", address)
		}},
		Fallback: closedPort(t), Port: f.port,
	}
}

func listenPacket(t *testing.T, address string) net.PacketConn {
	t.Helper()
	conn, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// listen answers on both ports of an address. The port is the same for all.
func (f *fakeEdge) listen(t *testing.T, ip string, certificate tls.Certificate) {
	t.Helper()
	tcp, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(int(f.port))))
	if err != nil {
		t.Fatal(err)
	}
	f.port = netip.MustParseAddrPort(tcp.Addr().String()).Port()
	config := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"argotunnel"}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := tcp.Accept()
			if err != nil {
				return
			}
			if !f.noTLS {
				_ = tls.Server(conn, config).HandshakeContext(t.Context())
				_, _ = conn.Read(make([]byte, 1)) // until the probe closes
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = tcp.Close(); <-done })
	udp := listenPacket(t, tcp.Addr().String())
	t.Cleanup(func() { _ = udp.Close() })
	if f.noUDP {
		return
	}
	transport := &quic.Transport{Conn: udp}
	listener, err := transport.Listen(config, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close(); _ = transport.Close() })
}

func (f *fakeEdge) answer(w dns.ResponseWriter, r *dns.Msg) {
	m := new(dns.Msg).SetReply(r)
	name := strings.ToLower(r.Question[0].Name)
	m.Rcode = f.rcodes[name]
	if m.Rcode < 0 {
		return
	}
	if m.Rcode == dns.RcodeSuccess {
		m.Answer = f.records(name, r.Question[0].Qtype)
	}
	_ = w.WriteMsg(m)
}

func (f *fakeEdge) records(name string, qtype uint16) []dns.RR {
	head := dns.RR_Header{Name: name, Rrtype: qtype, Class: dns.ClassINET, Ttl: 1}
	switch {
	case qtype == dns.TypeSRV && name == serviceName:
		return []dns.RR{
			&dns.SRV{Hdr: head, Target: region2, Port: f.port},
			&dns.SRV{Hdr: head, Target: region1, Port: f.port},
		}
	case qtype == dns.TypeA && name == region2:
		return []dns.RR{&dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 3)}}
	case qtype == dns.TypeA:
		return []dns.RR{&dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 2)}}
	}
	return nil
}

const (
	serviceName = "_v2-origintunneld._tcp.argotunnel.com."
	region1     = "region1.v2.argotunnel.com."
	region2     = "region2.v2.argotunnel.com."
	otherName   = "api.cloudflare.com."
)

// told words what a look found: "ok", the class, or "-" for what was not looked at.
func told(c probe.Check) string {
	switch {
	case !c.Done:
		return "-"
	case c.OK:
		return "ok"
	}
	return string(c.Error.Class)
}

func TestTheWayToTheEdgeIsLookedAtPieceByPiece(t *testing.T) {
	both := [2]bool{true, true}
	const fine = "; region1 ok ok ok ok; region2 ok ok ok ok"
	for name, c := range map[string]struct {
		edge *fakeEdge
		want string
	}{
		"open":         {&fakeEdge{regions: both}, "any ok, service ok, over TLS -" + fine},
		"no UDP":       {&fakeEdge{regions: both, noUDP: true}, "any ok, service ok, over TLS -; region1 ok ok ok udp-timeout; region2 ok ok ok udp-timeout"},
		"cut":          {&fakeEdge{regions: both, noTLS: true}, "any ok, service ok, over TLS -; region1 ok ok tls-closed ok; region2 ok ok tls-closed ok"},
		"one region":   {&fakeEdge{regions: [2]bool{true, false}}, "any ok, service ok, over TLS -; region1 ok ok ok ok; region2 ok refused - refused"},
		"filtered SRV": {&fakeEdge{regions: both, rcodes: map[string]int{serviceName: dns.RcodeNameError}}, "any ok, service name-unknown, over TLS refused" + fine},
		"filtered names": {
			&fakeEdge{regions: both, rcodes: map[string]int{region1: dns.RcodeNameError, region2: dns.RcodeServerFailure}},
			"any ok, service ok, over TLS -; region1 name-unknown - - -; region2 name-lookup - - -",
		},
		"silent": {
			&fakeEdge{regions: both, rcodes: map[string]int{serviceName: -1, region1: -1, region2: -1, otherName: -1}},
			"any name-timeout, service name-timeout, over TLS refused; region1 name-timeout - - -; region2 name-timeout - - -",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := c.edge.start(t).Run(t.Context())
			text := fmt.Sprintf("any %s, service %s, over TLS %s", told(got.Any), told(got.Service), told(got.ServiceTLS))
			for _, r := range got.Regions {
				text += fmt.Sprintf("; %s %s %s %s %s", strings.TrimSuffix(r.Name, ".v2.argotunnel.com"), told(r.Lookup), told(r.TCP), told(r.TLS), told(r.UDP))
				if (r.TLS.OK || r.UDP.OK) && (r.Certificate == nil || !strings.Contains(r.Certificate.Issuer, "Test CA")) {
					t.Errorf("%s: certificate %+v", r.Name, r.Certificate)
				}
			}
			if text != c.want {
				t.Errorf("\n got %s\nwant %s", text, c.want)
			}
		})
	}
}

func TestALookAtAnEdgeThatIsGoneEndsWithItsCaller(t *testing.T) {
	look := (&fakeEdge{regions: [2]bool{true, true}, noUDP: true}).start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	got := look.Run(ctx)
	for _, r := range got.Regions {
		if r.UDP.OK || r.UDP.Took > 2*time.Second {
			t.Errorf("%s: %+v", r.Name, r.UDP)
		}
	}
}

func TestWhatThisHostForbidsIsToldFromSilence(t *testing.T) {
	for errno, want := range map[error]probe.Class{
		syscall.EPERM: probe.ClassProhibited, syscall.EACCES: probe.ClassProhibited, syscall.ENETUNREACH: probe.ClassUnreachable,
		syscall.EHOSTUNREACH: probe.ClassUnreachable, syscall.ECONNREFUSED: probe.ClassRefused,
	} {
		err := probe.AddressError(t.Context(), &net.OpError{Op: "write", Net: "udp", Err: errno})
		if probe.ClassOf(err) != want || errors.Unwrap(err) == nil {
			t.Errorf("%v: %v, want %s", errno, err, want)
		}
	}
}

func TestTheNameServersAreThoseInUse(t *testing.T) {
	for text, want := range map[string][]string{
		"":                         nil,
		"nameserver 192.168.1.1\n": {"192.168.1.1"},
		"nameserver 127.0.0.11\nsearch lan\noptions ndots:0\n# Based on host file: '/etc/resolv.conf' (internal resolver)\n# ExtServers: [host(127.0.0.53) 1.1.1.1]\n# Overrides: []\n": {"127.0.0.11", "127.0.0.53", "1.1.1.1"},
		"nameserver\nnameserver x\n#nameserver 9.9.9.9\nnameserver fe80::1%eth0":                                                                                                        {"fe80::1%eth0"},
		strings.Repeat("nameserver 1.1.1.1\n", 20): slices.Repeat([]string{"1.1.1.1"}, 8),
	} {
		if got := probe.Resolvers(text); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func FuzzResolvers(f *testing.F) {
	f.Add("nameserver 127.0.0.11\n# ExtServers: [host(1.1.1.1)]")
	f.Fuzz(func(t *testing.T, text string) {
		for _, server := range probe.Resolvers(text) {
			if _, err := netip.ParseAddr(server); err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
	})
}

func TestTheOtherServicesAreThoseWithAPort(t *testing.T) {
	var rules []string
	for _, service := range []string{
		"http://mosquitto:9001", "http://ha:8123", "https://nas", "ws://node", "wss://node", "tcp://db:5432", "tcp://db", "http://ha:8123/",
		"ssh://host:22", "unix:/sock", "http_status:404", "hello_world", "http://[fe80::1]:80", "http://a b:1", "http://h:99999", "http://:80", "%",
	} {
		rules = append(rules, fmt.Sprintf(`{"hostname":"a.example.com","service":%q}`, service))
	}
	config := `{"version":1,"config":{"ingress":[` + strings.Join(rules, ",") + `]}}`
	want := []string{"ha:8123", "nas:443", "node:80", "node:443", "db:5432", "[fe80::1]:80"}
	if got := probe.OtherServices([]byte(config), "mosquitto:9001"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func FuzzOtherServices(f *testing.F) {
	f.Add([]byte(`{"version":1,"config":{"ingress":[{"service":"http://ha:8123"},{"service":"tcp://[::1]:1"}]}}`))
	f.Fuzz(func(t *testing.T, config []byte) {
		list := probe.OtherServices(config, "mosquitto:9001")
		if len(list) > probe.MaxDials {
			t.Errorf("%d services", len(list))
		}
		for _, address := range list {
			if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
				t.Errorf("%q: %v", address, err)
			}
		}
	})
}

func TestTheProbeTriesTheOtherServicesAndCountsRequests(t *testing.T) {
	open, closed := listen(t, func(net.Conn) {}), closedPort(t)
	req := answering(t, `{"version":2,"config":{"ingress":[{"hostname":"a","service":"http://`+open+`"},{"hostname":"b","service":"tcp://`+closed+`"},{"service":"http_status:404"}]}}`)
	req.Others = true
	got := probe.Run(within(t, 10*time.Second), req, nil)
	if len(got.Others) != 2 || !got.Others[0].OK || got.Others[0].Address != open || told(got.Others[1].Check) != "refused" {
		t.Errorf("others %+v", got.Others)
	}
	if got.Counted || got.Edge != nil {
		t.Errorf("counted %v, edge %+v", got.Counted, got.Edge)
	}
}
