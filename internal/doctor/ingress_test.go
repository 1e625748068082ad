package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// publishing is the evidence of a connected project whose tunnel has these rules,
// HOSTNAME[ PATH]=SERVICE each, and a catch-all.
func publishing(rules ...string) *Evidence {
	in := cloudflared.Ingress{Version: 7}
	for _, r := range rules {
		where, service, _ := strings.Cut(r, "=")
		hostname, path, _ := strings.Cut(where, " ")
		in.Rules = append(in.Rules, cloudflared.Rule{Hostname: hostname, Path: path, Service: service})
	}
	in.Rules = append(in.Rules, cloudflared.Rule{Service: "http_status:404"})
	return &Evidence{
		At: time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC),
		Project: ProjectEvidence{
			Status: &lifecycle.Status{
				Ingress: in, Connections: []cloudflared.Event{{Kind: cloudflared.EventRegistered}}, Begun: map[string]bool{plan.ServiceConnector: true},
			},
			Observed: &plan.Observed{Containers: []plan.Container{
				{ID: "b", Name: "other-mosquitto-1", Labels: map[string]string{plan.LabelService: plan.ServiceBroker}},
			}},
		},
		Inside: InsideEvidence{Report: &probe.Report{Name: probe.Check{Done: true, OK: true}, Addresses: []string{"172.20.0.3"}}},
		Public: PublicEvidence{Served: -1},
	}
}

// logged adds lines to the connector's log.
func (e *Evidence) logged(lines ...string) *Evidence {
	for _, text := range lines {
		e.Project.Status.ConnectorLines = append(e.Project.Status.ConnectorLines, cloudflared.ParseLine(text))
	}
	return e
}

// hostname sets MQTT_HOSTNAME.
func (e *Evidence) hostname(name string) *Evidence {
	e.Files.Settings = &config.Settings{Hostname: name}
	return e
}

// tripped adds round trips that went so, "" for well.
func (e *Evidence) tripped(classes ...probe.Class) *Evidence {
	for _, class := range classes {
		var err *probe.Error
		if class != "" {
			err = &probe.Error{Class: class, Subject: "wss://" + e.Public.Hostname}
		}
		e.Public.Trips = append(e.Public.Trips, Trip{Err: err})
	}
	return e
}

// edited changes evidence in another way.
func (e *Evidence) edited(change func(*Evidence)) *Evidence { change(e); return e }

// judgedIngress returns the results of the ingress layer alone: what it needs of
// others was not looked at.
func judgedIngress(e *Evidence) Diagnosis { return judge(ingressChecks(), e) }

const (
	homeRule       = "home.example.com=http://192.168.1.5:8123"
	rightRule      = "mqtt.example.com=http://mosquitto:9001"
	ingressRefused = `2026-08-20T11:00:00Z ERR Failed to update ingress error="http://mosquitto:9001/mqtt is an invalid address, ingress rules don't support proxying to a different path on the origin service. The path will be the same as the eyeball request's path" version=8`
	ingressBare    = `2026-08-20T11:00:00Z ERR Failed to update ingress error="The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)" version=8`
	edgeConnected  = `2026-08-20T11:00:00Z INF Registered tunnel connection connIndex=0 connection=c event=0 ip=198.41.200.13 location=fra01 protocol=quic`
	edgeJustNow    = `2026-08-20T11:59:58Z INF Registered tunnel connection connIndex=0 connection=c event=0 ip=198.41.200.13 location=fra01 protocol=quic`
)

