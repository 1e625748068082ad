package conformance

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
)

func upgrade() http.Header {
	return http.Header{
		kind: {"websocket"}, "Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"mqtt"},
	}
}

// accept is the answer to the key of upgrade (RFC 6455, section 1.3).
const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

// echoSite is a WebSocket origin that speaks mqtt and sends every message back.
func echoSite(t *testing.T) *httptest.Server {
	t.Helper()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wg.Add(1)
		defer wg.Done()
		c, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"mqtt"}, InsecureSkipVerify: true})
		if err != nil {
			return
		}
		defer func() { _ = c.CloseNow() }() // it may be closed
		for {
			kind, message, err := c.Read(ctx)
			if err != nil || c.Write(ctx, kind, message) != nil {
				return
			}
		}
	}))
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		wg.Wait()
	})
	return server
}

// open upgrades for mqtt.example.com through the connector; frames go as raw bytes in the body, both ways.
func open(t *testing.T, l *link) (*http.Response, io.WriteCloser, *bufio.Reader) {
	t.Helper()
	up, upWriter := io.Pipe()
	t.Cleanup(func() { closing(upWriter) })
	resp := l.send(http.MethodGet, "mqtt.example.com", "/mqtt", upgrade(), up)
	t.Cleanup(func() { closing(resp.Body) })
	return resp, upWriter, bufio.NewReader(resp.Body)
}

// frame is a short masked binary message; the mask is zero, so that its payload reads plainly.
func frame(payload string) []byte {
	return append([]byte{0x82, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
}

func readFrame(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(r, payload); err != nil {
		t.Fatal(err)
	}
	return string(payload)
}

func say(t *testing.T, w io.Writer, text string) {
	t.Helper()
	if _, err := w.Write(frame(text)); err != nil {
		t.Fatal(err)
	}
}

func webSocket(t *testing.T, s subject) {
	t.Helper()
	p, l := connected(t, s)
	l.push(1, `{"ingress":[{"hostname":"mqtt.example.com","service":"`+echoSite(t).URL+`"},`+catchAll+`]}`)
	resp, w, r := open(t, l)
	header := userHeaders(t, resp)
	if resp.StatusCode != 200 || header.Get("Sec-Websocket-Protocol") != "mqtt" || header.Get("Sec-Websocket-Accept") != accept || !strings.EqualFold(header.Get("Upgrade"), "websocket") || resp.Header.Get("Cf-Cloudflared-Response-Meta") != `{"src":"origin"}` {
		t.Fatalf("%d %v %v", resp.StatusCode, resp.Header, header)
	}
	for _, text := range []string{"one", "two"} {
		say(t, w, text)
		if got := readFrame(t, r); got != text {
			t.Errorf("%q came back as %q", text, got)
		}
	}
	if metrics := p.awaitGet("/metrics", 200); !strings.Contains(metrics, "\ncloudflared_tunnel_concurrent_requests_per_tunnel 1\n") {
		t.Error("the open WebSocket is not counted")
	}
	closing(w)
	eventually(t, "end of the WebSocket in the metrics", func() (bool, string) {
		_, metrics := p.get("/metrics")
		return strings.Contains(metrics, "\ncloudflared_tunnel_concurrent_requests_per_tunnel 0\n"), "1 open"
	})
	if n := p.count(" ERR "); n != 0 {
		t.Errorf("%d complaints about a good session", n)
	}
}

func tcpService(t *testing.T, s subject) {
	t.Helper()
	_, l := connected(t, s)
	address := listen(t, func(c net.Conn) { _, _ = io.Copy(c, c) }) // until either ends
	l.push(1, `{"ingress":[{"hostname":"mqtt.example.com","service":"tcp://`+address+`"},`+catchAll+`]}`)
	resp, w, r := open(t, l)
	header := userHeaders(t, resp)
	if resp.StatusCode != 200 || header.Get("Sec-Websocket-Accept") != accept || header.Get("Sec-Websocket-Protocol") != "" {
		t.Fatalf("%d %v", resp.StatusCode, header)
	}
	say(t, w, "plain")
	if got := readFrame(t, r); got != "plain" {
		t.Errorf("came back as %q", got)
	}
}
