package doctor

import (
	"strings"
	"testing"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
)

// tokenEvidence is a project with a good token for tunnelA on an Engine that answers.
func tokenEvidence(t *testing.T) *Evidence {
	t.Helper()
	token, err := cloudflared.ParseToken(tokenOf(tunnelA, "a"))
	if err != nil {
		t.Fatal(err)
	}
	return &Evidence{
		Engine:  EngineEvidence{Info: plan.EngineInfo{API: "1.41"}},
		Files:   FilesEvidence{Dir: "/srv/mqtt", Settings: &config.Settings{Token: token.Secret()}, Token: &token},
		Project: ProjectEvidence{Name: "home", All: []plan.Container{}, Observed: &plan.Observed{}},
	}
}

// logged is a status as these lines of the connector tell.
func logged(lines ...string) *lifecycle.Status {
	st := &lifecycle.Status{}
	for _, text := range lines {
		line := cloudflared.ParseLine("2026-11-26T12:00:00Z " + text)
		st.ConnectorLines = append(st.ConnectorLines, line)
		if event := line.Event(); event.Kind == cloudflared.EventRegistered {
			st.Connections = append(st.Connections, event)
		}
	}
	if cause, found := cloudflared.Diagnose(st.ConnectorLines); found {
		st.Cause = &cause
	}
	return st
}

func TestCloudflaresNoIsToldFromOtherFailures(t *testing.T) {
	const start = "INF Starting tunnel tunnelID=" + tunnelA
	const registered = "INF Registered tunnel connection connIndex=0 connection=c event=0 ip=192.0.2.1 location=fra08 protocol=http2"
	no := func(text string) string {
		return `ERR Register tunnel error from server side error="` + text + `" connIndex=0`
	}
	silent := `ERR Serve tunnel error error="control stream encountered a failure while serving" connIndex=0`
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"connected", []string{start, registered}, ""},
		{"rotated", []string{start, no("Unauthorized: Invalid tunnel secret")}, "token-accepted failed"},
		{"rotated while connected", []string{start, registered, no("Unauthorized: Invalid tunnel secret")}, "token-accepted failed"},
		{"refused and then connected", []string{start, no("Unauthorized: Invalid tunnel secret"), registered}, ""},
		{"refused in other words", []string{start, no("Unauthorized: no idea")}, "token-accepted failed"},
		{"refused without a word", []string{start, silent}, "token-accepted failed"},
		{"refused for another reason", []string{start, no("EDUPCONN")}, ""},
		{"deleted", []string{start, no("Unauthorized: Failed to get tunnel")}, "tunnel-exists failed"},
		{"of another account", []string{start, no("Unauthorized: Account doesn't have tunnel")}, "tunnel-exists failed"},
		{"stopped by hand", []string{start, no("Unauthorized: Invalid tunnel secret"), "INF Initiating graceful shutdown due to signal terminated ..."}, ""},
		{"no way to the edge", []string{start, `ERR Unable to establish connection with Cloudflare edge error="dial tcp 192.0.2.1:7844: i/o timeout" connIndex=0`}, ""},
		{"another's words", []string{start, registered, `ERR error="Unauthorized: Invalid tunnel secret of the client" connIndex=0`, registered}, ""},
	} {
		e := tokenEvidence(t)
		e.Project.Status = logged(c.lines...)
		if got := outcomes(e, LayerToken); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	invalid := tokenEvidence(t)
	line := cloudflared.ParseLine("Provided Tunnel token is not valid.")
	cause, _ := cloudflared.Diagnose([]cloudflared.Line{line})
	invalid.Project.Status = &lifecycle.Status{Cause: &cause, ConnectorLines: []cloudflared.Line{line}}
	if got := outcomes(invalid, LayerToken); got != "token-accepted failed" {
		t.Errorf("no token at all in the connector: %q", got)
	}
}

