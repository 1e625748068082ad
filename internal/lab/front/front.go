// Package front is the public side of the lab's Cloudflare: it takes HTTPS and
// WebSocket requests for public hostnames and sends them down the tunnel that
// owns the hostname, with Cloudflare's status codes where that fails.
package front

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/edge"
	"mqtunnel/internal/lab/registry"
)

// Cloudflare's own status for errors that it explains by a number of its own,
// and two of those numbers.
const (
	statusCloudflare = 530
	errorNoConnector = 1033
	errorNoOriginDNS = 1016
)

// lingerTime is how long a WebSocket stays open to the origin after its client left.
const lingerTime = time.Second

// Front serves public requests. Hosts that no tunnel has published go to Other.
type Front struct {
	Registry *registry.Registry
	Edge     *edge.Edge
	Other    http.Handler
	Log      *slog.Logger
}

// ServeHTTP serves one public request.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := hostname(r.Host)
	id, ok := f.Registry.Route(host)
	if !ok {
		f.Other.ServeHTTP(w, r)
		return
	}
	faults := f.Registry.Faults(id)
	stamp(w.Header(), faults)
	webSocket := isWebSocket(r)
	f.Registry.Count(func(c *control.Counters) { c.PublicRequests++ })
	f.Registry.CountTunnel(id, func(c *control.TunnelCounters) { c.Requests++ })
	if target := redirect(faults, r); target != "" {
		w.Header().Set("Location", target)
		f.answer(w, id, http.StatusFound, "")
		return
	}
	if faults.PublicStatus != 0 {
		f.onCommand(w, id, faults)
		return
	}
	request := &edge.Request{
		Method: r.Method, Host: r.Host, Path: r.URL.RequestURI(), Header: forwarded(r, faults),
		WebSocket: webSocket && !faults.StripUpgrade,
	}
	if request.WebSocket {
		f.webSocket(w, r, id, request)
		return
	}
	if r.ContentLength != 0 {
		request.Body, request.ContentLength = r.Body, r.ContentLength
	}
	f.plain(w, r, id, request)
}

// onCommand answers with what the faults say.
func (f *Front) onCommand(w http.ResponseWriter, id string, faults control.Faults) {
	if faults.PublicBody != "" {
		f.answer(w, id, faults.PublicStatus, faults.PublicBody)
		return
	}
	f.fail(w, id, faults.PublicStatus, cmp.Or(faults.PublicCode, faults.PublicStatus))
}

// plain serves a request that stays HTTP.
func (f *Front) plain(w http.ResponseWriter, r *http.Request, id string, request *edge.Request) {
	response, err := f.Edge.Do(r.Context(), id, request)
	if err != nil {
		f.unreachable(w, id, err)
		return
	}
	defer func() { _ = response.Body.Close() }() // the answer is out
	if response.FromConnector {
		f.fail(w, id, response.Status, response.Status)
		return
	}
	f.copyAnswer(w, id, response)
}

func (f *Front) copyAnswer(w http.ResponseWriter, id string, response *edge.Response) {
	for name, values := range response.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Connection", "Upgrade", "Keep-Alive", "Transfer-Encoding", "Date", "Server":
		default:
			w.Header()[http.CanonicalHeaderKey(name)] = values
		}
	}
	f.count(id, response.Status)
	w.WriteHeader(response.Status)
	if _, err := io.Copy(flushing{w}, response.Body); err != nil {
		f.Log.Debug("answer cut short", "tunnel", id, "error", err)
	}
}

// webSocket serves an upgrade: the bytes after it pass in both directions as they come.
func (f *Front) webSocket(w http.ResponseWriter, r *http.Request, id string, request *edge.Request) {
	f.Registry.Count(func(c *control.Counters) { c.PublicWebSockets++ })
	f.Registry.CountTunnel(id, func(c *control.TunnelCounters) { c.WebSockets++ })
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	up, fromClient := io.Pipe()
	request.Body, request.ContentLength = up, -1
	defer func() { _ = fromClient.Close() }() // ends the request's body; a pipe closes without error
	response, err := f.Edge.Do(ctx, id, request)
	if err != nil {
		f.unreachable(w, id, err)
		return
	}
	defer func() { _ = response.Body.Close() }() // the stream is over
	if response.FromConnector {
		f.fail(w, id, response.Status, response.Status)
		return
	}
	if response.Status != http.StatusSwitchingProtocols {
		_ = fromClient.Close() // no upgrade: nothing follows the request
		f.copyAnswer(w, id, response)
		return
	}
	header := w.Header().Clone()
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		f.fail(w, id, http.StatusBadGateway, http.StatusBadGateway)
		return
	}
	defer func() { _ = conn.Close() }() // the client may have done so
	maps.Copy(header, response.Header)
	f.count(id, http.StatusSwitchingProtocols)
	if err := writeUpgrade(conn, header); err != nil {
		return
	}
	f.Registry.CountTunnel(id, func(c *control.TunnelCounters) { c.OpenWebSockets++ })
	defer f.Registry.CountTunnel(id, func(c *control.TunnelCounters) { c.OpenWebSockets-- })
	// As a client that leaves: the rest follows.
	active := watch(time.Duration(f.Registry.Faults(id).IdleTimeout), func() { _ = conn.Close() })
	defer active.stop()
	pass(conn, active.reader(buffered.Reader), fromClient, active.reader(response.Body), cancel)
}

