package edge

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

const (
	headerKind     = "Cf-Cloudflared-Proxy-Connection-Upgrade"
	headerResponse = "Cf-Cloudflared-Response-Headers"
	headerMeta     = "Cf-Cloudflared-Response-Meta"

	kindControl   = "control-stream"
	kindConfig    = "update-configuration"
	kindWebSocket = "websocket"

	// pingAfter and pingTimeout find connectors that vanished without closing.
	pingAfter   = 15 * time.Second
	pingTimeout = 10 * time.Second
	// maxAnswerBytes bounds the answer to a pushed configuration.
	maxAnswerBytes = 1 << 20
)

// h2 is a connection over TCP. The edge, though it accepted the connection, is the
// HTTP/2 client on it.
type h2 struct {
	conn   net.Conn
	client *http2.ClientConn //nolint:staticcheck // its successor dials, and this connection was accepted
}

// serveHTTP2 serves a connection until it ends.
func (e *Edge) serveHTTP2(ctx context.Context, p *point, conn net.Conn) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { _ = conn.Close() })                                                           // closed twice in the normal case
	transport := &http2.Transport{DisableCompression: true, ReadIdleTimeout: pingAfter, PingTimeout: pingTimeout} //nolint:staticcheck // as for h2.client
	client, err := transport.NewClientConn(conn)                                                                  //nolint:staticcheck // as for h2.client
	if err != nil {
		return fmt.Errorf("begin HTTP/2: %w", err)
	}
	c := &h2{conn: conn, client: client}
	reader, writer := io.Pipe()
	request, err := c.request(ctx, &Request{Method: http.MethodGet, Host: "edge", Path: "/", Body: reader, ContentLength: -1}, kindControl)
	if err != nil {
		return err
	}
	response, err := client.RoundTrip(request)
	if err != nil {
		return fmt.Errorf("open control stream: %w", err)
	}
	l := e.newLink(c, p, "http2", conn.RemoteAddr().String())
	defer l.leave()
	l.serveControl(ctx, controlStream{response.Body, writer})
	c.waitClosed(ctx)
	return nil
}

// waitClosed returns when the connection is closed, by whoever. Reading the
// state is cheap and the library offers no channel for it.
func (c *h2) waitClosed(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !c.client.State().Closed {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// controlStream joins the two directions of the control request.
type controlStream struct {
	io.ReadCloser
	writer *io.PipeWriter
}

func (c controlStream) Write(p []byte) (int, error) { return c.writer.Write(p) }

func (c controlStream) Close() error { return errors.Join(c.writer.Close(), c.ReadCloser.Close()) }

func (c *h2) close() { _ = c.conn.Close() } // the reader sees it, nobody else can do anything about it

func (c *h2) request(ctx context.Context, r *Request, kind string) (*http.Request, error) {
	target, err := url.ParseRequestURI(r.Path)
	if err != nil {
		return nil, fmt.Errorf("parse path: %w", err)
	}
	target.Scheme, target.Host = "https", r.Host
	out, err := http.NewRequestWithContext(ctx, r.Method, target.String(), http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	out.Host = r.Host
	maps.Copy(out.Header, r.Header)
	out.Header.Del(headerKind)
	if kind != "" {
		out.Header.Set(headerKind, kind)
	}
	if r.Body != nil {
		out.Body, out.ContentLength = r.Body, r.ContentLength
	}
	return out, nil
}

func (c *h2) open(ctx context.Context, r *Request) (*Response, error) {
	kind := ""
	if r.WebSocket {
		kind = kindWebSocket
	}
	request, err := c.request(ctx, r, kind)
	if err != nil {
		return nil, err
	}
	response, err := c.client.RoundTrip(request)
	if err != nil {
		return nil, fmt.Errorf("ask the connector: %w", err)
	}
	header, err := parseHeaders(response.Header.Get(headerResponse))
	if err != nil {
		return nil, errors.Join(err, response.Body.Close())
	}
	if length := response.Header.Get("Content-Length"); length != "" && header.Get("Content-Length") == "" {
		header.Set("Content-Length", length)
	}
	out := &Response{Status: response.StatusCode, Header: header, Body: response.Body}
	out.FromConnector = fromConnector(response.Header.Get(headerMeta))
	// HTTP/2 has no 101: a 200 with the origin's Upgrade headers stands for it.
	if r.WebSocket && out.Status == http.StatusOK && !out.FromConnector && header.Get("Upgrade") != "" {
		out.Status = http.StatusSwitchingProtocols
	}
	return out, nil
}

func (c *h2) push(ctx context.Context, version int, config []byte) (int, error) {
	body, err := json.Marshal(struct {
		Version int             `json:"version"`
		Config  json.RawMessage `json:"config"`
	}{version, config})
	if err != nil {
		return 0, fmt.Errorf("encode configuration: %w", err)
	}
	request, err := c.request(ctx, &Request{
		Method: http.MethodPut, Host: "edge", Path: "/",
		Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
	}, kindConfig)
	if err != nil {
		return 0, err
	}
	response, err := c.client.RoundTrip(request)
	if err != nil {
		return 0, fmt.Errorf("ask the connector: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return 0, fmt.Errorf("read the connector's answer: %w", err)
	}
	var answer struct {
		LastAppliedVersion int             `json:"lastAppliedVersion"`
		Err                json.RawMessage `json:"err"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return 0, fmt.Errorf("decode the connector's answer (status %d): %w", response.StatusCode, err)
	}
	if e := string(answer.Err); e != "" && e != "null" {
		return answer.LastAppliedVersion, fmt.Errorf("%w: %s", errRefused, e)
	}
	return answer.LastAppliedVersion, nil
}

// fromConnector reports whether the meta header says that the connector
// answered in the origin's place.
func fromConnector(meta string) bool {
	var m struct {
		Source string `json:"src"`
	}
	return json.Unmarshal([]byte(meta), &m) == nil && m.Source == "cloudflared"
}

// parseHeaders reads the origin's headers, which travel in one header as
// base64 name:value pairs joined by semicolons.
func parseHeaders(serialized string) (http.Header, error) {
	header := http.Header{}
	for pair := range strings.SplitSeq(serialized, ";") {
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, ":")
		if !ok {
			return nil, fmt.Errorf("parse the origin's headers: no colon in %q", pair)
		}
		n, err := base64.RawStdEncoding.DecodeString(name)
		if err != nil {
			return nil, fmt.Errorf("parse the origin's headers: %w", err)
		}
		v, err := base64.RawStdEncoding.DecodeString(value)
		if err != nil {
			return nil, fmt.Errorf("parse the origin's headers: %w", err)
		}
		header.Add(string(n), string(v))
	}
	return header, nil
}
