package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
)

// Lines that the cases share.
const (
	at           = "2026-08-20T10:37:18Z "
	starting     = at + "INF Starting tunnel tunnelID=11111111-2222-4333-8444-555555555555"
	version      = at + "INF Version 2026.8.2 (Checksum abc)"
	connectorID  = at + "INF Generated Connector ID: c0ffee"
	registered0  = at + "INF Registered tunnel connection connIndex=0 connection=x event=0 ip=198.41.192.57 location=fra08 protocol=quic"
	registered1  = at + "INF Registered tunnel connection connIndex=1 connection=x event=0 ip=198.41.200.13 protocol=quic"
	lost0        = at + "WRN Connection terminated connIndex=0"
	secretWrong  = at + `ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0 event=0 ip=198.41.192.57`
	tunnelGone   = at + `ERR Register tunnel error from server side error="Unauthorized: Tunnel not found" connIndex=0 event=0 ip=198.41.192.57`
	tcpTimeout   = at + `ERR Unable to establish connection with Cloudflare edge error="dial tcp 198.41.192.57:7844: i/o timeout" connIndex=0 event=0 ip=198.41.192.57`
	noAddress    = at + `ERR Unable to establish connection with Cloudflare edge error="there are no free edge addresses left to resolve to" connIndex=1 event=0`
	shutdown     = at + "INF Initiating graceful shutdown due to signal terminated ..."
	badToken     = "Provided Tunnel token is not valid."
	noName       = at + `ERR Request failed error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp: lookup mosquitto on 127.0.0.11:53: no such host" connIndex=0 dest=https://m.example.com/mqtt event=0 ip=198.41.192.57 type=ws`
	brokerStarts = "2026-08-18T10:00:00+0000: mosquitto version 2.1.2 starting"
	brokerRuns   = "2026-08-18T10:00:00+0000: mosquitto version 2.1.2 running"
	unknownWord  = "1755511200: Error: Unknown configuration variable \"frobnicate\"."
	database     = "mqtunnel: database state=ok bytes=833 retained=9"
	shrunk       = "mqtunnel: database state=shrunk bytes=833 retained=1 previous=2000 previous-retained=9 copies=2 lost-since=1755511200 lost-retained=9 lost-bytes=2000"
)

func pushed(hostname, service string) string {
	return at + `INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"` + hostname + `\",\"service\":\"` + service + `\"},{\"service\":\"http_status:404\"}]}" version=3`
}

const brokerURL = "http://mosquitto:9001"

// told returns what the lines of both logs tell.
func told(broker, connector []string) *facts {
	f := newFacts()
	for _, l := range broker {
		_ = f.take(LogEntry{Service: plan.ServiceBroker, Line: plan.LogLine{Text: l}})
	}
	for _, l := range connector {
		_ = f.take(LogEntry{Service: plan.ServiceConnector, Line: plan.LogLine{Text: l}})
	}
	return f
}

// container returns the details of one in a state.
func container(state plan.State, restarts, code int) plan.Details {
	return plan.Details{Container: plan.Container{State: state}, RestartCount: restarts, ExitCode: code}
}

func noise(n int) []string {
	return slices.Repeat([]string{"2026-08-18T10:00:00+0000: New connection from 172.18.0.3:4711 on port 9001."}, n)
}

