// Package resolver is the lab's DNS: the names that a connector and a client of a
// tunnel look up, and NXDOMAIN for the rest of the world. It answers over UDP,
// TCP, TLS and HTTPS.
package resolver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
)

// Names that cloudflared looks up.
const (
	nameService   = "_v2-origintunneld._tcp.argotunnel.com."
	nameRegion1   = "region1.v2.argotunnel.com."
	nameRegion2   = "region2.v2.argotunnel.com."
	nameProtocols = "protocol-v2.argotunnel.com."
	nameFeatures  = "cfd-features.argotunnel.com."
)

// ttl is short, so that a fault shows at once.
const ttl = 5

// Zone is what the lab's DNS holds. It is safe for concurrent use once its
// fields are set.
type Zone struct {
	Registry *registry.Registry
	// Public is the address of the public side, and of every other name that
	// the lab serves.
	Public netip.Addr
	// Regions are the addresses of region 1 and 2 of the edge.
	Regions [2][]netip.Addr
	// EdgePort is the port that the SRV record names.
	EdgePort uint16
	// QUICPercentage is the TXT record's, unless a fault sets another.
	QUICPercentage int
}

// Answer returns the reply to a query that came over the named transport, or
// nil where a fault keeps silent.
func (z *Zone) Answer(query *dns.Msg, transport string) *dns.Msg {
	reply := new(dns.Msg).SetReply(query)
	reply.RecursionAvailable = true
	if query.Opcode != dns.OpcodeQuery || len(query.Question) != 1 {
		reply.Rcode = dns.RcodeNotImplemented
		return reply
	}
	q := query.Question[0]
	name := strings.ToLower(dns.Fqdn(q.Name))
	z.Registry.Count(func(c *control.Counters) {
		c.DNS[dns.TypeToString[q.Qtype]+" "+strings.TrimSuffix(name, ".")]++
		c.DNSTransports[transport]++
	})
	fault := z.fault(name, transport)
	switch fault.DNS {
	case control.DNSSilent:
		return nil
	case control.DNSServFail:
		reply.Rcode = dns.RcodeServerFailure
		return reply
	case control.DNSNXDomain:
		reply.Rcode = dns.RcodeNameError
		return reply
	}
	records, known := z.records(name, q.Qtype)
	if fault.DNSAnswer != "" {
		records, known = z.instead(fault.DNSAnswer, q.Qtype), true
	}
	if !known {
		reply.Rcode = dns.RcodeNameError
		return reply
	}
	for _, r := range records {
		if r.Header().Name == "" {
			r.Header().Name = q.Name // in the spelling of the question
		}
		reply.Answer = append(reply.Answer, r)
	}
	return reply
}

// fault returns the fault of a name over a transport: its tunnel's, or else the world's.
func (z *Zone) fault(name, transport string) control.Faults {
	plain := strings.TrimSuffix(name, ".")
	applies := func(f control.Faults) bool {
		over := f.DNSOver == "" || (f.DNSOver == control.OverHTTPS) == (transport == transportHTTPS)
		return over && (f.DNS != "" || f.DNSAnswer != "")
	}
	if id, ok := z.Registry.Route(plain); ok {
		if own := z.Registry.Own(id); applies(own) {
			return own
		}
	}
	world := z.Registry.World()
	matches := func(n string) bool { return strings.EqualFold(strings.TrimSuffix(n, "."), plain) }
	if !applies(world) || len(world.DNSNames) > 0 && !slices.ContainsFunc(world.DNSNames, matches) {
		return control.Faults{}
	}
	return world
}

// tunnels is the domain below which a tunnel's own name stands. Such names have
// addresses that nobody can route to; only Cloudflare's proxy knows what they mean.
const tunnels = ".cfargotunnel.com."

// instead returns the records of an answer that is not the truth.
func (z *Zone) instead(answer string, qtype uint16) []dns.RR {
	if address, err := netip.ParseAddr(answer); err == nil {
		return addresses([]netip.Addr{address}, qtype)
	}
	target := strings.ToLower(dns.Fqdn(answer))
	out := []dns.RR{&dns.CNAME{Hdr: header(dns.TypeCNAME), Target: target}}
	address := z.Public
	if strings.HasSuffix(target, tunnels) {
		address = netip.MustParseAddr("fd10:aec2:5dae::1")
	}
	for _, r := range addresses([]netip.Addr{address}, qtype) {
		r.Header().Name = target
		out = append(out, r)
	}
	return out
}

// records returns what a name has of a type; known is false for a name that
// does not exist at all.
func (z *Zone) records(name string, qtype uint16) (records []dns.RR, known bool) {
	switch name {
	case nameService:
		return z.services(qtype), true
	case nameRegion1:
		return addresses(z.Regions[0], qtype), true
	case nameRegion2:
		return addresses(z.Regions[1], qtype), true
	case nameProtocols:
		return texts(z.protocols(), qtype), true
	case nameFeatures:
		return texts(fmt.Sprintf(`{"dv3_2":0,"skip_prechecks":%t}`, z.Registry.World().SkipPrechecks), qtype), true
	case "api.cloudflare.com.", "update.argotunnel.com.", "cloudflare-dns.com.", "one.one.one.one.", "lab.cloudflareaccess.com.":
		return addresses([]netip.Addr{z.Public}, qtype), true
	}
	if _, ok := z.Registry.Route(strings.TrimSuffix(name, ".")); ok {
		return addresses([]netip.Addr{z.Public}, qtype), true
	}
	return nil, false
}

func (z *Zone) protocols() string {
	percentage := z.QUICPercentage
	if p := z.Registry.World().QUICPercentage; p != nil {
		percentage = *p
	}
	return fmt.Sprintf(`[{"protocol":"quic","percentage":%d},{"protocol":"http2","percentage":100}]`, percentage)
}

func (z *Zone) services(qtype uint16) []dns.RR {
	if qtype != dns.TypeSRV {
		return nil
	}
	var out []dns.RR
	for i, target := range []string{nameRegion1, nameRegion2} {
		out = append(out, &dns.SRV{
			Hdr: header(dns.TypeSRV), Priority: uint16(i + 1), Weight: 1, Port: z.EdgePort, Target: target,
		})
	}
	return out
}

func addresses(list []netip.Addr, qtype uint16) []dns.RR {
	var out []dns.RR
	for _, a := range list {
		switch {
		case qtype == dns.TypeA && a.Is4():
			out = append(out, &dns.A{Hdr: header(dns.TypeA), A: a.AsSlice()})
		case qtype == dns.TypeAAAA && a.Is6():
			out = append(out, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: a.AsSlice()})
		}
	}
	return out
}

func texts(text string, qtype uint16) []dns.RR {
	if qtype != dns.TypeTXT {
		return nil
	}
	return []dns.RR{&dns.TXT{Hdr: header(dns.TypeTXT), Txt: []string{text}}}
}

func header(rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}
