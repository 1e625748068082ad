package probe_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/packets"

	"mqtunnel/internal/probe"
)

// expect checks what a round trip to target says.
func expect(t *testing.T, target probe.Target, stage probe.Stage, class probe.Class, sentence string) probe.Error {
	t.Helper()
	_, err := probe.RoundTrip(within(t, 10*time.Second), target, topic)
	e, ok := errors.AsType[*probe.Error](err)
	if !ok {
		t.Fatalf("error %v, want class %s", err, class)
	}
	if e.Class != class || e.Stage != stage || !strings.Contains(e.Error(), ": "+sentence) {
		t.Errorf("class %s at %s: %q\nwant %s at %s: %q\ndetail %q", e.Class, e.Stage, e, class, stage, sentence, e.Detail)
	}
	return *e
}

func TestEveryHTTPAnswerHasItsMeaning(t *testing.T) {
	for name, test := range map[string]struct {
		status         int
		body, location string
		class          probe.Class
		sentence       string
	}{
		"no connector":         {530, "error code: 1033", "", probe.ClassNoConnector, "HTTP 530 (error 1033): no connector of this tunnel is connected to Cloudflare"},
		"no connector, page":   {530, "<title>Error 1033</title>", "", probe.ClassNoConnector, "HTTP 530 (error 1033): no connector"},
		"no connector, silent": {530, "", "", probe.ClassNoConnector, "HTTP 530: no connector"},
		"tunnel deleted":       {530, "error code: 1016", "", probe.ClassTunnelUnknown, "HTTP 530 (error 1016): the DNS record points to a tunnel that does not exist"},
		"origin unreachable":   {502, "", "", probe.ClassOriginFailed, "HTTP 502: the connector cannot reach the service"},
		"no ingress":           {503, "", "", probe.ClassNoIngress, "HTTP 503: the tunnel has no public hostname yet"},
		"catch-all":            {404, "", "", probe.ClassCatchAll, "HTTP 404: no public hostname of the tunnel matches"},
		"forbidden":            {403, "error code: 1020", "", probe.ClassForbidden, "HTTP 403 (error 1020): Cloudflare refuses"},
		"unauthorised":         {401, "", "", probe.ClassForbidden, "HTTP 401: Cloudflare refuses"},
		"Access login":         {302, "", "https://team.cloudflareaccess.com/cdn-cgi/access/login/mqtt.example.test?meta=secretjwt", probe.ClassAccessLogin, "HTTP 302: Cloudflare Access asks for a login"},
		"redirect":             {301, "", "https://example.test/path?q=1", probe.ClassRedirect, "HTTP 301: it redirects to https://example.test/path"},
		"no Access login":      {302, "", "https://cloudflareaccess.com.example.test/", probe.ClassRedirect, "HTTP 302: it redirects"},
		"rate limited":         {429, "error code: 1015", "", probe.ClassRateLimited, "HTTP 429 (error 1015): Cloudflare limits"},
		"edge 521":             {521, "", "", probe.ClassEdgeOrigin, "HTTP 521: Cloudflare did not get an answer"},
		"edge 526":             {526, "", "", probe.ClassEdgeOrigin, "HTTP 526: "},
		"edge 504":             {504, "", "", probe.ClassEdgeOrigin, "HTTP 504: "},
		"bad request":          {400, "", "", probe.ClassUpgradeRejected, "HTTP 400: the WebSocket upgrade is rejected"},
		"stripped":             {200, "<html>hello \x1b[31m", "", probe.ClassUpgradeStripped, "HTTP 200: a page is served instead of a WebSocket"},
		"odd":                  {418, "", "", probe.ClassStatus, "HTTP 418: unexpected answer"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if test.location != "" {
					w.Header().Set("Location", test.location)
				}
				w.Header().Set("Cf-Ray", "8c0ffee-FRA")
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body+strings.Repeat(" padding", 200))
			}))
			e := expect(t, to("ws", server.URL), probe.StageUpgrade, test.class, test.sentence)
			if e.Status != test.status || e.Ray != "8c0ffee-FRA" || len(e.Body) > 320 {
				t.Errorf("status %d, ray %q, body of %d bytes", e.Status, e.Ray, len(e.Body))
			}
			if strings.Contains(e.Location, "secretjwt") || strings.Contains(e.Error(), "secretjwt") {
				t.Errorf("the query of a login stands in the error: %+v", e)
			}
		})
	}
}