func TestWhatIsWrongInTheDashboardIsNamedOnce(t *testing.T) {
	none := func(e *Evidence) { e.Project.Status.Ingress = cloudflared.Ingress{Version: -1} }
	for name, c := range map[string]struct {
		e        *Evidence
		id       string
		status   Status
		sentence string
		remedy   string
	}{
		"nothing yet":                  {publishing().logged(edgeConnected).edited(none), "configured", Failed, "publishes nothing yet", "Type HTTP, URL mosquitto:9001, Path empty"},
		"no hostname":                  {publishing(), "hostname-published", Failed, "no public hostname leads to the broker", "Type HTTP, URL mosquitto:9001"},
		"other hostnames alone":        {publishing(homeRule, "zigbee2mqtt.example.com=http://zigbee2mqtt:8080"), "hostname-published", Failed, "no public hostname", "Type HTTP, URL mosquitto:9001"},
		"another one wanted":           {publishing(rightRule).hostname("m.example.com"), "hostname-published", Failed, "does not publish m.example.com", "MQTT_HOSTNAME=mqtt.example.com"},
		"that of another rule wanted":  {publishing(homeRule, rightRule).hostname("home.example.com"), "hostname-published", Failed, "home.example.com leads to something else", "MQTT_HOSTNAME=mqtt.example.com"},
		"final dot":                    {publishing("mqtt.example.com.=http://mosquitto:9001").hostname("mqtt.example.com"), "hostname-published", Failed, "no request has it", "as mqtt.example.com"},
		"a wildcard alone":             {publishing("*.example.com=http://mosquitto:9001"), "hostname-published", Warned, "only a wildcard", "MQTT_HOSTNAME"},
		"localhost":                    {publishing(homeRule, "mqtt.example.com=http://localhost:9001"), "service-localhost", Failed, "the public hostname leads to localhost, which is the connector's own container", "mqtt.example.com, set Type HTTP, URL mosquitto:9001, Path empty"},
		"lan address":                  {publishing("mqtt.example.com=http://192.168.1.5:9001"), "service-address", Failed, ": 192.168.1.5", "URL mosquitto:9001"},
		"container's address":          {publishing("mqtt.example.com=http://172.20.0.3:9001"), "service-address", Warned, "works today", "URL mosquitto:9001"},
		"container's address, port":    {publishing("mqtt.example.com=http://172.20.0.3:1883"), "service-address", Failed, "172.20.0.3", "URL mosquitto:9001"},
		"address that works":           {publishing("mqtt.example.com=http://192.168.1.5:9001").tripped("", ""), "service-address", Warned, "works today", "URL mosquitto:9001"},
		"address that works elsewhere": {publishing("mqtt.example.com=http://192.168.1.5:9001").tripped("").edited(func(e *Evidence) { e.Public.Served = 0 }), "service-address", Failed, "192.168.1.5", "URL mosquitto:9001"},
		"address that works sometimes": {publishing("mqtt.example.com=http://192.168.1.5:9001").tripped("", probe.ClassOriginFailed), "service-address", Failed, "192.168.1.5", "URL mosquitto:9001"},
		"wrong name":                   {publishing("mqtt.example.com=http://broker:9001"), "service-name", Failed, "broker in place of mosquitto", "URL mosquitto:9001"},
		"container's usual name":       {publishing("mqtt.example.com=http://mqtunnel-mosquitto-1:9001"), "service-name", Failed, "mqtunnel-mosquitto-1", "URL mosquitto:9001"},
		"container's name":             {publishing("mqtt.example.com=http://other-mosquitto-1:9001"), "service-name", Warned, "works today", "URL mosquitto:9001"},
		"back to itself":               {publishing("mqtt.example.com=https://mqtt.example.com"), "service-name", Failed, "back to itself", "URL mosquitto:9001"},
		"hostile name":                 {publishing("mqtt.example.com=http://\u202egnp:9001"), "service-name", Failed, "another host", "URL mosquitto:9001"},
		"plain port":                   {publishing("mqtt.example.com=http://mosquitto:1883"), "service-port", Failed, "1883 is plain MQTT", "URL mosquitto:9001"},
		"no port":                      {publishing("mqtt.example.com=http://mosquitto"), "service-port", Failed, "80", "URL mosquitto:9001"},
		"https":                        {publishing("mqtt.example.com=https://mosquitto:9001"), "service-tls", Failed, "with TLS", "Type HTTP"},
		"wss":                          {publishing("mqtt.example.com=wss://mosquitto:9001"), "service-tls", Failed, "with TLS", "Type HTTP"},
		"tcp":                          {publishing("mqtt.example.com=tcp://mosquitto:9001"), "service-tcp", Failed, "Type TCP", "Type HTTP"},
		"status":                       {publishing("mqtt.example.com=http_status:404"), "service-type", Failed, "fixed status", "Type HTTP"},
		"ssh":                          {publishing("mqtt.example.com=ssh://mosquitto:22"), "service-type", Failed, "Type SSH", "Type HTTP"},
		"no service":                   {publishing("mqtt.example.com="), "service-type", Failed, "no service", "Type HTTP"},
		"path":                         {publishing("mqtt.example.com ^/ws$=http://mosquitto:9001"), "path-empty", Failed, "only for some paths", "Path empty"},
		"shadowed":                     {publishing("*.example.com=http://web", rightRule), "rule-first", Failed, "earlier rule", "above *.example.com"},
		"refused":                      {publishing(homeRule).logged(ingressRefused), "configuration-accepted", Failed, "has a path behind its address", "Type HTTP, URL mosquitto:9001"},
		"refused, and none before":     {publishing().logged(edgeConnected, ingressRefused).edited(none), "configuration-accepted", Failed, "has a path", "Type HTTP"},
		"no catch-all":                 {publishing(homeRule).logged(ingressBare), "catch-all", Failed, "no catch-all rule", "save the Public hostname again"},
		"no catch-all, and none before": {
			publishing().logged(edgeConnected, ingressBare).edited(none), "catch-all", Failed, "no catch-all rule", "save",
		},
		"access": {
			publishing(rightRule).edited(func(e *Evidence) { e.Project.Status.Ingress.Rules[0].AccessRequired = true }),
			"access-off", Failed, "refuses clients that have no login", "Protect with Access",
		},
		"second level": {
			publishing("a.mqtt.example.co.uk=http://mosquitto:9001").edited(func(e *Evidence) { e.Public.Hostname = "a.mqtt.example.co.uk" }).tripped(probe.ClassTLSAlert),
			"hostname-level", Failed, "does not cover a.mqtt.example.co.uk, which is more than one level below example.co.uk", "a-mqtt.example.co.uk",
		},
		"another connector's service": {
			publishing(rightRule, homeRule).edited(func(e *Evidence) {
				e.Inside.Report.Others = []probe.Dialed{{Address: "192.168.1.5:8123", Check: probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassTCPTimeout}}}}
			}), "other-services", Warned, "does not reach", "tunnel of its own",
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := judgedIngress(c.e).Findings()
			if len(found) != 1 || found[0].ID != c.id || found[0].Status != c.status ||
				!strings.Contains(found[0].Sentence, c.sentence) || !strings.Contains(found[0].Outcome.Remedy, c.remedy) || len(found[0].Seen) == 0 {
				t.Errorf("got  %+v\nwant %s %s %q, %q", findingsText(found), c.id, c.status, c.sentence, c.remedy)
			}
			if id := c.e.routeFault(); c.status == Failed && id != c.id && !slices.Contains([]string{"configured", "access-off", "hostname-level"}, c.id) {
				t.Errorf("the fault of the route is %q, want %q", id, c.id)
			}
			for _, f := range found {
				if strings.ContainsFunc(f.Sentence+f.Outcome.Remedy, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("outside text is in our words: %q, %q", f.Sentence, f.Outcome.Remedy)
				}
			}
		})
	}
}