func TestTheFactsAreThoseOfTheLastStart(t *testing.T) {
	for name, c := range map[string]struct {
		broker, connector []string
		want              string
	}{
		"nothing":         {nil, nil, "serving=false brokerVersion= conns=[] config=-1"},
		"up":              {[]string{database, brokerStarts, brokerRuns}, []string{starting, version, connectorID, registered0, registered1, pushed("m.example.com", brokerURL)}, "serving=true brokerVersion=2.1.2 conns=[0 1] config=3"},
		"starting again":  {[]string{brokerStarts, brokerRuns, database}, []string{registered0, pushed("a", "b"), starting}, "serving=false brokerVersion=2.1.2 conns=[] config=-1"},
		"one lost":        {nil, []string{registered0, registered1, lost0}, "serving=false brokerVersion= conns=[1] config=-1"},
		"stopped":         {nil, []string{registered0, registered1, shutdown}, "serving=false brokerVersion= conns=[] config=-1"},
		"the script says": {[]string{"mqtunnel: mosquitto version 2.1.2 running"}, nil, "serving=false brokerVersion= conns=[] config=-1"},
		"a client says":   {[]string{"2026-08-18T10:00:00+0000: New client connected from 1.2.3.4:5 as mosquitto version 2.1.2 running"}, nil, "serving=false brokerVersion= conns=[] config=-1"},
	} {
		v := told(c.broker, c.connector).view()
		var conns []int
		for _, e := range v.connections {
			conns = append(conns, e.Index)
		}
		got := fmt.Sprintf("serving=%v brokerVersion=%s conns=%v config=%d", v.serving, v.version[plan.ServiceBroker], conns, v.ingress.Version)
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}

func TestTheFactsOfALongLogAreBounded(t *testing.T) {
	f := told(noise(20*keptLines), slices.Repeat([]string{tcpTimeout}, 20*keptLines))
	if len(f.broker) > keptLines || len(f.connector) > keptLines {
		t.Errorf("%d and %d lines are kept", len(f.broker), len(f.connector))
	}
}

func TestALookAddsToTheLogOrTakesItsPlace(t *testing.T) {
	report := probe.Report{
		Tunnel: probe.Endpoint{Check: probe.Check{OK: true}, Body: []byte(`{"tunnelID":"11111111-2222-4333-8444-555555555555","connectorID":"d00d","connections":[{"index":1,"isConnected":true,"protocol":1,"edgeAddress":"198.41.200.13"}]}`)},
		Config: probe.Endpoint{Check: probe.Check{OK: true}, Body: []byte(`{"version":7,"config":{"ingress":[]}}`)},
	}
	for instead, want := range map[bool]string{false: "2 d00d 7", true: "1 d00d 7"} {
		f := told(nil, []string{connectorID, registered0, registered1, pushed("a", "b")})
		f.learn(report, instead)
		v := f.view()
		if got := fmt.Sprint(len(v.connections), " ", v.connectorID, " ", v.ingress.Version); got != want {
			t.Errorf("instead %v: %s, want %s", instead, got, want)
		}
	}
	f := told(nil, []string{registered0})
	f.learn(probe.Report{
		Tunnel: probe.Endpoint{Check: probe.Check{OK: true}, Body: []byte(`<html>`)},
		Config: probe.Endpoint{Check: probe.Check{OK: true}, Body: []byte(`{}`)},
	}, true)
	if v := f.view(); len(v.connections) != 1 || v.ingress.Version != -1 {
		t.Errorf("an answer that cannot be read changed the facts: %+v", v)
	}
}

func TestTroubleOfTheBroker(t *testing.T) {
	oom := container(plan.StateExited, 0, 137)
	oom.OOMKilled = true
	failed := container(plan.StateCreated, 0, 128)
	failed.Error = "port is already allocated"
	for name, c := range map[string]struct {
		d      plan.Details
		before int
		log    []string
		want   string
	}{
		"serving":                       {container(plan.StateRunning, 0, 0), 0, []string{brokerStarts, brokerRuns}, ""},
		"starting":                      {container(plan.StateRunning, 0, 0), 0, []string{brokerStarts}, ""},
		"restarted often, long ago":     {container(plan.StateRunning, 9, 0), 9, noise(3), ""},
		"first crash":                   {container(plan.StateRestarting, 1, 1), 0, nil, "its container ends with exit code 1 and is started again (1 restart so far)"},
		"crash loop":                    {container(plan.StateRestarting, 3, 1), 0, nil, "hopeless: its container ends with exit code 1 and is started again (3 restarts so far)"},
		"crash after months":            {container(plan.StateRestarting, 9, 1), 9, nil, "its container ends with exit code 1 and is started again (9 restarts so far)"},
		"crash loop of before":          {container(plan.StateRestarting, 9, 1), 9, []string{unknownWord}, `hopeless: the broker does not know a directive of its configuration: Error: Unknown configuration variable "frobnicate".`},
		"fault, may come right":         {container(plan.StateRestarting, 1, 1), 0, []string{unknownWord}, `the broker does not know a directive of its configuration: Error: Unknown configuration variable "frobnicate".`},
		"fault of an earlier start":     {container(plan.StateRunning, 1, 1), 0, []string{unknownWord, database}, ""},
		"said running, then was killed": {container(plan.StateRestarting, 1, 137), 0, []string{brokerRuns}, "its container ends with exit code 137 and is started again (1 restart so far)"},
		"ended":                         {container(plan.StateExited, 0, 255), 0, nil, "hopeless: its container has ended with exit code 255"},
		"out of memory":                 {oom, 0, nil, "hopeless: its container ran out of memory"},
		"never started":                 {failed, 0, nil, "hopeless: its container did not start: port is already allocated"},
		"paused":                        {container(plan.StatePaused, 0, 0), 0, nil, "its container is paused"},
	} {
		tr := brokerTrouble(c.d, told(c.log, nil).view(), c.before)
		if got := spell(tr); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, c.want)
		}
		if tr.saw != "" && tr.hint == "" {
			t.Errorf("%s: no hint", name)
		}
	}
}

