package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// outsideText is text that must not get into a bundle. It is in every text of the
// evidence that fillOutside fills.
const outsideText = "Outside-7c1"

// fillOutside puts text from outside into every text of a value, true into every truth, and
// one element into every list and map.
func fillOutside(v reflect.Value, depth int) {
	if depth > 12 || !v.CanSet() {
		return
	}
	switch v.Interface().(type) {
	case secret.Text:
		v.Set(reflect.ValueOf(secret.New(outsideText)))
		return
	case time.Time:
		v.Set(reflect.ValueOf(time.Unix(1787040000, 0)))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.MustParseAddr("203.0.113.77")))
		return
	case json.RawMessage:
		v.Set(reflect.ValueOf(json.RawMessage(`"` + outsideText + `"`)))
		return
	}
	if v.Type() == reflect.TypeFor[error]() {
		v.Set(reflect.ValueOf(errors.New(outsideText)))
		return
	}
	switch v.Kind() { //nolint:exhaustive // the others hold no text
	case reflect.String:
		v.SetString(outsideText)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillOutside(v.Elem(), depth+1)
	case reflect.Struct:
		for _, field := range v.Fields() {
			fillOutside(field, depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fillOutside(v.Index(0), depth+1)
	case reflect.Map:
		key, element := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fillOutside(key, depth+1)
		fillOutside(element, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, element)
		if key.Kind() == reflect.String {
			for _, service := range []string{plan.ServiceBroker, plan.ServiceConnector} {
				v.SetMapIndex(reflect.ValueOf(service).Convert(key.Type()), element)
			}
		}
	}
}

// foreignEvidence is evidence in which every text is from outside.
func foreignEvidence() *Evidence {
	var e Evidence
	fillOutside(reflect.ValueOf(&e).Elem(), 0)
	e.Files.Rendered = &render.Rendered{
		Passwd: []byte(outsideText + ":$7$" + outsideText + "\n" + outsideText + ":x\n"), ACL: []byte("user " + outsideText + "\ntopic read " + outsideText + "\n"),
	}
	for _, service := range []string{plan.ServiceBroker, plan.ServiceConnector} {
		s := e.Project.Status.Services[0]
		s.Service = service
		e.Project.Status.Services = append(e.Project.Status.Services, s)
	}
	e.Project.Status.Ingress.Rules = append(
		e.Project.Status.Ingress.Rules,
		cloudflared.Rule{Hostname: "*." + outsideText, Service: "http://" + outsideText + ":9001/" + outsideText},
		cloudflared.Rule{Hostname: outsideText, Service: outsideText + "://" + outsideText}, cloudflared.Rule{Service: "http_status:" + outsideText},
		cloudflared.Rule{Service: "http://203.0.113.77:" + outsideText},
	)
	e.Project.Images[plan.ServiceBroker] = plan.Image{RepoDigests: []string{outsideText + "@sha256:" + outsideText, outsideText}}
	e.Project.Status.ConnectorLines = append(
		e.Project.Status.ConnectorLines,
		cloudflared.ParseLine(`2026-08-20T10:37:18Z ERR Request failed error="`+outsideText+`" connIndex=0 dest=https://`+outsideText),
		cloudflared.ParseLine("2026-08-20T10:37:18Z INF Initial protocol "+outsideText),
		cloudflared.ParseLine(`2026-08-20T10:37:18Z WRN Register tunnel error from server side error="Unauthorized: `+outsideText+`"`),
	)
	e.Project.Status.BrokerLines = append(
		e.Project.Status.BrokerLines,
		mosquitto.Line{Text: "New client connected from " + outsideText + ":1 as " + outsideText + " (p5, c1, k60, u'" + outsideText + "')."},
		mosquitto.Line{Text: "Client " + outsideText + " [1.2.3.4:5] disconnected: " + outsideText + "."},
		mosquitto.Line{Text: "Client " + outsideText + " disconnected, not authorised."},
		mosquitto.Line{Text: "Error: Unknown configuration variable \"" + outsideText + "\"."},
	)
	return &e
}

// wholeText is a bundle as one text.
func wholeText(files []BundleFile) string {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%s\n%s\n", f.Name, f.Data)
	}
	return b.String()
}

func TestNothingFromOutsideGetsIntoABundle(t *testing.T) {
	e := foreignEvidence()
	text := wholeText(Bundle(e, Judge(e), Program{Version: outsideText, OS: outsideText, Arch: outsideText, Kernel: outsideText}))
	var d Diagnosis
	for _, c := range Checks() {
		o := fault("%s is wrong", outsideText).seen(outsideText).do(outsideText, outsideText)
		if len(d.Results)%2 == 0 {
			o = pass("")
			o.Sentence = "set later: " + outsideText
		}
		d.Results = append(d.Results, Result{Check: c, Outcome: o})
	}
	text += wholeText(Bundle(e, d, Program{}))
	for _, bad := range []string{outsideText, strings.ToLower(outsideText), "203.0.113.77", "1.2.3.4"} {
		if i := strings.Index(text, bad); i >= 0 {
			t.Errorf("%s is in the bundle:\n%s", bad, text[max(0, i-300):min(len(text), i+100)])
		}
	}
}

