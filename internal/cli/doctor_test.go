package cli

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

const testPassword = "correct-horse-battery"

// fewChecks is a table of its own, so that the real one may grow.
func fewChecks() []doctor.Check {
	return []doctor.Check{
		{Code: "MQT-H02", ID: "engine-running", Layer: doctor.LayerHost, Title: "the Docker Engine answers", Remedy: "start Docker: sudo systemctl start docker"},
		{Code: "MQT-F02", ID: "env-private", Layer: doctor.LayerFiles, Title: "nobody but its owner can read .env", Remedy: "chmod 600 .env", Fix: true},
		{Code: "MQT-F14", ID: "in-force", Layer: doctor.LayerFiles, Title: "what runs is what the files say", Needs: []string{"engine-running"}, Remedy: "type: mqtunnel up"},
		{Code: "MQT-B19", ID: "published", Layer: doctor.LayerBroker, Title: "no port is published on the LAN", Needs: []string{"engine-running"}, Remedy: "remove MQTT_LAN_LISTEN from .env where nobody needs it"},
		{Code: "MQT-S04", ID: "service-localhost", Layer: doctor.LayerIngress, Title: "the service is not localhost", Needs: []string{"engine-running"}, Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001"},
		{Code: "MQT-P05", ID: "edge-origin", Layer: doctor.LayerEdge, Title: "the edge gets an answer from the broker (no 502)", Needs: []string{"service-localhost"}, Remedy: "type: mqtunnel logs cloudflared"},
		{Code: "MQT-M03", ID: "public-message", Layer: doctor.LayerMQTT, Title: "a message comes back through the public hostname", Needs: []string{"service-localhost"}, Remedy: "type: mqtunnel logs mosquitto"},
		{Code: "MQT-M04", ID: "idle", Layer: doctor.LayerMQTT, Title: "a quiet connection stays open", Needs: []string{"public-message"}, Remedy: "set the keep alive of clients to 60 s or less"},
	}
}

// diagnosed is a diagnosis in which all checks pass but those with an outcome.
func diagnosed(outcomes map[string]doctor.Outcome, blockers map[string]string) doctor.Diagnosis {
	var d doctor.Diagnosis
	for _, c := range fewChecks() {
		r := doctor.Result{Check: c, Outcome: doctor.Outcome{Status: doctor.Passed}, Blocker: blockers[c.ID]}
		if o, ok := outcomes[c.ID]; ok {
			r.Outcome = o
		}
		if r.Blocker != "" {
			i := slices.IndexFunc(fewChecks(), func(c doctor.Check) bool { return c.ID == r.Blocker })
			r.Outcome = doctor.Outcome{Status: doctor.Skipped, Sentence: "needs: " + fewChecks()[i].Title}
		}
		d.Results = append(d.Results, r)
	}
	return d
}

// running is the evidence of a project in which a message came back.
func running() *doctor.Evidence {
	return &doctor.Evidence{
		Files: doctor.FilesEvidence{Dir: "/srv/mqtt"},
		Project: doctor.ProjectEvidence{Name: "mqtunnel", Status: &lifecycle.Status{
			Services: []lifecycle.ServiceStatus{
				{Service: plan.ServiceBroker, Exists: true, Version: "2.1.2"}, {Service: plan.ServiceConnector, Exists: true, Version: "2026.8.2"},
			},
			Connections: []cloudflared.Event{
				{Index: 0, Location: "fra03", Protocol: "quic"},
				{Index: 1, Location: "fra06", Protocol: "quic"},
				{Index: 2, Location: "fra03", Protocol: "quic"},
				{Index: 3, Location: "fra14", Protocol: "quic"},
			},
		}},
		Inside: doctor.InsideEvidence{Report: &probe.Report{
			RoundTrip: probe.Check{Done: true, OK: true}, Result: probe.Result{Message: 3200 * time.Microsecond},
		}},
		Public: doctor.PublicEvidence{Hostname: "mqtt.example.com", Trips: []doctor.Trip{
			{Result: probe.Result{Message: 51 * time.Millisecond}},
			{Result: probe.Result{Message: 42 * time.Millisecond}},
			{Err: &probe.Error{}},
			{Result: probe.Result{Message: 40 * time.Millisecond}},
		}},
	}
}

// reports are what the golden files show.
func reports() map[string]doctorReport {
	quiet := doctor.Outcome{Status: doctor.Skipped, Sentence: "only with --soak"}
	localhost := doctor.Outcome{
		Status: doctor.Failed, Sentence: "the public hostname leads to localhost, which is the connector's own container",
		Seen:   []string{"mqtt.example.com -> http://localhost:9001, configuration 7", "\x1b[31m\u202efrom outside\nwith " + testPassword},
		Remedy: "in the dashboard, at the tunnel's Public hostname mqtt.example.com, set Type HTTP, URL mosquitto:9001, Path empty",
	}
	open := doctor.Outcome{
		Status: doctor.Failed, Sentence: ".env can be read by everybody on this machine", Seen: []string{"mode 0644"}, Commands: []string{"chmod 600 /srv/mqtt/.env"},
	}
	lan := doctor.Outcome{Status: doctor.Warned, Sentence: "plain MQTT is published on 0.0.0.0:1883", Seen: []string{"MQTT_LAN_LISTEN=1883"}}
	noEngine := map[string]string{}
	for _, id := range []string{"in-force", "published", "service-localhost", "edge-origin", "public-message", "idle"} {
		noEngine[id] = "engine-running"
	}
	afterLocalhost := map[string]string{"edge-origin": "service-localhost", "public-message": "service-localhost", "idle": "service-localhost"}
	broken := running()
	broken.Public.Trips = nil
	list := map[string]doctorReport{
		"healthy": {evidence: running(), diagnosis: diagnosed(map[string]doctor.Outcome{
			"idle": quiet, "edge-origin": {Status: doctor.Passed, Sentence: "a browser shows 502 here although all is well"},
		}, nil)},
		"warning": {evidence: running(), diagnosis: diagnosed(map[string]doctor.Outcome{"idle": quiet, "published": lan}, nil)},
		"unproven": {evidence: broken, diagnosis: diagnosed(map[string]doctor.Outcome{
			"public-message": {Status: doctor.Skipped, Sentence: "no public hostname is known"}, "idle": quiet,
		}, nil)},
		"one-fault":  {evidence: broken, diagnosis: diagnosed(map[string]doctor.Outcome{"service-localhost": localhost}, afterLocalhost)},
		"two-faults": {evidence: broken, diagnosis: diagnosed(map[string]doctor.Outcome{"service-localhost": localhost, "env-private": open, "published": lan}, afterLocalhost)},
		"no-engine": {
			evidence: &doctor.Evidence{Files: doctor.FilesEvidence{Dir: "/srv/mqtt"}},
			diagnosis: diagnosed(map[string]doctor.Outcome{"engine-running": {
				Status: doctor.Failed, Sentence: "no Docker Engine at unix:///var/run/docker.sock: the socket does not exist",
				Commands: []string{"sudo systemctl start docker"},
			}}, noEngine),
		},
		"named": {
			evidence: broken, names: []string{"mqt-f02", "mqtt"},
			diagnosis: diagnosed(map[string]doctor.Outcome{"service-localhost": localhost}, afterLocalhost),
		},
	}
	for name, r := range list {
		r.took = 840 * time.Millisecond
		r.cleaner = cleaner{hide: []secret.Text{secret.New(testPassword)}}
		list[name] = r
	}
	return list
}

// golden compares what the program shows with a file, or renews it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "doctor", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-golden +program):\n%s", path, diff)
	}
}

