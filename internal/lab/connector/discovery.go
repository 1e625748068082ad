package connector

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

const (
	edgeService = "v2-origintunneld"
	edgeDomain  = "argotunnel.com"
	// fallbackDNS is asked over TLS when the system's resolver has no SRV records.
	fallbackDNS = "1.1.1.1:853"
)

var errNoAddress = errors.New("there are no free edge addresses left to resolve to")

// pool hands out edge addresses, each to one connection at a time, taking turns between the regions. It is safe for
// concurrent use.
type pool struct {
	mu      sync.Mutex
	regions [][]netip.AddrPort
	used    map[uint8]netip.AddrPort
}

// discover finds the edge: the addresses that were given, or by DNS.
func (c *connector) discover(ctx context.Context) (*pool, error) {
	given := c.settings.given.text("edge")
	if given == "" {
		return c.resolveEdge(ctx)
	}
	var all []netip.AddrPort
	for entry := range strings.SplitSeq(given, ",") {
		resolved, err := net.ResolveTCPAddr("tcp", entry)
		if err != nil {
			return nil, err
		}
		a := resolved.AddrPort()
		all = append(all, netip.AddrPortFrom(a.Addr().Unmap(), a.Port()))
	}
	half := (len(all) + 1) / 2
	return &pool{used: map[uint8]netip.AddrPort{}, regions: [][]netip.AddrPort{all[:half], all[half:]}}, nil
}

// resolveEdge finds the edge by DNS.
func (c *connector) resolveEdge(ctx context.Context) (*pool, error) {
	p := &pool{used: map[uint8]netip.AddrPort{}}
	records, err := c.lookupEdge(ctx)
	if err != nil {
		return nil, err
	}
	for _, record := range records {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", record.Target)
		if err != nil {
			return nil, fmt.Errorf("Couldn't resolve SRV record %v: %w", record, err) //nolint:staticcheck // cloudflared's text
		}
		var region []netip.AddrPort
		for _, ip := range c.family(found) {
			region = append(region, netip.AddrPortFrom(ip, record.Port))
		}
		p.regions = append(p.regions, region)
	}
	if len(p.regions) < 2 {
		return nil, fmt.Errorf("expected at least 2 Cloudflare Regions regions, but SRV only returned %d", len(p.regions))
	}
	return p, nil
}

// family keeps the addresses of the wanted kind; "auto" takes that of the first one.
func (c *connector) family(found []netip.Addr) []netip.Addr {
	six := c.settings.given.text("edge-ip-version") == "6"
	if c.settings.given.text("edge-ip-version") == "auto" && len(found) > 0 {
		six = !found[0].Unmap().Is4()
	}
	var kept []netip.Addr
	for _, ip := range found {
		if ip = ip.Unmap(); ip.Is4() != six {
			kept = append(kept, ip)
		}
	}
	return kept
}

// lookupEdge asks for the SRV records, over TLS at a known resolver when the system's has none.
func (c *connector) lookupEdge(ctx context.Context) ([]*net.SRV, error) {
	service := edgeService
	if region := c.settings.given.text("region") + c.settings.token.Endpoint; region != "" {
		service = region + "-" + edgeService
	}
	_, records, err := net.DefaultResolver.LookupSRV(ctx, service, "tcp", edgeDomain)
	if err == nil {
		return records, nil
	}
	bounded, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	overTLS := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		dialer := tls.Dialer{Config: &tls.Config{ServerName: "cloudflare-dns.com", MinVersion: tls.VersionTLS12}}
		return dialer.DialContext(ctx, "tcp", fallbackDNS)
	}}
	if _, records, other := overTLS.LookupSRV(bounded, service, "tcp", edgeDomain); other == nil && len(records) > 0 {
		return records, nil
	}
	about := fields{"event": 0}
	c.log.failure("edge discovery: error looking up Cloudflare edge IPs: the DNS query failed", err, about)
	for _, line := range []string{
		`Please try the following things to diagnose this issue:`,
		`  1. ensure that argotunnel.com is returning "origintunneld" service records.`,
		`     Run your system's equivalent of: dig srv _origintunneld._tcp.argotunnel.com`,
		`  2. ensure that your DNS resolver is not returning compressed SRV records.`,
		`     See GitHub issue https://github.com/golang/go/issues/27546`,
		`     For example, you could use Cloudflare's 1.1.1.1 as your resolver:`,
		`     https://developers.cloudflare.com/1.1.1.1/setting-up-1.1.1.1/`,
	} {
		c.log.failure(line, nil, about)
	}
	return nil, fmt.Errorf("Could not lookup srv records on _%s._tcp.%s: %w", service, edgeDomain, err) //nolint:staticcheck // cloudflared's text
}

