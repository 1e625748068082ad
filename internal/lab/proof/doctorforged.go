package proof

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/probe"
)

// mark is the word that betrays a client's text wherever it turns up.
const mark = "zqforged"

// placeholder is a variable part of a message.
var placeholder = regexp.MustCompile(`<[^>]*>`)

// imitations returns every message of both tables with the variable parts filled in,
// and what the start script and the health checks say.
func imitations() []string {
	filled := map[string]string{
		"<n>": "7", "<version>": "2.1.2", "<address>": "192.0.2.1:9", "<protocol>": "http2", "<client>": mark, "<user>": "admin",
		"<report>": "bytes=0 retained=0 previous=900 previous-retained=90 copies=3 state=shrunk lost-since=1 lost-retained=90 lost-bytes=900",
	}
	var list []string
	for _, message := range slices.Concat(mosquitto.Messages(), cloudflared.Messages(), []string{
		"mqtunnel: error: " + mark, "Client mqtunnel-health [127.0.0.1:9] disconnected: not authorised.",
	}) {
		list = append(list, placeholder.ReplaceAllStringFunc(message, func(p string) string {
			if text, known := filled[p]; known {
				return text
			}
			return mark
		}))
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// harmless returns as many texts that imitate nothing, every other of which makes no
// method of a request.
func harmless(n int) []string {
	var list []string
	for i := range n {
		list = append(list, []string{"device ", "7 device "}[i%2]+strconv.Itoa(i))
	}
	return list
}

// guises are how a text is dressed up as a line of its own: with the stamps of either
// log, behind line ends, escape sequences and characters that turn the direction.
func guises(text string) []string {
	return []string{
		text,
		"2026-11-26T01:20:24+0000: " + text,
		"2026-11-26T01:20:24Z ERR " + text,
		"x\u2028\u202e" + text + "\u2066",
		"x\n\x1b[2K\r" + text,
		tooLong(text),
	}
}

// tooLong puts the text at the end of a client ID with which the broker, which writes
// 999 bytes of a line, cuts its own words off.
func tooLong(text string) string {
	return strings.Repeat("x", max(0, 999-len("2026-11-26T01:20:24+0000: Client ")-len(text))) + text
}

// doctorForged lets everybody who can reach the broker say what the tables say.
func doctorForged(ctx context.Context, b *Bench) (figure string, err error) {
	if err := b.tryVantage(ctx); err != nil {
		return "", err
	}
	s, err := b.site(ctx, "forged")
	if err != nil {
		return "", err
	}
	defer finish(&err, s.close)
	texts := imitations()
	var figures []string
	for _, version := range images.Versions() {
		if err := s.fresh(ctx, shape{mosquitto: version, settings: "TUNNEL_LOGLEVEL=debug"}); err != nil {
			return "", err
		}
		if err := s.becomes(ctx, diagnosis.clean); err != nil {
			return "", err
		}
		lines, err := s.forge(ctx, texts)
		if err != nil {
			return "", fmt.Errorf("mosquitto %s: %w", version, err)
		}
		figures = append(figures, fmt.Sprintf("mosquitto %s: %d of %d rows imitated in both logs by %d lines, 0 findings", version, len(texts), len(texts), lines))
	}
	told, err := s.edgeSays(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; %d answers of edge and servers changed no verdict; nothing raw on any output, nothing forged in the bundle", strings.Join(figures, "; "), told), nil
}

// batch is how many texts are said before somebody looks: of more lines than theirs
// doctor looks at the last ones only.
const batch = 12

// forge says all texts, harmless ones first, looks between and wants nothing found.
func (s *site) forge(ctx context.Context, texts []string) (lines int, err error) {
	password, err := s.password(ctx)
	if err != nil {
		return 0, err
	}
	if err := s.neighbours(ctx); err != nil {
		return 0, err
	}
	defer finish(&err, s.release)
	usual := map[string]bool{}
	if err := s.say(ctx, password, harmless(batch)); err != nil {
		return 0, err
	}
	if err := s.bundled(ctx, func(template string) error { usual[template] = true; return nil }); err != nil {
		return 0, err
	}
	for said := range slices.Chunk(texts, batch) {
		if err := s.unmoved(ctx, password, said, usual); err != nil {
			return 0, fmt.Errorf("with lines that imitate %q: %w", said, err)
		}
		s.b.logf("%d more rows imitated, 0 findings", len(said))
	}
	if err := s.nothingRaw(ctx); err != nil {
		return 0, err
	}
	if r, err := s.plain(ctx, "status"); err != nil || r.code != 0 {
		return 0, missed("status: exit %d: %s: %w", r.code, r.out, err)
	}
	return s.standing(ctx, texts)
}

// unmoved says texts and wants nothing found, and no line in the bundle that is not
// there for harmless texts too.
func (s *site) unmoved(ctx context.Context, password string, texts []string, usual map[string]bool) error {
	if err := s.say(ctx, password, texts); err != nil {
		return err
	}
	if err := s.quiet(ctx, "busy"); err != nil {
		return err
	}
	return s.bundled(ctx, func(template string) error {
		if !usual[template] && !background(template) {
			return missed("the bundle takes a line for %q", template)
		}
		return nil
	})
}

// neighbours makes containers of others whose names and settings imitate messages.
func (s *site) neighbours(ctx context.Context) error {
	for _, name := range []string{"Error.saving.in-memory.database", "mqtunnel-error"} {
		name = s.lab.Name + "-" + name
		if err := s.foreign(ctx, name, container.Config{
			Env: []string{"X=\x1b[31m\u202e" + mark}, Cmd: []string{"Unauthorized: Invalid tunnel secret"},
		}); err != nil {
			return err
		}
		s.hold(closer(func() error { return s.removeContainer(context.WithoutCancel(ctx), name) }))
	}
	return nil
}

// background reports whether a line is one that comes with time.
func background(template string) bool {
	return strings.HasPrefix(template, "Saving in-memory database to ") || strings.HasSuffix(template, "Retrying connection in up to <time>")
}

// say lets clients of every kind say the texts: with and without a login, on the plain
// port and through the tunnel, and requests that are none of MQTT.
func (s *site) say(ctx context.Context, password string, texts []string) error {
	c, err := s.inspect(ctx, broker)
	if err != nil {
		return err
	}
	address := c.NetworkSettings.Networks[s.network()].IPAddress
	target, err := s.target(user, password)
	if err != nil {
		return err
	}
	web, err := s.web()
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(6)
	for _, text := range texts {
		group.Go(func() error {
			if err := s.sayInside(ctx, address, password, text); err != nil {
				return err
			}
			through := target
			through.ClientID = text
			if _, err := probe.RoundTrip(ctx, through, "zq/"+strings.NewReplacer("#", "", "+", "").Replace(text)); err != nil {
				return fmt.Errorf("%q through the tunnel: %w", text, err)
			}
			return s.request(ctx, web, text)
		})
	}
	return group.Wait()
}

// sayInside says a text inside the project's network, in every guise.
func (s *site) sayInside(ctx context.Context, address, password, text string) error {
	// With a login, it is the line about the connection that holds the ID.
	packets := [][]byte{connectPacket(text, "", "", text), connectPacket(text, user, password, "")}
	for _, guise := range guises(text) {
		packets = append(packets, connectPacket(guise, guise, guise, guise))
	}
	packets = append(packets, connectPacket(tooLong(text), user, password, ""))
	for _, packet := range packets {
		if err := s.sayPlain(ctx, net.JoinHostPort(address, "1883"), packet); err != nil {
			return err
		}
	}
	return s.sayWebSocket(ctx, net.JoinHostPort(address, "9001"), text)
}

// sayPlain sends one packet and waits for what the broker makes of it.
func (s *site) sayPlain(ctx context.Context, address string, packet []byte) error {
	d := net.Dialer{Timeout: answerLimit}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the broker's answer is in its log
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return err
	}
	if _, err := conn.Write(packet); err != nil {
		return err
	}
	var answer [4]byte
	_, _ = io.ReadFull(conn, answer[:]) // a client that is thrown out gets none
	return nil
}

// sayWebSocket asks for a WebSocket with headers that say where the client is.
func (s *site) sayWebSocket(ctx context.Context, address, text string) error {
	return s.sayPlain(ctx, address, []byte("GET /"+url.PathEscape(text)+" HTTP/1.1\r\nHost: mosquitto\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n"+
		"X-Forwarded-For: \x1b[31m"+text+"\u202e\r\nOrigin: "+text+"\r\n\r\n"))
}

// connectPacket is a CONNECT of MQTT 3.1.1, of which each text may be anything.
func connectPacket(id, username, password, will string) []byte {
	const withWill, withPassword, withUsername = 0x04, 0x40, 0x80
	field := func(text string) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
	}
	flags, payload := byte(2), field(id)
	if will != "" {
		flags |= withWill
		payload = slices.Concat(payload, field(will), field("x"))
	}
	if username != "" {
		flags |= withUsername | withPassword
		payload = slices.Concat(payload, field(username), field(password))
	}
	body := slices.Concat(field("MQTT"), []byte{4, flags, 0, 60}, payload)
	return slices.Concat([]byte{0x10}, binary.AppendUvarint(nil, uint64(len(body))), body)
}

// web is a client of the public hostname.
func (s *site) web() (*http.Client, error) {
	target, err := s.target("", "")
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: answerLimit}
	return &http.Client{
		Timeout: answerLimit,
		Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: target.RootCAs, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return d.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(s.lab.PublicPort))))
			},
		},
	}, nil
}

