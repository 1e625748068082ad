package conformance

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// zone answers the names that a connector asks for, on port 53 of the bench's own loopback network.
type zone struct {
	bench *bench

	mu    sync.Mutex
	fail  map[string]int // name and type, such as "SRV _v2-origintunneld._tcp.argotunnel.com." -> response code
	extra map[string]string
	asked []string
}

func newZone(t *testing.T, b *bench) *zone {
	t.Helper()
	z := &zone{bench: b, fail: map[string]int{}, extra: map[string]string{}}
	packet, err := net.ListenPacket("udp", b.dns+":53")
	if err != nil {
		t.Fatalf("answer DNS on %s: %v", b.dns, err)
	}
	server := &dns.Server{PacketConn: packet, Handler: z}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ActivateAndServe() // ends with the test
	}()
	t.Cleanup(func() {
		_ = packet.Close() // ends the server also when it had not begun
		<-done
	})
	return z
}

// breakName makes a lookup fail with a response code.
func (z *zone) breakName(key string, code int) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.fail[key] = code
}

// override gives a name another answer.
func (z *zone) override(key, record string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.extra[key] = record
}

// ServeDNS answers one question.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	answer := new(dns.Msg)
	answer.SetReply(q)
	key := dns.TypeToString[q.Question[0].Qtype] + " " + strings.ToLower(q.Question[0].Name)
	z.asked = append(z.asked, key)
	code, broken := z.fail[key]
	if broken {
		answer.Rcode = code
		_ = w.WriteMsg(answer) // the asker asks again
		return
	}
	records := z.records(key)
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			panic(err)
		}
		answer.Answer = append(answer.Answer, rr)
	}
	answer.RecursionAvailable = true
	if len(records) == 0 && len(z.records(strings.Replace(key, "AAAA ", "A ", 1))) == 0 {
		answer.Rcode = dns.RcodeNameError
	}
	_ = w.WriteMsg(answer) // the asker asks again
}

func (z *zone) records(key string) []string {
	p := z.bench.prefix
	if r, ok := z.extra[key]; ok {
		return []string{r}
	}
	switch key {
	case "TXT cfd-features.argotunnel.com.":
		return []string{`cfd-features.argotunnel.com. 60 IN TXT "{\"dv3_2\":0}"`}
	case "TXT protocol-v2.argotunnel.com.":
		return []string{`protocol-v2.argotunnel.com. 60 IN TXT "[{\"protocol\":\"quic\",\"percentage\":100}]"`}
	case "SRV _v2-origintunneld._tcp.argotunnel.com.":
		return []string{
			fmt.Sprintf("_v2-origintunneld._tcp.argotunnel.com. 60 IN SRV 1 1 %d region1.v2.argotunnel.com.", edgePort),
			fmt.Sprintf("_v2-origintunneld._tcp.argotunnel.com. 60 IN SRV 2 1 %d region2.v2.argotunnel.com.", edgePort),
		}
	case "A region1.v2.argotunnel.com.":
		return []string{"region1.v2.argotunnel.com. 60 IN A " + p + "1", "region1.v2.argotunnel.com. 60 IN A " + p + "2"}
	case "A region2.v2.argotunnel.com.":
		return []string{"region2.v2.argotunnel.com. 60 IN A " + p + "3", "region2.v2.argotunnel.com. 60 IN A " + p + "4"}
	}
	return nil
}