func (p *pool) size() int {
	n := 0
	for _, region := range p.regions {
		n += len(region)
	}
	return n
}

// address is the one that a connection has, or a free one.
func (p *pool) address(index uint8) (netip.AddrPort, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a, ok := p.used[index]; ok {
		return a, nil
	}
	return p.free(index, netip.AddrPort{})
}

// another gives the connection's address back and takes a different one.
func (p *pool) another(index uint8) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.used[index]
	delete(p.used, index)
	_, err := p.free(index, old)
	return err
}

// free takes an unused address from the region with the most of them.
func (p *pool) free(index uint8, not netip.AddrPort) (netip.AddrPort, error) {
	taken := map[netip.AddrPort]bool{}
	for _, a := range p.used {
		taken[a] = true
	}
	var best []netip.AddrPort
	for _, region := range p.regions {
		var left []netip.AddrPort
		for _, a := range region {
			if !taken[a] && a != not {
				left = append(left, a)
			}
		}
		if len(left) > len(best) {
			best = left
		}
	}
	if len(best) == 0 {
		return netip.AddrPort{}, errNoAddress
	}
	p.used[index] = best[0]
	return best[0], nil
}

// announced is the protocol that DNS asks for; http2 when the lookup fails.
func (c *connector) announced(ctx context.Context) string {
	texts, err := net.DefaultResolver.LookupTXT(ctx, "protocol-v2.argotunnel.com")
	var shares []struct {
		Protocol   string `json:"protocol"`
		Percentage uint32 `json:"percentage"`
	}
	if err == nil && len(texts) > 0 {
		err = json.Unmarshal([]byte(texts[0]), &shares)
	} else if err == nil {
		err = errors.New("no TXT record")
	}
	if err != nil {
		c.log.warn("Unable to lookup protocol percentage.", nil)
		return protocolHTTP2
	}
	sum := fnv.New32a()
	_, _ = sum.Write([]byte(c.settings.token.AccountTag)) // a hash takes everything
	for _, name := range []string{protocolQUIC, protocolHTTP2} {
		for _, share := range shares {
			if share.Protocol == name && share.Percentage > sum.Sum32()%100 {
				return name
			}
		}
	}
	return protocolQUIC
}

// features asks for the switches that Cloudflare keeps in DNS.
func (c *connector) features(ctx context.Context) (skipPrechecks bool) {
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	texts, err := net.DefaultResolver.LookupTXT(bounded, "cfd-features.argotunnel.com")
	var switches struct {
		Skip bool `json:"skip_prechecks"`
	}
	if err == nil && len(texts) > 0 {
		err = json.Unmarshal([]byte(texts[0]), &switches)
	}
	if err != nil {
		c.log.failure("Failed to fetch features, default to disable", err, nil)
	}
	return switches.Skip
}

// refreshLocal looks up the address by which private networks would find their resolver; only its failure shows.
func (c *connector) refreshLocal(ctx context.Context) {
	if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", "region1.v2.argotunnel.com"); err != nil && ctx.Err() == nil {
		c.log.failure("Failed to initialize DNS local resolver", err, nil)
	}
}
