package probe_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// project is a broker and a connector's metrics server as the probe sees them.
func project(t *testing.T, anonymous bool) probe.Request {
	t.Helper()
	broker := newBroker(t, anonymous)
	metrics := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ready":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, "{\n \"status\": 503, \"readyConnections\": 0, \"connectorId\": \"c\"}\n")
		case "/config":
			_, _ = io.WriteString(w, `{"version":-1,"config":{"ingress":[{"service":"http_status:503"}]}}`)
		default:
			http.NotFound(w, r)
		}
	}))
	return probe.Request{
		Broker:        "127.0.0.1",
		WebSocketPort: portOf(t, serve(t, mqttHandler(broker)).Listener.Addr().String()),
		PlainPort:     portOf(t, listen(t, func(c net.Conn) { _ = broker.EstablishConnection("tcp", c) })),
		Username:      username, Password: secret.New(password), Topic: topic,
		Metrics: metrics.Listener.Addr().String(),
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTheProbeReportsAHealthyProject(t *testing.T) {
	req := project(t, false)
	content, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(path, []byte(content.Reveal()), probe.RequestMode); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	environ := []string{"PATH=/", "https_proxy=http://user:hunter2@proxy:3128", "NO_PROXY=mosquitto", "HTTP_PROXY="}
	if err := probe.Main(t.Context(), path, environ, &out); err != nil {
		t.Fatal(err)
	}
	if strings.Count(out.String(), "\n") != 2 || !strings.HasSuffix(out.String(), "}\n\n") {
		t.Errorf("not one line and an empty one: %q", out.String())
	}
	for _, text := range []string{password, "hunter2"} {
		if strings.Contains(out.String(), text) {
			t.Errorf("%q stands in the report: %s", text, out.String())
		}
	}
	report, _ := read(t, out.String())
	for name, check := range map[string]probe.Check{
		"name": report.Name, "round trip": report.RoundTrip, "anonymous over WebSocket": report.AnonymousWebSocket,
		"anonymous on the plain port": report.AnonymousPlain, "ready": report.Ready.Check, "config": report.Config.Check,
	} {
		if !check.Done || !check.OK || check.Error != nil || check.Took <= 0 {
			t.Errorf("%s: %+v", name, check)
		}
	}
	if report.Ready.Status != 503 || !strings.Contains(string(report.Ready.Body), `"readyConnections":0`) {
		t.Errorf("ready: %d %s", report.Ready.Status, report.Ready.Body)
	}
	if report.Tunnel.OK || report.Tunnel.Error == nil || report.Tunnel.Error.Class != probe.ClassEndpointStatus {
		t.Errorf("an old connector's missing endpoint: %+v", report.Tunnel)
	}
	if !slices.Equal(report.Proxy, []string{"NO_PROXY", "https_proxy"}) || !slices.Equal(report.Addresses, []string{"127.0.0.1"}) {
		t.Errorf("proxy %q, addresses %q", report.Proxy, report.Addresses)
	}
	if found := report.Findings(probe.Expect{}); len(found) != 0 {
		t.Errorf("findings on a healthy project: %+v", found)
	}
}

func TestAnonymousClientsAreAFindingUnlessWanted(t *testing.T) {
	req := project(t, true)
	report := probe.Run(within(t, 10*time.Second), req, nil)
	found := report.Findings(probe.Expect{})
	if len(found) != 2 || found[0].Class != probe.ClassAnonymousAccepted ||
		found[0].Text != "the broker lets clients in without username and password over WebSocket" {
		t.Errorf("findings %+v", found)
	}
	if found := report.Findings(probe.Expect{Anonymous: true}); len(found) != 0 {
		t.Errorf("findings where anonymous clients are wanted: %+v", found)
	}
}

func TestTheFirstFindingIsTheCause(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for name, test := range map[string]struct {
		change func(*probe.Request)
		class  probe.Class
		text   string
	}{
		"no such name": {func(r *probe.Request) { r.Broker = "mosquitto.invalid" }, "", "the connector does not find the broker's name: "},
		"port closed":  {func(r *probe.Request) { r.WebSocketPort = portOf(t, closedPort(t)) }, probe.ClassRefused, "the broker does not listen where the connector looks: 127.0.0.1:"},
		"plain listener": {
			func(r *probe.Request) { r.WebSocketPort = portOf(t, listen(t, func(net.Conn) {})) }, probe.ClassClosed,
			"the broker answers on its plain MQTT port but takes no WebSocket clients: the connection was closed",
		},
		"full": {func(r *probe.Request) {
			r.WebSocketPort, r.Timeout = portOf(t, listen(t, silent)), 300*time.Millisecond
		}, probe.ClassUpgradeTimeout, "the broker answers on its plain MQTT port but takes no WebSocket clients: the WebSocket upgrade was not answered in time"},
		"another service": {
			func(r *probe.Request) {
				r.WebSocketPort = portOf(t, serve(t, http.NotFoundHandler()).Listener.Addr().String())
			}, probe.ClassCatchAll,
			"is not the broker's WebSocket listener: HTTP 404",
		},
		"password": {func(r *probe.Request) { r.Password = secret.New("old") }, probe.ClassNotAuthorised, "the broker refuses the probe's own account"},
		"topic":    {func(r *probe.Request) { r.Topic = "elsewhere" }, probe.ClassSubscribeDenied, "the broker accepts the probe's account but not its topic: "},
		"no metrics": {
			func(r *probe.Request) { r.Metrics = closedPort(t) }, probe.ClassRefused,
			"the connector's metrics server gives no answer: 127.0.0.1:",
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := project(t, false)
			test.change(&req)
			found := probe.Run(within(t, 10*time.Second), req, nil).Findings(probe.Expect{})
			if len(found) == 0 || (test.class != "" && found[0].Class != test.class) || !strings.Contains(found[0].Text, test.text) || found[0].Hint == "" {
				t.Errorf("findings %+v\nwant %s: %q", found, test.class, test.text)
			}
		})
	}
}