func TestEveryBrokenUpgradeHasItsClass(t *testing.T) {
	const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
	answer := func(text string) func(net.Conn) {
		return func(conn net.Conn) {
			buffer := make([]byte, 4096)
			_, _ = conn.Read(buffer)
			_, _ = io.WriteString(conn, text)
		}
	}
	for name, test := range map[string]struct {
		handle   func(net.Conn)
		class    probe.Class
		sentence string
	}{
		"closed at once":      {func(net.Conn) {}, probe.ClassClosed, "the connection was closed without an answer"},
		"closed after asking": {answer(""), probe.ClassClosed, "the connection was closed without an answer"},
		"half an answer":      {answer("HTTP/1.1 101 Swi"), probe.ClassClosed, "the connection was closed without an answer"},
		"not HTTP":            {answer("\x20\x02\x00\x00 what is this\r\n\r\n"), probe.ClassNotHTTP, "the answer to the WebSocket upgrade is not HTTP"},
		"no accept key":       {answer(switching + "\r\n"), probe.ClassUpgradeInvalid, "the answer to the WebSocket upgrade breaks the protocol"},
		"endless headers":     {answer(switching + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 100)), probe.ClassNotHTTP, ""},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, to("ws", listen(t, test.handle)), probe.StageUpgrade, test.class, test.sentence)
		})
	}
	for name, protocols := range map[string][]string{"no subprotocol": nil, "another subprotocol": {"mqttv3.1"}} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if protocols != nil {
					r.Header.Set("Sec-Websocket-Protocol", protocols[0]) // the server answers what it was never offered
				}
				ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: protocols})
				if err == nil {
					_, _, _ = ws.Read(r.Context())
				}
			}))
			e := expect(t, to("ws", server.URL), probe.StageUpgrade, probe.ClassSubprotocol, `the WebSocket upgrade is answered without the subprotocol "mqtt"`)
			if !strings.Contains(e.Hint(), "type HTTP") {
				t.Errorf("hint %q", e.Hint())
			}
		})
	}
}

func TestEveryCertificateFaultHasItsClass(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	const day = 24 * time.Hour
	for name, test := range map[string]struct {
		certificate tls.Certificate
		class       probe.Class
		sentence    string
	}{
		"expired":       {ca.issue(t, host, -2*day, -day), probe.ClassCertExpired, "the certificate expired on "},
		"not yet valid": {ca.issue(t, host, day, 2*day), probe.ClassCertNotYet, "the certificate is valid from "},
		"foreign":       {foreign.issue(t, host, -day, day), probe.ClassCertAuthority, `the certificate comes from "CN=Test CA", which nobody here trusts`},
		"wrong name":    {ca.issue(t, "other.example.test", -day, day), probe.ClassCertName, "the certificate is for other.example.test, not for this name"},
	} {
		t.Run(name, func(t *testing.T) {
			target := to("wss", serve(t, http.NotFoundHandler(), test.certificate).URL)
			target.RootCAs = ca.pool
			e := expect(t, target, probe.StageTLS, test.class, test.sentence)
			if e.Certificate == nil || e.Certificate.Issuer != "CN=Test CA" || e.At.IsZero() {
				t.Errorf("facts %+v at %v", e.Certificate, e.At)
			}
		})
	}
}

func TestEveryBrokenHandshakeHasItsClass(t *testing.T) {
	for name, test := range map[string]struct {
		handle   func(net.Conn)
		class    probe.Class
		sentence string
	}{
		"plain HTTP": {func(c net.Conn) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") }, probe.ClassNotTLS, "the port does not speak TLS"},
		"closed":     {func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)) }, probe.ClassTLSClosed, "the connection was closed during the TLS handshake"},
		"alert": {func(c net.Conn) {
			refuse := func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("no such name") }
			_ = tls.Server(c, &tls.Config{GetConfigForClient: refuse}).Handshake()
		}, probe.ClassTLSAlert, "the server broke the TLS handshake off"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, to("wss", listen(t, test.handle)), probe.StageTLS, test.class, test.sentence)
		})
	}
}

// scripted is an MQTT server that answers each packet as it is told.
func scripted(t *testing.T, answers map[byte]func(io.Writer, *packets.ControlPacket)) string {
	t.Helper()
	return listen(t, func(conn net.Conn) {
		for {
			packet, err := packets.ReadPacket(conn)
			if err != nil {
				return
			}
			if answer := answers[packet.Type]; answer != nil {
				answer(conn, packet)
			}
		}
	})
}

