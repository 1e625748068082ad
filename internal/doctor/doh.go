package doctor

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/probe"
)

// Cloudflare's resolver over HTTPS, and its address for where no resolver tells. Its
// certificate holds for both.
// https://developers.cloudflare.com/1.1.1.1/encryption/dns-over-https/
const (
	worldHost    = "cloudflare-dns.com"
	worldAddress = "1.1.1.1"
)

// maxWorldBytes bounds one answer of the resolver.
const maxWorldBytes = 64 << 10

// Types and answers of DNS (RFC 1035, RFC 3596).
const (
	typeA     = 1
	typeCNAME = 5
	typeAAAA  = 28

	rcodeSuccess = 0
	rcodeNoName  = 3
)

// askWorld asks Cloudflare's DNS-over-HTTPS for a name, as the world sees it.
func askWorld(ctx context.Context, target probe.Target, name string) (*Answers, error) {
	transport := &http.Transport{
		DialContext:       worldDialer(target),
		TLSClientConfig:   &tls.Config{RootCAs: target.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	answers := &Answers{Exists: true, From: "DNS-over-HTTPS of " + worldHost}
	for _, qtype := range []int{typeA, typeAAAA, typeCNAME} {
		body, err := worldAnswer(ctx, client, name, qtype)
		if err == nil {
			err = answers.take(body, name)
		}
		if err != nil {
			return nil, fmt.Errorf("ask %s for %s: %w", worldHost, name, err)
		}
		if !answers.Exists {
			break
		}
	}
	slices.SortFunc(answers.Addresses, netip.Addr.Compare)
	answers.Addresses = slices.Compact(answers.Addresses)
	return answers, nil
}

// worldDialer connects to the resolver, by its address where the name leads nowhere.
func worldDialer(target probe.Target) func(context.Context, string, string) (net.Conn, error) {
	dialer := net.Dialer{Resolver: target.Resolver, Timeout: dnsTimeout / 2}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		host, port, redirected := target.Dials(host, port)
		conn, err := dialer.DialContext(ctx, network, net.JoinHostPort(host, port))
		if err == nil || redirected {
			return conn, err
		}
		return dialer.DialContext(ctx, network, net.JoinHostPort(worldAddress, port))
	}
}

// worldAnswer asks one question.
func worldAnswer(ctx context.Context, client *http.Client, name string, qtype int) (body []byte, err error) {
	query := url.Values{"name": {name}, "type": {strconv.Itoa(qtype)}}
	u := url.URL{Scheme: "https", Host: worldHost, Path: "/dns-query", RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/dns-json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(kind, "application/dns-json") {
		return nil, fmt.Errorf("HTTP %d with %q", response.StatusCode, kind)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, maxWorldBytes+1))
	if err == nil && len(body) > maxWorldBytes {
		err = fmt.Errorf("more than %d bytes", maxWorldBytes)
	}
	return body, err
}

// wireWorld is the part of an answer that is read.
type wireWorld struct {
	Status *int          `json:"Status"`
	Answer []worldRecord `json:"Answer"`
}

// worldRecord is one record of an answer.
type worldRecord struct {
	Name string `json:"name"`
	Type int    `json:"type"`
	Data string `json:"data"`
}

// take adds what one answer says of name. Records of other types are passed over;
// one that cannot be what its type says spoils the whole answer.
func (a *Answers) take(body []byte, name string) error {
	var wire wireWorld
	if err := json.Unmarshal(body, &wire); err != nil {
		return fmt.Errorf("unexpected JSON: %T", err)
	}
	switch {
	case wire.Status == nil:
		return errors.New("an answer without a status")
	case *wire.Status == rcodeNoName:
		a.Exists = false
	case *wire.Status != rcodeSuccess:
		return fmt.Errorf("the resolver answers with code %d", *wire.Status)
	}
	for _, record := range wire.Answer {
		if err := a.takeRecord(record, name); err != nil {
			return err
		}
	}
	return nil
}

func (a *Answers) takeRecord(r worldRecord, name string) error {
	switch r.Type {
	case typeA, typeAAAA:
		address, err := netip.ParseAddr(r.Data)
		if err != nil || address.Is4() != (r.Type == typeA) || address.Zone() != "" {
			return errors.New("a record whose address is none")
		}
		a.Addresses = append(a.Addresses, address)
	case typeCNAME:
		target := plainName(r.Data)
		if !cloudflared.IsHostname(target) {
			return errors.New("an alias of a name that is none")
		}
		if plainName(r.Name) == plainName(name) {
			a.CNAME = cmp.Or(a.CNAME, target)
		}
	}
	return nil
}

// plainName writes a DNS name in lower case without its final dot.
func plainName(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