// request sends a text as path, query, header and method of a request through the
// edge. What is answered does not matter.
func (s *site) request(ctx context.Context, web *http.Client, text string) error {
	method := http.MethodGet
	if first, _, _ := strings.Cut(text, " "); regexp.MustCompile(`^[A-Za-z]+$`).MatchString(first) {
		method = first
	}
	r, err := http.NewRequestWithContext(ctx, method, "https://"+s.host+"/"+url.PathEscape(text)+"?"+url.QueryEscape("\x1b[31m\u202e"+text), http.NoBody)
	if err != nil {
		return err
	}
	for _, name := range []string{"User-Agent", "X-Forwarded-For", "Cf-Connecting-Ip", "Cf-Ray"} {
		r.Header.Set(name, text)
	}
	answer, err := web.Do(r)
	if err != nil {
		return nil //nolint:nilerr // a server may refuse the method
	}
	return answer.Body.Close()
}

// standing wants each text in both logs, as docker logs shows them, and counts the
// lines.
func (s *site) standing(ctx context.Context, texts []string) (lines int, err error) {
	for _, service := range []string{broker, connector} {
		r, err := s.b.run(ctx, command{path: "docker", args: []string{"logs", s.container(service)}})
		if err != nil {
			return 0, err
		}
		log := r.all()
		if plain, err := url.PathUnescape(strings.ReplaceAll(log, "%", "%25")); err == nil && service == connector {
			log += plain
		}
		for _, text := range texts {
			n := strings.Count(log, text) + strings.Count(log, url.PathEscape(text))
			if n == 0 {
				return 0, missed("%q is not in the log of %s", text, service)
			}
			lines += n
		}
	}
	return lines, nil
}

