package probe_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"mqtunnel/internal/probe"
)

// resolver asks a name server of the test's own, which knows host, refuses to
// know broken.example.test, and says nothing about silent.example.test.
func resolver(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, question *dns.Msg) {
		answer := new(dns.Msg).SetReply(question)
		switch name := question.Question[0]; {
		case name.Name == host+".":
			if name.Qtype == dns.TypeA {
				answer.Answer = append(answer.Answer, &dns.A{
					Hdr: dns.RR_Header{Name: name.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: net.IPv4(127, 0, 0, 1),
				})
			}
		case strings.HasPrefix(name.Name, "broken."):
			answer.Rcode = dns.RcodeServerFailure
		case strings.HasPrefix(name.Name, "silent."):
			return
		default:
			answer.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(answer)
	})}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // ends by Shutdown
	}()
	<-started
	t.Cleanup(func() {
		_ = server.Shutdown()
		<-done
	})
	var mu sync.Mutex
	var asked []net.Conn
	t.Cleanup(func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range asked { // Go's resolver goes on reading for seconds after a cancelled lookup
			_ = c.Close()
		}
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			asked = append(asked, c)
		}
		return c, err
	}}
}

func TestEveryNameFaultHasItsClass(t *testing.T) {
	r := resolver(t)
	for name, class := range map[string]probe.Class{
		"missing.example.test": probe.ClassNameUnknown,
		"broken.example.test":  probe.ClassNameLookup,
		"silent.example.test":  probe.ClassNameTimeout,
	} {
		_, err := probe.RoundTrip(within(t, time.Second), probe.Target{URL: "ws://" + name, Resolver: r}, topic)
		if probe.ClassOf(err) != class {
			t.Errorf("%s: class %s, want %s: %v", name, probe.ClassOf(err), class, err)
		}
	}
	server := serve(t, mqttHandler(newBroker(t, true)))
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(server.URL, "http://"))
	result, err := probe.RoundTrip(within(t, 5*time.Second), probe.Target{URL: "ws://" + host + ":" + port, Resolver: r}, topic)
	if err != nil || len(result.Addresses) != 1 || result.Addresses[0] != "127.0.0.1" || result.Stages[0].Stage != probe.StageDNS {
		t.Errorf("known name: %+v, %v", result, err)
	}
}

func TestARefusedPortIsNamed(t *testing.T) {
	address := closedPort(t)
	expect(t, to("wss", address), probe.StageTCP, probe.ClassRefused, address+" refuses the connection: nothing listens there")
}