func TestARefusalOfAnOlderTokenFollowsFromTheFiles(t *testing.T) {
	refusedOf := func(tunnel string) *lifecycle.Status {
		return logged("INF Starting tunnel tunnelID="+tunnel, `ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0`)
	}
	e := tokenEvidence(t)
	e.Project.Status = refusedOf(tunnelB)
	if got := outcomes(e, LayerToken); got != "token-tunnel failed" {
		t.Errorf("another tunnel's: %q", got)
	}

	held := false
	e = tokenEvidence(t)
	e.Project.Status, e.Project.TokenHeld = refusedOf(tunnelA), &held
	e.Project.Observed.Containers = []plan.Container{{Labels: map[string]string{plan.LabelService: plan.ServiceConnector}}}
	e.Project.Plan = &plan.Plan{Steps: []plan.Step{{Op: plan.CreateContainer, Subject: plan.ServiceConnector, Why: plan.WhyToken}}}
	if got := outcomes(e, LayerFiles) + outcomes(e, LayerToken); got != "in-force failed" {
		t.Errorf("an older one of this tunnel: %q", got)
	}

	e = tokenEvidence(t)
	e.Project.Status = refusedOf(tunnelA)
	e.Files.Token, e.Files.TokenErr = nil, cloudflared.ErrTokenCut
	if got := outcomes(e, LayerToken); got != "token-form failed" {
		t.Errorf("a cut one: %q", got)
	}
}

func TestTheTunnelIsThatOfTheLogBeforeThatOfTheLabel(t *testing.T) {
	labelled := func(tunnel string) *plan.Observed {
		return &plan.Observed{Containers: []plan.Container{{
			Labels: map[string]string{plan.LabelService: plan.ServiceConnector, plan.LabelTunnel: tunnel},
		}}}
	}
	for _, c := range []struct {
		name     string
		observed *plan.Observed
		status   *lifecycle.Status
		want     Status
	}{
		{"no container", &plan.Observed{}, nil, Skipped},
		{"label of this tunnel", labelled(tunnelA), nil, Passed},
		{"label of another", labelled(tunnelB), nil, Failed},
		{"log of this tunnel", labelled(tunnelB), logged("INF Starting tunnel tunnelID=" + tunnelA), Passed},
		{"log of another", labelled(tunnelA), logged("INF Starting tunnel tunnelID=" + tunnelB), Failed},
		{"the newest start counts", labelled(tunnelA), logged("INF Starting tunnel tunnelID="+tunnelB, "INF Starting tunnel tunnelID="+tunnelA), Passed},
	} {
		e := tokenEvidence(t)
		e.Project.Observed, e.Project.Status = c.observed, c.status
		if got := judgeTokenTunnel(e); got.Status != c.want {
			t.Errorf("%s: %s %q, want %s", c.name, got.Status, got.Sentence, c.want)
		}
	}
}

func TestAContainerThatShowsATokenIsNamed(t *testing.T) {
	e := tokenEvidence(t)
	e.Project.Showing = []string{"old", "older"}
	o := judgeTokenHidden(e)
	if o.Status != Failed || !strings.Contains(o.Sentence, "the container old shows") || o.Commands[0] != "docker rm -f old older" {
		t.Errorf("%+v", o)
	}
	e.Project.Showing = nil
	if o := judgeTokenHidden(e); o.Status != Passed {
		t.Errorf("%+v", o)
	}
	e.Project.All = nil
	if o := judgeTokenHidden(e); o.Status != Skipped {
		t.Errorf("nothing was seen, and it says %+v", o)
	}
}

func TestAnotherProjectOnTheSameTunnelIsNamed(t *testing.T) {
	connector := func(project, tunnel string, state plan.State) []plan.Container {
		return []plan.Container{{Name: project + "-cloudflared-1", State: state, Labels: map[string]string{
			plan.LabelProject: project, plan.LabelTunnel: tunnel, plan.LabelWorkingDir: "/srv/other",
		}}}
	}
	for _, c := range []struct {
		name string
		all  []plan.Container
		want Status
	}{
		{"our own", connector("home", tunnelA, plan.StateRunning), Passed},
		{"another", connector("other", tunnelA, plan.StateRunning), Failed},
		{"another that is stopped", connector("other", tunnelA, plan.StateExited), Passed},
		{"another of another tunnel", connector("other", tunnelB, plan.StateRunning), Passed},
		{"nothing seen", nil, Skipped},
	} {
		e := tokenEvidence(t)
		e.Project.All = c.all
		if got := judgeTunnelAlone(e); got.Status != c.want {
			t.Errorf("%s: %s %q, want %s", c.name, got.Status, got.Sentence, c.want)
		}
	}
}
