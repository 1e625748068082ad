package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// tunnelDomain is the domain below which each tunnel has a name of its ID. A public
// hostname is an alias of it, which shows only where Cloudflare does not stand in
// front.
const tunnelDomain = ".cfargotunnel.com"

// unproxied returns the addresses that the names below tunnelDomain have. Nobody can
// connect to them.
func unproxied() netip.Prefix { return netip.MustParsePrefix("fd10:aec2:5dae::/48") }

// cloudflareRanges are the addresses at which Cloudflare answers for its customers:
// https://www.cloudflare.com/ips-v4 and ips-v6.
func cloudflareRanges() []netip.Prefix {
	var ranges []netip.Prefix
	for _, text := range []string{
		"173.245.48.0/20", "103.21.244.0/22", "103.22.200.0/22", "103.31.4.0/22", "141.101.64.0/18",
		"108.162.192.0/18", "190.93.240.0/20", "188.114.96.0/20", "197.234.240.0/22", "198.41.128.0/17",
		"162.158.0.0/15", "104.16.0.0/13", "104.24.0.0/14", "172.64.0.0/13", "131.0.72.0/22",
		"2400:cb00::/32", "2606:4700::/32", "2803:f800::/32", "2405:b500::/32", "2405:8100::/32",
		"2a06:98c0::/29", "2c0f:f248::/32",
	} {
		ranges = append(ranges, netip.MustParsePrefix(text))
	}
	return ranges
}

// ofCloudflare reports whether one of the addresses is Cloudflare's.
func ofCloudflare(addresses []netip.Addr) bool {
	ranges := cloudflareRanges()
	return slices.ContainsFunc(addresses, func(a netip.Addr) bool {
		return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return r.Contains(a) })
	})
}

// ownNetwork reports whether an address is of some network of its own, not of the internet.
func ownNetwork(a netip.Addr) bool {
	shared := netip.MustParsePrefix("100.64.0.0/10") // RFC 6598
	return a.IsPrivate() || a.IsLoopback() || a.IsUnspecified() || a.IsLinkLocalUnicast() || shared.Contains(a)
}

// found reports whether the answers lead anywhere.
func (a *Answers) found() bool {
	return a != nil && a.Err == nil && (len(a.Addresses) > 0 || a.CNAME != "")
}

// none reports whether the answers say that the name leads nowhere.
func (a *Answers) none() bool { return a != nil && a.Err == nil && !a.found() }

// String tells who says what.
func (a *Answers) String() string {
	from := a.From
	if from == "" {
		from = "the resolver of this machine"
	}
	var said []string
	if a.CNAME != "" {
		said = append(said, "alias of "+a.CNAME)
	}
	for _, address := range a.Addresses {
		said = append(said, address.String())
	}
	switch {
	case a.Err != nil:
		return from + ": " + a.Err.Error()
	case len(said) > 0:
		return from + ": " + strings.Join(said, ", ")
	case a.Exists:
		return from + ": no address"
	default:
		return from + ": no such name"
	}
}

// shares reports whether the answers have an address in common.
func (a *Answers) shares(other *Answers) bool {
	return a != nil && slices.ContainsFunc(a.Addresses, func(x netip.Addr) bool { return slices.Contains(other.Addresses, x) })
}

// seenOf tells what each of the answers says, and passes over those that are not there.
func seenOf(answers ...*Answers) []string {
	var lines []string
	for _, a := range answers {
		if a != nil {
			lines = append(lines, a.String())
		}
	}
	return lines
}

// proven reports whether a client that looked the name up reached the broker: then
// the name is right, whatever a resolver says.
func (p *PublicEvidence) proven() bool { return !p.ConnectTo && p.through() > 0 }

// record returns the answers that tell of the DNS record: the world's, or else what
// is known here.
func (p *PublicEvidence) record() *Answers {
	if p.World != nil {
		return p.World
	}
	return p.System
}

// nameOutcome is what every check of the name begins with; decided is false where
// the answers have to tell.
func (p *PublicEvidence) nameOutcome() (outcome Outcome, decided bool) {
	switch {
	case p.Hostname == "":
		return unseen("no public hostname is known"), true
	case p.proven():
		return pass(""), true
	case p.record() == nil || p.record().Err != nil:
		return unseen("no resolver told anything of %s", p.Hostname), true
	default:
		return Outcome{}, false
	}
}

func judgeNameExists(e *Evidence) Outcome {
	p := &e.Public
	if outcome, decided := p.nameOutcome(); decided {
		return outcome
	}
	record := p.record()
	switch {
	case !record.none():
		return pass("")
	case record.Exists:
		return fault("the public hostname %s has no address in the DNS", p.Hostname).seen(seenOf(p.World, p.System)...)
	default:
		return fault("the public hostname %s does not exist in the DNS", p.Hostname).seen(seenOf(p.World, p.System)...)
	}
}

