package connector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/quic-go/quic-go"

	"mqtunnel/internal/lab/tunnelrpc"
)

// quicError is an end of a QUIC connection that is always tried again.
type quicError struct {
	err      error
	dialling bool
}

// Error says how the connection ended.
func (e *quicError) Error() string { return e.err.Error() }

// Unwrap is the cause.
func (e *quicError) Unwrap() error { return e.err }

// isSilent says whether nothing at all came back over UDP.
func isSilent(err error) bool {
	var idle *quic.IdleTimeoutError
	var transport *quic.TransportError
	return errors.As(err, &idle) || (errors.As(err, &transport) && strings.Contains(err.Error(), "operation not permitted"))
}

// quicLink is one connection to the edge over QUIC.
type quicLink struct {
	*control
	conn  *quic.Conn
	proxy *proxy
}

// serveOverQUIC runs one QUIC connection and says in the log why it ended.
func (s *slot) serveOverQUIC(ctx context.Context, edge netip.AddrPort, about fields) error {
	config, err := s.settings.edgeTLS("quic.cftunnel.com", "argotunnel")
	if err != nil {
		return err
	}
	conn, err := quic.DialAddr(ctx, edge.String(), config, quicConfig())
	if err != nil {
		err = &quicError{fmt.Errorf("failed to dial to edge with quic: %w", err), true}
		s.log.log(s.tracker.gravity(), "Failed to dial a quic connection", err, about)
		return err
	}
	s.counts.add("quic_client_total_connections", 1)
	defer s.counts.add("quic_client_closed_connections", 1)
	link := &quicLink{control: s.newControl(edge, localAddress(conn.LocalAddr())), conn: conn, proxy: s.proxy}
	if err = link.serveQUIC(ctx); err == nil {
		return nil
	}
	if !errors.Is(err, context.Canceled) {
		s.log.log(s.tracker.gravity(), "failed to serve tunnel connection", err, about)
		s.log.log(s.tracker.gravity(), "Serve tunnel error", err, about)
	}
	return err
}

func quicConfig() *quic.Config {
	return &quic.Config{
		HandshakeIdleTimeout: 5 * time.Second, MaxIdleTimeout: 5 * time.Second, KeepAlivePeriod: time.Second,
		MaxIncomingStreams: 1 << 60, MaxIncomingUniStreams: 1 << 60, EnableDatagrams: true,
	}
}

// serveQUIC holds the control stream, which is the first, and answers the streams that the edge opens.
func (l *quicLink) serveQUIC(ctx context.Context) error {
	defer func() { _ = l.conn.CloseWithError(0, "") }() // fails only when it is closed already
	stream, err := l.conn.OpenStream()
	if err != nil {
		return fmt.Errorf("failed to open a registration control stream: %w", err)
	}
	bounded, cancel := context.WithCancel(ctx)
	ends := make(chan error, 2)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { ends <- l.holdControl(bounded, stream) })
	wg.Go(func() { ends <- l.acceptStreams(bounded) })
	err = <-ends
	if l.stopped || ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// holdControl serves the control stream; after an orderly end requests in flight have the grace period.
func (l *quicLink) holdControl(ctx context.Context, stream *quic.Stream) error {
	if err := l.serve(ctx, stream); err != nil {
		// cloudflared drops the edge's reason here: all that its log has is this wrapper.
		l.log.failure("failed to run the datagram handler", context.Canceled, l.about())
		return &quicError{err: errors.New("control stream encountered a failure while serving")}
	}
	sleep(ctx, l.settings.grace)
	return nil
}

func (l *quicLink) about() fields { return fields{"connIndex": l.index, "event": 0, "ip": l.edge} }

func (l *quicLink) acceptStreams(ctx context.Context) error {
	for {
		stream, err := l.conn.AcceptStream(ctx)
		if err != nil {
			if ctx.Err() == nil && !l.isStopping() {
				l.log.failure("failed to accept incoming stream requests", fmt.Errorf("failed to accept QUIC stream: %w", err), l.about())
			}
			return &quicError{err: errors.New("accept stream listener encountered a failure while serving")}
		}
		go l.serveStream(stream.Context(), stream) //nolint:contextcheck // a request ends with its stream
	}
}

// What a stream of the edge begins with.
const (
	dataSignature   = "\x0A\x36\xCD\x12\xA1\x3E"
	configSignature = "\x52\xBB\x82\x5C\xDB\x65"
	dataVersion     = "01"
)

// serveStream answers one stream; one that broke off is reset.
func (l *quicLink) serveStream(ctx context.Context, stream *quic.Stream) {
	signature := make([]byte, len(dataSignature))
	_, err := io.ReadFull(stream, signature)
	if err == nil {
		switch string(signature) {
		case dataSignature:
			err = l.serveData(ctx, stream)
		case configSignature:
			err = l.serveConfig(stream)
		default:
			err = fmt.Errorf("unknown signature %x", signature)
		}
	}
	if err != nil {
		l.log.debug("Failed to handle QUIC stream", fields{"error": err})
		stream.CancelWrite(0)
		return
	}
	_ = stream.Close() // the edge may have gone
}

// serveConfig is the edge's call that brings a configuration.
func (l *quicLink) serveConfig(stream *quic.Stream) error {
	main := tunnelrpc.ConfigurationManager_ServerToClient(configManager{l.config})
	conn := rpc.NewConn(rpc.NewStreamTransport(stream), &rpc.Options{BootstrapClient: capnp.Client(main), Logger: quiet{}})
	select {
	case <-conn.Done():
		return nil
	case <-l.conn.Context().Done():
		return conn.Close()
	}
}

