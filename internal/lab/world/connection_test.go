package world_test

import (
	"strings"
	"testing"

	"mqtunnel/internal/lab/control"
)

func TestRegistrationIsRefusedWithTheEdgesWords(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	if _, err := l.Rotate(t.Context(), c.TunnelID); err != nil {
		t.Fatal(err)
	}
	l.refused(t, c, "Unauthorized: Invalid tunnel secret")
	if err := l.SetTunnelFaults(t.Context(), c.TunnelID, control.Faults{RegisterError: "EDUPCONN"}); err != nil {
		t.Fatal(err)
	}
	l.refused(t, c, "EDUPCONN")
	if err := l.Delete(t.Context(), c.TunnelID); err != nil {
		t.Fatal(err)
	}
	l.refused(t, c, "Unauthorized: Tunnel not found")
	counters, err := l.Counters(t.Context())
	if err != nil || len(counters.RefusedRegistrations) != 3 || counters.Registrations != 0 {
		t.Errorf("counters %+v, %v", counters, err)
	}
}

func TestAChangedConfigurationReachesEveryConnection(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	peers := []*peer{l.connect(t, c, "http2", 0), l.connect(t, c, "quic", 1), l.connect(t, c, "http2", 2)}
	for _, p := range peers {
		p.waitConfig(t)
	}
	result, err := l.Configure(t.Context(), c.TunnelID, control.TunnelConfig{Ingress: []control.Rule{{Service: "http_status:503"}}})
	if err != nil || result.Version != 1 || result.Applied != 3 {
		t.Fatalf("got %+v, %v", result, err)
	}
	for _, p := range peers {
		if got := p.waitConfig(t); !strings.Contains(got, "http_status:503") {
			t.Errorf("got %s", got)
		}
	}
	if _, err := l.Configure(t.Context(), c.TunnelID, control.TunnelConfig{None: true}); err != nil {
		t.Fatal(err)
	}
	late := l.connect(t, c, "http2", 3)
	if late.configured() {
		t.Error("a configuration was pushed although there is none")
	}
}

func TestClosingAConnectionCutsThatOneAlone(t *testing.T) {
	l := startLab(t)
	c := l.tunnel(t, "mqtt.example.com", "http://127.0.0.1:1")
	first, second := l.connect(t, c, "http2", 0), l.connect(t, c, "quic", 1)
	for i, p := range []*peer{first, second} {
		if n, err := l.Close(t.Context(), c.TunnelID, i); n != 1 || err != nil {
			t.Fatalf("closed %d, %v", n, err)
		}
		p.waitClosed(t)
		state := l.waitConnections(t, c.TunnelID, 1-i)
		if state.Counters.Lost != i+1 {
			t.Errorf("counters %+v", state.Counters)
		}
	}
}
