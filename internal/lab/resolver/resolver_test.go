package resolver_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
	"mqtunnel/internal/lab/resolver"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newZone(t *testing.T) (zone *resolver.Zone, tunnelID string) {
	t.Helper()
	r := registry.New()
	c, err := r.Create(control.TunnelRequest{Hostnames: []control.Rule{{Hostname: "mqtt.example.com", Service: "http://mosquitto:9001"}}})
	if err != nil {
		t.Fatal(err)
	}
	a := netip.MustParseAddr
	return &resolver.Zone{
		Registry: r, Public: a("10.0.0.1"), EdgePort: 7844, QUICPercentage: 100,
		Regions: [2][]netip.Addr{{a("10.0.0.11"), a("10.0.0.12")}, {a("10.0.0.21"), a("10.0.0.22")}},
	}, c.TunnelID
}

// ask returns the data of the answer, or the code for one without.
func ask(z *resolver.Zone, qtype uint16, name string) string {
	return text(z.Answer(new(dns.Msg).SetQuestion(dns.Fqdn(name), qtype), "udp"))
}

func text(reply *dns.Msg) string {
	if reply == nil {
		return "silence"
	}
	if len(reply.Answer) == 0 {
		return dns.RcodeToString[reply.Rcode]
	}
	var out []string
	for _, r := range reply.Answer {
		out = append(out, r.String()[len(r.Header().String()):])
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func TestEveryNameThatAConnectorOrAClientLooksUp(t *testing.T) {
	z, _ := newZone(t)
	for _, c := range []struct {
		qtype      uint16
		name, want string
	}{
		{dns.TypeSRV, "_v2-origintunneld._tcp.argotunnel.com", "1 1 7844 region1.v2.argotunnel.com., 2 1 7844 region2.v2.argotunnel.com."},
		{dns.TypeA, "region1.v2.argotunnel.com", "10.0.0.11, 10.0.0.12"},
		{dns.TypeA, "REGION2.v2.argotunnel.com", "10.0.0.21, 10.0.0.22"},
		{dns.TypeAAAA, "region2.v2.argotunnel.com", "NOERROR"},
		{dns.TypeTXT, "protocol-v2.argotunnel.com", `"[{\"protocol\":\"quic\",\"percentage\":100},{\"protocol\":\"http2\",\"percentage\":100}]"`},
		{dns.TypeTXT, "cfd-features.argotunnel.com", `"{\"dv3_2\":0,\"skip_prechecks\":false}"`},
		{dns.TypeA, "api.cloudflare.com", "10.0.0.1"},
		{dns.TypeA, "update.argotunnel.com", "10.0.0.1"},
		{dns.TypeA, "cloudflare-dns.com", "10.0.0.1"},
		{dns.TypeA, "mqtt.example.com", "10.0.0.1"},
		{dns.TypeAAAA, "mqtt.example.com", "NOERROR"},
		{dns.TypeA, "other.example.com", "NXDOMAIN"},
		{dns.TypeA, "mosquitto", "NXDOMAIN"},
	} {
		if got := ask(z, c.qtype, c.name); got != c.want {
			t.Errorf("%s %s: got %s, want %s", dns.TypeToString[c.qtype], c.name, got, c.want)
		}
	}
	if n := z.Registry.Counters().DNS["A region1.v2.argotunnel.com"]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

func TestDNSFailsOnCommand(t *testing.T) {
	const srv, host = "_v2-origintunneld._tcp.argotunnel.com", "mqtt.example.com"
	none := 0
	for _, c := range []struct {
		name       string
		world, own control.Faults
		qtype      uint16
		asked      string
		want       string
	}{
		{"all", control.Faults{DNS: control.DNSServFail}, control.Faults{}, dns.TypeSRV, srv, "SERVFAIL"},
		{"silent", control.Faults{DNS: control.DNSSilent}, control.Faults{}, dns.TypeA, host, "silence"},
		{"one name", control.Faults{DNS: control.DNSNXDomain, DNSNames: []string{"Region1.v2.argotunnel.com."}}, control.Faults{}, dns.TypeA, "region1.v2.argotunnel.com", "NXDOMAIN"},
		{"not that name", control.Faults{DNS: control.DNSNXDomain, DNSNames: []string{srv}}, control.Faults{}, dns.TypeA, host, "10.0.0.1"},
		{"a tunnel's hostname", control.Faults{}, control.Faults{DNS: control.DNSNXDomain}, dns.TypeA, host, "NXDOMAIN"},
		{"but nothing else", control.Faults{}, control.Faults{DNS: control.DNSNXDomain}, dns.TypeA, "api.cloudflare.com", "10.0.0.1"},
		{"http2 for all", control.Faults{QUICPercentage: &none}, control.Faults{}, dns.TypeTXT, "protocol-v2.argotunnel.com", `"[{\"protocol\":\"quic\",\"percentage\":0},{\"protocol\":\"http2\",\"percentage\":100}]"`},
	} {
		z, id := newZone(t)
		if err := z.Registry.SetWorld(c.world); err != nil {
			t.Fatal(err)
		}
		if err := z.Registry.SetTunnel(id, c.own); err != nil {
			t.Fatal(err)
		}
		if got := ask(z, c.qtype, c.asked); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestTheDNSAnswersSomethingElseOnCommand(t *testing.T) {
	const host = "mqtt.example.com"
	moved := control.Faults{DNSAnswer: "192.0.2.7"}
	tunnel := control.Faults{DNSAnswer: "b.cfargotunnel.com"}
	over := func(f control.Faults, transport string) control.Faults { f.DNSOver = transport; return f }
	for _, c := range []struct {
		name             string
		world, own       control.Faults
		qtype            uint16
		wantUDP, wantDoH string
	}{
		{"an address", control.Faults{}, moved, dns.TypeA, "192.0.2.7", "192.0.2.7"},
		{"no address of the other family", control.Faults{}, moved, dns.TypeAAAA, "NOERROR", "NOERROR"},
		{"plain DNS alone", control.Faults{}, over(moved, control.OverPlain), dns.TypeA, "192.0.2.7", "10.0.0.1"},
		{"HTTPS alone", control.Faults{}, over(moved, control.OverHTTPS), dns.TypeA, "10.0.0.1", "192.0.2.7"},
		{"a failure on plain DNS alone", control.Faults{}, over(control.Faults{DNS: control.DNSNXDomain}, control.OverPlain), dns.TypeA, "NXDOMAIN", "10.0.0.1"},
		{"a tunnel's name shows, without IPv4", control.Faults{}, tunnel, dns.TypeA, "b.cfargotunnel.com.", "b.cfargotunnel.com."},
		{"and with an address that leads nowhere", control.Faults{}, tunnel, dns.TypeAAAA, "b.cfargotunnel.com., fd10:aec2:5dae::1", "b.cfargotunnel.com., fd10:aec2:5dae::1"},
		{"another name shows", control.Faults{}, control.Faults{DNSAnswer: "Home.example.net"}, dns.TypeA, "10.0.0.1, home.example.net.", "10.0.0.1, home.example.net."},
		{"a name of the world", control.Faults{DNSAnswer: "192.0.2.7", DNSNames: []string{host}}, control.Faults{}, dns.TypeA, "192.0.2.7", "192.0.2.7"},
		{"a tunnel's own first", control.Faults{DNSAnswer: "192.0.2.8"}, moved, dns.TypeA, "192.0.2.7", "192.0.2.7"},
	} {
		z, id := newZone(t)
		if err := z.Registry.SetWorld(c.world); err != nil {
			t.Fatal(err)
		}
		if err := z.Registry.SetTunnel(id, c.own); err != nil {
			t.Fatal(err)
		}
		doh := text(z.Answer(new(dns.Msg).SetQuestion(dns.Fqdn(host), c.qtype), "https"))
		if got := ask(z, c.qtype, host); got != c.wantUDP || doh != c.wantDoH {
			t.Errorf("%s: got %s and over HTTPS %s, want %s and %s", c.name, got, doh, c.wantUDP, c.wantDoH)
		}
	}
}

func TestEveryTransportAnswers(t *testing.T) {
	z, _ := newZone(t)
	authority, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	l := resolver.Listeners{TLSConfig: authority.Config(func(string) string { return "" }, "dot")}
	for _, p := range []*net.Listener{&l.TCP, &l.TLS} {
		if *p, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	if l.UDP, err = net.ListenPacket("udp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- z.Serve(ctx, l) }()
	for _, c := range []struct{ network, address string }{
		{"udp", l.UDP.LocalAddr().String()}, {"tcp", l.TCP.Addr().String()}, {"tcp-tls", l.TLS.Addr().String()},
	} {
		client := dns.Client{Net: c.network, Timeout: 5 * time.Second, TLSConfig: &tls.Config{RootCAs: authority.Pool(), ServerName: "cloudflare-dns.com"}}
		reply, _, err := client.Exchange(new(dns.Msg).SetQuestion("mqtt.example.com.", dns.TypeA), c.address)
		if err != nil || text(reply) != "10.0.0.1" {
			t.Errorf("%s: %v, %v", c.network, reply, err)
		}
	}
	stop()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestDNSOverHTTPSAnswersInEveryForm(t *testing.T) {
	z, _ := newZone(t)
	wire, err := new(dns.Msg).SetQuestion("mqtt.example.com.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	alias := control.Faults{DNSAnswer: "home.example.net", DNSNames: []string{"alias.example.com"}}
	if err := z.Registry.SetWorld(alias); err != nil {
		t.Fatal(err)
	}
	get := httptest.NewRequest(http.MethodGet, "/dns-query?dns="+base64.RawURLEncoding.EncodeToString(wire), nil)
	post := httptest.NewRequest(http.MethodPost, "/dns-query", bytes.NewReader(wire))
	for _, r := range []*http.Request{get, post} {
		w := httptest.NewRecorder()
		z.ServeHTTP(w, r)
		reply := new(dns.Msg)
		if err := reply.Unpack(w.Body.Bytes()); err != nil || text(reply) != "10.0.0.1" || w.Header().Get("Content-Type") != "application/dns-message" {
			t.Errorf("%s: %v, %v, %v", r.Method, reply, err, w.Header())
		}
	}
	for query, want := range map[string]string{
		"name=mqtt.example.com&type=A":    `{"Status":0,"TC":false,"RD":true,"RA":true,"AD":false,"CD":false,"Question":[{"name":"mqtt.example.com","type":1}],"Answer":[{"name":"mqtt.example.com","type":1,"TTL":5,"data":"10.0.0.1"}]}`,
		"name=nothing.example.com&type=1": `{"Status":3,"TC":false,"RD":true,"RA":true,"AD":false,"CD":false,"Question":[{"name":"nothing.example.com","type":1}]}`,
		"name=alias.example.com&type=A":   `{"Status":0,"TC":false,"RD":true,"RA":true,"AD":false,"CD":false,"Question":[{"name":"alias.example.com","type":1}],"Answer":[{"name":"alias.example.com","type":5,"TTL":5,"data":"home.example.net."},{"name":"home.example.net","type":1,"TTL":5,"data":"10.0.0.1"}]}`,
	} {
		w := httptest.NewRecorder()
		z.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/dns-query?"+query, nil))
		got, _ := io.ReadAll(w.Body)
		if strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	for _, r := range []*http.Request{
		httptest.NewRequest(http.MethodGet, "/dns-query?dns=!", nil),
		httptest.NewRequest(http.MethodGet, "/dns-query?name=a&type=nonsense", nil),
		httptest.NewRequest(http.MethodPut, "/dns-query", nil),
	} {
		w := httptest.NewRecorder()
		z.ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s %s: %d", r.Method, r.URL, w.Code)
		}
	}
}