func TestTheProbeEndsInTimeWhenNothingAnswers(t *testing.T) {
	silent := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	req := project(t, false)
	req.Timeout = 300 * time.Millisecond
	req.WebSocketPort, req.PlainPort = portOf(t, listen(t, silent)), portOf(t, listen(t, silent))
	req.Metrics = listen(t, silent)
	report := probe.Run(t.Context(), req, nil)
	if report.Took > 3*time.Second {
		t.Errorf("took %v with checks of %v", report.Took, req.Timeout)
	}
	for name, check := range map[string]probe.Check{"round trip": report.RoundTrip, "anonymous": report.AnonymousPlain, "ready": report.Ready.Check} {
		if check.OK || check.Error == nil {
			t.Errorf("%s: %+v", name, check)
		}
	}
}

func TestARequestSurvivesItsFile(t *testing.T) {
	req := probe.Request{
		Broker: "mosquitto", WebSocketPort: 9001, PlainPort: 1883, Username: username, Password: secret.New("p\"\\\u2028$\u00fc"),
		Topic: topic, Metrics: "127.0.0.1:20241", Timeout: 3 * time.Second,
	}
	content, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := probe.DecodeRequest([]byte(content.Reveal()))
	if err != nil {
		t.Fatal(err)
	}
	if !got.Password.Equal(req.Password) {
		t.Errorf("password %q, want %q", got.Password.Reveal(), req.Password.Reveal())
	}
	got.Password, req.Password = secret.Text{}, secret.Text{}
	gotJSON, _ := json.Marshal(got)
	wantJSON, _ := json.Marshal(req)
	if !bytes.Equal(gotJSON, wantJSON) {
		t.Errorf("got %s, want %s", gotJSON, wantJSON)
	}
}

func TestABadRequestIsRefusedWithoutShowingIt(t *testing.T) {
	for name, content := range map[string]string{
		"empty":          "",
		"cut":            `{"version":1,"broker":"mosquitto","webSocketPort":9001,"password":"hunter2`,
		"wrong type":     `{"version":1,"broker":"mosquitto","webSocketPort":"hunter2"}`,
		"unknown field":  `{"version":1,"broker":"mosquitto","webSocketPort":9001,"topic":"t","hunter2":1}`,
		"other version":  `{"version":2,"broker":"mosquitto","webSocketPort":9001,"topic":"t","password":"hunter2"}`,
		"more after it":  `{"version":1,"broker":"mosquitto","webSocketPort":9001,"topic":"t"}hunter2`,
		"no broker":      `{"version":1,"webSocketPort":9001,"topic":"t"}`,
		"URL as broker":  `{"version":1,"broker":"a/hunter2","webSocketPort":9001,"topic":"t"}`,
		"port":           `{"version":1,"broker":"mosquitto","webSocketPort":70000,"topic":"t"}`,
		"wildcard":       `{"version":1,"broker":"mosquitto","webSocketPort":9001,"topic":"hunter2/#"}`,
		"metrics":        `{"version":1,"broker":"mosquitto","webSocketPort":9001,"topic":"t","metrics":"hunter2"}`,
		"long timeout":   `{"version":1,"broker":"mosquitto","webSocketPort":9001,"topic":"t","timeoutNs":9000000000}`,
		"64 KiB of text": `{"version":1,"password":"` + strings.Repeat("hunter2", 10000) + `"}`,
	} {
		_, err := probe.DecodeRequest([]byte(content))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"version":1,"broker":"mosquitto","webSocketPort":9001,"username":"u","password":"p","topic":"t"}`))
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := probe.DecodeRequest(data)
		if err != nil {
			return
		}
		content, err := req.Encode()
		if err != nil {
			t.Fatalf("decoded, but not encoded: %v", err)
		}
		again, err := probe.DecodeRequest([]byte(content.Reveal()))
		if err != nil || !again.Password.Equal(req.Password) || again.Broker != req.Broker {
			t.Fatalf("again: %+v, %v", again, err)
		}
	})
}

func FuzzDecodeReport(f *testing.F) {
	f.Add([]byte(`{"version":1,"roundTrip":{"done":true,"error":{"class":"http-status","stage":"upgrade","status":418}}}`))
	f.Add([]byte(`{"version":1,"ready":{"done":true,"status":503,"body":{"status":503}},"anonymousPlain":{"done":true,"error":{"class":"anonymous-accepted"}}}`))
	f.Add([]byte(`{"version":1,"roundTrip":{"error":{"class":"certificate-name","stage":"tls"}}}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		report, err := probe.DecodeReport(data)
		if err != nil {
			return
		}
		_ = report.Findings(probe.Expect{})
		for _, check := range []probe.Check{report.Name, report.RoundTrip, report.Ready.Check} {
			if check.Error != nil {
				_, _ = check.Error.Error(), check.Error.Hint()
			}
		}
	})
}
