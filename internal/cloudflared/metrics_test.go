package cloudflared_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"mqtunnel/internal/cloudflared"
)

func TestReadinessGoesByRegisteredConnections(t *testing.T) {
	for text, want := range map[string]cloudflared.Ready{
		`{"status":200,"readyConnections":4,"connectorId":"c0"}`: {Ready: true, Connections: 4, ConnectorID: "c0"},
		`{"status":503,"readyConnections":0,"connectorId":"c0"}`: {ConnectorID: "c0"},
	} {
		got, err := cloudflared.ParseReady(strings.NewReader(text))
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "OK\n", "{}", "[]", `{"status":"x"}`, strings.Repeat(" ", 5<<20)} {
		if got, err := cloudflared.ParseReady(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q is read as %+v", text, got)
		}
	}
}

func TestAbsentFieldsOfTheTunnelStateMeanZero(t *testing.T) {
	const text = `{"tunnelID":"11111111-2222-4333-8444-555555555555","connectorID":"c0","connections":[
		{"isConnected":true,"protocol":1,"edgeAddress":"198.41.192.57","index":1},
		{"isConnected":true,"edgeAddress":"198.41.200.13"},
		{"edgeAddress":"198.41.200.14","index":2}],"icmp_sources":["172.19.0.2"]}`
	got, err := cloudflared.ParseDiag(strings.NewReader(text))
	want := cloudflared.Diag{
		TunnelID: "11111111-2222-4333-8444-555555555555", ConnectorID: "c0",
		Connections: []cloudflared.Connection{{1, "quic", "198.41.192.57"}, {0, "http2", "198.41.200.13"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, difference:\n%s", err, diff)
	}
	if _, err := cloudflared.ParseDiag(strings.NewReader("{}")); err == nil {
		t.Error("an answer without a tunnel ID is read")
	}
}

func TestMetricsGiveVersionAndOpenRequests(t *testing.T) {
	const text = "# HELP build_info Build and version information\n" +
		`build_info{goversion="go1.26.4",revision="2026-08-20T10:00:00Z",type="",version="2026.8.2"} 1` + "\n" +
		"cloudflared_tunnel_concurrent_requests_per_tunnel 3\n" +
		`cloudflared_tunnel_request_errors 7` + "\n"
	got, err := cloudflared.ParseMetrics(strings.NewReader(text))
	if err != nil || got.Version != "2026.8.2" || got.ConcurrentRequests != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, text := range []string{"", "<html>", "cloudflared_tunnel_concurrent_requests_per_tunnel NaN\n", strings.Repeat("a\n", 3<<20)} {
		if got, err := cloudflared.ParseMetrics(strings.NewReader(text)); err == nil {
			t.Errorf("%.20q is read as %+v", text, got)
		}
	}
}

// remote is /config of a tunnel in use.
const remote = `{"version":7,"config":{"ingress":[
	{"hostname":"ha.example.com","path":null,"service":"http://homeassistant:8123","Handlers":null,"originRequest":{}},
	{"hostname":"MQTT.example.com","path":null,"service":"http://mosquitto:9001","Handlers":null,"originRequest":{"access":{"teamName":"","audTag":null}}},
	{"hostname":"shut.example.com","path":"^/other","service":"http://mosquitto:9001","Handlers":[{}]},
	{"hostname":"*.example.org","path":"","service":"ws://Mosquitto:9001/"},
	{"hostname":"a.example.org","service":"http://mosquitto:9001"},
	{"hostname":"mqtt.example.com","service":"tcp://mosquitto:1883"},
	{"service":"http_status:404"}],"warp-routing":{},"originRequest":{}}}`

const broker = "http://mosquitto:9001"

func TestTheFirstMatchingRuleDecides(t *testing.T) {
	in, err := cloudflared.ParseConfig(strings.NewReader(remote))
	if err != nil {
		t.Fatal(err)
	}
	if in.Version != 7 || len(in.Rules) != 7 || !in.Rules[2].AccessRequired || in.Rules[1].AccessRequired {
		t.Errorf("got %+v", in)
	}
	if diff := cmp.Diff([]string{"mqtt.example.com", "a.example.org"}, in.PublicHostnames(broker)); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"ha.example.com": "http://homeassistant:8123", "mqtt.example.com": broker, "shut.example.com": "http_status:404",
		"deep.x.example.org": "ws://Mosquitto:9001/", "else.where": "http_status:404",
	} {
		if rule, ok := in.Route(name, cloudflared.ClientPath); !ok || rule.Service != want {
			t.Errorf("%s leads to %q, want %q", name, rule.Service, want)
		}
	}
}

func TestAShortenedConfigurationMeansTheSame(t *testing.T) {
	want, err := cloudflared.ParseConfig(strings.NewReader(remote))
	if err != nil {
		t.Fatal(err)
	}
	short, err := cloudflared.CompactConfig([]byte(remote))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cloudflared.ParseConfig(bytes.NewReader(short))
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("error %v, difference:\n%s", err, diff)
	}
	for _, word := range []string{"warp", "teamName", "null", "\n"} {
		if bytes.Contains(short, []byte(word)) {
			t.Errorf("%q is kept: %s", word, short)
		}
	}
	for _, text := range []string{"", "{}", "[]", `{"version":1,"config":{"ingress":7}}`} {
		if short, err := cloudflared.CompactConfig([]byte(text)); err == nil {
			t.Errorf("%q is shortened to %s", text, short)
		}
	}
}