// helpfulEvidence is evidence of a project with something in every part.
func helpfulEvidence() *Evidence {
	e := mendableEvidence()
	e.At = time.Unix(1787221060, 0)
	e.Engine.Info = plan.EngineInfo{Version: "29.1.2", API: "1.52", OS: "linux", Arch: "arm64"}
	e.Host.Local = true
	e.Files.Settings = &config.Settings{
		Protocol: "auto", EdgeIPVersion: "4", LogLevel: "info", Hostname: "a.mqtt.example.com", MosquittoImage: "eclipse-mosquitto:2.1.2-alpine",
		CloudflaredImage: "registry.example.com/cloudflared:7", LAN: config.LANListen{Address: netip.MustParseAddr("192.168.7.9"), Port: 1883},
		Entries: []config.Entry{{Key: config.KeyHostname, Source: config.Source{Kind: config.FromFile, Line: 4}}},
	}
	e.Files.Rendered = &render.Rendered{Passwd: []byte("a:x\nb:y\n"), ACL: []byte("user a\ntopic read x\ntopic write y\npattern readwrite %u/#\n")}
	s := e.Project.Status
	s.Details[plan.ServiceBroker] = plan.Details{Container: plan.Container{State: plan.StateRestarting}, ExitCode: 3, RestartCount: 7}
	s.Ingress = cloudflared.Ingress{Version: 4, Rules: []cloudflared.Rule{
		{Hostname: "a.mqtt.example.com", Service: "https://localhost:1883", Path: "/x"}, {Service: "http_status:404"},
	}}
	s.Connections = []cloudflared.Event{{Protocol: "quic"}}
	for range 3 {
		s.BrokerLines = append(s.BrokerLines, mosquitto.Line{Time: e.At.Add(-5 * time.Second), Text: "Client phone [1.2.3.4:5] disconnected: not authorised."})
	}
	s.BrokerLines = append(s.BrokerLines, mosquitto.Line{Text: "a line to come"})
	s.ConnectorLines = []cloudflared.Line{cloudflared.ParseLine("2026-08-20T10:37:18Z INF Registered tunnel connection connIndex=0 ip=198.41.192.57")}
	e.Project.Images = map[string]plan.Image{plan.ServiceConnector: {OS: "linux", Arch: "arm64", RepoDigests: []string{"x@sha256:" + strings.Repeat("ab", 32)}}}
	e.Public = PublicEvidence{
		Hostname: "a.mqtt.example.com", System: &Answers{Exists: true, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}},
		Trips: []Trip{{Result: probe.Result{Stages: []probe.Timing{{Stage: probe.StageTLS, Took: 12 * time.Millisecond}}}, Err: &probe.Error{Class: probe.ClassOriginFailed, Stage: probe.StageUpgrade, Status: 502}}},
	}
	return e
}

// What somebody who helps needs to know, as it stands in a bundle without its blanks.
func TestABundleTellsWhatAHelperNeeds(t *testing.T) {
	e := helpfulEvidence()
	text := strings.Join(strings.Fields(wholeText(Bundle(e, faultsAt("service-localhost"), Program{Version: "1.2.3", OS: "linux", Arch: "arm64", Kernel: "6.12.34-v8+"}))), " ")
	for what, want := range map[string]string{
		"the version":              `"mqtunnel": { "arch": "arm64", "os": "linux", "version": "1.2.3" }`,
		"the kernel":               `"kernel": "6.12.34"`,
		"the Engine":               `"version": "29.1.2"`,
		"the verdict":              `"code": "MQT-S04", "id": "service-localhost", "status": "failed"`,
		"an official image":        `"reference": "eclipse-mosquitto:2.1.2-alpine"`,
		"an image of one's own":    `"reference": "other"`,
		"the digest":               `"sha256:` + strings.Repeat("ab", 32),
		"an exit code":             `"exitCode": 3`,
		"restarts":                 `"restarts": 7`,
		"a health":                 `"health": "unhealthy"`,
		"a setting":                `"TUNNEL_EDGE_IP_VERSION": { "from": "default", "overridden": false, "value": "4" }`,
		"where a setting is from":  `"MQTT_HOSTNAME": { "from": ".env"`,
		"levels of the hostname":   `"belowSecondLevel": true, "levels": 4`,
		"how plain MQTT listens":   `"value": "one address"`,
		"how many users":           `"users": 2`,
		"how many rules":           `"rules": 3`,
		"the shape of a rule":      `{ "access": false, "host": "localhost", "hostname": "the broker's", "path": true, "port": 1883, "scheme": "https", "servicePath": false }`,
		"the catch-all":            `"scheme": "http_status:404"`,
		"what the edge answered":   `"class": "http-origin-failed", "edgeCode": 0, "reasonCode": 0, "stage": "upgrade", "status": 502`,
		"timings":                  `"tls": 12`,
		"a blocked port":           `"udp": { "error": { "class": "tcp-timeout"`,
		"an open port":             `"tls": { "error": null, "ms": 0, "ok": true }`,
		"a rewrite of the DNS":     `"privateAddresses": 1`,
		"what up would do":         `"plan": { "start container": 1 }`,
		"the broker's log":         `4 lines, 1 of them unknown and left out -5s 3x Client <client> [<address>] disconnected: not authorised. = a client has a wrong name or password, or none`,
		"the connector's log":      `1x info Registered tunnel connection`,
		"the mode of the settings": `"envMode": "0644"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing: %s\nin %s", what, want, text)
		}
	}
	for _, f := range Bundle(e, faultsAt(), Program{}) {
		if strings.HasSuffix(f.Name, ".json") && !json.Valid(f.Data) {
			t.Errorf("%s is no JSON:\n%s", f.Name, f.Data)
		}
	}
}

func TestABundleOfNothingIsOneToo(t *testing.T) {
	names := []string{}
	for _, f := range Bundle(&Evidence{}, faultsAt(), Program{}) {
		names = append(names, f.Name)
	}
	if want := []string{"README.txt", "diagnosis.json", "system.json", "network.json"}; !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
}