func connack(code byte) func(io.Writer, *packets.ControlPacket) {
	return func(w io.Writer, _ *packets.ControlPacket) {
		answer := packets.NewControlPacket(packets.CONNACK)
		answer.Content.(*packets.Connack).ReasonCode = code
		_, _ = answer.WriteTo(w)
	}
}

func raw(text string) func(io.Writer, *packets.ControlPacket) {
	return func(w io.Writer, _ *packets.ControlPacket) { _, _ = io.WriteString(w, text) }
}

func suback(w io.Writer, packet *packets.ControlPacket) {
	answer := packets.NewControlPacket(packets.SUBACK)
	answer.Content.(*packets.Suback).PacketID = packet.PacketID()
	answer.Content.(*packets.Suback).Reasons = []byte{1}
	_, _ = answer.WriteTo(w)
}

func goodbye(code byte) func(io.Writer, *packets.ControlPacket) {
	return func(w io.Writer, _ *packets.ControlPacket) {
		answer := packets.NewControlPacket(packets.DISCONNECT)
		answer.Content.(*packets.Disconnect).ReasonCode = code
		_, _ = answer.WriteTo(w)
	}
}

func TestEveryMQTTAnswerHasItsClass(t *testing.T) {
	type answers = map[byte]func(io.Writer, *packets.ControlPacket)
	hangUp := func(w io.Writer, _ *packets.ControlPacket) { _ = w.(net.Conn).Close() }
	for name, test := range map[string]struct {
		answers  answers
		stage    probe.Stage
		class    probe.Class
		sentence string
	}{
		"bad password":         {answers{packets.CONNECT: connack(0x86)}, probe.StageConnect, probe.ClassNotAuthorised, "the broker refuses username or password (0x86)"},
		"not authorised":       {answers{packets.CONNECT: connack(0x87)}, probe.StageConnect, probe.ClassNotAuthorised, "the broker refuses username or password (0x87)"},
		"quota":                {answers{packets.CONNECT: connack(0x97)}, probe.StageConnect, probe.ClassBrokerBusy, "the broker takes no more clients now (0x97)"},
		"busy":                 {answers{packets.CONNECT: connack(0x89)}, probe.StageConnect, probe.ClassBrokerBusy, "the broker takes no more clients now (0x89)"},
		"client ID":            {answers{packets.CONNECT: connack(0x85)}, probe.StageConnect, probe.ClassConnack, "the broker refuses the connection (0x85)"},
		"only MQTT 3.1.1":      {answers{packets.CONNECT: raw("\x20\x02\x00\x01")}, probe.StageConnect, probe.ClassNotMQTT, "the answer to CONNECT is no CONNACK of MQTT 5"},
		"HTTP":                 {answers{packets.CONNECT: raw("HTTP/1.1 400 Bad Request\r\n" + strings.Repeat("x", 200))}, probe.StageConnect, probe.ClassNotMQTT, "the answer to CONNECT is no CONNACK"},
		"a quarter of a GB":    {answers{packets.CONNECT: raw("\x20\xff\xff\xff\x7f")}, probe.StageConnect, probe.ClassNotMQTT, "the answer to CONNECT is no CONNACK"},
		"endless length":       {answers{packets.CONNECT: raw("\x20" + strings.Repeat("\x80", 100))}, probe.StageConnect, probe.ClassNotMQTT, "the answer to CONNECT is no CONNACK"},
		"closed":               {answers{packets.CONNECT: hangUp}, probe.StageConnect, probe.ClassClosedByBroker, "the connection was closed without an answer to CONNECT"},
		"closed after CONNACK": {answers{packets.CONNECT: connack(0), packets.SUBSCRIBE: hangUp}, probe.StageSubscribe, probe.ClassConnectionLost, "the connection was lost"},
		"taken over":           {answers{packets.CONNECT: connack(0), packets.SUBSCRIBE: goodbye(0x8e)}, probe.StageSubscribe, probe.ClassConnectionLost, "the connection was lost (0x8e)"},
		"closed after SUBACK":  {answers{packets.CONNECT: connack(0), packets.SUBSCRIBE: suback, packets.PUBLISH: hangUp}, probe.StageMessage, probe.ClassConnectionLost, "the connection was lost"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, to("mqtt", scripted(t, test.answers)), test.stage, test.class, test.sentence)
		})
	}
}

