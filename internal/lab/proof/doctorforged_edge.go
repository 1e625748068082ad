package proof

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
)

// edgeSays lets the edge, and a server in its place, answer with what imitates other
// faults, and wants the verdict that the same answer without words gets.
func (s *site) edgeSays(ctx context.Context) (answers int, err error) {
	if err := s.baseline(ctx); err != nil {
		return 0, err
	}
	words := []string{
		"\x1b[2J\u202e" + mark + " error code: x",
		"2026-11-26T01:20:24Z ERR Unauthorized: Invalid tunnel secret\r\nmqtunnel: error: " + mark,
	}
	for name, fault := range map[string]func(text string) control.Faults{
		"403": func(text string) control.Faults {
			return control.Faults{PublicStatus: http.StatusForbidden, PublicBody: text}
		},
		"502": func(text string) control.Faults {
			return control.Faults{PublicStatus: http.StatusBadGateway, PublicBody: text}
		},
		"302": func(text string) control.Faults {
			return control.Faults{PublicRedirect: "https://login.example.com/" + url.PathEscape(text)}
		},
		"refused": func(text string) control.Faults { return control.Faults{RegisterError: "Too many connections " + text} },
	} {
		want := ""
		for i, text := range append([]string{"no"}, words...) {
			got, err := s.underFault(ctx, fault(text))
			switch {
			case err != nil:
				return answers, fmt.Errorf("%s: %w", name, err)
			case i == 0:
				want = got
			case got != want:
				return answers, missed("%s with the words %q: %s, want %s as without", name, text, got, want)
			}
			answers++
		}
	}
	n, err := s.strangeServer(ctx)
	return answers + n, err
}

// underFault sets a fault of the tunnel, wants nothing raw on any output and returns
// the verdict.
func (s *site) underFault(ctx context.Context, f control.Faults) (verdict string, err error) {
	if err := s.lab.Control.SetTunnelFaults(ctx, s.tunnel.TunnelID, f); err != nil {
		return "", err
	}
	defer finish(&err, func() error {
		if err := s.lab.Control.SetTunnelFaults(context.WithoutCancel(ctx), s.tunnel.TunnelID, control.Faults{}); err != nil || f.RegisterError == "" {
			return err
		}
		return s.becomes(ctx, diagnosis.clean) // until the connector tries again
	})
	if f.RegisterError != "" {
		if _, err := s.lab.Control.Close(ctx, s.tunnel.TunnelID, control.AllConnections); err != nil {
			return "", err
		}
		if err := s.refused(ctx, func() error { return nil }); err != nil {
			return "", err
		}
	}
	d, err := s.doctor(ctx)
	if err != nil {
		return "", err
	}
	return d.first(), s.nothingRaw(ctx)
}

// strangeServer puts servers of all kinds in the edge's place, each with and without
// words, and wants the same verdict for both.
func (s *site) strangeServer(ctx context.Context) (answers int, err error) {
	authority, err := ca.New()
	if err != nil {
		return 0, err
	}
	trusted := slices.Concat(s.lab.CA, authority.PEM())
	file := filepath.Join(s.parent, "ca.pem")
	if err := os.WriteFile(file, trusted, 0o644); err != nil { //nolint:gosec // certificates
		return 0, err
	}
	defer finish(&err, func() error { return os.WriteFile(file, s.lab.CA, 0o644) }) //nolint:gosec // likewise
	good, err := authority.Certificate(s.host, "")
	if err != nil {
		return 0, err
	}
	const (
		turning  = "\u202eerror code: x " + mark
		escaping = "\x1b[2J" + turning // which makes a header none, and so another answer of it
	)
	for name, answer := range map[string]func(words string) (*tls.Certificate, string, error){
		"certificate": func(words string) (*tls.Certificate, string, error) {
			c, err := selfSigned(words)
			return c, "", err
		},
		"reason": func(words string) (*tls.Certificate, string, error) {
			return good, "502 " + words + "\r\nContent-Length: 0\r\n\r\n", nil
		},
		"server": func(words string) (*tls.Certificate, string, error) {
			return good, "403 No\r\nServer: " + words + "\r\nCf-Ray: " + words + "\r\nContent-Length: 0\r\n\r\n", nil
		},
		"body": func(words string) (*tls.Certificate, string, error) {
			return good, fmt.Sprintf("418 No\r\nContent-Length: %d\r\n\r\n%s", len(words), words), nil
		},
		"location": func(words string) (*tls.Certificate, string, error) {
			return good, "302 No\r\nLocation: https://a.example.com/" + words + "\r\nContent-Length: 0\r\n\r\n", nil
		},
		"protocol": func(words string) (*tls.Certificate, string, error) {
			return good, "101 No\r\nSec-WebSocket-Protocol: " + words + "\r\nUpgrade: " + words + "\r\n\r\n", nil
		},
	} {
		verdicts := map[string]bool{}
		for _, words := range []string{"no", turning, escaping} {
			certificate, text, err := answer(words)
			if err != nil {
				return answers, err
			}
			verdict, err := s.facing(ctx, certificate, "HTTP/1.1 "+text)
			if err != nil {
				return answers, fmt.Errorf("a server that shows words as its %s: %w", name, err)
			}
			if words != escaping || verdict == "" {
				verdicts[verdict] = true
			}
			answers++
		}
		if len(verdicts) != 1 || verdicts[""] {
			return answers, missed("a server's %s changes the verdict: %v", name, verdicts)
		}
	}
	return answers, nil
}

// facing asks for a diagnosis that meets a server of its own in the edge's place.
func (s *site) facing(ctx context.Context, certificate *tls.Certificate, answer string) (verdict string, err error) {
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12})
	if err != nil {
		return "", err
	}
	var group errgroup.Group
	group.Go(func() error {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return nil //nolint:nilerr // closed below
			}
			_ = conn.SetDeadline(time.Now().Add(answerLimit)) // a client that is gone has no use for it
			_, _ = conn.Read(make([]byte, 4<<10))             // likewise
			_, _ = io.WriteString(conn, answer)               // likewise
			_ = conn.Close()                                  // likewise
		}
	})
	defer finish(&err, func() error { return errors.Join(listener.Close(), group.Wait()) })
	to := fmt.Sprintf("%s:443:%s", s.host, listener.Addr())
	if _, err := s.plain(ctx, "doctor", "-v", "--connect-to", to); err != nil {
		return "", err
	}
	r, err := s.plain(ctx, "doctor", "--json", "--connect-to", to)
	if err != nil {
		return "", err
	}
	var d diagnosis
	err = json.Unmarshal([]byte(r.out), &d)
	return d.first(), err
}

// selfSigned makes a certificate of which all names are the words.
func selfSigned(words string) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// A name that is none can only stand in the subject.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: words, Organization: []string{words}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
