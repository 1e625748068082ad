package connector

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// origin is the service behind a rule.
type origin interface {
	// service is its name in logs and in /config.
	service() string
	// roundTrip answers an HTTP request, or a WebSocket upgrade.
	roundTrip(*http.Request) (*http.Response, error)
}

// statusOrigin answers everything with one status and nothing else.
type statusOrigin struct {
	code         int
	unconfigured bool
}

func (o statusOrigin) service() string { return fmt.Sprintf("http_status:%d", o.code) }

func (o statusOrigin) roundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: o.code, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
}

// unknownOrigin is a service that the stand-in has not got.
type unknownOrigin struct{ name string }

func (o unknownOrigin) service() string { return o.name }

func (o unknownOrigin) roundTrip(*http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("the stand-in has no service %s", o.name)
}

// httpOrigin speaks HTTP/1.1, or a WebSocket upgrade, to a host or a socket.
type httpOrigin struct {
	url       *url.URL
	name      string
	request   originRequest
	transport *http.Transport
}

func newHTTPOrigin(u *url.URL, socket, name string, request originRequest) *httpOrigin {
	dialer := &net.Dialer{Timeout: time.Duration(request.ConnectTimeout) * time.Second, KeepAlive: time.Duration(request.TCPKeepAlive) * time.Second}
	if request.NoHappyEyeballs {
		dialer.FallbackDelay = -1
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, MaxIdleConns: request.KeepAliveConnections,
		MaxIdleConnsPerHost: request.KeepAliveConnections, IdleConnTimeout: time.Duration(request.KeepAliveTimeout) * time.Second,
		TLSHandshakeTimeout: time.Duration(request.TLSTimeout) * time.Second, ExpectContinueTimeout: time.Second,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: request.NoTLSVerify, ServerName: request.OriginServerName}, //nolint:gosec // noTLSVerify is what the dashboard asked for
		ForceAttemptHTTP2: request.HTTP2Origin,
	}
	if socket != "" {
		transport.Proxy = nil
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
	}
	return &httpOrigin{url: u, name: name, request: request, transport: transport}
}

// start reads the file of authorities that the rule names.
func (o *httpOrigin) start() error {
	if o.request.CAPool == "" {
		return nil
	}
	pem, err := os.ReadFile(o.request.CAPool)
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", o.request.CAPool)
	}
	o.transport.TLSClientConfig.RootCAs = pool
	return nil
}

func (o *httpOrigin) service() string { return o.name }

func (o *httpOrigin) roundTrip(r *http.Request) (*http.Response, error) {
	r.URL.Host = o.url.Host
	switch o.url.Scheme {
	case "ws":
		r.URL.Scheme = "http"
	case "wss":
		r.URL.Scheme = "https"
	default:
		r.URL.Scheme = o.url.Scheme
	}
	if host := o.request.HTTPHostHeader; host != "" {
		r.Header.Set("X-Forwarded-Host", r.Host)
		r.Host = host
	}
	return o.transport.RoundTrip(r)
}

// tcpOrigin ends the WebSocket itself and carries its messages over TCP.
type tcpOrigin struct {
	name   string
	target string
	dialer net.Dialer
}

func newTCPOrigin(u *url.URL, request originRequest) *tcpOrigin {
	target := u.Host
	if u.Port() == "" {
		port := map[string]string{"ssh": "22", "rdp": "3389", "smb": "445", "tcp": "7864"}[u.Scheme]
		if port == "" {
			port = "7864"
		}
		target = net.JoinHostPort(u.Hostname(), port)
	}
	return &tcpOrigin{name: u.String(), target: target, dialer: net.Dialer{Timeout: time.Duration(request.ConnectTimeout) * time.Second}}
}

func (o *tcpOrigin) service() string { return o.name }

func (o *tcpOrigin) roundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("a stream has no round trip")
}