// pass moves bytes until one side ends; then the other ends too.
func pass(conn net.Conn, client io.Reader, toOrigin *io.PipeWriter, origin io.Reader, cancel context.CancelFunc) {
	var copying sync.WaitGroup
	copying.Go(func() {
		_, err := io.Copy(toOrigin, client)
		_ = toOrigin.CloseWithError(err) // always nil
		// The client is gone; the origin gets a moment to end in its own way.
		time.AfterFunc(lingerTime, cancel)
	})
	_, _ = io.Copy(conn, origin) // whichever side ended it, the stream is over
	cancel()
	_ = conn.Close() // makes the copy from the client end
	copying.Wait()
}

// watcher ends a WebSocket over which nothing passes; a nil one watches nothing.
type watcher struct {
	timer   *time.Timer
	timeout time.Duration
}

// watch calls end when nothing was read for the timeout; 0 is for ever.
func watch(timeout time.Duration, end func()) *watcher {
	if timeout == 0 {
		return nil
	}
	return &watcher{time.AfterFunc(timeout, end), timeout}
}

func (w *watcher) stop() {
	if w != nil {
		w.timer.Stop()
	}
}

// reader returns r, which tells the watcher of all that passes.
func (w *watcher) reader(r io.Reader) io.Reader {
	if w == nil {
		return r
	}
	return io.TeeReader(r, w)
}

// Write notes that something passed.
func (w *watcher) Write(p []byte) (int, error) {
	w.timer.Reset(w.timeout)
	return len(p), nil
}

func writeUpgrade(w io.Writer, header http.Header) error {
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if err := header.Write(&b); err != nil {
		return fmt.Errorf("write upgrade: %w", err)
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write upgrade: %w", err)
	}
	return nil
}

// unreachable answers for a tunnel that could not be asked.
func (f *Front) unreachable(w http.ResponseWriter, id string, err error) {
	if errors.Is(err, edge.ErrNoConnector) {
		f.fail(w, id, statusCloudflare, errorNoConnector)
		return
	}
	f.Log.Info("request failed", "tunnel", id, "error", err)
	f.fail(w, id, http.StatusBadGateway, http.StatusBadGateway)
}

// fail answers as Cloudflare does to a client that is no browser.
func (f *Front) fail(w http.ResponseWriter, id string, status, code int) {
	if status == statusCloudflare && code == statusCloudflare {
		code = errorNoConnector
	}
	f.answer(w, id, status, fmt.Sprintf("error code: %d", code))
}

func (f *Front) answer(w http.ResponseWriter, id string, status int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Cache-Control", "private, max-age=0, no-store")
	f.count(id, status)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // the client may have left
}

func (f *Front) count(id string, status int) {
	f.Registry.Count(func(c *control.Counters) { c.PublicStatuses[status]++ })
	f.Registry.CountTunnel(id, func(c *control.TunnelCounters) { c.Statuses[status]++ })
}

// stamp sets what Cloudflare sets on every answer.
func stamp(header http.Header, faults control.Faults) {
	var ray [8]byte
	_, _ = rand.Read(ray[:]) // never fails, see crypto/rand
	header.Set("Server", "cloudflare")
	header.Set("Cf-Ray", hex.EncodeToString(ray[:])+"-LAB")
	header.Set("Date", time.Now().Add(time.Duration(faults.ClockSkew)).UTC().Format(http.TimeFormat))
}

// redirect returns where an Access policy sends the request, if anywhere.
func redirect(faults control.Faults, r *http.Request) string {
	switch {
	case faults.PublicRedirect == "":
		return ""
	case faults.AccessClientID != "" && r.Header.Get("Cf-Access-Client-Id") == faults.AccessClientID &&
		r.Header.Get("Cf-Access-Client-Secret") == faults.AccessClientSecret:
		return ""
	case faults.PublicRedirect != control.RedirectAccess:
		return faults.PublicRedirect
	}
	return "https://lab.cloudflareaccess.com/cdn-cgi/access/login/" + hostname(r.Host) +
		"?redirect_url=" + url.QueryEscape(r.URL.RequestURI())
}

// forwarded returns the header for the connector, with what Cloudflare adds.
func forwarded(r *http.Request, faults control.Faults) http.Header {
	header := r.Header.Clone()
	for _, name := range []string{"Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Content-Length"} {
		header.Del(name)
	}
	if faults.StripUpgrade {
		for name := range header {
			if strings.HasPrefix(name, "Sec-Websocket-") {
				header.Del(name)
			}
		}
	}
	client, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		client = r.RemoteAddr
	}
	header.Set("Cf-Connecting-Ip", client)
	header.Set("X-Forwarded-For", client)
	header.Set("X-Forwarded-Proto", "https")
	header.Set("Cf-Visitor", `{"scheme":"https"}`)
	return header
}

func isWebSocket(r *http.Request) bool {
	return r.ProtoMajor == 1 && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// hostname returns a Host header without its port, in lower case.
func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// flushing sends every write at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		return n, err
	}
	return n, http.NewResponseController(f.w).Flush()
}