// bundled makes a bundle, wants none of the clients' words in it, and passes on what
// its logs take lines for.
func (s *site) bundled(ctx context.Context, each func(template string) error) error {
	files, _, err := s.makeBundle(ctx)
	if err != nil {
		return err
	}
	for _, f := range files {
		name, text := f.Name, string(f.Data)
		if strings.Contains(text, mark) || strings.Contains(text, "lost-since") {
			return missed("%s in the bundle holds a client's words: %s", name, text)
		}
		if err := plainText(text); err != nil {
			return missed("%s in the bundle: %w", name, err)
		}
		if !strings.HasSuffix(name, "-log.txt") {
			continue
		}
		for line := range strings.Lines(text) {
			if template, found := strings.CutPrefix(bundleRow.ReplaceAllString(line, "="), "="); found {
				if err := each(strings.TrimSpace(template)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// bundleRow is what stands before a line of a log in a bundle: when, how often, and
// its level.
var bundleRow = regexp.MustCompile(`^ *(-?\d+s|\?) +\d+x (.....) |^ {21}= `)

// makeBundle makes a bundle of the project as it is, and returns what is in it and
// what was shown.
func (s *site) makeBundle(ctx context.Context) (files []doctor.BundleFile, shown string, err error) {
	path := filepath.Join(s.parent, "bundle.tar.gz")
	r, err := s.mqtunnel(ctx, "", "doctor", "--bundle", path, "--yes")
	if err != nil {
		return nil, "", err
	}
	if r.code != 0 {
		return nil, "", fmt.Errorf("doctor --bundle: exit %d: %s", r.code, r.err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, "", err
	}
	if info.Mode().Perm() != 0o600 {
		return nil, "", missed("the bundle has mode %04o", info.Mode().Perm())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	files, err = unpacked(data)
	return files, r.out, errors.Join(err, os.Remove(path))
}

// unpacked reads an archive.
func unpacked(data []byte) ([]doctor.BundleFile, error) {
	zipped, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	var files []doctor.BundleFile
	archive := tar.NewReader(zipped)
	for {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(archive, 1<<24))
		if err != nil {
			return nil, err
		}
		if owner := head.Uname + head.Gname; head.Uid != 0 || owner != "" {
			return nil, missed("%s in the bundle belongs to %d %s", head.Name, head.Uid, owner)
		}
		files = append(files, doctor.BundleFile{Name: strings.TrimPrefix(head.Name, "mqtunnel-doctor/"), Data: text})
	}
}

// nothingRaw runs everything that shows something of the project and wants no character
// that moves, colours or turns what a terminal shows.
func (s *site) nothingRaw(ctx context.Context) error {
	for _, args := range [][]string{
		{"doctor"}, {"doctor", "-v"}, {"doctor", "--json"}, {"status"}, {"status", "--live"}, {"status", "--json"}, {"logs"}, {"logs", "--json"},
	} {
		if _, err := s.plain(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// plain runs the binary, and wants lines of visible characters, which are JSON where
// that was asked for.
func (s *site) plain(ctx context.Context, args ...string) (result, error) {
	r, err := s.mqtunnel(ctx, "", args...)
	if err != nil {
		return r, err
	}
	if err := plainText(r.all()); err != nil {
		return r, missed("%v: %w", args, err)
	}
	if !slices.Contains(args, "--json") {
		return r, nil
	}
	for d := json.NewDecoder(strings.NewReader(r.out)); d.More(); {
		var object map[string]any
		if err := d.Decode(&object); err != nil {
			return r, missed("%v: %w", args, err)
		}
	}
	return r, nil
}

// plainText wants nothing but lines of visible characters.
func plainText(text string) error {
	for i, r := range text {
		if r == utf8.RuneError && !strings.HasPrefix(text[i:], "\uFFFD") || r != '\n' && unicode.In(r, unicode.C, unicode.Zl, unicode.Zp) {
			return missed("byte %d is %U: %q", i, r, text[max(0, i-60):min(len(text), i+20)])
		}
	}
	return nil
}

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
		return s.lab.Control.SetTunnelFaults(context.WithoutCancel(ctx), s.tunnel.TunnelID, control.Faults{})
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
	const evil = "\x1b[2J\u202eerror code: x " + mark
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
		for _, words := range []string{"no", evil} {
			certificate, text, err := answer(words)
			if err != nil {
				return answers, err
			}
			verdict, err := s.facing(ctx, certificate, "HTTP/1.1 "+text)
			if err != nil {
				return answers, fmt.Errorf("a server that shows words as its %s: %w", name, err)
			}
			verdicts[verdict] = true
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
