package world_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"capnproto.org/go/capnp/v3"
	"capnproto.org/go/capnp/v3/rpc"
	"github.com/quic-go/quic-go"

	"mqtunnel/internal/lab/tunnelrpc"
)

func (p *peer) dialQUIC(ctx context.Context, t *testing.T, l *lab) {
	t.Helper()
	conn, err := quic.DialAddr(ctx, l.edge(3), &tls.Config{RootCAs: l.pool, ServerName: "quic.cftunnel.com", NextProtos: []string{"argotunnel"}},
		&quic.Config{EnableDatagrams: true, KeepAlivePeriod: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	p.control = stream
	close(p.ready)
	var streams sync.WaitGroup
	t.Cleanup(func() { _ = conn.CloseWithError(0, ""); <-p.closed; streams.Wait() })
	go func() {
		defer close(p.closed)
		for {
			s, err := conn.AcceptStream(ctx)
			if err != nil {
				return
			}
			streams.Go(func() { p.serveStream(s) })
		}
	}()
}

// serveStream takes what the edge sends over one QUIC stream.
func (p *peer) serveStream(s *quic.Stream) {
	defer func() { _ = s.Close() }()
	defer s.CancelRead(0)
	signature := make([]byte, 6)
	if _, err := io.ReadFull(s, signature); err != nil {
		return
	}
	if signature[0] == 0x52 {
		conn := rpc.NewConn(rpc.NewStreamTransport(s), &rpc.Options{
			BootstrapClient: capnp.Client(tunnelrpc.ConfigurationManager_ServerToClient(p)),
		})
		<-conn.Done()
		return
	}
	_, _ = io.ReadFull(s, make([]byte, 2))
	message, err := capnp.NewDecoder(s).Decode()
	if err != nil {
		return
	}
	request, err := tunnelrpc.ReadRootConnectRequest(message)
	if err != nil {
		return
	}
	p.requests.Add(1)
	p.serveRequest(s, request)
}

func (p *peer) serveRequest(s *quic.Stream, request tunnelrpc.ConnectRequest) {
	dest, _ := request.Dest()
	r, _ := http.NewRequest(http.MethodGet, dest, io.NopCloser(s))
	list, _ := request.Metadata()
	for i := range list.Len() {
		key, _ := list.At(i).Key()
		value, _ := list.At(i).Val()
		switch name, isHeader := strings.CutPrefix(key, "HttpHeader:"); {
		case isHeader:
			r.Header.Add(name, value)
		case key == "HttpMethod":
			r.Method = value
		case key == "HttpHost":
			r.Host = value
		}
	}
	r.ContentLength, _ = strconv.ParseInt(r.Header.Get("Content-Length"), 10, 64)
	webSocket := request.Type() == tunnelrpc.ConnectionType_websocket
	conn, reader, response, err := askOrigin(p.origin(), r, webSocket)
	if err != nil {
		respond(s, err.Error(), nil)
		return
	}
	defer func() { _ = conn.Close() }()
	pairs := [][2]string{{"HttpStatus", strconv.Itoa(response.StatusCode)}}
	for name, values := range response.Header {
		pairs = append(pairs, [2]string{"HttpHeader:" + name, values[0]})
	}
	respond(s, "", pairs)
	if webSocket {
		join(conn, reader, canceling{s}, s)
		return
	}
	_, _ = io.Copy(s, response.Body)
}

type canceling struct{ *quic.Stream }

func (c canceling) Close() error { c.CancelRead(0); return nil }

func respond(w io.Writer, text string, pairs [][2]string) {
	message, segment, _ := capnp.NewMessage(capnp.SingleSegment(nil))
	response, _ := tunnelrpc.NewRootConnectResponse(segment)
	if text != "" {
		_ = response.SetError(text)
	}
	list, _ := response.NewMetadata(int32(len(pairs)))
	for i, pair := range pairs {
		_ = list.At(i).SetKey(pair[0])
		_ = list.At(i).SetVal(pair[1])
	}
	_, _ = io.WriteString(w, "\x0A\x36\xCD\x12\xA1\x3E01")
	_ = capnp.NewEncoder(w).Encode(message)
}

// UpdateConfiguration takes the configuration over QUIC.
func (p *peer) UpdateConfiguration(_ context.Context, call tunnelrpc.ConfigurationManager_updateConfiguration) error {
	results, err := call.AllocResults()
	if err != nil {
		return err
	}
	result, err := results.NewResult()
	if err != nil {
		return err
	}
	config, err := call.Args().Config()
	if err != nil {
		return err
	}
	p.apply(string(config))
	result.SetLatestAppliedVersion(call.Args().Version())
	return nil
}
