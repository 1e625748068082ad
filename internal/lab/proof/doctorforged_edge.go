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
	"strings"
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
	for name, answer := range strangeAnswers() {
		n, err := s.unmovedBy(ctx, good, name, answer)
		if err != nil {
			return answers, fmt.Errorf("a server that shows words as its %s: %w", name, err)
		}
		answers += n
	}
	return answers, nil
}

// unmovedBy lets a server give an answer without and with words, and wants one verdict.
func (s *site) unmovedBy(ctx context.Context, good *tls.Certificate, name, answer string) (answers int, err error) {
	const (
		turning  = "\u202eerror code: x " + mark
		escaping = "\x1b[2J" + turning
	)
	verdicts := map[string]bool{}
	for _, words := range []string{"no", turning, escaping} {
		certificate := good
		if answer == "" {
			if certificate, err = selfSigned(words); err != nil {
				return answers, err
			}
		}
		verdict, err := s.facing(ctx, certificate, "HTTP/1.1 "+strings.ReplaceAll(answer, "WORDS", words))
		if err != nil {
			return answers, err
		}
		answers++
		// A header with an escape character is none, and so another answer of it.
		if words == escaping && strings.HasPrefix(name, "header ") && verdict != "" {
			continue
		}
		verdicts[verdict] = true
	}
	if len(verdicts) != 1 || verdicts[""] {
		return answers, missed("they change the verdict: %v", verdicts)
	}
	return answers, nil
}

// strangeAnswers are answers with WORDS in a place each; the empty one is never given,
// since the certificate holds them.
func strangeAnswers() map[string]string {
	const end = "Content-Length: 0\r\n\r\n"
	return map[string]string{
		"certificate":     "",
		"reason":          "502 WORDS\r\n" + end,
		"header Server":   "403 No\r\nServer: WORDS\r\nCf-Ray: WORDS\r\n" + end,
		"header Location": "302 No\r\nLocation: https://a.example.com/WORDS\r\n" + end,
		"header Upgrade":  "101 No\r\nSec-WebSocket-Protocol: WORDS\r\nUpgrade: WORDS\r\n\r\n",
		"body":            "418 No\r\nConnection: close\r\n\r\nWORDS",
	}
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
