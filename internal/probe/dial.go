package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http/httptrace"
	"net/url"
	"sync"
	"syscall"
	"time"
)

// errWindowsRefused is WSAECONNREFUSED, which package syscall does not map.
const errWindowsRefused = syscall.Errno(10061)

// attempt is one connection on its way through the stages.
type attempt struct {
	target  Target
	url     *url.URL
	subject string
	result  Result
	started time.Time
	mark    time.Time // when the current stage began
}

// newAttempt checks the target's URL.
func newAttempt(target Target) (*attempt, error) {
	now := time.Now()
	a := &attempt{target: target, started: now, mark: now, subject: "broker"}
	u, err := url.Parse(target.URL)
	if err != nil {
		// The error quotes the URL, where a password may stand.
		return nil, a.fail(StageTarget, ClassTarget, errTargetURL)
	}
	a.url = u
	a.subject = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
	switch u.Scheme {
	case "ws", "wss", "mqtt":
	default:
		return nil, a.fail(StageTarget, ClassTarget, errTargetScheme)
	}
	if u.Hostname() == "" {
		return nil, a.fail(StageTarget, ClassTarget, errTargetURL)
	}
	if u.User != nil {
		return nil, a.fail(StageTarget, ClassTarget, errTargetUser)
	}
	return a, nil
}

var (
	errTargetURL    = errors.New("not a URL with a host name")
	errTargetScheme = errors.New("the URL must begin with ws://, wss:// or mqtt://")
	errTargetUser   = errors.New("the URL must not hold a username or password")
)

// passed ends the current stage.
func (a *attempt) passed(stage Stage) {
	now := time.Now()
	a.result.Stages = append(a.result.Stages, Timing{Stage: stage, Took: now.Sub(a.mark)})
	a.mark = now
}

// fail makes the error of a stage.
func (a *attempt) fail(stage Stage, class Class, cause error) *Error {
	e := &Error{
		Class: class, Stage: stage, Subject: a.subject, Address: a.result.Address,
		At: time.Now().UTC().Truncate(time.Second), cause: cause,
	}
	if cause != nil {
		e.Detail = cause.Error()
	}
	return e
}

// ended returns the error of a stage that ctx cut short, or nil when ctx goes on.
func (a *attempt) ended(ctx context.Context, stage Stage, timeout Class) *Error {
	switch err := ctx.Err(); {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return a.fail(stage, timeout, err)
	default:
		return a.fail(stage, ClassCancelled, err)
	}
}

func (a *attempt) port() string {
	if port := a.url.Port(); port != "" {
		return port
	}
	switch a.url.Scheme {
	case "wss":
		return "443"
	case "ws":
		return "80"
	default:
		return "1883"
	}
}

// dial resolves and connects, both address families in parallel where there are
// both. The connection is closed when ctx ends.
func (a *attempt) dial(ctx context.Context) (net.Conn, error) {
	host, port, _ := redirect(a.target.ConnectTo, a.url.Hostname(), a.port())
	var mu sync.Mutex // several connects may report at once
	var looked bool
	var lookErr error
	trace := &httptrace.ClientTrace{
		DNSDone: func(info httptrace.DNSDoneInfo) {
			mu.Lock()
			defer mu.Unlock()
			looked, lookErr = true, info.Err
			for _, address := range info.Addrs {
				a.result.Addresses = append(a.result.Addresses, address.String())
			}
			if info.Err == nil {
				a.passed(StageDNS)
			}
		},
	}
	dialer := net.Dialer{Resolver: a.target.Resolver}
	conn, err := dialer.DialContext(httptrace.WithClientTrace(ctx, trace), "tcp", net.JoinHostPort(host, port))
	mu.Lock()
	defer mu.Unlock()
	if err == nil {
		a.result.Address = conn.RemoteAddr().String()
		a.passed(StageTCP)
		return conn, nil
	}
	if dnsErr, ok := errors.AsType[*net.DNSError](err); ok || (looked && lookErr != nil) {
		return nil, a.nameError(ctx, dnsErr, err)
	}
	return nil, a.addressError(ctx, err)
}

