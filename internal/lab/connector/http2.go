package connector

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http2"
)

// dialError is a connection that did not come about; the next attempt goes to another address.
type dialError struct{ err error }

// Error says at which step the dial ended.
func (e *dialError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e *dialError) Unwrap() error { return e.err }

var errLost = errors.New("connection with edge closed")

// dialLimit bounds each of the two steps of a dial.
const dialLimit = 15 * time.Second

// dialHTTP2 opens the TLS connection over which the edge then speaks HTTP/2, as the client.
func (c *connector) dialHTTP2(ctx context.Context, edge netip.AddrPort) (net.Conn, error) {
	config, err := c.settings.edgeTLS("h2.cftunnel.com")
	if err != nil {
		return nil, err
	}
	return dialTLS(ctx, edge, config)
}

func dialTLS(ctx context.Context, edge netip.AddrPort, config *tls.Config) (net.Conn, error) {
	bounded, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(bounded, "tcp", edge.String())
	if err != nil {
		return nil, &dialError{fmt.Errorf("DialContext error: %w", err)}
	}
	conn := tls.Client(raw, config)
	err = conn.SetDeadline(time.Now().Add(dialLimit))
	if err == nil {
		err = conn.HandshakeContext(ctx)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		return nil, &dialError{errors.Join(fmt.Errorf("TLS handshake with edge error: %w", err), ignoreClosed(raw.Close()))}
	}
	return conn, nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// http2Link is one connection to the edge over HTTP/2.
type http2Link struct {
	*control
	conn    net.Conn
	proxy   *proxy
	working sync.WaitGroup
	failed  error // the control stream's end
}

// serveHTTP2 answers the edge's requests until the connection is gone. It is nil after an orderly end.
func (l *http2Link) serveHTTP2(ctx context.Context) error {
	ended := make(chan struct{})
	closer := make(chan struct{})
	go func() {
		defer close(closer)
		select {
		case <-ctx.Done():
			// A request in flight keeps the connection, as in cloudflared: an upgraded one for as long as it likes.
			l.working.Wait()
		case <-ended:
		}
		_ = l.conn.Close() // the server may have closed it
	}()
	server := &http2.Server{MaxConcurrentStreams: 1<<32 - 1}                 //nolint:staticcheck // its successor listens, and this connection was dialled
	server.ServeConn(l.conn, &http2.ServeConnOpts{Context: ctx, Handler: l}) //nolint:staticcheck // as for server
	close(ended)
	<-closer
	switch {
	case l.stopped:
		return nil
	case l.failed != nil:
		return l.failed
	}
	l.log.info("Lost connection with the edge", fields{"connIndex": l.index})
	return errLost
}

const upgradeHeader = "Cf-Cloudflared-Proxy-Connection-Upgrade"

// ServeHTTP answers one request of the edge, by what its header says it is for.
func (l *http2Link) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.working.Add(1)
	defer l.working.Done()
	back := &http2Responder{w: w}
	var err error
	switch purpose := r.Header.Get(upgradeHeader); {
	case purpose == "update-configuration":
		err = l.configure(back, r)
	case purpose == "websocket":
		r.Header.Del(upgradeHeader)
		err = l.carry(back, r, true)
	case r.Header.Get("Cf-Cloudflared-Proxy-Src") != "":
		err = errors.New("the stand-in has no private networks")
	case purpose == "control-stream":
		back.flushing = true
		err = l.serve(r.Context(), controlStream{r.Body, back})
		if err != nil {
			l.failed = err
		}
	default:
		r.Header.Del(upgradeHeader)
		err = l.carry(back, r, false)
	}
	if err == nil {
		return
	}
	l.log.failure("failed to serve incoming request", err, nil)
	if back.answered {
		panic(http.ErrAbortHandler) // resets the stream
	}
	w.Header().Set(metaHeader, `{"src":"cloudflared"}`)
	w.WriteHeader(http.StatusBadGateway)
}

func (l *http2Link) carry(back *http2Responder, r *http.Request, websocket bool) error {
	back.flushing = websocket
	if err := l.proxy.serve(back, r, l.index, websocket); err != nil {
		return fmt.Errorf("Failed to proxy HTTP: %w", err) //nolint:staticcheck // cloudflared's text
	}
	return nil
}

// configure takes a configuration from the edge.
func (l *http2Link) configure(back *http2Responder, r *http.Request) error {
	var body struct {
		Version int32           `json:"version"`
		Config  json.RawMessage `json:"config"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return err
	}
	reply, _ := l.config.apply(body.Version, body.Config) // the reply says that it went wrong, the log says why
	answer, err := json.Marshal(reply)
	if err != nil {
		return err
	}
	_, err = back.Write(answer)
	return err
}

const (
	metaHeader = "Cf-Cloudflared-Response-Meta"
	userHeader = "Cf-Cloudflared-Response-Headers"
)

// http2Responder writes an answer as the edge reads it: the origin's headers in one header, 101 as 200.
type http2Responder struct {
	w        http.ResponseWriter
	answered bool
	flushing bool
}

// Write sends a part of the body.
func (h *http2Responder) Write(p []byte) (int, error) {
	h.answered = true
	n, err := h.w.Write(p)
	if err == nil && h.flushing {
		http.NewResponseController(h.w).Flush() //nolint:errcheck // a stream that is gone shows at the next write
	}
	return n, err
}

func (h *http2Responder) respond(status int, header http.Header) error {
	var pairs []string
	encode := base64.RawStdEncoding.EncodeToString
	for name, values := range header {
		lower := strings.ToLower(name)
		if lower == "content-length" {
			h.w.Header()[name] = values
		}
		if strings.HasPrefix(lower, ":") || strings.HasPrefix(lower, "cf-int-") || strings.HasPrefix(lower, "cf-cloudflared-") || strings.HasPrefix(lower, "cf-proxy-") {
			continue
		}
		for _, value := range values {
			pairs = append(pairs, encode([]byte(name))+":"+encode([]byte(value)))
		}
	}
	h.w.Header().Set(userHeader, strings.Join(pairs, ";"))
	h.w.Header().Set(metaHeader, `{"src":"origin"}`)
	if status == http.StatusSwitchingProtocols {
		status = http.StatusOK // HTTP/2 has no 101
	}
	h.answered = true
	h.w.WriteHeader(status)
	if header.Get("Content-Length") == "" || strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") {
		h.flushing = true
	}
	if h.flushing {
		return http.NewResponseController(h.w).Flush()
	}
	return nil
}

func (h *http2Responder) trailer(name, value string) {
	h.w.Header().Add(http.TrailerPrefix+name, value)
}

// controlStream is the control stream's two directions.
type controlStream struct {
	in io.ReadCloser
	io.Writer
}

// Read gives what the edge says.
func (s controlStream) Read(p []byte) (int, error) { return s.in.Read(p) }

// Close ends the edge's direction; the handler's return ends the other.
func (s controlStream) Close() error { return s.in.Close() }
