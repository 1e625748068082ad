package cloudflared_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

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

func TestTheFirstWrongHostnameIsNamedWithWhatToType(t *testing.T) {
	rule := func(host, service string) string {
		return fmt.Sprintf(`{"ingress":[{"hostname":%q,"service":%q},{"service":"http_status:404"}]}`, host, service)
	}
	for name, c := range map[string]struct{ config, want, cause, hint string }{
		"right":       {rule("m.example.com", broker), "", "", ""},
		"right, ws":   {rule("m.example.com", "ws://mosquitto:9001"), "m.example.com", "", ""},
		"localhost":   {rule("m.example.com", "http://localhost:9001"), "", "localhost", "set Type HTTP, URL mosquitto:9001"},
		"loopback":    {rule("m.example.com", "http://127.0.0.1:9001"), "", "localhost", "m.example.com"},
		"tcp":         {rule("m.example.com", "tcp://mosquitto:1883"), "", "Type TCP", "m.example.com"},
		"https":       {rule("m.example.com", "https://mosquitto:9001"), "", "with TLS", "m.example.com"},
		"port":        {rule("m.example.com", "http://mosquitto:1883"), "", "wrong port", "m.example.com"},
		"other host":  {rule("m.example.com", "http://192.168.1.5:9001"), "", "another host", "m.example.com"},
		"status":      {rule("m.example.com", "http_status:503"), "", "does not lead", "m.example.com"},
		"not wanted":  {rule("m.example.com", broker), "n.example.com", "does not publish n.example.com", "Hostname n.example.com"},
		"nothing yet": {`{"ingress":[{"service":"http_status:404"}]}`, "", "no public hostname", "Type HTTP, URL mosquitto:9001"},
	} {
		in, err := cloudflared.ParsePushed(c.config, 1)
		if err != nil {
			t.Fatal(err)
		}
		advice, wrong := in.Advise(broker, c.want)
		if wrong != (c.cause != "") || !strings.Contains(advice.Cause, c.cause) || !strings.Contains(advice.Hint, c.hint) {
			t.Errorf("%s: got %+v, %v", name, advice, wrong)
		}
	}
	if advice, wrong := (cloudflared.Ingress{Version: -1}).Advise(broker, ""); !wrong || !strings.Contains(advice.Cause, "no configuration") {
		t.Errorf("before any configuration: %+v", advice)
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(remote)
	f.Add(`{"version":-1,"config":{"ingress":[{"service":"http_status:503"}]}}`)
	f.Add(`{"version":1,"config":{"ingress":[{"hostname":"a","path":"(","service":"http://[::1"}]}}`)
	f.Fuzz(func(t *testing.T, text string) {
		in, err := cloudflared.ParseConfig(strings.NewReader(text))
		if err != nil {
			return
		}
		for _, name := range in.PublicHostnames(broker) {
			if rule, ok := in.Route(name, cloudflared.ClientPath); !ok || !cloudflared.SameService(rule.Service, broker) {
				t.Errorf("%q is said to lead to the broker and leads to %q", name, rule.Service)
			}
		}
		if _, wrong := in.Advise(broker, ""); wrong == (len(in.PublicHostnames(broker)) > 0) {
			t.Errorf("advice %v for %q", wrong, text)
		}
	})
}