// findingsText writes results for a failure's text.
func findingsText(results []Result) string {
	var text strings.Builder
	for _, r := range results {
		fmt.Fprintf(&text, "\n  %s %s %q %q %q", r.ID, r.Status, r.Sentence, r.Seen, r.Outcome.Remedy)
	}
	return text.String()
}

func TestADashboardThatIsRightGivesNoFinding(t *testing.T) {
	for name, e := range map[string]*Evidence{
		"plain":                     publishing(rightRule),
		"as ws":                     publishing("mqtt.example.com=ws://MOSQUITTO:9001"),
		"beside others":             publishing(homeRule, rightRule, "old.example.com=http://localhost:9001"),
		"wanted":                    publishing(homeRule, rightRule).hostname("mqtt.example.com"),
		"a wildcard, and a name":    publishing("*.example.com=http://mosquitto:9001").hostname("mqtt.example.com"),
		"a path that clients use":   publishing("mqtt.example.com ^/mqtt=http://mosquitto:9001"),
		"refused, then accepted":    publishing(rightRule).logged(ingressRefused, `2026-08-20T11:00:01Z INF Updated to new configuration config="{\"ingress\":[]}" version=9`),
		"connected a moment ago":    publishing().logged(edgeJustNow).edited(func(e *Evidence) { e.Project.Status.Ingress = cloudflared.Ingress{Version: -1} }),
		"not connected":             publishing().edited(func(e *Evidence) { e.Project.Status = &lifecycle.Status{Ingress: cloudflared.Ingress{Version: -1}} }),
		"nothing was looked at":     {Public: PublicEvidence{Served: -1}},
		"too long for the log":      publishing().edited(func(e *Evidence) { e.Project.Status.Ingress = cloudflared.Ingress{Version: -1, Unread: true} }),
		"access lets the keys in":   publishing(rightRule).tripped("").edited(func(e *Evidence) { e.Project.Status.Ingress.Rules[0].AccessRequired = true }),
		"access asks at the edge":   publishing(rightRule).tripped(probe.ClassAccessLogin).edited(func(e *Evidence) { e.Project.Status.Ingress.Rules[0].AccessRequired = true }),
		"second level, covered":     publishing("a.b.example.com=http://mosquitto:9001").edited(func(e *Evidence) { e.Public.Hostname = "a.b.example.com" }).tripped(""),
		"first level, not answered": publishing(rightRule).edited(func(e *Evidence) { e.Public.Hostname = "mqtt.example.com" }).tripped(probe.ClassTLSAlert),
		"first level below co.uk":   publishing("m.example.co.uk=http://mosquitto:9001").edited(func(e *Evidence) { e.Public.Hostname = "m.example.co.uk" }).tripped(probe.ClassTLSAlert),
		"second level, intercepted": publishing("a.b.example.com=http://mosquitto:9001").edited(func(e *Evidence) {
			e.Public.Hostname = "a.b.example.com"
			e.Public.Trips = []Trip{{Err: &probe.Error{Class: probe.ClassCertName, Certificate: &probe.Certificate{Names: []string{"router.local"}}}}}
		}),
		"other services are reached": publishing(rightRule, homeRule).edited(func(e *Evidence) {
			e.Inside.Report.Others = []probe.Dialed{{Address: "192.168.1.5:8123", Check: probe.Check{Done: true, OK: true}}}
		}),
		"other services, not tried":   publishing(rightRule, homeRule).edited(func(e *Evidence) { e.Inside.Report.Others = []probe.Dialed{{Address: "192.168.1.5:8123"}} }),
		"twice, with different paths": publishing("mqtt.example.com ^/admin=http://web", rightRule),
	} {
		t.Run(name, func(t *testing.T) {
			if found := judgedIngress(e).Findings(); len(found) > 0 {
				t.Errorf("got %s", findingsText(found))
			}
			if id := e.routeFault(); id != "" {
				t.Errorf("the fault of the route is %q", id)
			}
		})
	}
}

