package lifecycle

import (
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

func TestStatusTellsWhatIsWrong(t *testing.T) {
	up, starts := container(plan.StateRunning, 0, 0), container(plan.StateRunning, 0, 0)
	up.Health, starts.Health = plan.HealthHealthy, plan.HealthStarting
	sick, oom := up, container(plan.StateExited, 0, 137)
	sick.Health, oom.OOMKilled = plan.HealthUnhealthy, true
	serves := []string{database, brokerStarts, brokerRuns}
	good := []string{starting, version, connectorID, registered0, pushed("m.example.com", brokerURL)}
	stale := strings.Replace(noName, "2026-08-20", "2020-08-20", 1)
	for name, c := range map[string]struct {
		broker, connector *plan.Details // nil when there is no container
		brokerLog, log    []string
		inside            *probe.Report
		hostname          string
		want              string // beginnings of the problems
	}{
		"healthy":                 {&up, &up, serves, good, nil, "", ""},
		"healthy, hostname asked": {&up, &up, serves, good, nil, "m.example.com", ""},
		"healthy, logs are cut":   {&up, &up, noise(3), nil, nil, "", ""},
		"just started":            {&starts, &starts, serves[:2], []string{starting, version}, nil, "", "no connection to Cloudflare's edge is known of"},
		"starting, connected":     {&starts, &starts, serves, good, nil, "", ""},
		"nothing there":           {nil, nil, nil, nil, nil, "", "the project is down: it has no containers"},
		"no connector":            {&up, nil, serves, nil, nil, "", "there is no container of cloudflared"},
		"connector loop 255":      {&up, new(container(plan.StateRestarting, 7, 255)), serves, []string{badToken}, nil, "", "cloudflared ends with exit code 255 and is started again, 7 restarts so far|the connector was given something that is no tunnel token"},
		"connector loop 1":        {&up, new(container(plan.StateRestarting, 7, 1)), serves, nil, nil, "", "cloudflared ends with exit code 1 and"},
		"broker loop":             {new(container(plan.StateRestarting, 2, 1)), &up, []string{unknownWord}, good, nil, "", "mosquitto ends with exit code 1 and|the broker does not know a directive"},
		"connector stopped":       {&up, new(container(plan.StateExited, 0, 0)), serves, nil, nil, "", "cloudflared is exited, exit code 0"},
		"out of memory":           {&oom, &up, nil, good, nil, "", "mosquitto ran out of memory"},
		"paused":                  {new(container(plan.StatePaused, 0, 0)), &up, serves, good, nil, "", "mosquitto is paused"},
		"unhealthy":               {&up, &sick, serves, good, nil, "", "cloudflared fails its health check"},
		"no connection":           {&up, &up, serves, []string{starting, tcpTimeout}, nil, "", "TCP port 7844"},
		"seen from inside":        {&up, &up, serves, nil, &probe.Report{RoundTrip: probe.Check{Done: true, OK: true}}, "", "the connector has no connection to Cloudflare's edge"},
		"wrong service":           {&up, &up, serves, []string{starting, registered0, pushed("m.example.com", "http://localhost:9001")}, nil, "", "the public hostname leads to localhost, which is the connector's own container: m.example.com -> http://localhost:9001"},
		"another hostname":        {&up, &up, serves, good, nil, "x.example.com", "the tunnel does not publish x.example.com"},
		"no configuration known":  {&up, &up, serves, []string{registered0}, nil, "", ""},
		"no configuration, seen":  {&up, &up, serves, []string{registered0}, &probe.Report{RoundTrip: probe.Check{Done: true, OK: true}}, "", "no configuration has come from Cloudflare yet"},
		"request failed long ago": {&up, &up, serves, append(good[:5:5], stale), nil, "", ""},
		"database shrank":         {&up, &up, []string{shrunk, brokerStarts, brokerRuns}, good, nil, "", "the database lost content before"},
	} {
		s := Status{Services: []ServiceStatus{status(plan.ServiceBroker, c.broker), status(plan.ServiceConnector, c.connector)}, Inside: c.inside}
		details := make([]plan.Details, 2)
		for i, d := range []*plan.Details{c.broker, c.connector} {
			if d != nil {
				details[i] = *d
			}
		}
		s.fill(told(c.brokerLog, c.log).view(), details, Inquiry{Service: brokerURL, Hostname: c.hostname})
		var got []string
		for _, p := range s.Problems {
			got = append(got, p.Text)
			if p.Hint == "" {
				t.Errorf("%s: no hint for %q", name, p.Text)
			}
		}
		if !beginLike(got, c.want) || s.Healthy() != (c.want == "") {
			t.Errorf("%s: problems %q, want %q", name, got, c.want)
		}
	}
}

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
	s.fill(told(nil, []string{starting, registered0}).view(), []plan.Details{d, d}, Inquiry{Service: brokerURL})
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
