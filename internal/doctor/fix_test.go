package doctor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// faultsAt is a diagnosis by the table in which the checks with these IDs fail, and
// those with a "?" behind are warnings.
func faultsAt(ids ...string) Diagnosis {
	var d Diagnosis
	for _, c := range Checks() {
		r := Result{Check: c, Outcome: pass("")}
		for _, id := range ids {
			switch id {
			case c.ID:
				r.Outcome = fault("%s is wrong", c.ID)
			case c.ID + "?":
				r.Outcome = warning("%s is wrong", c.ID)
			}
		}
		d.Results = append(d.Results, r)
	}
	return d
}

// mendableEvidence is evidence on which every repair can rest.
func mendableEvidence() *Evidence {
	ok := probe.Check{Done: true, OK: true}
	no := probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassTCPTimeout}}
	return &Evidence{
		Engine: EngineEvidence{Info: plan.EngineInfo{API: "1.52"}},
		Files:  FilesEvidence{EnvMode: 0o644, Settings: &config.Settings{Protocol: "auto"}},
		Project: ProjectEvidence{
			Plan: &plan.Plan{Steps: []plan.Step{{Op: plan.Start, Subject: "mosquitto", Why: "not running"}}},
			Status: &lifecycle.Status{Details: map[string]plan.Details{plan.ServiceConnector: {
				Container: plan.Container{State: plan.StateRunning, Health: plan.HealthUnhealthy}, Failing: 6 * time.Minute,
			}}},
		},
		Inside: InsideEvidence{Report: &probe.Report{Edge: &probe.Edge{Regions: []probe.Region{
			{Name: "region1", TLS: ok, UDP: no}, {Name: "region2", TLS: ok, UDP: no},
		}}}},
	}
}

// openEdge makes a way to the edge by both protocols.
func openEdge(e *Evidence) {
	for i := range e.Inside.Report.Edge.Regions {
		e.Inside.Report.Edge.Regions[i].UDP = probe.Check{Done: true, OK: true}
	}
}

func mendsText(repairs []Repair) string {
	var words []string
	for _, r := range repairs {
		words = append(words, string(r.Mend)+"("+strings.Join(r.Checks, " ")+")")
	}
	return strings.Join(words, " ")
}

func TestRepairsAreOfferedForWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		d      Diagnosis
		change func(*Evidence)
		want   string
	}{
		"nothing wrong":                    {faultsAt(), nil, ""},
		"a mode":                           {faultsAt("env-private"), nil, "mode(env-private)"},
		"a mode that is a warning":         {faultsAt("env-private?"), nil, "mode(env-private)"},
		"a mode that is right":             {faultsAt("env-private"), func(e *Evidence) { e.Files.EnvMode = 0o600 }, ""},
		"a mode beside a wrong token":      {faultsAt("token", "env-private"), nil, "mode(env-private)"},
		"a stopped broker":                 {faultsAt("broker-started"), nil, "up(broker-started)"},
		"two stopped containers":           {faultsAt("connector-started", "broker-started"), nil, "up(broker-started connector-started)"},
		"a network":                        {faultsAt("network"), nil, "up(network)"},
		"stopped, with a wrong token":      {faultsAt("token-form", "broker-started"), nil, ""},
		"stopped, with a foreign name":     {faultsAt("names-free", "broker-started"), nil, ""},
		"stopped, with a warning before":   {faultsAt("boot?", "broker-started"), nil, "up(broker-started)"},
		"stopped, with a fault behind":     {faultsAt("broker-started", "hostname-published"), nil, "up(broker-started)"},
		"nothing that up would do":         {faultsAt("broker-started"), func(e *Evidence) { e.Project.Plan = &plan.Plan{} }, ""},
		"no Engine":                        {faultsAt("broker-started"), func(e *Evidence) { e.Engine = EngineEvidence{} }, ""},
		"udp":                              {faultsAt("edge-udp"), nil, "protocol(edge-udp) up(edge-udp)"},
		"udp and a paused broker":          {faultsAt("broker-unpaused", "edge-udp"), nil, "protocol(edge-udp) up(broker-unpaused edge-udp)"},
		"udp, with a wrong token":          {faultsAt("token-accepted", "edge-udp"), nil, ""},
		"udp that one region lets through": {faultsAt("edge-udp"), func(e *Evidence) { e.Inside.Report.Edge.Regions[1].UDP.OK = true }, ""},
		"udp that was not tried": {faultsAt("edge-udp"), func(e *Evidence) {
			for i := range e.Inside.Report.Edge.Regions {
				e.Inside.Report.Edge.Regions[i].UDP = probe.Check{}
			}
		}, ""},
		"neither udp nor tcp": {faultsAt("edge-udp"), func(e *Evidence) {
			for i := range e.Inside.Report.Edge.Regions {
				e.Inside.Report.Edge.Regions[i].TLS = probe.Check{Done: true}
			}
		}, ""},
		"http2 already": {faultsAt("edge-udp"), func(e *Evidence) { e.Files.Settings.Protocol = "http2" }, ""},
		"a protocol of the environment": {faultsAt("edge-udp"), func(e *Evidence) {
			e.Files.Settings.Entries = []config.Entry{{Key: config.KeyProtocol, Source: config.Source{Kind: config.FromEnvironment}}}
		}, ""},
		"an unhealthy connector":            {faultsAt("connector-answers"), openEdge, "restart(connector-answers)"},
		"unhealthy, and no way to the edge": {faultsAt("connector-answers"), nil, ""},
		"unhealthy for a moment": {faultsAt("connector-answers"), func(e *Evidence) {
			openEdge(e)
			d := e.Project.Status.Details[plan.ServiceConnector]
			d.Failing = time.Minute
			e.Project.Status.Details[plan.ServiceConnector] = d
		}, ""},
		"lines that cannot be read": {faultsAt("env-private"), func(e *Evidence) { e.Files.LinesErr = errors.New("line 3") }, ""},
	} {
		e := mendableEvidence()
		if c.change != nil {
			c.change(e)
		}
		repairs := Repairs(c.d, e)
		if got := mendsText(repairs); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		for _, r := range repairs {
			if r.What == "" || len(r.Commands) == 0 || len(r.Checks) == 0 || len(r.Checks) != len(r.Why) || len(r.Rests) == 0 {
				t.Errorf("%s: incomplete: %+v", name, r)
			}
		}
	}
}

// A client or the edge can put words into a log; the checks may believe them, but
// nothing is changed for them.
func TestALogAloneMendsNothing(t *testing.T) {
	var every []string
	for _, c := range Checks() {
		if c.Fix {
			every = append(every, c.ID)
		}
	}
	status := lifecycle.Status{}
	for range 9 {
		status.ConnectorLines = append(status.ConnectorLines, cloudflared.ParseLine(
			`2026-08-20T10:37:18Z ERR Failed to dial a quic connection error="timeout: no recent network activity" connIndex=0`))
	}
	cause, found := cloudflared.Diagnose(status.ConnectorLines)
	if !found || cause.ID != cloudflared.CauseUDPBlocked {
		t.Fatalf("the log tells %q", cause.ID)
	}
	status.Cause = &cause
	e := &Evidence{
		Engine:  EngineEvidence{Info: plan.EngineInfo{API: "1.52"}},
		Files:   FilesEvidence{EnvMode: 0o600, Settings: &config.Settings{Protocol: "auto"}},
		Project: ProjectEvidence{Plan: &plan.Plan{}, Status: &status},
		Inside:  InsideEvidence{Report: &probe.Report{}},
	}
	for _, id := range every {
		if got := Repairs(faultsAt(id), e); len(got) > 0 {
			t.Errorf("%s: %s", id, mendsText(got))
		}
	}
}
