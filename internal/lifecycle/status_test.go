package lifecycle

import (
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
)

func status(service string, d *plan.Details) ServiceStatus {
	if d == nil {
		return ServiceStatus{Service: service}
	}
	return ServiceStatus{Service: service, Exists: true, State: d.State, Health: d.Health, Restarts: d.RestartCount, ExitCode: d.ExitCode, Since: time.Now().Add(-time.Hour)}
}

func beginLike(got []string, want string) bool {
	var begins []string
	if want != "" {
		begins = strings.Split(want, "|")
	}
	if len(got) != len(begins) {
		return false
	}
	for i := range got {
		if !strings.HasPrefix(got[i], begins[i]) {
			return false
		}
	}
	return true
}

func TestAStoppedConnectorHasNoConnections(t *testing.T) {
	d := container(plan.StateExited, 0, 137)
	s := Status{Services: []ServiceStatus{status(plan.ServiceBroker, &d), status(plan.ServiceConnector, &d)}}
	s.tell(told(nil, []string{starting, registered0}), []plan.Details{d, d})
	if len(s.Connections) != 0 {
		t.Errorf("connections %v of a process that was killed", s.Connections)
	}
}

func TestAStateBeganWhenTheContainerChanged(t *testing.T) {
	created, started, finished := time.Unix(100, 0), time.Unix(200, 0), time.Unix(300, 0)
	for state, want := range map[plan.State]time.Time{
		plan.StateRunning: started, plan.StatePaused: started, plan.StateExited: finished, plan.StateRestarting: finished, plan.StateCreated: created,
	} {
		d := plan.Details{Container: plan.Container{State: state, Created: created}, StartedAt: started, FinishedAt: finished}
		if got := since(d); !got.Equal(want) {
			t.Errorf("%s: since %v, want %v", state, got, want)
		}
	}
}

func TestSettingsThatWeakenTheBrokerAreNamed(t *testing.T) {
	for name, c := range map[string]struct {
		anonymous bool
		lan       string
		want      string
	}{
		"none":      {false, "", ""},
		"anonymous": {true, "", "MQTT_ALLOW_ANONYMOUS=true: everybody who learns the hostname may read"},
		"LAN":       {false, "192.168.1.2:1883", "MQTT_LAN_LISTEN=192.168.1.2:1883: plain MQTT is published on the LAN"},
		"loopback":  {false, "127.0.0.1:1883", ""},
		"both":      {true, "1883", "MQTT_ALLOW_ANONYMOUS=true: everybody who learns the hostname, and everybody on the LAN, may|MQTT_LAN_LISTEN=1883: plain"},
	} {
		if got := Weaker(c.anonymous, c.lan); !beginLike(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestHostnamesAreThoseThatLeadToTheBroker(t *testing.T) {
	s := Status{Ingress: cloudflared.Ingress{Version: 1, Rules: []cloudflared.Rule{{Hostname: "m.example.com", Service: brokerURL}, {Hostname: "x.example.com", Service: "http://web"}}}}
	if got := s.Hostnames(brokerURL); len(got) != 1 || got[0] != "m.example.com" {
		t.Errorf("hostnames %q", got)
	}
}