func spell(t trouble) string {
	if t.hopeless {
		return "hopeless: " + t.String()
	}
	return t.String()
}

func TestTroubleOfTheConnector(t *testing.T) {
	for name, c := range map[string]struct {
		d      plan.Details
		log    []string
		waited time.Duration
		id     cloudflared.CauseID // of what it says, "" when it says nothing of the log
		saw    string
		lost   bool // hopeless
	}{
		"connected":                {container(plan.StateRunning, 0, 0), []string{starting, registered0}, 0, "", "", false},
		"token refused":            {container(plan.StateRestarting, 2, 255), []string{badToken}, 0, cloudflared.CauseTokenInvalid, "", true},
		"secret refused":           {container(plan.StateRunning, 0, 0), []string{starting, secretWrong}, 0, cloudflared.CauseSecret, "", true},
		"tunnel just made":         {container(plan.StateRunning, 0, 0), []string{starting, tunnelGone}, propagation, cloudflared.CauseNoTunnel, "", false},
		"tunnel not there":         {container(plan.StateRunning, 0, 0), []string{starting, tunnelGone}, propagation + 1, cloudflared.CauseNoTunnel, "", true},
		"network down":             {container(plan.StateRunning, 0, 0), []string{starting, tcpTimeout}, time.Hour, cloudflared.CauseTCPBlocked, "", false},
		"network down and stopped": {container(plan.StateExited, 0, 1), []string{starting, tcpTimeout}, 0, cloudflared.CauseTCPBlocked, "", true},
		"no address":               {container(plan.StateRunning, 0, 0), []string{starting, noAddress}, 0, cloudflared.CauseAddressFamily, "", true},
		"no address for one more":  {container(plan.StateRunning, 0, 0), []string{starting, registered0, noAddress}, 0, cloudflared.CauseAddressFamily, "", false},
		"loop":                     {container(plan.StateRestarting, 4, 1), nil, 0, "", "its container ends with exit code 1 and is started again (4 restarts so far)", false},
		"stopped by hand":          {container(plan.StateExited, 0, 0), []string{shutdown}, 0, "", "its container has ended with exit code 0", true},
	} {
		v := told(nil, c.log).view()
		tr := connectorTrouble(c.d, v, c.waited)
		if c.id != "" && (v.cause.ID != c.id || tr.saw != v.cause.Sentence || tr.hint != v.cause.Hint) {
			t.Errorf("%s: cause %q, says %q", name, v.cause.ID, tr)
		}
		if c.id == "" && tr.String() != c.saw || tr.hopeless != c.lost {
			t.Errorf("%s: %q, hopeless %v, want %q, %v", name, tr, tr.hopeless, c.saw, c.lost)
		}
	}
}

