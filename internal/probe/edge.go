package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Deadlines of the looks at the edge. One after the other they fit into edgeMax:
// the names, then the handshakes.
const (
	nameTimeout = 3 * time.Second
	tcpTimeout  = 3 * time.Second // of the connection, and of the handshake after it
	udpTimeout  = 3 * time.Second // of one try
	udpTries    = 2
	edgeMax     = 9*time.Second + 500*time.Millisecond
)

// How the connector finds and greets the edge, see cloudflared's
// edgediscovery/allregions/discovery.go and connection/protocol.go.
const (
	edgeService   = "v2-origintunneld"
	edgeDomain    = "argotunnel.com."
	edgePort      = 7844
	fallbackDNS   = "1.1.1.1:853"
	fallbackName  = "cloudflare-dns.com"
	edgeNameHTTP2 = "h2.cftunnel.com"
	edgeNameQUIC  = "quic.cftunnel.com"
	edgeProtocol  = "argotunnel"
	// otherName is a name that the connector looks up too, and no filter that is
	// meant for tunnels has.
	otherName = "api.cloudflare.com."
)

// usualRegions are those that the SRV record has named for years.
func usualRegions() []string {
	return []string{"region1.v2.argotunnel.com", "region2.v2.argotunnel.com"}
}

// edgeLook is one look at the way to the edge.
type edgeLook struct {
	resolver *net.Resolver
	fallback string // HOST:PORT of DNS over TLS
	port     uint16 // of the edge, where no SRV record tells it
}

func newEdgeLook() edgeLook {
	return edgeLook{resolver: net.DefaultResolver, fallback: fallbackDNS, port: edgePort}
}

// run looks at everything at once, as far as one thing does not need another.
func (l edgeLook) run(ctx context.Context) *Edge {
	ctx, cancel := context.WithTimeout(ctx, edgeMax)
	defer cancel()
	edge := &Edge{}
	usual := make([]Region, len(usualRegions()))
	var named []*net.SRV
	var names errgroup.Group // no look returns an error, each stands in the report
	names.Go(func() error { edge.Any, _, _ = resolve(ctx, l.resolver, otherName); return nil })
	names.Go(func() error { edge.Service, named = service(ctx, l.resolver); return nil })
	for i, name := range usualRegions() {
		names.Go(func() error { usual[i] = l.find(ctx, name, l.port); return nil })
	}
	_ = names.Wait()

	var rest errgroup.Group
	if !edge.Service.OK {
		rest.Go(func() error { edge.ServiceTLS = l.serviceOverTLS(ctx); return nil })
	}
	edge.Regions = usual
	if len(named) > 0 {
		edge.Regions = make([]Region, len(named))
	}
	for i := range edge.Regions {
		rest.Go(func() error {
			if len(named) > 0 {
				edge.Regions[i] = l.region(ctx, usual, named[i])
			}
			edge.Regions[i].reach(ctx)
			return nil
		})
	}
	_ = rest.Wait()
	return edge
}

// region is the one that an SRV record names, whose addresses may be known by now.
func (l edgeLook) region(ctx context.Context, usual []Region, named *net.SRV) Region {
	name := strings.TrimSuffix(named.Target, ".")
	if i := slices.IndexFunc(usual, func(r Region) bool { return strings.EqualFold(r.Name, name) }); i >= 0 {
		known := usual[i]
		known.port = named.Port
		return known
	}
	return l.find(ctx, name, named.Port)
}

// find looks up the addresses of a region.
func (l edgeLook) find(ctx context.Context, name string, port uint16) Region {
	r := Region{Name: name, port: port}
	var found []netip.Addr
	r.Lookup, r.Addresses, found = resolve(ctx, l.resolver, name+".")
	if i := slices.IndexFunc(found, netip.Addr.Is4); i >= 0 {
		r.address = found[i]
	} else if len(found) > 0 {
		r.address = found[0]
	}
	return r
}

// resolve looks up a name. found has the addresses in the resolver's order.
func resolve(ctx context.Context, resolver *net.Resolver, name string) (c Check, sorted []string, found []netip.Addr) {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	a := &attempt{subject: strings.TrimSuffix(name, "."), started: time.Now()}
	found, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return outcome(a.started, a.lookUpError(ctx, err)), nil, nil
	}
	for i := range found {
		found[i] = found[i].Unmap()
		sorted = append(sorted, found[i].String())
	}
	slices.Sort(sorted)
	return outcome(a.started, nil), slices.Compact(sorted), found
}

