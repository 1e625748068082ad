package probe_test

import (
	"testing"

	"mqtunnel/internal/probe"
)

func TestConnectToIsReadAsCurlDoes(t *testing.T) {
	for text, want := range map[string]probe.ConnectTo{
		"mqtt.example.com:443:127.0.0.1:8443": {Host: "mqtt.example.com", Port: "443", ToHost: "127.0.0.1", ToPort: "8443"},
		"::127.0.0.1:8443":                    {ToHost: "127.0.0.1", ToPort: "8443"},
		":::8443":                             {ToPort: "8443"},
		":::":                                 {},
		"a:443:[::1]:8443":                    {Host: "a", Port: "443", ToHost: "::1", ToPort: "8443"},
		"[2001:db8::1]:443:[::1]:":            {Host: "2001:db8::1", Port: "443", ToHost: "::1"},
		"a::b:":                               {Host: "a", ToHost: "b"},
	} {
		got, err := probe.ParseConnectTo(text)
		if err != nil || got != want {
			t.Errorf("%q: %+v, %v, want %+v", text, got, err, want)
		}
		if got.String() != text {
			t.Errorf("%q is written %q", text, got.String())
		}
	}
	for _, text := range []string{
		"", "a", "a:1", "a:1:b", "a:1:b:2:3", "::1:443:a:1", "a:x:b:1", "a:0:b:1", "a:65536:b:1", "a:1:b:-1",
		"[::1:1:b:1", "[::1]1:b:1", "[127.0.0.1]:1:b:1", "[]:1:b:1", "a/b:1:c:1", "u@a:1:c:1", "a b:1:c:1", "a:1:[::1]",
	} {
		if got, err := probe.ParseConnectTo(text); err == nil {
			t.Errorf("%q is read as %+v", text, got)
		}
	}
}

func FuzzParseConnectTo(f *testing.F) {
	for _, text := range []string{"a:1:b:2", ":::", "[::1]:1:[::2]:2", "::a:", "[fe80::1%eth0]:1:b:2"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := probe.ParseConnectTo(text)
		if err != nil {
			return
		}
		again, err := probe.ParseConnectTo(got.String())
		if err != nil || again != got {
			t.Fatalf("%q: %+v, again %+v, %v", text, got, again, err)
		}
	})
}