func (a *attempt) nameError(ctx context.Context, dnsErr *net.DNSError, err error) *Error {
	if e := a.ended(ctx, StageDNS, ClassNameTimeout); e != nil {
		return e
	}
	switch {
	case dnsErr == nil:
		return a.fail(StageDNS, ClassNameLookup, err)
	case dnsErr.IsNotFound:
		return a.fail(StageDNS, ClassNameUnknown, dnsErr)
	case dnsErr.IsTimeout:
		return a.fail(StageDNS, ClassNameTimeout, dnsErr)
	default:
		return a.fail(StageDNS, ClassNameLookup, dnsErr)
	}
}

// lookUpError tells why a name was not resolved.
func (a *attempt) lookUpError(ctx context.Context, err error) *Error {
	dnsErr, _ := errors.AsType[*net.DNSError](err)
	return a.nameError(ctx, dnsErr, err)
}

func (a *attempt) addressError(ctx context.Context, err error) *Error {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Addr != nil && a.result.Address == "" {
		a.result.Address = op.Addr.String()
	}
	if e := a.ended(ctx, StageTCP, ClassTCPTimeout); e != nil {
		return e
	}
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, errWindowsRefused):
		return a.fail(StageTCP, ClassRefused, err)
	case isNet && timeout.Timeout():
		return a.fail(StageTCP, ClassTCPTimeout, err)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return a.fail(StageTCP, ClassProhibited, err)
	default:
		return a.fail(StageTCP, ClassUnreachable, err)
	}
}

// secure verifies the server's certificate for the host of the URL, wherever
// the connection leads.
func (a *attempt) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	conn := tls.Client(raw, &tls.Config{
		ServerName: a.url.Hostname(),
		RootCAs:    a.target.RootCAs,
		NextProtos: []string{"http/1.1"},
		MinVersion: tls.VersionTLS12,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, a.tlsError(ctx, err)
	}
	a.result.Certificate = describe(conn.ConnectionState().PeerCertificates)
	a.passed(StageTLS)
	return conn, nil
}

func (a *attempt) tlsError(ctx context.Context, err error) *Error {
	if e := a.ended(ctx, StageTLS, ClassTLSTimeout); e != nil {
		return e
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		e := a.fail(StageTLS, classOfCertificate(failed, time.Now()), failed.Err)
		e.Certificate = describe(failed.UnverifiedCertificates)
		return e
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return a.fail(StageTLS, ClassNotTLS, err)
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok || isRemoteAlert(err) {
		return a.fail(StageTLS, ClassTLSAlert, err)
	}
	if isClosed(err) {
		return a.fail(StageTLS, ClassTLSClosed, err)
	}
	return a.fail(StageTLS, ClassCertOther, err)
}

// isRemoteAlert reports whether the other side ended the handshake with an
// alert: package tls wraps those in an OpError of its own.
func isRemoteAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

func isClosed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, net.ErrClosed)
}

func classOfCertificate(failed *tls.CertificateVerificationError, now time.Time) Class {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](failed); ok && invalid.Reason == x509.Expired {
		if invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return ClassCertNotYet
		}
		return ClassCertExpired
	}
	if _, ok := errors.AsType[x509.HostnameError](failed); ok {
		return ClassCertName
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](failed); ok {
		return ClassCertAuthority
	}
	return ClassCertOther
}

func describe(chain []*x509.Certificate) *Certificate {
	if len(chain) == 0 {
		return nil
	}
	leaf := chain[0]
	names := leaf.DNSNames
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	return &Certificate{
		Subject: leaf.Subject.String(), Issuer: leaf.Issuer.String(), Names: first(names, 20),
		NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter,
	}
}
