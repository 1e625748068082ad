package connector

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings is how one run was asked for.
type settings struct {
	given     given
	environ   []string
	token     token
	fromFile  bool
	grace     time.Duration
	rpc       time.Duration
	retries   uint
	addresses uint
	slots     int
}

// settle finds the token, whose faults end the program with 255; what else is wrong is found by check, later.
func settle(inv invocation, environ []string) (settings, error) {
	s := settings{given: inv.given, environ: environ}
	if len(inv.args) > 1 {
		return s, errors.New(`"cloudflared tunnel run" accepts only one argument, the ID or name of the tunnel to run.`) //nolint:staticcheck // cloudflared's text
	}
	text := s.given.text("token")
	if text == "" && s.given.text("token-file") != "" {
		s.fromFile = true
		raw, err := os.ReadFile(s.given.text("token-file"))
		if err != nil {
			return s, fmt.Errorf("Failed to read token file: %w", err) //nolint:staticcheck // cloudflared's text
		}
		text = strings.TrimSpace(string(raw))
	}
	if text == "" {
		return s, errors.New(`"cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file.`) //nolint:staticcheck // cloudflared's text
	}
	var err error
	s.token, err = parseToken(text)
	return s, err
}

// protocol names, as flags and log lines write them.
const (
	protocolAuto  = "auto"
	protocolHTTP2 = "http2"
	protocolQUIC  = "quic"
)

// check reads the values whose faults end the program with "Couldn't start tunnel".
func (s *settings) check() error {
	var err error
	if s.grace, err = time.ParseDuration(s.given.text("grace-period")); err != nil {
		return fmt.Errorf("parse grace-period: %w", err)
	}
	if s.grace > 3*time.Minute {
		return errors.New("grace-period must be equal or less than 3m0s")
	}
	if v := s.given.text("edge-ip-version"); !slices.Contains([]string{"4", "6", "auto"}, v) {
		return fmt.Errorf("invalid value for edge-ip-version: %s", v)
	}
	if s.given.text("region") != "" && s.token.Endpoint != "" {
		return errors.New("region provided with a token that has an endpoint")
	}
	if s.rpc, err = time.ParseDuration(s.given.text("rpc-timeout")); err != nil {
		return fmt.Errorf("parse rpc-timeout: %w", err)
	}
	for name, into := range map[string]*uint{"retries": &s.retries, "max-edge-addr-retries": &s.addresses} {
		n, err := strconv.ParseUint(s.given.text(name), 10, 8)
		if err != nil {
			return fmt.Errorf("parse %s: %w", name, err)
		}
		*into = uint(n)
	}
	if s.slots, err = strconv.Atoi(s.given.text("ha-connections")); err != nil {
		return fmt.Errorf("parse ha-connections: %w", err)
	}
	return nil
}

// firstProtocol is what the first connection speaks, and whether it may fall back to another.
func (s *settings) firstProtocol(announced string) (protocol string, fallback bool, err error) {
	switch asked := s.given.text("protocol"); asked {
	case protocolHTTP2, protocolQUIC:
		return asked, false, nil
	case protocolAuto:
		if !s.fromFile {
			return protocolQUIC, true, nil
		}
		// With the token in a file the protocol comes from DNS, and is http2 where that failed.
		return announced, true, nil
	default:
		return "", false, fmt.Errorf("unknown protocol %s, Available protocols: 'auto' - automatically chooses the best protocol over time (the default; and also the recommended one); 'quic' - based on QUIC, relying on UDP egress to Cloudflare edge; 'http2' - using Go's HTTP2 library, relying on TCP egress to Cloudflare edge", asked)
	}
}

// edgeTLS is how the edge is verified: the authorities of TUNNEL_CACERT replace the system's.
func (s *settings) edgeTLS(name string, protocols ...string) (*tls.Config, error) {
	config := &tls.Config{
		ServerName: name, NextProtos: protocols, MinVersion: tls.VersionTLS12,
		CurvePreferences: []tls.CurveID{tls.X25519MLKEM768, tls.CurveP256},
	}
	path := s.given.text("cacert")
	if path == "" {
		return config, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("unable to create TLS config to connect with edge: %w", err)
	}
	pool := x509.NewCertPool()
	if pool.AppendCertsFromPEM(pem) {
		config.RootCAs = pool
	}
	return config, nil
}
