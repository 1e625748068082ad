package lifecycle

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

func labelled(name, project, dir string, state plan.State) plan.Container {
	c := plan.Container{Name: name, State: state, Labels: map[string]string{}}
	if project != "" {
		c.Labels[plan.LabelProject], c.Labels[plan.LabelWorkingDir] = project, dir
	}
	return c
}

func TestAProjectOfAnotherDirectoryIsLeftAlone(t *testing.T) {
	p := plan.Project{Name: "home", Dir: "/srv/home"}
	for name, c := range map[string]struct {
		dir   string
		adopt bool
		want  string
	}{
		"ours": {"/srv/home", false, ""}, "adopted": {"/opt/other", true, ""},
		"another's": {"/opt/other", false, "project home belongs to the directory /opt/other; go there: cd /opt/other"},
	} {
		err := CheckOwner(p, plan.Observed{Containers: []plan.Container{labelled("m", "home", c.dir, plan.StateExited)}}, c.adopt)
		refuses(t, name, err, c.want)
	}
}

// refuses compares an error with its cause and the beginning of its hint.
func refuses(t *testing.T, name string, err error, want string) {
	t.Helper()
	got := ""
	if err != nil {
		got = err.Error() + "; " + remedy.HintOf(err)
		if remedy.CodeOf(err) != remedy.Input {
			t.Errorf("%s: code %d", name, remedy.CodeOf(err))
		}
	}
	if !strings.HasPrefix(got, want) || want == "" && got != "" {
		t.Errorf("%s:\n got %q\nwant %q", name, got, want)
	}
}

func TestATakenNameIsRefusedWithHowToFreeIt(t *testing.T) {
	p := plan.Project{Name: "home", Services: []plan.Service{{Name: "mosquitto", ContainerName: "mosquitto"}}}
	for name, c := range map[string]struct {
		foreign plan.Container
		want    string
	}{
		"of Compose": {
			labelled("mosquitto", "old", "/opt/old", plan.StateRunning),
			"the name mosquitto is taken by container mosquitto of Compose project old in /opt/old; stop that project: docker compose --project-directory /opt/old -p old down",
		},
		"by hand": {
			labelled("mosquitto", "", "", plan.StateExited),
			"the name mosquitto is taken by container mosquitto, started outside Compose; stop and remove it: docker rm -f mosquitto",
		},
		"another name": {labelled("web", "", "", plan.StateExited), ""},
	} {
		refuses(t, name, CheckNames(p, plan.Observed{Foreign: []plan.Container{c.foreign}}), c.want)
	}
}

func TestOneTunnelHasOneProjectOnAnEngine(t *testing.T) {
	p := plan.Project{Name: "home"}
	for name, c := range map[string]struct {
		project, tunnel, ours string
		state                 plan.State
		refused               bool
	}{
		"another project":      {"other", "t1", "t1", plan.StateRunning, true},
		"another, stopped":     {"other", "t1", "t1", plan.StateExited, false},
		"this project":         {"home", "t1", "t1", plan.StateRunning, false},
		"another tunnel":       {"other", "t2", "t1", plan.StateRunning, false},
		"no tunnel known here": {"other", "", "", plan.StateRunning, false},
	} {
		other := labelled("cloudflared", c.project, "/opt/other", c.state)
		other.Labels[plan.LabelTunnel] = c.tunnel
		want := ""
		if c.refused {
			want = "tunnel t1 is already served by container cloudflared of Compose project other in /opt/other"
		}
		refuses(t, name, CheckTunnel(p, c.ours, []plan.Container{other}), want)
	}
}