// service looks up the SRV record, whose regions come sorted by name.
func service(ctx context.Context, resolver *net.Resolver) (Check, []*net.SRV) {
	ctx, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	a := &attempt{subject: "_" + edgeService + "._tcp." + strings.TrimSuffix(edgeDomain, "."), started: time.Now()}
	_, found, err := resolver.LookupSRV(ctx, edgeService, "tcp", edgeDomain)
	if err != nil {
		return outcome(a.started, a.lookUpError(ctx, err)), nil
	}
	slices.SortFunc(found, func(x, y *net.SRV) int { return strings.Compare(x.Target, y.Target) })
	return outcome(a.started, nil), found
}

// serviceOverTLS looks the SRV record up by DNS over TLS. Why that server is not
// reached is told in place of the lookup's error.
func (l edgeLook) serviceOverTLS(ctx context.Context) Check {
	a := &attempt{subject: l.fallback, started: time.Now()}
	var reached atomic.Pointer[error] // of the last connection
	over := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := tls.Dialer{
			NetDialer: &net.Dialer{Timeout: tcpTimeout},
			Config:    &tls.Config{ServerName: fallbackName, MinVersion: tls.VersionTLS12},
		}
		conn, err := dialer.DialContext(ctx, "tcp", l.fallback)
		reached.Store(&err)
		return conn, err
	}}
	c, _ := service(ctx, over)
	failed := reached.Load()
	if c.OK || failed == nil || *failed == nil {
		return c
	}
	if op, ok := errors.AsType[*net.OpError](*failed); ok && op.Op == "dial" {
		c.Error = a.addressError(ctx, *failed)
	} else {
		c.Error = a.tlsError(ctx, *failed)
	}
	return c
}

// reach tries both ways that the connector may go, at the same time.
func (r *Region) reach(ctx context.Context) {
	if !r.address.IsValid() {
		return
	}
	at := netip.AddrPortFrom(r.address, r.port)
	var overTCP, overUDP *Certificate
	var group errgroup.Group
	group.Go(func() error { overTCP = r.reachTCP(ctx, at); return nil })
	group.Go(func() error { r.UDP, overUDP = greetQUIC(ctx, r.Name, at); return nil })
	_ = group.Wait() // no look returns an error, each stands in the report
	if r.Certificate = overTCP; r.Certificate == nil {
		r.Certificate = overUDP
	}
}

// reachTCP connects, and greets the edge as for HTTP/2. It sends nothing beyond
// the handshake.
func (r *Region) reachTCP(ctx context.Context, at netip.AddrPort) *Certificate {
	a := newEdgeAttempt(r.Name, at)
	dialer := net.Dialer{Timeout: tcpTimeout}
	raw, err := dialer.DialContext(ctx, "tcp", at.String())
	if err != nil {
		r.TCP = outcome(a.started, a.addressError(ctx, err))
		return nil
	}
	r.TCP = outcome(a.started, nil)
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, tcpTimeout)
	defer cancel()
	conn := tls.Client(raw, edgeTLS(edgeNameHTTP2))
	err = conn.HandshakeContext(ctx)
	_ = conn.Close() // that it was answered is all that counts
	if err != nil {
		r.TLS = outcome(began, a.tlsError(ctx, err))
		return nil
	}
	r.TLS = outcome(began, nil)
	return describe(conn.ConnectionState().PeerCertificates)
}

// edgeTLS greets the edge by one of its names. Whose certificate it shows is not
// judged here: Cloudflare's edge has one of a private authority, which only the
// connector knows, and the connector's log tells when it does not fit.
func edgeTLS(name string) *tls.Config {
	return &tls.Config{
		ServerName: name,
		MinVersion: tls.VersionTLS12,
		//nolint:gosec // nothing is sent over the connection; the edge's authority is private and known to the connector alone
		InsecureSkipVerify: true,
	}
}

// newEdgeAttempt begins the look at an address of a region.
func newEdgeAttempt(region string, at netip.AddrPort) *attempt {
	return &attempt{
		subject: net.JoinHostPort(region, strconv.Itoa(int(at.Port()))), started: time.Now(),
		result: Result{Address: at.String()},
	}
}
