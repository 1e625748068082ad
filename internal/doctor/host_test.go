package doctor

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// outcomes returns what is not as it should be in one layer, as "ID status",
// needs applied.
func outcomes(e *Evidence, layer Layer) string {
	var lines []string
	for _, r := range Judge(e).Results {
		if r.Layer == layer && r.Status != Passed && r.Status != Skipped {
			lines = append(lines, r.ID+" "+string(r.Status))
		}
	}
	return strings.Join(lines, ", ")
}

func TestAnEngineFaultIsNamedByItsKindAlone(t *testing.T) {
	for _, c := range []struct {
		fault plan.EngineFault
		want  string
	}{
		{plan.EngineUnnamed, "engine-named failed"},
		{plan.EngineUnreachable, "engine-running failed"},
		{plan.EngineForbidden, "engine-access failed"},
		{plan.EngineUnfit, "engine-version failed"},
	} {
		e := &Evidence{Engine: EngineEvidence{Fault: c.fault, Err: remedy.Errorf(remedy.Engine, "first\nsecond", "no Docker Engine at %s", "unix:///x")}}
		if got := outcomes(e, LayerHost); got != c.want {
			t.Errorf("%s: %s, want %s", c.fault, got, c.want)
		}
		f := Judge(e).Findings()[0]
		if f.Sentence != "no Docker Engine at unix:///x" || f.Outcome.Remedy != "first; second" {
			t.Errorf("%s: %q, remedy %q", c.fault, f.Sentence, f.Outcome.Remedy)
		}
	}
	good := &Evidence{Engine: EngineEvidence{Info: plan.EngineInfo{API: "1.41", Version: "20.10.24"}}}
	if got := outcomes(good, LayerHost); got != "" {
		t.Errorf("an Engine that answers: %s", got)
	}
}