func TestWhatIsExternalMustExist(t *testing.T) {
	p := plan.Project{
		Networks: []plan.Network{{Name: "own"}, {Name: "lan", External: true}}, Volumes: []plan.Volume{{Name: "data", External: true}},
	}
	lan, data := []plan.ObservedNetwork{{Name: "lan"}}, []plan.ObservedVolume{{Name: "data"}}
	refuses(t, "both", CheckExternal(p, plan.Observed{Networks: lan, Volumes: data}), "")
	refuses(t, "no network", CheckExternal(p, plan.Observed{Volumes: data}), "network lan is external and does not exist; make it: docker network create lan")
	refuses(t, "no volume", CheckExternal(p, plan.Observed{Networks: lan}), "volume data is external and does not exist; make it: docker volume create data")
}

func TestAPublishedPortIsRefusedWhereAddressesCollide(t *testing.T) {
	for name, c := range map[string]struct {
		want, have plan.Port
		project    string
		state      plan.State
		refused    bool
	}{
		"same":              {plan.Port{HostPort: "1883", Protocol: "tcp"}, plan.Port{HostIP: "0.0.0.0", HostPort: "1883", Protocol: "tcp"}, "x", plan.StateRunning, true},
		"every address":     {plan.Port{HostIP: "192.168.1.2", HostPort: "1883", Protocol: "tcp"}, plan.Port{HostIP: "::", HostPort: "1883", Protocol: "TCP"}, "x", plan.StateRunning, true},
		"another address":   {plan.Port{HostIP: "192.168.1.2", HostPort: "1883", Protocol: "tcp"}, plan.Port{HostIP: "127.0.0.1", HostPort: "1883", Protocol: "tcp"}, "x", plan.StateRunning, false},
		"another protocol":  {plan.Port{HostPort: "1883", Protocol: "tcp"}, plan.Port{HostPort: "1883", Protocol: "udp"}, "x", plan.StateRunning, false},
		"another port":      {plan.Port{HostPort: "1883", Protocol: "tcp"}, plan.Port{HostPort: "1884", Protocol: "tcp"}, "x", plan.StateRunning, false},
		"Engine's choice":   {plan.Port{Protocol: "tcp"}, plan.Port{Protocol: "tcp"}, "x", plan.StateRunning, false},
		"own container":     {plan.Port{HostPort: "1883", Protocol: "tcp"}, plan.Port{HostPort: "1883", Protocol: "tcp"}, "home", plan.StateRunning, false},
		"stopped container": {plan.Port{HostPort: "1883", Protocol: "tcp"}, plan.Port{HostPort: "1883", Protocol: "tcp"}, "x", plan.StateExited, false},
	} {
		other := labelled("other", c.project, "/opt", c.state)
		other.Ports = []plan.Port{c.have}
		p := plan.Project{Name: "home", Services: []plan.Service{{Name: "mosquitto", Spec: plan.Spec{Ports: []plan.Port{c.want}}}}}
		want := ""
		if c.refused {
			want = "port 1883 is published by container other of Compose project x in /opt; choose another port"
		}
		refuses(t, name, CheckPorts(p, []plan.Container{other}), want)
	}
}

func TestAPortThatAnotherProgramHoldsIsRefused(t *testing.T) {
	held, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }() // nothing is left to write
	_, port, err := net.SplitHostPort(held.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	published := plan.Port{HostIP: "127.0.0.1", HostPort: port, Protocol: "tcp"}
	p := plan.Project{Name: "home", Services: []plan.Service{{Name: "mosquitto", Spec: plan.Spec{Ports: []plan.Port{published}}}}}
	ours := labelled("mosquitto", "home", "/srv", plan.StateRunning)
	ours.Labels[plan.LabelService], ours.Ports = "mosquitto", []plan.Port{published}
	refuses(t, "held", CheckHostPorts(p, plan.Observed{}, net.Listen), fmt.Sprintf("port %s cannot be published on this host: ", port))
	refuses(t, "ours", CheckHostPorts(p, plan.Observed{Containers: []plan.Container{ours}}, net.Listen), "")
	if err := held.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	refuses(t, "free", CheckHostPorts(p, plan.Observed{}, net.Listen), "")
}
