package connector

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func FuzzTokensNeverLeakIntoTheirErrors(f *testing.F) {
	f.Add("eyJhIjoiIn0=")
	f.Add("e30=")
	f.Add("bnVsbA==")
	f.Add("home")
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := parseToken(text); err != nil && !errors.Is(err, errToken) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

func FuzzAConfigurationInForceAnswersEveryRequest(f *testing.F) {
	f.Add([]byte(`{"ingress":[{"hostname":"a.example.com","path":"^/x","service":"http://mosquitto:9001"},{"service":"http_status:404"}]}`), "a.example.com:443", "/x")
	f.Add([]byte(`{"ingress":[{"hostname":"*.example.com","service":"tcp://mosquitto"},{"hostname":"*","service":"unix:/x"}],"originRequest":{"connectTimeout":5}}`), "[::1]", "")
	f.Add([]byte(`{"ingress":[]}`), "", "")
	f.Add([]byte(`null`), "x", "/")
	f.Fuzz(func(t *testing.T, raw []byte, host, path string) {
		in, err := parseIngress(raw)
		if err != nil {
			return
		}
		rule, number := in.match(host, path)
		if rule.origin == nil || number < 0 || rule.origin.service() == "" && rule.Service != "" {
			t.Errorf("%s: rule %d %+v for %s%s", raw, number, rule, host, path)
		}
	})
}

func FuzzFramesComeToAnEnd(f *testing.F) {
	f.Add([]byte{0x82, 0x85, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o'})
	f.Add([]byte{0x89, 0x00, 0x88, 0x00})
	f.Add([]byte{0x82, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := newMessages(duplex{bytes.NewReader(raw), io.Discard})
		if got, err := io.ReadAll(m); err == nil && len(got) > len(raw) {
			t.Errorf("%x gives %x", raw, got)
		}
	})
}

func TestWhatIsWrittenAsMessagesIsReadBack(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 1 << 16, 1<<16 + 1} {
		var wire bytes.Buffer
		m := newMessages(&wire)
		want := bytes.Repeat([]byte{'x'}, n)
		if _, err := m.Write(want); err != nil {
			t.Fatal(err)
		}
		kind, got, err := m.frame()
		if err != nil || kind != frameBinary || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: %v, kind %d, %d bytes back", n, err, kind, len(got))
		}
	}
}

func TestLogLinesAreCloudflareds(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 8, 20, 12, 37, 18, 5, time.FixedZone("", 7200)) }
	for _, c := range []struct {
		asJSON bool
		want   string
	}{
		{false, "2026-08-20T10:37:18Z ERR  error=\"a \\\"b\\\"\" connIndex=1 service=http://x:1\n"},
		{true, `{"connIndex":1,"error":"a \"b\"","level":"error","service":"http://x:1","time":"2026-08-20T10:37:18Z"}` + "\n"},
	} {
		var out strings.Builder
		l := &logger{out: &out, asJSON: c.asJSON, least: levelInfo, now: now}
		l.failure("", errors.New(`a "b"`), fields{"service": "http://x:1", "connIndex": 1})
		l.debug("not shown", nil)
		if out.String() != c.want {
			t.Errorf("got  %swant %s", out.String(), c.want)
		}
	}
}

func TestTheBackoffDoublesUpToItsCapAndStartsOver(t *testing.T) {
	b := &backoff{base: time.Second, limit: 5}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 64, 64} {
		if got := b.bound(); got != want*time.Second {
			t.Errorf("bound %s, want %s", got, want*time.Second)
		}
		if got := b.next(); got < 0 || got > 32*time.Second {
			t.Errorf("wait %s", got)
		}
	}
	b.reset()
	if got := b.bound(); got != time.Second {
		t.Errorf("after a connection: %s", got)
	}
}
