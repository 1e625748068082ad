package proof

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/probe"
)

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
