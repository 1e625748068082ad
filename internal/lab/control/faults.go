package control

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// What Faults.Accept may hold.
const (
	AcceptRefuse = "refuse" // nothing listens: "connection refused"
	AcceptStall  = "stall"  // TCP connects, the TLS handshake never answers
	AcceptDrop   = "drop"   // packets vanish: "i/o timeout"
)

// UDPSilent drops every UDP packet to the edge: QUIC is blocked.
const UDPSilent = "silent"

// What Faults.Certificate and Faults.PublicCertificate may hold.
const (
	CertificateExpired     = "expired"
	CertificateNotYetValid = "not-yet-valid"
	CertificateForeign     = "foreign" // signed by a CA that nobody trusts
	// CertificateFirstLevel is Cloudflare's Universal certificate: of the domain and of
	// what stands one level below it, whatever name is asked for.
	CertificateFirstLevel = "first-level"
)

// What Faults.DNS may hold.
const (
	DNSNXDomain = "nxdomain"
	DNSServFail = "servfail"
	DNSSilent   = "silent"
)

// What Faults.DNSOver may hold.
const (
	OverHTTPS = "https" // DNS-over-HTTPS alone
	OverPlain = "plain" // every other transport
)

// RedirectAccess as Faults.PublicRedirect sends clients to an Access login, as
// Cloudflare does for a hostname that an Access policy guards.
const RedirectAccess = "access"

// Faults is everything that can be made to go wrong. The zero value is a
// healthy world. Those of one tunnel go before those of the world, field by field.
type Faults struct {
	// RegisterError refuses registrations with this text, such as
	// "Unauthorized: Invalid tunnel secret" or "EDUPCONN".
	RegisterError string `json:"registerError,omitempty"`
	// RegisterDelay is how long a registration waits for its answer; connectors give up after 5 s.
	RegisterDelay Duration `json:"registerDelay,omitempty"`
	// NoConfig registers connectors without pushing a configuration.
	NoConfig bool `json:"noConfig,omitempty"`

	// PublicStatus answers every public request with this status.
	PublicStatus int `json:"publicStatus,omitempty"`
	// PublicCode is Cloudflare's own error number in the body of that answer, such as 1016.
	PublicCode int `json:"publicCode,omitempty"`
	// PublicBody is the body of that answer instead of an error number: a page.
	PublicBody string `json:"publicBody,omitempty"`
	// PublicRedirect answers with 302 to this URL, or to an Access login for RedirectAccess.
	PublicRedirect string `json:"publicRedirect,omitempty"`
	// AccessClientID and AccessClientSecret are the service token that a request
	// may carry to pass PublicRedirect.
	AccessClientID     string `json:"accessClientID,omitempty"`
	AccessClientSecret string `json:"accessClientSecret,omitempty"`
	// StripUpgrade forwards WebSocket requests as plain ones.
	StripUpgrade bool `json:"stripUpgrade,omitempty"`
	// IdleTimeout closes a WebSocket over which nothing has passed for so long.
	IdleTimeout Duration `json:"idleTimeout,omitempty"`
	// PublicCertificate is the certificate that public hostnames present.
	PublicCertificate string `json:"publicCertificate,omitempty"`
	// ClockSkew is added to the Date header of public answers.
	ClockSkew Duration `json:"clockSkew,omitempty"`

	// DNS is how the resolver fails: for a tunnel on its hostnames, for the
	// world on DNSNames, or on every name when that is empty.
	DNS      string   `json:"dns,omitempty"`
	DNSNames []string `json:"dnsNames,omitempty"`
	// DNSAnswer is what the resolver answers for the same names instead of the
	// truth: an address, or a host name that shows as CNAME. One below
	// cfargotunnel.com has an address of fd10:aec2:5dae::/48, as at Cloudflare.
	DNSAnswer string `json:"dnsAnswer,omitempty"`
	// DNSOver restricts DNS and DNSAnswer to some transports.
	DNSOver string `json:"dnsOver,omitempty"`

	// The fields from here are of the world: they act before a tunnel is known.

	// Accept is what TCP 7844 does with new connections.
	Accept string `json:"accept,omitempty"`
	// ConnectionDelay is how long the edge waits before the TLS handshake.
	ConnectionDelay Duration `json:"connectionDelay,omitempty"`
	// UDP is what UDP 7844 does with every packet, also of open connections.
	UDP string `json:"udp,omitempty"`
	// Region restricts Accept, ConnectionDelay and UDP to region 1 or 2; 0 is both.
	Region int `json:"region,omitempty"`
	// Certificate is what the edge presents to connectors.
	Certificate string `json:"certificate,omitempty"`
	// QUICPercentage is the share of connectors that the TXT record
	// protocol-v2.argotunnel.com sends to QUIC; nil is the lab's default.
	QUICPercentage *int `json:"quicPercentage,omitempty"`
	// SkipPrechecks tells connectors by TXT record to leave out their pre-checks.
	SkipPrechecks bool `json:"skipPrechecks,omitempty"`
}

