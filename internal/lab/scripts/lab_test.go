//go:build linux

package scripts_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/labtest"
)

// service is what a public hostname has to lead to.
const service = "http://mosquitto:9001"

// lasting outlives the test's own context, for what is removed at its end.
func (s *script) lasting() context.Context { return context.WithoutCancel(s.tb.Context()) }

// startLab gives the script a lab of its own, for faults of the world.
func startLab(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: lab")
	}
	s.lab = labtest.Start(s.tb, options())
	ts.Check(s.useLab(ts.Setenv, ts.Getenv("WORK")))
}

// project makes a tunnel and a project directory for it, and goes there:
//
//	project NAME [service=URL|none] [tunnel=NAME] [host=HOSTNAME] [name=COMPOSE] [KEY=VALUE...]
//
// $P is then its Compose project, $HOST its hostname, $TUNNEL its tunnel's ID and
// $TO the flag that leads up to the lab; each with _NAME appended too.
func project(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: project NAME [KEY=VALUE...]")
	}
	name := args[0]
	p := &projectState{
		name: name, dir: filepath.Join(ts.Getenv("WORK"), name), host: name + "-" + s.id + ".example.com",
		compose: bench.ProjectName(s.lab.Name, s.id+"_"+name),
	}
	leads, shared := service, ""
	for _, arg := range args[1:] {
		key, value, _ := strings.Cut(arg, "=")
		switch key {
		case "service":
			leads = value
		case "tunnel":
			shared = value
		case "host":
			p.host = value
		case "name":
			p.compose = value
		default:
			p.settings = append(p.settings, arg)
		}
	}
	if shared != "" {
		p.tunnel, p.host = s.projects[shared].tunnel, s.projects[shared].host
	} else {
		request := control.TunnelRequest{Name: name}
		if leads != "none" {
			request.Hostnames = []control.Rule{{Hostname: p.host, Service: leads}}
		}
		tunnel, err := s.lab.Control.CreateTunnel(s.tb.Context(), request)
		ts.Check(err)
		p.tunnel = tunnel
	}
	s.hide(p.tunnel)
	s.projects[name], s.current = p, p
	ts.Check(s.lab.WriteProject(p.dir, bench.ProjectOptions{Name: p.compose, Token: p.tunnel.Token, Settings: p.settings}))
	ts.Check(ts.Chdir(p.dir))
	for key, value := range map[string]string{"P": p.compose, "HOST": p.host, "TUNNEL": p.tunnel.TunnelID, "TO": "--connect-to=" + s.lab.ConnectTo(p.host)} {
		ts.Setenv(key, value)
		ts.Setenv(key+"_"+name, value)
	}
}

// hide takes a tunnel's token into what no output may show.
func (s *script) hide(c control.Credentials) {
	text := c.Token.Reveal() // to look for it
	s.secrets = append(s.secrets, text[:40], text[len(text)-40:])
}

// writeProject changes settings of the current project: write KEY=VALUE...
func writeProject(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || s.current == nil {
		ts.Fatalf("usage: write KEY=VALUE...")
	}
	// The override stays as the script may have changed it.
	override := filepath.Join(s.current.dir, "compose.override.yaml")
	text, err := os.ReadFile(override)
	ts.Check(err)
	p := s.current
	ts.Check(s.lab.WriteProject(p.dir, bench.ProjectOptions{Name: p.compose, Settings: args}))
	ts.Check(os.WriteFile(override, text, 0o600))
}

// token writes the current tunnel's token to a file, after its secret was changed
// with rotate: token [rotate] FILE.
func token(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 || s.current == nil {
		ts.Fatalf("usage: token [rotate] FILE")
	}
	if args[0] == "rotate" {
		fresh, err := s.lab.Control.Rotate(s.tb.Context(), s.current.tunnel.TunnelID)
		ts.Check(err)
		s.current.tunnel = fresh
		s.hide(fresh)
		args = args[1:]
	}
	text := s.current.tunnel.Token.Reveal() // what a person copies from the dashboard
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text+"\n"), 0o600))
}

// config pushes a configuration to the current tunnel, as the dashboard does:
// config none, or config [HOSTNAME=]SERVICE...
func config(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 || s.current == nil {
		ts.Fatalf("usage: config none | [HOSTNAME=]SERVICE...")
	}
	var rules []control.Rule
	for _, arg := range args {
		if arg == "none" {
			continue
		}
		host, leads, found := strings.Cut(arg, "=")
		if !found {
			host, leads = s.current.host, arg
		}
		rules = append(rules, control.Rule{Hostname: host, Service: leads})
	}
	rules = append(rules, control.Rule{Service: "http_status:404"})
	result, err := s.lab.Control.Configure(s.tb.Context(), s.current.tunnel.TunnelID, control.TunnelConfig{Ingress: rules})
	ts.Check(err)
	if len(result.Refused) > 0 {
		ts.Fatalf("the connector refuses the configuration: %v", result.Refused)
	}
}

// fault makes something go wrong for the current tunnel, nothing without
// arguments: fault publicStatus=502.
func fault(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || s.current == nil {
		ts.Fatalf("usage: fault [KEY=VALUE...]")
	}
	ts.Check(s.lab.Control.SetTunnelFaults(s.tb.Context(), s.current.tunnel.TunnelID, faults(ts, args)))
}

// worldFault is fault for the world of the script's own lab.
func worldFault(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || s.lab == s.fixture.lab {
		ts.Fatalf("usage: world [KEY=VALUE...], in a lab of the script's own")
	}
	ts.Check(s.lab.Control.SetFaults(s.tb.Context(), faults(ts, args)))
}

// faults reads KEY=VALUE where a value is JSON, or else text as it stands.
func faults(ts *testscript.TestScript, args []string) control.Faults {
	values := map[string]json.RawMessage{}
	for _, arg := range args {
		key, value, _ := strings.Cut(arg, "=")
		if !json.Valid([]byte(value)) {
			quoted, err := json.Marshal(value)
			ts.Check(err)
			value = string(quoted)
		}
		values[key] = json.RawMessage(value)
	}
	text, err := json.Marshal(values)
	ts.Check(err)
	var f control.Faults
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	ts.Check(decoder.Decode(&f))
	return f
}

// edge does at the edge what is done to the current tunnel there: edge delete,
// edge close, edge connections NUMBER (which waits for them).
func edge(ts *testscript.TestScript, s *script, neg bool, args []string) {
	ctx, id := s.tb.Context(), s.current.tunnel.TunnelID
	switch {
	case neg || len(args) == 0:
		ts.Fatalf("usage: edge delete | close | connections NUMBER")
	case args[0] == "delete":
		ts.Check(s.lab.Control.Delete(ctx, id))
	case args[0] == "close":
		_, err := s.lab.Control.Close(ctx, id, control.AllConnections)
		ts.Check(err)
	case args[0] == "connections" && len(args) == 2:
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		want := number(ts, args[1])
		state, err := s.lab.Control.WaitTunnel(ctx, id, func(t control.TunnelState) bool { return t.Connections() == want })
		if err != nil {
			ts.Fatalf("%v: %+v", err, state)
		}
	default:
		ts.Fatalf("usage: edge delete | close | connections NUMBER")
	}
}
