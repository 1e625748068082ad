// Package ca is the lab's certificate authority: one fresh root, and server
// certificates made for the name that a client asks for.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"time"

	"mqtunnel/internal/lab/control"
)

const (
	day = 24 * time.Hour
	// rootLifetime and leafLifetime stay under what strict clients accept.
	rootLifetime = 3650 * day
	leafLifetime = 90 * day
	// maxCached bounds the cache against clients that make names up.
	maxCached = 1024
)

// Authority issues certificates. It is safe for concurrent use.
type Authority struct {
	root    *signer
	foreign *signer // nobody trusts it

	mu     sync.Mutex
	issued map[issue]*tls.Certificate
}

// issue is what a certificate was made for.
type issue struct{ name, fault string }

type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// New makes an authority with a fresh root, valid from a year ago on.
func New() (*Authority, error) {
	root, err := newSigner("mqtunnel lab")
	if err != nil {
		return nil, err
	}
	foreign, err := newSigner("somebody else")
	if err != nil {
		return nil, err
	}
	return &Authority{root: root, foreign: foreign, issued: map[issue]*tls.Certificate{}}, nil
}

// PEM returns the root's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.root.certificate.Raw})
}

// Pool returns a pool that trusts the root alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root.certificate)
	return pool
}

// Certificate returns a server certificate for a name or an address, with
// the given fault: "" or one of control's Certificate constants.
func (a *Authority) Certificate(name, fault string) (*tls.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	key := issue{name, fault}
	if c, ok := a.issued[key]; ok {
		return c, nil
	}
	c, err := a.leaf(name, fault)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %q: %w", name, err)
	}
	if len(a.issued) >= maxCached {
		clear(a.issued)
	}
	a.issued[key] = c
	return c, nil
}

// Config returns a server's TLS settings whose certificate follows the name that
// the client asks for (the address that it reached where it asks for none) and
// the fault that holds for that name at that moment.
func (a *Authority) Config(fault func(serverName string) string, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: protocols,
		// A resumed session would go on with yesterday's certificate.
		SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			name := hello.ServerName
			if name == "" {
				name = localHost(hello.Conn)
			}
			return a.Certificate(name, fault(name))
		},
	}
}

func localHost(c net.Conn) string {
	if c == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return ""
	}
	return host
}

func (a *Authority) leaf(name, fault string) (*tls.Certificate, error) {
	by := a.root
	from := time.Now().Add(-time.Hour)
	until := from.Add(leafLifetime)
	switch fault {
	case control.CertificateExpired:
		from, until = from.Add(-leafLifetime), from.Add(-day)
	case control.CertificateNotYetValid:
		from, until = time.Now().Add(day), time.Now().Add(leafLifetime)
	case control.CertificateForeign:
		by = a.foreign
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    from,
		NotAfter:     until,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	switch ip := net.ParseIP(name); {
	case ip != nil:
		template.IPAddresses = []net.IP{ip}
	case fault == control.CertificateFirstLevel:
		template.DNSNames = []string{domain(name), "*." + domain(name)}
	default:
		template.DNSNames = []string{name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.certificate, &key.PublicKey, by.key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// domain returns the last two labels of a name.
func domain(name string) string {
	labels := strings.Split(name, ".")
	return strings.Join(labels[max(0, len(labels)-2):], ".")
}

func newSigner(name string) (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the lab's key: %w", err)
	}
	from := time.Now().Add(-365 * day)
	template := &x509.Certificate{
		SerialNumber:          serial(),
		Subject:               pkix.Name{CommonName: name, Organization: []string{"mqtunnel lab, trusted by nobody else"}},
		NotBefore:             from,
		NotAfter:              from.Add(rootLifetime),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make the lab's root: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the lab's root: %w", err)
	}
	return &signer{certificate, key}, nil
}

// serial returns a random serial number of the size that RFC 5280 allows.
func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return new(big.Int).SetBytes(b[:])
}