// Validate returns an error when a field holds what the lab does not know.
func (f Faults) Validate() error {
	for _, c := range []struct {
		field, value string
		known        []string
	}{
		{"accept", f.Accept, []string{AcceptRefuse, AcceptStall, AcceptDrop}},
		{"udp", f.UDP, []string{UDPSilent}},
		{"certificate", f.Certificate, []string{CertificateExpired, CertificateNotYetValid, CertificateForeign}},
		{"publicCertificate", f.PublicCertificate, []string{CertificateExpired, CertificateNotYetValid, CertificateForeign, CertificateFirstLevel}},
		{"dns", f.DNS, []string{DNSNXDomain, DNSServFail, DNSSilent}},
		{"dnsOver", f.DNSOver, []string{OverHTTPS, OverPlain}},
	} {
		if c.value != "" && !slices.Contains(c.known, c.value) {
			return fmt.Errorf("%s: %q is none of %q", c.field, c.value, c.known)
		}
	}
	if f.PublicStatus != 0 && (f.PublicStatus < 200 || f.PublicStatus > 599) {
		return fmt.Errorf("publicStatus: %d is not a final HTTP status", f.PublicStatus)
	}
	if f.PublicCode != 0 && (f.PublicCode < 1000 || f.PublicCode > 1999) {
		return fmt.Errorf("publicCode: %d is none of Cloudflare's", f.PublicCode)
	}
	if f.IdleTimeout < 0 {
		return fmt.Errorf("idleTimeout: %v is negative", time.Duration(f.IdleTimeout))
	}
	if err := validateAnswer(f.DNSAnswer); err != nil {
		return err
	}
	if f.Region < 0 || f.Region > 2 {
		return fmt.Errorf("region: %d is neither 1 nor 2", f.Region)
	}
	if p := f.QUICPercentage; p != nil && (*p < 0 || *p > 100) {
		return fmt.Errorf("quicPercentage: %d is not between 0 and 100", *p)
	}
	return nil
}

// validateAnswer returns an error for what is neither an address nor a host name.
func validateAnswer(answer string) error {
	if _, err := netip.ParseAddr(answer); err == nil || answer == "" {
		return nil
	}
	if _, ok := dns.IsDomainName(answer); !ok || !strings.Contains(strings.TrimSuffix(answer, "."), ".") || strings.ContainsAny(answer, ` \\"`) {
		return fmt.Errorf("dnsAnswer: %q is neither an address nor a host name", answer)
	}
	return nil
}

// ValidateTunnel is Validate for the faults of one tunnel, which has none of the world's.
func (f Faults) ValidateTunnel() error {
	if f.Accept != "" || f.ConnectionDelay != 0 || f.UDP != "" || f.Region != 0 || f.Certificate != "" ||
		f.QUICPercentage != nil || f.SkipPrechecks || len(f.DNSNames) != 0 {
		return errors.New("accept, connectionDelay, udp, region, certificate, quicPercentage, skipPrechecks and dnsNames are faults of the world, not of one tunnel")
	}
	return f.Validate()
}

// TunnelCounters is what happened to one tunnel since it was made.
type TunnelCounters struct {
	Registrations        int `json:"registrations"`
	RefusedRegistrations int `json:"refusedRegistrations"`
	Unregistrations      int `json:"unregistrations"`
	// Lost counts connections that ended without unregistering.
	Lost          int `json:"lost"`
	ConfigsPushed int `json:"configsPushed"`
	// ConfigsRefused counts pushes that a connector answered with an error.
	ConfigsRefused int `json:"configsRefused"`
	Requests       int `json:"requests"`
	WebSockets     int `json:"webSockets"`
	// OpenWebSockets is how many are open now.
	OpenWebSockets int `json:"openWebSockets"`
	// Statuses counts public answers by status; an upgrade is 101.
	Statuses map[int]int `json:"statuses"`
}

// Counters is what the lab saw since it started.
type Counters struct {
	TCPConnections  int `json:"tcpConnections"`
	TLSHandshakes   int `json:"tlsHandshakes"`
	TLSFailures     int `json:"tlsFailures"`
	QUICConnections int `json:"quicConnections"`
	// ServerNames counts the names that connectors asked for in the handshake
	// (h2.cftunnel.com, quic.cftunnel.com, probe.cftunnel.com).
	ServerNames   map[string]int `json:"serverNames"`
	Registrations int            `json:"registrations"`
	// RefusedRegistrations counts by the text of the refusal.
	RefusedRegistrations map[string]int `json:"refusedRegistrations"`
	Unregistrations      int            `json:"unregistrations"`
	PublicRequests       int            `json:"publicRequests"`
	PublicWebSockets     int            `json:"publicWebSockets"`
	PublicStatuses       map[int]int    `json:"publicStatuses"`
	// DNS counts queries by "TYPE name", over all transports.
	DNS map[string]int `json:"dns"`
	// DNSTransports counts queries by udp, tcp, tls and https.
	DNSTransports map[string]int `json:"dnsTransports"`
}