func TestTheNewestConfigurationIsJudged(t *testing.T) {
	e := publishing("mqtt.example.com=http://localhost:9001")
	answer := func(version int, service string) {
		body := fmt.Sprintf(`{"version":%d,"config":{"ingress":[{"hostname":"mqtt.example.com","service":%q},{"service":"http_status:404"}]}}`, version, service)
		e.Inside.Report.Config = probe.Endpoint{Check: probe.Check{Done: true, OK: true}, Status: 200, Body: json.RawMessage(body)}
	}
	answer(8, brokerURL)
	if found := judgedIngress(e).Findings(); len(found) > 0 {
		t.Errorf("the connector has version 8, and 7 is judged: %s", findingsText(found))
	}
	answer(6, brokerURL)
	if r, _ := judgedIngress(e).Result("service-localhost"); r.Status != Failed {
		t.Errorf("the log has version 7, and 6 is judged: %+v", r.Outcome)
	}
	e.Project.Status.Ingress = cloudflared.Ingress{Version: -1, Unread: true}
	answer(6, "http://mosquitto:1883")
	if r, _ := judgedIngress(e).Result("service-port"); r.Status != Failed {
		t.Errorf("the log is unread, and the answer is not judged: %+v", r.Outcome)
	}
}

func TestThousandsOfRulesAreJudgedAndFewAreShown(t *testing.T) {
	rules := make([]string, 1500)
	for i := range rules {
		rules[i] = fmt.Sprintf("service-%d.example.com=http://10.0.0.1:80", i)
	}
	found := judgedIngress(publishing(rules...)).Findings()
	if len(found) != 1 || found[0].ID != "hostname-published" || len(found[0].Seen) != mostListed+2 {
		t.Errorf("got %s", findingsText(found))
	}
	if found := judgedIngress(publishing(append(rules, "mqtt.example.com=http://localhost:9001")...)).Findings(); len(found) != 1 || found[0].ID != "service-localhost" {
		t.Errorf("got %s", findingsText(found))
	}
}