func TestALogThatDoesNotReachBackToTheStartIsNotWaitedFor(t *testing.T) {
	healthy := container(plan.StateRunning, 0, 0)
	healthy.Health = plan.HealthHealthy
	for name, c := range map[string]struct {
		d    plan.Details
		log  []string
		want bool
	}{
		"short log":             {container(plan.StateRunning, 0, 0), noise(3), false},
		"short log, healthy":    {healthy, noise(3), true},
		"long log":              {container(plan.StateRunning, 0, 0), noise(keptLines), true},
		"long log with a start": {container(plan.StateRunning, 0, 0), append([]string{brokerStarts}, noise(keptLines)...), false},
		"long log, crashing":    {container(plan.StateRestarting, 3, 1), noise(keptLines), false},
		"not looked at yet":     {plan.Details{}, noise(keptLines), false},
	} {
		if got := running(plan.ServiceBroker, told(c.log, nil).view(), c.d); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestWhatALookSaysOfTheOrigin(t *testing.T) {
	ok := probe.Check{Done: true, OK: true}
	open := probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassAnonymousAccepted}}
	down := probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassRefused, Subject: "ws://mosquitto:9001"}}
	for name, c := range map[string]struct {
		l      looked
		expect probe.Expect
		begins string
	}{
		"fine":                  {looked{report: probe.Report{RoundTrip: ok, AnonymousPlain: ok}}, probe.Expect{}, ""},
		"open":                  {looked{report: probe.Report{RoundTrip: ok, AnonymousPlain: open}}, probe.Expect{}, "hopeless: the broker lets clients in"},
		"open on purpose":       {looked{report: probe.Report{RoundTrip: ok, AnonymousPlain: open}}, probe.Expect{Anonymous: true}, ""},
		"open and unreachable":  {looked{report: probe.Report{RoundTrip: down, AnonymousPlain: open}}, probe.Expect{}, "hopeless: the broker lets clients in"},
		"down":                  {looked{report: probe.Report{RoundTrip: down}}, probe.Expect{}, "the broker does not listen"},
		"name unknown, no more": {looked{report: probe.Report{Name: probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassNameUnknown}}}}, probe.Expect{}, "the connector does not find the broker's name"},
		"nothing was looked at": {looked{}, probe.Expect{}, "the look from inside sent no message"},
		"no look":               {looked{err: errors.New("no space left")}, probe.Expect{}, "no space left"},
	} {
		got := spell(originTrouble(c.l, c.expect))
		if !strings.HasPrefix(got, c.begins) || c.begins == "" && got != "" {
			t.Errorf("%s: %q, want %q", name, got, c.begins)
		}
	}
}

// recording returns a waiter whose events are kept.
func recording(events *[]string) *waiter {
	return &waiter{
		Readiness: Readiness{Timeout: time.Minute}, told: map[int]bool{}, looks: newLooks(), facts: newFacts(),
		emit: func(e Event) { *events = append(*events, fmt.Sprintf("%T%+v", e, e)) },
	}
}

func TestWaitingIsToldOnceUntilItChanges(t *testing.T) {
	var events []string
	w := recording(&events)
	for i := range 100 {
		w.tell(StageEdge, trouble{saw: "no route", detail: fmt.Sprintf("attempt %d", i), hint: "look at the router"}, "")
	}
	w.tell(StageEdge, trouble{}, "")
	w.tell(StageEdge, trouble{saw: "no route", hint: "look at the router"}, "")
	w.tell(StageEdge, trouble{saw: "refused"}, "\nwaiting")
	want := []string{
		"lifecycle.Waiting{Stage:edge Saw:no route (attempt 0) Hint:look at the router}",
		"lifecycle.Waiting{Stage:edge Saw:refused Hint:waiting}",
	}
	if !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
}

func TestEveryConnectionIsToldOnce(t *testing.T) {
	var events []string
	w := recording(&events)
	w.tellConnections(told(nil, []string{registered0}).view())
	w.tellConnections(told(nil, []string{registered0, registered1}).view())
	w.tellConnections(told(nil, []string{registered1}).view())
	want := []string{
		"lifecycle.StageReached{Stage:edge Detail:connection 1 of 4 at fra08 over quic Took:0s}",
		"lifecycle.StageReached{Stage:edge Detail:connection 2 of 4 at 198.41.200.13 over quic Took:0s}",
	}
	if !slices.Equal(events, want) {
		t.Errorf("events %q", events)
	}
}