func TestTwentyThousandRulesAreReadInAMoment(t *testing.T) {
	in := cloudflared.Ingress{Version: 1}
	for i := range 20_000 {
		in.Rules = append(in.Rules, cloudflared.Rule{Hostname: fmt.Sprintf("service-%d.example.com", i), Service: "http://10.0.0.1:80"})
	}
	in.Rules = append(in.Rules, cloudflared.Rule{Hostname: "mqtt.example.com", Service: broker}, cloudflared.Rule{Service: "http_status:404"})
	few := in
	few.Rules = in.Rules[20_000-1000:]
	measure := func(in cloudflared.Ingress) time.Duration {
		best := time.Hour
		for range 5 {
			start := time.Now()
			if names := in.PublicHostnames(broker); len(names) != 1 || names[0] != "mqtt.example.com" {
				t.Fatalf("names %q", names)
			}
			best = min(best, time.Since(start))
		}
		return best
	}
	// Twenty times as many rules may not take four hundred times as long.
	if many, some := measure(in), measure(few); many > 100*some {
		t.Errorf("20,000 rules take %v, 1,000 take %v", many, some)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(remote)
	f.Add(`{"version":-1,"config":{"ingress":[{"service":"http_status:503"}]}}`)
	f.Add(`{"version":1,"config":{"ingress":[{"hostname":"a","path":"(","service":"http://[::1"}]}}`)
	f.Add(`{"version":1,"config":{"ingress":[{"hostname":"*.example.com","service":"http://web"},{"hostname":"mqtt.example.com","service":"http://mosquitto:9001"}]}}`)
	f.Add(`{"version":1,"config":{"ingress":[{"hostname":"a","service":"http://mosquitto:9001"},{"hostname":"*","path":"/a","service":"https://mosquitto"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		in, err := cloudflared.ParseConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		short, err := cloudflared.CompactConfig([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := cloudflared.ParseConfig(bytes.NewReader(short)); err != nil || !cmp.Equal(in, again) {
			t.Errorf("%q is shortened to %q: %v\n%s", text, short, err, cmp.Diff(in, again))
		}
		for _, name := range in.PublicHostnames(broker) {
			if rule, ok := in.Route(name, cloudflared.ClientPath); !ok || !cloudflared.SameService(rule.Service, broker) {
				t.Errorf("%q is said to lead to the broker and leads to %q", name, rule.Service)
			}
		}
		for _, want := range []string{"", "a", "mqtt.example.com"} {
			checkAdvice(t, in, want)
		}
	})
}

func FuzzAnswersOfTheMetricsServer(f *testing.F) {
	f.Add(`{"status":200,"readyConnections":4,"connectorId":"0a1b"}`)
	f.Add(`{"tunnelID":"6ff42ae2-765d-4adf-8112-31c55c1551ef","connectorID":"x","connections":[{"isConnected":true,"protocol":1,"edgeAddress":"198.41.192.7","index":1},{"isConnected":true}]}`)
	f.Add("build_info{goversion=\"go1\",version=\"2026.8.2\"} 1\ncloudflared_tunnel_concurrent_requests_per_tunnel 3\n")
	f.Fuzz(func(t *testing.T, text string) {
		if ready, err := cloudflared.ParseReady(strings.NewReader(text)); err == nil && ready.Ready != (ready.Connections > 0) {
			t.Errorf("%q: %+v", text, ready)
		}
		if diag, err := cloudflared.ParseDiag(strings.NewReader(text)); err == nil {
			if _, err := uuid.Parse(diag.TunnelID); err != nil {
				t.Errorf("%q: tunnel ID %q", text, diag.TunnelID)
			}
		}
		if m, err := cloudflared.ParseMetrics(strings.NewReader(text)); err == nil && m.ConcurrentRequests < 0 {
			t.Errorf("%q: %+v", text, m)
		}
	})
}
