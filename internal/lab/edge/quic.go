package edge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/quic-go/quic-go"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/tunnelrpc"
)

// What the two kinds of streams that the edge opens begin with.
const (
	dataSignature = "\x0A\x36\xCD\x12\xA1\x3E"
	rpcSignature  = "\x52\xBB\x82\x5C\xDB\x65"
	dataVersion   = "01"
)

// Names of the metadata of a data stream.
const (
	metadataMethod = "HttpMethod"
	metadataHost   = "HttpHost"
	metadataHeader = "HttpHeader:"
	metadataStatus = "HttpStatus"
)

// quicCarrier is a connection over UDP.
type quicCarrier struct {
	edge *Edge
	conn *quic.Conn
}

func (p *point) acceptQUIC(ctx context.Context) {
	for {
		conn, err := p.listener.Accept(ctx)
		if err != nil {
			return // closed, or ctx ended
		}
		p.edge.registry.Count(func(c *control.Counters) { c.QUICConnections++ })
		p.edge.tasks.Go(func() { p.edge.serveQUIC(ctx, p, conn) })
	}
}

// serveQUIC serves a connection until it ends. The first stream that the connector
// opens is the control stream; a pre-check opens none.
func (e *Edge) serveQUIC(ctx context.Context, p *point, conn *quic.Conn) {
	c := &quicCarrier{edge: e, conn: conn}
	defer c.close()
	stream, err := conn.AcceptStream(ctx)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(conn.Context(), cancel) //nolint:contextcheck // the connection ends on its own, too
	l := e.newLink(c, p, "quic", conn.RemoteAddr().String())
	defer l.leave()
	l.serveControl(ctx, stream)
	<-ctx.Done()
}

func (c *quicCarrier) close() { _ = c.conn.CloseWithError(0, "") } // fails only when it is closed already

func (c *quicCarrier) open(ctx context.Context, r *Request) (*Response, error) {
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { cancelStream(stream) })
	body := &quicBody{stream: stream, stop: stop}
	if err := writeConnectRequest(stream, r); err != nil {
		return nil, errors.Join(fmt.Errorf("ask the connector: %w", err), body.Close())
	}
	c.send(stream, r.Body)
	response, err := readConnectResponse(stream)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask the connector: %w", err), body.Close())
	}
	response.Body = body
	return response, nil
}

// send copies a request's body into the stream until either ends.
func (c *quicCarrier) send(stream *quic.Stream, body io.ReadCloser) {
	if body == nil {
		_ = stream.Close() // a dead stream shows when the response is read
		return
	}
	c.edge.tasks.Go(func() {
		if _, err := io.Copy(stream, body); err != nil {
			stream.CancelWrite(0)
			return
		}
		_ = stream.Close() // a dead stream shows when the response is read
	})
}

// quicBody is the response's side of a data stream.
type quicBody struct {
	stream *quic.Stream
	stop   func() bool
}

func (b *quicBody) Read(p []byte) (int, error) { return b.stream.Read(p) }

// Close gives the stream up in both directions.
func (b *quicBody) Close() error {
	b.stop()
	cancelStream(b.stream)
	return nil
}

func cancelStream(stream *quic.Stream) {
	stream.CancelRead(0)
	stream.CancelWrite(0)
}

func writeConnectRequest(w io.Writer, r *Request) error {
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		return err
	}
	request, err := tunnelrpc.NewRootConnectRequest(segment)
	if err != nil {
		return err
	}
	request.SetType(tunnelrpc.ConnectionType_http)
	if r.WebSocket {
		request.SetType(tunnelrpc.ConnectionType_websocket)
	}
	if err := request.SetDest("https://" + r.Host + r.Path); err != nil {
		return err
	}
	pairs := [][2]string{{metadataMethod, r.Method}, {metadataHost, r.Host}}
	for name, values := range r.Header {
		for _, v := range values {
			pairs = append(pairs, [2]string{metadataHeader + name, v})
		}
	}
	if r.ContentLength > 0 {
		pairs = append(pairs, [2]string{metadataHeader + "Content-Length", strconv.FormatInt(r.ContentLength, 10)})
	}
	if r.ContentLength < 0 && !r.WebSocket {
		pairs = append(pairs, [2]string{metadataHeader + "Transfer-Encoding", "chunked"})
	}
	list, err := request.NewMetadata(int32(len(pairs)))
	if err != nil {
		return err
	}
	for i, pair := range pairs {
		if err := errors.Join(list.At(i).SetKey(pair[0]), list.At(i).SetVal(pair[1])); err != nil {
			return err
		}
	}
	if _, err := io.WriteString(w, dataSignature+dataVersion); err != nil {
		return err
	}
	return capnp.NewEncoder(w).Encode(message)
}

func readConnectResponse(r io.Reader) (*Response, error) {
	preamble := make([]byte, len(dataSignature)+len(dataVersion))
	if _, err := io.ReadFull(r, preamble); err != nil {
		return nil, fmt.Errorf("read preamble: %w", err)
	}
	if !strings.HasPrefix(string(preamble), dataSignature) {
		return nil, fmt.Errorf("read preamble: %x is not a data stream's", preamble)
	}
	message, err := capnp.NewDecoder(r).Decode()
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	response, err := tunnelrpc.ReadRootConnectResponse(message)
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	out := &Response{Status: http.StatusBadGateway, Header: http.Header{}}
	if text, err := response.Error(); err != nil || text != "" {
		out.FromConnector = true
		return out, err
	}
	list, err := response.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	for i := range list.Len() {
		key, keyErr := list.At(i).Key()
		value, valueErr := list.At(i).Val()
		if err := errors.Join(keyErr, valueErr); err != nil {
			return nil, fmt.Errorf("read response: %w", err)
		}
		if name, ok := strings.CutPrefix(key, metadataHeader); ok {
			out.Header.Add(name, value)
		}
		if key == metadataStatus {
			if out.Status, err = strconv.Atoi(value); err != nil {
				return nil, fmt.Errorf("read status: %w", err)
			}
		}
	}
	return out, nil
}

func (c *quicCarrier) push(ctx context.Context, version int, config []byte) (int, error) {
	stream, err := c.conn.OpenStreamSync(ctx)
	if err != nil {
		return 0, fmt.Errorf("open stream: %w", err)
	}
	defer cancelStream(stream)
	if _, err := io.WriteString(stream, rpcSignature); err != nil {
		return 0, fmt.Errorf("ask the connector: %w", err)
	}
	conn := rpc.NewConn(rpc.NewStreamTransport(stream), nil)
	defer func() { _ = conn.Close() }() // the stream goes with it
	manager := tunnelrpc.ConfigurationManager(conn.Bootstrap(ctx))
	defer manager.Release()
	answer, release := manager.UpdateConfiguration(ctx, func(p tunnelrpc.ConfigurationManager_updateConfiguration_Params) error {
		p.SetVersion(int32(version))
		return p.SetConfig(config)
	})
	defer release()
	results, err := answer.Struct()
	if err != nil {
		return 0, fmt.Errorf("ask the connector: %w", err)
	}
	result, err := results.Result()
	if err != nil {
		return 0, fmt.Errorf("read the connector's answer: %w", err)
	}
	text, err := result.Err()
	if err != nil {
		return 0, fmt.Errorf("read the connector's answer: %w", err)
	}
	applied := int(result.LatestAppliedVersion())
	if text != "" {
		return applied, fmt.Errorf("%w: %s", errRefused, text)
	}
	return applied, nil
}