func TestEveryStallEndsWithItsDeadline(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	ca := newAuthority(t)
	certificate := ca.issue(t, host, -time.Hour, time.Hour)
	secureSilent := func(c net.Conn) {
		conn := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{certificate}})
		_, _ = io.Copy(io.Discard, conn)
	}
	type answers = map[byte]func(io.Writer, *packets.ControlPacket)
	overWebSocket := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, websocket.NetConn(context.Background(), ws, websocket.MessageBinary))
	}))
	trusting := func(target probe.Target) probe.Target {
		target.RootCAs = ca.pool
		return target
	}
	for name, test := range map[string]struct {
		target probe.Target
		stage  probe.Stage
		class  probe.Class
	}{
		"TLS":                    {to("wss", listen(t, silent)), probe.StageTLS, probe.ClassTLSTimeout},
		"upgrade":                {to("ws", listen(t, silent)), probe.StageUpgrade, probe.ClassUpgradeTimeout},
		"upgrade over TLS":       {trusting(to("wss", listen(t, secureSilent))), probe.StageUpgrade, probe.ClassUpgradeTimeout},
		"CONNACK":                {to("mqtt", listen(t, silent)), probe.StageConnect, probe.ClassNoConnack},
		"CONNACK over WebSocket": {to("ws", overWebSocket.URL), probe.StageConnect, probe.ClassNoConnack},
		"SUBACK":                 {to("mqtt", scripted(t, answers{packets.CONNECT: connack(0)})), probe.StageSubscribe, probe.ClassNoSuback},
		"message":                {to("mqtt", scripted(t, answers{packets.CONNECT: connack(0), packets.SUBSCRIBE: suback})), probe.StageMessage, probe.ClassNotReturned},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := probe.RoundTrip(within(t, 200*time.Millisecond), test.target, topic)
			e, _ := errors.AsType[*probe.Error](err)
			if e == nil || e.Class != test.class || e.Stage != test.stage {
				t.Errorf("got %v, want %s at %s", err, test.class, test.stage)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("took %v after a deadline of 200 ms", took)
			}
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			if _, err := probe.RoundTrip(ctx, test.target, topic); probe.ClassOf(err) != probe.ClassCancelled {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

func TestARefusalDoesNotWaitForTheServerToHangUp(t *testing.T) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		if _, err := packets.ReadPacket(conn); err == nil {
			connack(0x87)(conn, nil)
			<-over // reads no more, so no close frame is answered
		}
	}))
	began := time.Now()
	refused, err := probe.Refused(within(t, 8*time.Second), to("ws", server.URL))
	if took := time.Since(began); err != nil || !refused || took > 3*time.Second {
		t.Errorf("refused %v, %v after %v", refused, err, took)
	}
}

// Mosquitto 2.1 takes a packet in pieces for a malformed one now and then.
func TestEachPacketIsOneWebSocketMessage(t *testing.T) {
	answers := map[byte]func(io.Writer, *packets.ControlPacket){
		packets.CONNECT: connack(0), packets.SUBSCRIBE: suback,
	}
	seen := make(chan byte, 20)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(seen)
		ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			return
		}
		conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
		for {
			_, message, err := ws.Read(context.Background())
			if err != nil {
				return
			}
			rest := bytes.NewReader(message)
			packet, err := packets.ReadPacket(rest)
			if err != nil || rest.Len() != 0 {
				t.Errorf("message % x: %v, %d bytes after the packet", message, err, rest.Len())
				_ = ws.CloseNow()
				return
			}
			seen <- packet.Type
			if answer := answers[packet.Type]; answer != nil {
				answer(conn, packet)
			}
		}
	}))
	if _, err := probe.RoundTrip(within(t, 500*time.Millisecond), to("ws", server.URL), topic); probe.ClassOf(err) != probe.ClassNotReturned {
		t.Error(err)
	}
	for _, want := range []byte{packets.CONNECT, packets.SUBSCRIBE, packets.PUBLISH} {
		got := <-seen
		for got == packets.PINGREQ {
			got = <-seen
		}
		if got != want {
			t.Errorf("packet type %d, want %d", got, want)
		}
	}
}