// ended returns a context whose time was up, or that was given up.
func over(t *testing.T, timeout bool) context.Context {
	t.Helper()
	if timeout {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 0, errTimeout)
		t.Cleanup(cancel)
		return ctx
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestATimeoutSaysWhatWasWaitedForAndLastSeen(t *testing.T) {
	var events []string
	w := recording(&events)
	for _, stage := range []Stage{StageBroker, StageConnector, StageEdge, StageConfiguration, StageOrigin} {
		w.begin(stage)
		err := w.explain(over(t, true), &stuckError{stage: stage})
		if remedy.CodeOf(err) != remedy.No || !strings.HasPrefix(err.Error(), "not ready: "+string(stage)+": ") || !strings.HasSuffix(err.Error(), "(waited 1m0s)") ||
			!strings.Contains(remedy.HintOf(err), "mqtunnel logs") {
			t.Errorf("%s, nothing seen: %v, hint %q", stage, err, remedy.HintOf(err))
		}
		w.tell(stage, trouble{saw: "no route", detail: "attempt 7", hint: "look at the router"}, "\nwaiting")
		err = w.explain(over(t, true), &stuckError{stage: stage})
		if want := "not ready: " + string(stage) + ": no route (attempt 7) (waited 1m0s)"; err.Error() != want ||
			remedy.HintOf(err) != "look at the router\nthe containers are left running: mqtunnel logs, mqtunnel status" {
			t.Errorf("%s: %v, hint %q", stage, err, remedy.HintOf(err))
		}
		if err := w.explain(over(t, false), &stuckError{stage: stage}); remedy.CodeOf(err) != remedy.Interrupted {
			t.Errorf("%s, given up: %v", stage, err)
		}
	}
	boom := errors.New("boom")
	if err := w.explain(over(t, true), boom); !errors.Is(err, boom) {
		t.Errorf("another error became %v", err)
	}
}

func TestTheEndOfThePublicStageTellsTheLastFault(t *testing.T) {
	fault := &probe.Error{Class: probe.ClassNoConnector, Subject: "wss://m.example.com", Status: 530}
	err := publicEnd(over(t, true), fault, time.Minute)
	if remedy.CodeOf(err) != remedy.No || !strings.Contains(err.Error(), fault.Error()+" (waited 1m0s)") || !strings.HasPrefix(remedy.HintOf(err), fault.Hint()) {
		t.Errorf("%v, hint %q", err, remedy.HintOf(err))
	}
	if err := publicEnd(over(t, false), fault, time.Minute); remedy.CodeOf(err) != remedy.Interrupted {
		t.Errorf("given up: %v", err)
	}
}

func TestAWrongConfigurationIsSpelledOut(t *testing.T) {
	for line, want := range map[string]string{
		pushed("m.example.com", "tcp://mosquitto:1883"): "the public hostname has Type TCP, which breaks MQTT over WebSocket: m.example.com -> tcp://mosquitto:1883",
		starting: "no configuration has come from Cloudflare yet",
	} {
		advice, wrong := told(nil, []string{line}).view().ingress.Advise(brokerURL, "")
		if got := misrouted(advice); !wrong || got.String() != want || got.hint == "" {
			t.Errorf("%q, hint %q; want %q", got, got.hint, want)
		}
	}
}

func TestABrokerThatTheEngineStartedAgainFollowsFromItsRunBefore(t *testing.T) {
	const (
		starting = "2026-08-18T10:00:00+0000: mosquitto version 2.1.2 starting"
		refused  = "2026-08-18T10:00:00+0000: acl-file: Error: Unable to open acl_file \"/mosquitto/config/acl\"."
		running  = "2026-08-18T10:00:00+0000: mosquitto version 2.1.2 running"
	)
	for _, c := range []struct {
		name     string
		lines    []string
		restarts int
		want     bool
	}{
		{"it ended before it served", []string{starting, refused, starting}, 1, true},
		{"it ended so twice", []string{starting, refused, starting, starting}, 2, true},
		{"somebody started it again", []string{starting, refused, starting}, 0, false},
		{"it serves now", []string{starting, refused, starting, running}, 1, false},
		{"it had served", []string{starting, running, refused, starting}, 1, false},
		{"nothing was wrong", []string{starting, starting}, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Status{Services: []ServiceStatus{{Restarts: c.restarts}, {}}}
			s.tell(told(c.lines, nil), make([]plan.Details, 2))
			if (s.Fault != nil) != c.want {
				t.Errorf("fault %v, want one: %v", s.Fault, c.want)
			}
		})
	}
}

func TestAContainerThatIsRestartedMeanwhileIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &waiter{ended: map[string]time.Time{}}
		stopped, runs := container(plan.StateExited, 0, 0), container(plan.StateRunning, 0, 0)
		for i, step := range []struct {
			after time.Duration
			d     plan.Details
			want  bool
		}{
			{0, stopped, true},
			{restartGap - 1, stopped, true},
			{0, runs, false}, // nobody has to start it
			{time.Hour, stopped, true},
			{restartGap, stopped, false},
			{time.Hour, stopped, false},
		} {
			time.Sleep(step.after)
			if got := w.mayStart(plan.ServiceConnector, step.d); got != step.want {
				t.Errorf("step %d: %t", i, got)
			}
		}
	})
}