// configManager takes configurations over RPC.
type configManager struct{ config *configuration }

// UpdateConfiguration applies a configuration and answers with the version in force.
func (m configManager) UpdateConfiguration(_ context.Context, call tunnelrpc.ConfigurationManager_updateConfiguration) error {
	config, err := call.Args().Config()
	if err != nil {
		return err
	}
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	result, err := results.NewResult()
	if err != nil {
		return err
	}
	reply, refused := m.config.apply(call.Args().Version(), append([]byte(nil), config...))
	result.SetLatestAppliedVersion(reply.LastAppliedVersion)
	if refused != nil {
		return result.SetErr(refused.Error())
	}
	return nil
}

// serveData answers a request.
func (l *quicLink) serveData(ctx context.Context, stream *quic.Stream) error {
	version := make([]byte, len(dataVersion))
	if _, err := io.ReadFull(stream, version); err != nil {
		return err
	}
	message, err := capnp.NewDecoder(stream).Decode()
	if err != nil {
		return err
	}
	request, err := tunnelrpc.ReadRootConnectRequest(message)
	if err != nil {
		return err
	}
	back := &quicResponder{stream: stream}
	r, err := httpRequest(ctx, stream, request)
	if err == nil {
		err = l.proxy.serve(back, r, l.index, request.Type() == tunnelrpc.ConnectionType_websocket)
	}
	if err == nil {
		return nil
	}
	dest, destErr := request.Dest()
	l.log.failure("Request failed", err, fields{"connIndex": l.index, "event": 0, "ip": l.edge, "type": request.Type().String(), "dest": dest})
	if back.answered {
		return errors.Join(err, destErr)
	}
	return errors.Join(destErr, writeConnectResponse(stream, err.Error(), nil))
}

// httpRequest builds the request that a stream's head describes; its body is what follows.
func httpRequest(ctx context.Context, stream io.Reader, request tunnelrpc.ConnectRequest) (*http.Request, error) {
	if request.Type() == tunnelrpc.ConnectionType_tcp {
		return nil, errors.New("the stand-in has no private networks")
	}
	dest, err := request.Dest()
	if err != nil {
		return nil, err
	}
	pairs, err := request.Metadata()
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, dest, stream)
	if err != nil {
		return nil, err
	}
	for i := range pairs.Len() {
		key, keyErr := pairs.At(i).Key()
		value, valueErr := pairs.At(i).Val()
		if err := errors.Join(keyErr, valueErr); err != nil {
			return nil, err
		}
		switch name, isHeader := strings.CutPrefix(key, "HttpHeader:"); {
		case key == "HttpMethod":
			r.Method = value
		case key == "HttpHost":
			r.Host = value
		case isHeader:
			r.Header.Add(name, value)
		}
	}
	r.ContentLength = 0
	if text := r.Header.Get("Content-Length"); text != "" {
		if r.ContentLength, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("content-length: %w", err)
		}
	} else if strings.EqualFold(r.Header.Get("Transfer-Encoding"), "chunked") {
		r.ContentLength = -1
	}
	if r.ContentLength == 0 && request.Type() == tunnelrpc.ConnectionType_http {
		r.Body = http.NoBody
	}
	return r, nil
}

// quicResponder writes the head of an answer as metadata, and the body after it.
type quicResponder struct {
	stream   *quic.Stream
	answered bool
}

// Write sends a part of the body.
func (q *quicResponder) Write(p []byte) (int, error) { return q.stream.Write(p) }

func (q *quicResponder) respond(status int, header http.Header) error {
	pairs := [][2]string{{"HttpStatus", strconv.Itoa(status)}}
	for name, values := range header {
		for _, value := range values {
			pairs = append(pairs, [2]string{"HttpHeader:" + name, value})
		}
	}
	q.answered = true
	return writeConnectResponse(q.stream, "", pairs)
}

// trailer does nothing: QUIC streams of the tunnel have none.
func (*quicResponder) trailer(string, string) {}

func writeConnectResponse(w io.Writer, cause string, pairs [][2]string) error {
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		return err
	}
	response, err := tunnelrpc.NewRootConnectResponse(segment)
	if err != nil {
		return err
	}
	list, err := response.NewMetadata(int32(len(pairs)))
	if err != nil {
		return err
	}
	for i, pair := range pairs {
		if err := errors.Join(list.At(i).SetKey(pair[0]), list.At(i).SetVal(pair[1])); err != nil {
			return err
		}
	}
	if err := response.SetError(cause); err != nil {
		return err
	}
	if _, err := io.WriteString(w, dataSignature+dataVersion); err != nil {
		return err
	}
	return capnp.NewEncoder(w).Encode(message)
}

// probeQUIC is a handshake and nothing more.
func (c *connector) probeQUIC(ctx context.Context, address string) error {
	config, err := c.settings.edgeTLS("probe.cftunnel.com", "argotunnel")
	if err != nil {
		return err
	}
	conn, err := quic.DialAddr(ctx, address, config, quicConfig())
	if err != nil {
		return err
	}
	return conn.CloseWithError(0, "")
}

// probeTCP is a TLS handshake and nothing more.
func (c *connector) probeTCP(ctx context.Context, edge netip.AddrPort) error {
	config, err := c.settings.edgeTLS("probe.cftunnel.com")
	if err != nil {
		return err
	}
	conn, err := dialTLS(ctx, edge, config)
	if err != nil {
		return err
	}
	return ignoreClosed(conn.Close())
}

// probeAPI is a TCP connection and nothing more.
func probeAPI(ctx context.Context, address string) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return conn.Close()
}