// appTo is an App of which the output stands in a file; read returns it.
func appTo(t *testing.T) (a *App, read func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() }) // nothing is left to write
	a = &App{Out: display.NewStream(file, nil, true)}
	return a, func() string {
		text, err := os.ReadFile(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestDoctorShowsTheVerdictFirst(t *testing.T) {
	for name, r := range reports() {
		for form, shape := range map[string]struct{ verbose, terminal, color bool }{
			"": {}, "-verbose": {verbose: true}, "-terminal": {terminal: true}, "-colour": {terminal: true, color: true},
		} {
			if form == "-verbose" && name != "two-faults" || form == "-colour" && name != "one-fault" {
				continue
			}
			a, read := appTo(t)
			a.Out.Terminal, a.Out.Color = shape.terminal, shape.color
			a.printDoctor(r, shape.verbose)
			text := read()
			golden(t, name+form+".txt", text)
			for line := range strings.Lines(text) {
				if n := len([]rune(strings.TrimSuffix(line, "\n"))); form == "-terminal" && n > 80 {
					t.Errorf("%s%s: %d columns: %s", name, form, n, line)
				}
			}
			if strings.ContainsAny(text, "\u202e\r") || !shape.color && strings.Contains(text, "\x1b") || strings.Contains(text, testPassword) {
				t.Errorf("%s%s shows outside text raw, or a secret:\n%s", name, form, text)
			}
		}
	}
}

func TestDoctorIsShortWhenAllIsWell(t *testing.T) {
	for _, name := range []string{"healthy", "warning"} {
		a, read := appTo(t)
		a.printDoctor(reports()[name], false)
		text := read()
		if n := strings.Count(text, "\n"); n < 3 || n > 6 {
			t.Errorf("%s: %d lines:\n%s", name, n, text)
		}
		if !strings.HasPrefix(text, "healthy: a message went through wss://mqtt.example.com:443/mqtt and back in 42 ms (3.2 ms inside the network)\n") {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestDoctorJSONIsFrozen(t *testing.T) {
	for name, r := range reports() {
		a, read := appTo(t)
		if err := writeJSON(a.Out, r.json()); err != nil {
			t.Fatal(err)
		}
		text := read()
		golden(t, name+".json", text)
		if !json.Valid([]byte(text)) || strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, testPassword) {
			t.Errorf("%s is no JSON, or shows outside text raw, or a secret:\n%s", name, text)
		}
	}
}

func TestTheExitCodeIsThatOfTheVerdict(t *testing.T) {
	want := map[string]remedy.Code{"one-fault": remedy.No, "two-faults": remedy.No, "no-engine": remedy.Engine, "unproven": remedy.No}
	for name, r := range reports() {
		err := r.answer()
		if got := remedy.CodeOf(err); got != want[name] || err != nil && !errors.Is(err, errSaid) {
			t.Errorf("%s: exit code %d (%v), want %d", name, got, err, want[name])
		}
	}
}

func TestSecretsAreThoseOfTheFileAndTheEnvironment(t *testing.T) {
	dir := t.TempDir()
	text := "CF_ACCESS_CLIENT_SECRET='" + testPassword + "'\nMQTUNNEL_PROBE_PASSWORD=short\nMQTT_LAN_LISTEN=nonsense\n"
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range secretsOf(dir, []string{"MQTUNNEL_PROBE_PASSWORD=of-the-environment", "HOME=/somewhere/else"}) {
		got = append(got, s.Reveal())
	}
	if diff := cmp.Diff([]string{testPassword, "of-the-environment"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAMistypedCheckIsRecognised(t *testing.T) {
	for name, want := range map[string]string{"edge-upd": "edge-udp", "MQT-S0": "MQT-S01", "frobnicate": ""} {
		if got := strings.Join(similarChecks(name), " "); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
