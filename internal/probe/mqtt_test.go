package probe_test

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// brokers are the same broker by each way that leads to it.
func brokers(tb testing.TB, anonymous bool) map[string]probe.Target {
	tb.Helper()
	broker := newBroker(tb, anonymous)
	ca := newAuthority(tb)
	secure := to("wss", serve(tb, mqttHandler(broker), ca.issue(tb, host, -time.Hour, time.Hour)).URL)
	secure.RootCAs = ca.pool
	return map[string]probe.Target{
		"ws":   to("ws", serve(tb, mqttHandler(broker)).URL),
		"wss":  secure,
		"mqtt": to("mqtt", listen(tb, func(c net.Conn) { _ = broker.EstablishConnection("tcp", c) })),
	}
}

func TestAMessageComesBackByEveryWay(t *testing.T) {
	stages := map[string]string{
		"ws":   "tcp upgrade connect subscribe message",
		"wss":  "tcp tls upgrade connect subscribe message",
		"mqtt": "tcp connect subscribe message",
	}
	for scheme, target := range brokers(t, false) {
		t.Run(scheme, func(t *testing.T) {
			for range 20 {
				result, err := probe.RoundTrip(within(t, 5*time.Second), target, topic)
				if err != nil {
					t.Fatal(err)
				}
				var passed []string
				for _, timing := range result.Stages {
					passed = append(passed, string(timing.Stage))
				}
				if got := strings.Join(passed, " "); got != stages[scheme] {
					t.Fatalf("stages %q, want %q", got, stages[scheme])
				}
				if result.Message <= 0 || result.Total < result.Message {
					t.Fatalf("message took %v of %v", result.Message, result.Total)
				}
				if hasCertificate := result.Certificate != nil; hasCertificate != (scheme == "wss") {
					t.Fatalf("certificate %+v over %s", result.Certificate, scheme)
				}
			}
		})
	}
}

func TestOnlyAClosedBrokerCountsAsRefusing(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		for scheme, target := range brokers(t, anonymous) {
			refused, err := probe.Refused(within(t, 5*time.Second), target)
			if err != nil || refused == anonymous {
				t.Errorf("%s, anonymous %v: refused %v, error %v", scheme, anonymous, refused, err)
			}
		}
	}
	refused, err := probe.Refused(within(t, 5*time.Second), to("ws", closedPort(t)))
	if refused || probe.ClassOf(err) != probe.ClassRefused {
		t.Errorf("nothing listens: refused %v, error %v", refused, err)
	}
}

func TestWhatTheBrokerDeniesIsTold(t *testing.T) {
	wrong := func(target probe.Target) probe.Target {
		target.Password = secret.New("wrong")
		return target
	}
	for scheme, target := range brokers(t, false) {
		for _, test := range []struct {
			name   string
			target probe.Target
			topic  string
			want   probe.Class
		}{
			{"wrong password", wrong(target), topic, probe.ClassNotAuthorised},
			{"foreign topic", target, "elsewhere", probe.ClassSubscribeDenied},
			{"topic to write only", target, "mute", probe.ClassSubscribeDenied},
			{"topic to read only", target, "deaf", probe.ClassPublishDenied},
		} {
			_, err := probe.RoundTrip(within(t, 5*time.Second), test.target, test.topic)
			if got := probe.ClassOf(err); got != test.want {
				t.Errorf("%s, %s: class %q, want %q: %v", scheme, test.name, got, test.want, err)
			}
		}
	}
}

func TestAnErrorIsTheSameInAReport(t *testing.T) {
	_, err := probe.RoundTrip(within(t, 5*time.Second), to("ws", closedPort(t)), topic)
	data, jsonErr := json.Marshal(err)
	if jsonErr != nil {
		t.Fatal(jsonErr)
	}
	var read probe.Error
	if jsonErr := json.Unmarshal(data, &read); jsonErr != nil {
		t.Fatal(jsonErr)
	}
	if read.Error() != err.Error() || read.Class != probe.ClassOf(err) {
		t.Errorf("written %q, read %q", err, read.Error())
	}
}

func TestTheTargetIsChecked(t *testing.T) {
	for _, u := range []string{"", "mqtt.example.test", "https://mqtt.example.test", "ws://", "wss://u:p4ss@mqtt.example.test", "ws://%zz"} {
		_, err := probe.RoundTrip(within(t, time.Second), probe.Target{URL: u}, topic)
		if probe.ClassOf(err) != probe.ClassTarget {
			t.Errorf("%q: %v", u, err)
		}
		if strings.Contains(err.Error(), "p4ss") {
			t.Errorf("%q: the password stands in %q", u, err)
		}
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for scheme, target := range brokers(b, false) {
		b.Run(scheme, func(b *testing.B) {
			var connected, message time.Duration
			for b.Loop() {
				result, err := probe.RoundTrip(within(b, 5*time.Second), target, topic)
				if err != nil {
					b.Fatal(err)
				}
				connected += result.Total - result.Message
				message += result.Message
			}
			b.ReportMetric(float64(connected.Microseconds())/float64(b.N), "µs-connect/op")
			b.ReportMetric(float64(message.Microseconds())/float64(b.N), "µs-message/op")
		})
	}
}

// closedPort is an address where nothing listens.
func closedPort(tb testing.TB) string {
	tb.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}
