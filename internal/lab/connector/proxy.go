package connector

import (
	"fmt"
	"io"
	"maps"
	"net/http"

	"github.com/google/uuid"
)

// responder is the way back to the edge; HTTP/2 and QUIC write it differently.
type responder interface {
	io.Writer
	// respond sends status and headers, once.
	respond(status int, header http.Header) error
	// trailer sends a trailer after the body.
	trailer(name, value string)
}

// proxy carries the edge's requests to the origins. It is safe for concurrent use.
type proxy struct {
	log    *logger
	config *configuration
	counts *counters
	id     uuid.UUID
}

// serve answers one request of the edge; an error means that nothing was answered yet, or that the answer broke off.
func (p *proxy) serve(w responder, r *http.Request, index uint8, websocket bool) error {
	p.counts.add("cloudflared_tunnel_total_requests", 1)
	p.counts.add("cloudflared_tunnel_concurrent_requests_per_tunnel", 1)
	defer p.counts.add("cloudflared_tunnel_concurrent_requests_per_tunnel", -1)
	r.Header.Add("Cf-Warp-Tag-ID", p.id.String())
	rule, number := p.config.ingress().match(r.Host, r.URL.Path)
	about := fields{"event": 1, "connIndex": index, "originService": rule.Service, "ingressRule": number}
	p.log.debug(fmt.Sprintf("%s %s %s", r.Method, r.URL, r.Proto), about)
	if rule.OriginRequest.Access.Required {
		// The stand-in has no Access to ask, so no token is a good one.
		err := fmt.Errorf("request filtered by middleware handler (AccessJWTValidator) due to: no access token in request")
		p.complain(err, about)
		return w.respond(http.StatusForbidden, http.Header{})
	}
	var err error
	if stream, ok := rule.origin.(*tcpOrigin); ok {
		about["destAddr"] = rule.Service
		err = p.serveStream(w, r, stream)
	} else {
		err = p.serveHTTP(w, r, rule, websocket)
	}
	if err != nil {
		p.complain(err, about)
	}
	return err
}

func (p *proxy) complain(err error, about fields) {
	p.counts.add("cloudflared_tunnel_request_errors", 1)
	p.log.failure("", err, about)
}

func (p *proxy) serveHTTP(w responder, r *http.Request, rule rule, websocket bool) error {
	if status, ok := rule.origin.(statusOrigin); ok && status.unconfigured {
		p.log.warn(noIngress, nil)
	}
	out := r
	if websocket {
		out = r.Clone(r.Context())
		out.Header.Set("Connection", "Upgrade")
		out.Header.Set("Upgrade", "websocket")
		out.Header.Set("Sec-Websocket-Version", "13")
		out.ContentLength, out.Body = 0, nil
	} else {
		out.Header.Set("Connection", "keep-alive")
	}
	if out.Header.Get("User-Agent") == "" {
		out.Header.Set("User-Agent", "") // or net/http puts its own
	}
	resp, err := rule.origin.roundTrip(out)
	if err != nil {
		if gone := r.Context().Err(); gone != nil {
			return fmt.Errorf("Incoming request ended abruptly: %w", gone) //nolint:staticcheck // cloudflared's text
		}
		return fmt.Errorf("Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: %w", err) //nolint:staticcheck // cloudflared's text
	}
	defer resp.Body.Close() //nolint:errcheck // read to its end, or given up
	if err := w.respond(resp.StatusCode, maps.Clone(resp.Header)); err != nil {
		return fmt.Errorf("Error writing response header: %w", err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		upgraded, ok := resp.Body.(io.ReadWriteCloser)
		if !ok {
			return fmt.Errorf("internal error: unsupported connection type")
		}
		pipe(duplex{r.Body, w}, upgraded)
		return nil
	}
	if _, err := io.Copy(w, resp.Body); err != nil {
		return err
	}
	for name, values := range resp.Trailer {
		for _, value := range values {
			w.trailer(name, value)
		}
	}
	p.counts.add(fmt.Sprintf("cloudflared_tunnel_response_by_code{status_code=\"%d\"}", resp.StatusCode), 1)
	return nil
}

// serveStream answers the WebSocket handshake in the origin's stead, without a subprotocol, and carries the messages.
func (p *proxy) serveStream(w responder, r *http.Request, origin *tcpOrigin) error {
	conn, err := origin.dialer.DialContext(r.Context(), "tcp", origin.target)
	if err != nil {
		p.counts.add("cloudflared_proxy_connect_streams_errors", 1)
		return err
	}
	defer conn.Close() //nolint:errcheck // both directions have ended
	header := http.Header{}
	if key := r.Header.Get("Sec-WebSocket-Key"); key != "" {
		header = acceptHeader(key)
	}
	if err := w.respond(http.StatusSwitchingProtocols, header); err != nil {
		return err
	}
	pipe(newMessages(duplex{r.Body, w}), conn)
	return nil
}

// duplex joins the two directions of a request.
type duplex struct {
	io.Reader
	io.Writer
}

// pipe copies both ways until one of them ends.
func pipe(a, b io.ReadWriter) {
	done := make(chan struct{}, 2)
	carry := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from) // either end may go at any time
		done <- struct{}{}
	}
	go carry(a, b)
	go carry(b, a)
	<-done
}

const noIngress = "No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests"
