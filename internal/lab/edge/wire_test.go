package edge

import (
	"bytes"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"capnproto.org/go/capnp/v3"
	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/lab/tunnelrpc"
)

func pair(name, value string) string {
	return base64.RawStdEncoding.EncodeToString([]byte(name)) + ":" + base64.RawStdEncoding.EncodeToString([]byte(value))
}

func TestTheOriginsHeadersComeOutOfOne(t *testing.T) {
	in := strings.Join([]string{pair("Sec-WebSocket-Accept", "x=="), pair("Set-Cookie", "a"), pair("Set-Cookie", "b;c:d"), pair("Empty", "")}, ";")
	want := http.Header{"Sec-Websocket-Accept": {"x=="}, "Set-Cookie": {"a", "b;c:d"}, "Empty": {""}}
	got, err := parseHeaders(in)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"abc", "!!:YQ", "YQ:!!", "YQ==:YQ"} {
		if got, err := parseHeaders(bad); err == nil {
			t.Errorf("%q: got %v", bad, got)
		}
	}
}

func FuzzParseHeaders(f *testing.F) {
	f.Add(pair("Name", "value") + ";" + pair("Other", ""))
	f.Add(";;:")
	f.Fuzz(func(t *testing.T, in string) {
		header, err := parseHeaders(in)
		if (header == nil) == (err == nil) {
			t.Errorf("%q: header %v, error %v", in, header, err)
		}
	})
}

func connectResponse(tb testing.TB, text string, pairs ...[2]string) []byte {
	tb.Helper()
	message, segment, err := capnp.NewMessage(capnp.SingleSegment(nil))
	if err != nil {
		tb.Fatal(err)
	}
	response, err := tunnelrpc.NewRootConnectResponse(segment)
	if err != nil {
		tb.Fatal(err)
	}
	if err := response.SetError(text); err != nil {
		tb.Fatal(err)
	}
	list, err := response.NewMetadata(int32(len(pairs)))
	if err != nil {
		tb.Fatal(err)
	}
	for i, p := range pairs {
		if err := list.At(i).SetKey(p[0]); err != nil {
			tb.Fatal(err)
		}
		if err := list.At(i).SetVal(p[1]); err != nil {
			tb.Fatal(err)
		}
	}
	var out bytes.Buffer
	out.WriteString(dataSignature + dataVersion)
	if err := capnp.NewEncoder(&out).Encode(message); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestAnErrorInAConnectResponseIsTheConnectorsOwn502(t *testing.T) {
	got, err := readConnectResponse(bytes.NewReader(connectResponse(t, "unable to reach the origin")))
	if err != nil || got.Status != http.StatusBadGateway || !got.FromConnector {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = readConnectResponse(bytes.NewReader(connectResponse(t, "", [2]string{"HttpStatus", "101"}, [2]string{"HttpHeader:Upgrade", "websocket"})))
	if err != nil || got.Status != http.StatusSwitchingProtocols || got.FromConnector || got.Header.Get("Upgrade") != "websocket" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func FuzzReadConnectResponse(f *testing.F) {
	f.Add(connectResponse(f, "", [2]string{"HttpStatus", "200"}, [2]string{"HttpHeader:A", "b"}))
	f.Add(connectResponse(f, "error"))
	f.Add([]byte(dataSignature + dataVersion))
	f.Fuzz(func(t *testing.T, in []byte) {
		if response, err := readConnectResponse(bytes.NewReader(in)); err == nil && response.Header == nil {
			t.Errorf("%x: neither error nor header", in)
		}
	})
}