func TestA32BitARMIsToldOnlyWhereItsImageIsMissing(t *testing.T) {
	for _, c := range []struct {
		name, arch, image string
		images            map[string]plan.Image
		want              string
	}{
		{"64 bits", "arm64", "cloudflare/cloudflared:2026.8.2", map[string]plan.Image{}, ""},
		{"32 bits", "arm", "cloudflare/cloudflared:2026.8.2", map[string]plan.Image{}, "platform failed"},
		{"an image of one's own", "arm", "me/cloudflared:1", map[string]plan.Image{}, ""},
		{"an image of one's own for another machine", "arm", "me/cloudflared:1", map[string]plan.Image{plan.ServiceConnector: {Arch: "arm64"}}, "platform failed"},
		{"built here under that name", "arm", "cloudflare/cloudflared:2026.8.2", map[string]plan.Image{plan.ServiceConnector: {Arch: "arm"}}, ""},
		{"nothing seen", "arm", "cloudflare/cloudflared:2026.8.2", nil, ""},
	} {
		e := &Evidence{
			Engine:  EngineEvidence{Info: plan.EngineInfo{API: "1.41", OS: "linux", Arch: c.arch}},
			Files:   FilesEvidence{Settings: &config.Settings{CloudflaredImage: c.image}},
			Project: ProjectEvidence{Images: c.images},
		}
		if got := outcomes(e, LayerHost); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestTheClockIsBlamedOnlyWithEvidence(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	date := func(off time.Duration) Trip { return Trip{Result: probe.Result{ServerTime: at.Add(off)}} }
	public := func(class probe.Class, from, to time.Duration) Trip {
		return Trip{Err: &probe.Error{Class: class, Certificate: &probe.Certificate{NotBefore: at.Add(from), NotAfter: at.Add(to)}}}
	}
	const day = 24 * time.Hour
	edge := func(days ...time.Duration) InsideEvidence { // pairs of from, to
		look := &probe.Edge{}
		for i := 0; i < len(days); i += 2 {
			look.Regions = append(look.Regions, probe.Region{Certificate: &probe.Certificate{NotBefore: at.Add(days[i] * day), NotAfter: at.Add(days[i+1] * day)}})
		}
		return InsideEvidence{Report: &probe.Report{Edge: look}}
	}
	blamed := &lifecycle.Status{Cause: &cloudflared.Cause{ID: cloudflared.CauseClock, Sentence: "by the clock of this host"}}
	for _, c := range []struct {
		name   string
		trips  []Trip
		inside InsideEvidence
		status *lifecycle.Status
		remote bool
		want   string // the sentence, "" when it is no fault
	}{
		{name: "nothing seen"},
		{name: "the answer came late", trips: []Trip{date(20 * time.Second)}},
		{name: "a little off", trips: []Trip{date(-80 * time.Second)}},
		{name: "behind", trips: []Trip{date(2 * time.Hour)}, want: "the clock of this machine is 2h0m0s behind"},
		{name: "ahead", trips: []Trip{date(-5 * time.Minute)}, want: "the clock of this machine is 5m0s ahead"},
		{name: "years behind", trips: []Trip{date(400 * day)}, want: "the clock of this machine is 400 days behind"},
		{name: "the edge's certificates are to come", inside: edge(3, 90, 5, 90), want: "the clock of this machine is 3 days behind or more, by the certificates of Cloudflare's edge"},
		{name: "the edge's certificates are over", inside: edge(-90, -3, -90, -2), want: "the clock of this machine is 2 days ahead or more, by the certificates of Cloudflare's edge"},
		{name: "one region's certificate is over", inside: edge(-90, -3, -90, 2)},
		{name: "the edge's are over and the date is right", trips: []Trip{date(0)}, inside: edge(-90, -3)},
		{name: "the public one is over alone", trips: []Trip{public(probe.ClassCertExpired, -90*day, -day)}},
		{name: "the public one is over, the edge's are valid", trips: []Trip{public(probe.ClassCertExpired, -90*day, -day)}, inside: edge(-1, 1)},
		{name: "the public one is to come", trips: []Trip{public(probe.ClassCertNotYet, 3*day, 90*day)}, want: "the clock of this machine is 3 days behind or more, by the certificate of the public hostname"},
		{name: "the public one is to come, the edge's are valid", trips: []Trip{public(probe.ClassCertNotYet, 3*day, 90*day)}, inside: edge(-1, 1)},
		{name: "the log says so", status: blamed, want: "by the clock of this host"},
		{name: "the log says so, and it was set since", status: blamed, trips: []Trip{date(0)}},
		{name: "the log of a remote Engine says so", status: blamed, trips: []Trip{date(0)}, remote: true, want: "by the clock of this host"},
	} {
		e := &Evidence{
			At: at, Host: HostEvidence{Local: !c.remote}, Inside: c.inside,
			Public: PublicEvidence{Trips: c.trips}, Project: ProjectEvidence{Status: c.status},
		}
		o := judgeClock(e)
		got := o.Sentence
		if o.Status != Failed {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s: %s %q, want %q", c.name, o.Status, o.Sentence, c.want)
		}
	}
}

func TestDockerThatIsNotEnabledAtBootIsSeen(t *testing.T) {
	const system, rootless = "unix:///var/run/docker.sock", "unix:///run/user/1000/docker.sock"
	for _, c := range []struct {
		name, endpoint, want string
		user                 bool
		files                []string // paths below the root; a target after ">" makes a link
	}{
		{"no systemd", system, "", false, []string{"lib/systemd/system/docker.service"}},
		{"no unit", system, "", false, []string{"run/systemd/system/x"}},
		{"disabled", system, "docker.service", false, []string{"run/systemd/system/x", "lib/systemd/system/docker.service"}},
		{"enabled", system, "", false, []string{
			"run/systemd/system/x", "lib/systemd/system/docker.service",
			"etc/systemd/system/multi-user.target.wants/docker.service>/nowhere/docker.service",
		}},
		{"only the socket", system, "docker.service", false, []string{
			"run/systemd/system/x", "usr/lib/systemd/system/docker.service",
			"etc/systemd/system/sockets.target.wants/docker.socket>/nowhere/docker.socket",
		}},
		{"snap", system, "snap.docker.dockerd.service", false, []string{"run/systemd/system/x", "etc/systemd/system/snap.docker.dockerd.service"}},
		{"snap enabled", system, "", false, []string{
			"run/systemd/system/x", "etc/systemd/system/snap.docker.dockerd.service", "etc/systemd/system/multi-user.target.wants/snap.docker.dockerd.service",
		}},
		{"an Engine of another kind", "unix:///home/u/.colima/docker.sock", "", false, []string{"run/systemd/system/x", "lib/systemd/system/docker.service"}},
		{"rootless", rootless, "docker.service", true, []string{"run/systemd/system/x", "home/u/.config/systemd/user/docker.service"}},
		{"rootless enabled", rootless, "", false, []string{
			"run/systemd/system/x", "home/u/.config/systemd/user/docker.service",
			"home/u/.config/systemd/user/default.target.wants/docker.service>/nowhere/docker.service",
		}},
		{"rootless beside a system Docker", rootless, "", false, []string{"run/systemd/system/x", "lib/systemd/system/docker.service"}},
	} {
		root := t.TempDir()
		for _, f := range c.files {
			name, target, link := strings.Cut(f, ">")
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			write := func() error { return os.WriteFile(path, nil, 0o600) }
			if link {
				write = func() error { return os.Symlink(target, path) }
			}
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		unit, user := disabledUnit(Sources{Root: root, Environ: []string{"HOME=/home/u"}}, c.endpoint)
		if unit != c.want || c.want != "" && user != c.user {
			t.Errorf("%s: %q, of the user %v, want %q, %v", c.name, unit, user, c.want, c.user)
		}
	}
	if o := judgeBoot(&Evidence{Host: HostEvidence{Boot: "docker.service"}}); o.Status != Warned || o.Commands[0] != "sudo systemctl enable docker.service" {
		t.Errorf("%+v", o)
	}
}

func TestOnlyAPortOfSomethingElseIsTaken(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // a test's own listener
	_, held, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	port := func(ip, host string) []plan.Port {
		return []plan.Port{{HostIP: ip, HostPort: host, Container: 1883, Protocol: "tcp"}}
	}
	ours := func(state plan.State) *plan.Observed {
		return &plan.Observed{Containers: []plan.Container{{
			ID: "1", Name: "mosquitto", State: state, Ports: port("127.0.0.1", held),
			Labels: map[string]string{plan.LabelProject: "p", plan.LabelService: plan.ServiceBroker},
		}}}
	}
	for _, c := range []struct {
		name     string
		want     []plan.Port
		observed *plan.Observed
		all      []plan.Container
		taken    bool
	}{
		{"nothing is published", nil, &plan.Observed{}, nil, false},
		{"held by a process", port("127.0.0.1", held), &plan.Observed{}, nil, true},
		{"held by our own container", port("127.0.0.1", held), ours(plan.StateRunning), nil, false},
		{"held by our own paused container", port("127.0.0.1", held), ours(plan.StatePaused), nil, false},
		{"the address is not of this host", port("192.0.2.1", held), &plan.Observed{}, nil, false},
		{"another container publishes it", port("192.0.2.1", "1883"), &plan.Observed{}, []plan.Container{
			{Name: "other", State: plan.StateRunning, Ports: port("0.0.0.0", "1883")},
		}, true},
	} {
		e := &Evidence{Host: HostEvidence{Local: true}, Project: ProjectEvidence{Observed: c.observed, All: c.all}}
		e.Files.Rendered = &render.Rendered{Project: plan.Project{Name: "p", Services: []plan.Service{
			{Name: plan.ServiceBroker, Spec: plan.Spec{Ports: c.want}},
		}}}
		gatherLAN(e)
		if e.Host.PortTaken != c.taken {
			t.Errorf("%s: taken %v, want %v", c.name, e.Host.PortTaken, c.taken)
		}
	}
}

func TestAnEngineThatDoesNotAnswerIsGivenUp(t *testing.T) {
	unreachable := func(error) plan.EngineFault { return plan.EngineUnreachable }
	var e Evidence
	silent := Sources{Fault: unreachable, Open: func(ctx context.Context) (Engine, error) {
		if _, bounded := ctx.Deadline(); !bounded {
			t.Error("the Engine is waited for without a limit")
		}
		return nil, context.DeadlineExceeded
	}}
	if engine := gatherEngine(t.Context(), silent, &e); engine != nil || e.Engine.Fault != plan.EngineUnreachable {
		t.Errorf("%v, %+v", engine, e.Engine)
	}
	if o := judgeEngineRunning(&e); o.Status != Failed || !strings.Contains(o.Sentence, "does not answer within 8s") || o.Remedy == "" {
		t.Errorf("%+v", o)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	var stopped Evidence
	interrupted := Sources{Fault: unreachable, Open: func(ctx context.Context) (Engine, error) { return nil, ctx.Err() }}
	if gatherEngine(cancelled, interrupted, &stopped); stopped.Engine.Fault != plan.EngineOK || errors.Is(stopped.Engine.Err, context.Canceled) {
		t.Errorf("an interruption passes for a fault: %+v", stopped.Engine)
	}
}

func TestAddressesAreThoseOfAnEngineOfThisHost(t *testing.T) {
	var e Evidence
	gatherHost(Sources{Root: t.TempDir()}, &e)
	if e.Host.Addresses != nil {
		t.Errorf("of a remote Engine's host: %v", e.Host.Addresses)
	}
	e.Host.Local = true
	gatherHost(Sources{Root: t.TempDir()}, &e)
	if !slices.Contains(e.Host.Addresses, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("without the loopback: %v", e.Host.Addresses)
	}
}