// targetTunnel returns the ID of the tunnel that the name visibly leads to, "" for
// none.
func (a *Answers) targetTunnel() string {
	if id, found := strings.CutSuffix(a.CNAME, tunnelDomain); found {
		return id
	}
	return ""
}

func judgeNameTarget(e *Evidence) Outcome {
	p := &e.Public
	if outcome, decided := p.nameOutcome(); decided {
		return outcome
	}
	record := p.record()
	id := record.targetTunnel()
	switch {
	case id != "" && e.Files.Token != nil && id != e.Files.Token.TunnelID:
		return fault("the DNS record of %s leads to another tunnel than that of the token", p.Hostname).
			seen(seenOf(p.World, p.System)...).
			seen("tunnel of the token: " + e.Files.Token.TunnelID)
	case id == "" && len(p.Trips) > 0 && p.System.shares(record) && notCloudflares(record.Addresses) && !p.byCloudflare() &&
		(p.World != nil || !slices.ContainsFunc(record.Addresses, ownNetwork)): // a network of one's own has names of its own
		return fault("the DNS record of %s leads to %s, which is not Cloudflare", p.Hostname, record.Addresses[0]).
			seen(seenOf(p.World, p.System)...).seen(p.tripLines()...)
	default:
		return pass("")
	}
}

// notCloudflares reports whether none of the addresses is Cloudflare's, by whatever way.
func notCloudflares(addresses []netip.Addr) bool {
	return !ofCloudflare(addresses) && !slices.ContainsFunc(addresses, unproxied().Contains)
}

func judgeNameProxied(e *Evidence) Outcome {
	p := &e.Public
	if outcome, decided := p.nameOutcome(); decided {
		return outcome
	}
	record := p.record()
	if record.targetTunnel() == "" && !slices.ContainsFunc(record.Addresses, unproxied().Contains) {
		return pass("")
	}
	return fault("the DNS record of %s does not go through Cloudflare, so nobody can connect", p.Hostname).
		seen(seenOf(p.World, p.System)...).because("name-target")
}

func judgeNameHere(e *Evidence) Outcome {
	p := &e.Public
	switch {
	case p.Hostname == "":
		return unseen("no public hostname is known")
	case p.ConnectTo:
		return unseen("--connect-to says where to connect")
	case p.proven():
		return pass("")
	case p.System == nil:
		return unseen("the resolver of this machine was not asked")
	case p.System.Err != nil:
		return deadResolver(p)
	case p.World == nil:
		return unseen("there is no second opinion on what the resolver here says")
	case p.System.none() && p.World.found():
		return fault("this network does not know the name %s, which exists in the world", p.Hostname).
			seen(seenOf(p.System, p.World)...).do(mendHere(p.System))
	case p.astray():
		return fault("this network resolves %s to %s, not to where the world does", p.Hostname, p.System.Addresses[0]).
			seen(seenOf(p.System, p.World)...).do(mendHere(p.System))
	default:
		return pass("")
	}
}

// deadResolver is the outcome where the resolver of this machine does not tell.
func deadResolver(p *PublicEvidence) Outcome {
	world := "DNS-over-HTTPS: not asked"
	switch {
	case p.World != nil:
		world = p.World.String()
	case p.WorldErr != nil:
		world = "DNS-over-HTTPS: " + p.WorldErr.Error()
	}
	told := fault("the DNS resolver of this machine does not answer")
	if dnsErr, ok := errors.AsType[*net.DNSError](p.System.Err); ok && !dnsErr.IsTimeout {
		told = fault("the DNS resolver of this machine fails for %s", p.Hostname)
	}
	return told.seen(p.System.String(), world).
		do("see that the resolver in /etc/resolv.conf answers, or enter another one there", "resolvectl status").
		because("edge-route")
}

// astray reports whether the resolver here leads somewhere else than the world's: to
// a network of one's own, or away from Cloudflare.
func (p *PublicEvidence) astray() bool {
	here, world := p.System.Addresses, p.World.Addresses
	if len(here) == 0 || len(world) == 0 || p.System.shares(p.World) {
		return false
	}
	return !slices.ContainsFunc(here, func(a netip.Addr) bool { return !ownNetwork(a) }) || ofCloudflare(world) && !ofCloudflare(here)
}

// mendHere says where the answer of this network can be mended.
func mendHere(here *Answers) string {
	switch {
	case strings.HasPrefix(here.From, "/etc/hosts"):
		return fmt.Sprintf("remove the name from %s", here.From)
	case !here.Exists:
		return "a resolver may remember for some minutes that a new name did not exist; else let router, Pi-hole or DNS filter pass it"
	default:
		return "" // the check's own
	}
}
