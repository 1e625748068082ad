package plan_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// project is what the default rendering comes to, as far as the plan looks.
func project() plan.Project {
	net := []plan.Endpoint{{Network: "mqtunnel_default"}}
	return plan.Project{
		Name: "mqtunnel", Dir: "/srv/mqtt", ConfigFiles: []string{"/srv/mqtt/compose.yaml"},
		Networks: []plan.Network{{Key: "default", Name: "mqtunnel_default", Hash: "n1"}},
		Volumes:  []plan.Volume{{Key: "data", Name: "mqtunnel_data", Hash: "v1"}},
		Services: []plan.Service{
			{
				Name: "mosquitto", ContainerName: "mosquitto", Image: "m:1", Hash: "hm",
				Spec:  plan.Spec{Networks: net, Mounts: []plan.Mount{{Type: plan.MountVolume, Source: "mqtunnel_data", Target: "/mosquitto/data"}}},
				Files: []plan.File{{Path: "/mosquitto/config/passwd", Content: secret.New("a:1")}},
			},
			{
				Name: "cloudflared", ContainerName: "cloudflared", Image: "c:1", Hash: "hc",
				Spec:  plan.Spec{Networks: net},
				Files: []plan.File{{Path: "/run/secrets/tunnel_token", Content: secret.New("token")}},
			},
		},
	}
}

// observed is the default project up and running.
func observed() plan.Observed {
	labels := func(service, hash string) map[string]string {
		return map[string]string{
			plan.LabelProject: "mqtunnel", plan.LabelService: service, plan.LabelConfigHash: hash,
			plan.LabelNumber: "1", plan.LabelWorkingDir: "/srv/mqtt", plan.LabelImage: "sha256:" + service,
		}
	}
	nets := map[string]string{"mqtunnel_default": "net1"}
	return plan.Observed{
		Networks: []plan.ObservedNetwork{{ID: "net1", Name: "mqtunnel_default", Labels: map[string]string{plan.LabelNetwork: "default"}}},
		Volumes:  []plan.ObservedVolume{{Name: "mqtunnel_data", Labels: map[string]string{plan.LabelVolume: "data"}}},
		Containers: []plan.Container{
			{ID: "aaaaaaaaaaaaaaaa", Name: "mosquitto", Labels: labels("mosquitto", "hm"), State: plan.StateRunning, Image: "m:1", Networks: nets, Volumes: []string{"mqtunnel_data"}},
			{ID: "bbbbbbbbbbbbbbbb", Name: "cloudflared", Labels: labels("cloudflared", "hc"), State: plan.StateRunning, Image: "c:1", Networks: nets},
		},
	}
}

// stopsFirst is the plan for a connector that cannot run beside the old one.
const stopsFirst = `
0 create container cloudflared: configuration changed as bbbbbbbbbbbb_cloudflared
1 copy files cloudflared: created [0]
2 stop container cloudflared: configuration changed [1]
3 start container cloudflared: created [2 1]
4 remove container cloudflared: configuration changed [3]
5 rename container cloudflared: replaces the old one as cloudflared [4]
`

func TestUpDecides(t *testing.T) {
	cases := []struct {
		name   string
		change func(*plan.Project, *plan.Observed, *plan.Options)
		want   string
	}{
		{"nothing when all is as wanted", func(*plan.Project, *plan.Observed, *plan.Options) {}, ``},
		{"everything when there is nothing", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) { *o = plan.Observed{} }, `
0 create network default: does not exist
1 create volume data: does not exist
2 create container mosquitto: does not exist [0 1]
3 copy files mosquitto: created [2]
4 start container mosquitto: created [3]
5 create container cloudflared: does not exist [0]
6 copy files cloudflared: created [5]
7 start container cloudflared: created [6]
`},
		{"a new container before the old one stops when the configuration changed", func(p *plan.Project, _ *plan.Observed, _ *plan.Options) {
			p.Services[0].Hash = "other"
		}, `
0 create container mosquitto: configuration changed as aaaaaaaaaaaa_mosquitto
1 copy files mosquitto: created [0]
2 stop container mosquitto: configuration changed [1]
3 start container mosquitto: created [2 1]
4 remove container mosquitto: configuration changed [3]
5 rename container mosquitto: replaces the old one as mosquitto [4]
`},
		{"the reason is the token when it is", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].Files = map[string]secret.Text{"/run/secrets/tunnel_token": secret.New("old")}
			o.Containers[1].State = plan.StateExited
		}, `
0 create container cloudflared: token changed as bbbbbbbbbbbb_cloudflared
1 copy files cloudflared: created [0]
2 start container cloudflared: created [1]
3 remove container cloudflared: token changed [2]
4 rename container cloudflared: replaces the old one as cloudflared [3]
`},
		{"a new connector connects before the old one stops", func(p *plan.Project, _ *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "other"
		}, `
0 create container cloudflared: configuration changed as bbbbbbbbbbbb_cloudflared
1 copy files cloudflared: created [0]
2 start container cloudflared: created [1]
3 await connection of cloudflared: the old one serves until it connects [2]
4 stop container cloudflared: configuration changed [3]
5 remove container cloudflared: configuration changed [4]
6 rename container cloudflared: replaces the old one as cloudflared [5]
`},
		{"a connector with an address of its own cannot run beside the old one", func(p *plan.Project, _ *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "other"
			p.Services[1].Spec.Networks = []plan.Endpoint{{Network: "mqtunnel_default", IPv4: "172.30.0.5"}}
		}, stopsFirst},
		{"a connector with a published port cannot run beside the old one", func(p *plan.Project, _ *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "other"
			p.Services[1].Spec.Ports = []plan.Port{{HostPort: "20241", Container: 20241}}
		}, stopsFirst},
		{"a connector in another network namespace cannot run beside the old one", func(p *plan.Project, _ *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "other"
			p.Services[1].Spec.Networks, p.Services[1].Spec.NetworkMode = nil, "host"
		}, stopsFirst},
		{"a recreate interrupted while both connectors run is carried on", func(p *plan.Project, o *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "new"
			fresh := o.Containers[1]
			fresh.ID, fresh.Name = "cccccccccccccccc", "bbbbbbbbbbbb_cloudflared"
			fresh.Labels = map[string]string{plan.LabelProject: "mqtunnel", plan.LabelService: "cloudflared", plan.LabelConfigHash: "new", plan.LabelNumber: "1"}
			o.Containers = append(o.Containers, fresh)
		}, `
0 stop container cloudflared: left over
1 remove container cloudflared: left over [0]
2 rename container cloudflared: name left by an interrupted recreate as cloudflared [1]
`},
		{"a changed user is no reason to recreate the broker", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[0].Files = map[string]secret.Text{"/mosquitto/config/passwd": secret.New("b:2")}
		}, `
0 reload mosquitto: passwd changed
`},
		{"an exited container gets its files again before it starts", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[0].State = plan.StateExited
		}, `
0 copy files mosquitto: not running
1 start container mosquitto: not running [0]
`},
		{"a paused container goes on", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].State = plan.StatePaused
		}, `
0 unpause container cloudflared: paused
`},
		{"one that the Engine starts again and again is left to it", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[0].State = plan.StateRestarting
		}, ``},
		{"one that is started again and again gets changed files while it is stopped", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[0].State = plan.StateRestarting
			o.Containers[0].Files = map[string]secret.Text{"/mosquitto/config/passwd": secret.New("b:2")}
		}, `
0 stop container mosquitto: passwd changed
1 copy files mosquitto: passwd changed [0]
2 start container mosquitto: passwd changed [1]
`},
		{"a dead container is replaced", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].State = plan.StateDead
			o.Containers[1].Name = "0123456789ab_cloudflared"
		}, `
0 create container cloudflared: dead
1 copy files cloudflared: created [0]
2 remove container cloudflared: dead [1]
3 start container cloudflared: created [2 1]
`},
		{"a tag that moved replaces the container", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[0].Image = "sha256:old"
		}, `
0 create container mosquitto: image changed as aaaaaaaaaaaa_mosquitto
1 copy files mosquitto: created [0]
2 stop container mosquitto: image changed [1]
3 start container mosquitto: created [2 1]
4 remove container mosquitto: image changed [3]
5 rename container mosquitto: replaces the old one as mosquitto [4]
`},
		{"either digest of the same image is the same image", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Images = map[string]plan.Image{"m:1": {ID: "sha256:index", Label: "sha256:manifest", Digests: []string{"sha256:manifest", "sha256:mosquitto"}}, "c:1": {ID: "sha256:cloudflared"}}
		}, ``},
		{"a container that was made and never joined its network is made anew", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].State, o.Containers[1].Networks = plan.StateCreated, nil
		}, `
0 create container cloudflared: not attached to its network as bbbbbbbbbbbb_cloudflared
1 copy files cloudflared: created [0]
2 start container cloudflared: created [1]
3 remove container cloudflared: not attached to its network [2]
4 rename container cloudflared: replaces the old one as cloudflared [3]
`},
		{"a stopped container whose network was made anew cannot start", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Networks[0].ID, o.Containers[1].State = "net2", plan.StateExited
			o.Containers[0].Networks = map[string]string{"mqtunnel_default": "net2"}
		}, `
0 create container cloudflared: not attached to its network as bbbbbbbbbbbb_cloudflared
1 copy files cloudflared: created [0]
2 start container cloudflared: created [1]
3 remove container cloudflared: not attached to its network [2]
4 rename container cloudflared: replaces the old one as cloudflared [3]
`},
		{"a container that never ran starts when its network is there again", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Networks = nil
			for i := range o.Containers {
				o.Containers[i].State, o.Containers[i].Networks = plan.StateCreated, map[string]string{"mqtunnel_default": ""}
			}
		}, `
0 create network default: does not exist
1 copy files mosquitto: not running
2 start container mosquitto: not running [1 0]
3 copy files cloudflared: not running
4 start container cloudflared: not running [3 0]
`},
		{"a stopped container whose network is gone is replaced", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Networks = nil
			o.Containers[0].State, o.Containers[0].Networks = plan.StateCreated, map[string]string{"mqtunnel_default": ""}
			o.Containers[1].State = plan.StateExited
		}, `
0 create network default: does not exist
1 copy files mosquitto: not running
2 start container mosquitto: not running [1 0]
3 create container cloudflared: not attached to its network as bbbbbbbbbbbb_cloudflared [0]
4 copy files cloudflared: created [3]
5 start container cloudflared: created [4]
6 remove container cloudflared: not attached to its network [5]
7 rename container cloudflared: replaces the old one as cloudflared [6]
`},
		{"a container that never ran joins the network that there is", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].State, o.Containers[1].Networks = plan.StateCreated, map[string]string{"mqtunnel_default": ""}
		}, `
0 copy files cloudflared: not running
1 start container cloudflared: not running [0]
`},
		{"a network replaced behind our back replaces what hangs on the old one", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Networks[0].ID = "net2"
			o.Containers = o.Containers[:1]
		}, `
0 create container mosquitto: not attached to its network as aaaaaaaaaaaa_mosquitto
1 copy files mosquitto: created [0]
2 stop container mosquitto: not attached to its network [1]
3 start container mosquitto: created [2 1]
4 remove container mosquitto: not attached to its network [3]
5 rename container mosquitto: replaces the old one as mosquitto [4]
6 create container cloudflared: does not exist
7 copy files cloudflared: created [6]
8 start container cloudflared: created [7]
`},
		{"a recreate interrupted before the old one stopped is carried on", func(p *plan.Project, o *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "new"
			half := o.Containers[1]
			half.ID, half.Name, half.State = "cccccccccccccccc", "bbbbbbbbbbbb_cloudflared", plan.StateCreated
			half.Labels = map[string]string{plan.LabelProject: "mqtunnel", plan.LabelService: "cloudflared", plan.LabelConfigHash: "new", plan.LabelNumber: "1"}
			o.Containers = append(o.Containers, half)
		}, `
0 stop container cloudflared: left over
1 remove container cloudflared: left over [0]
2 rename container cloudflared: name left by an interrupted recreate as cloudflared [1]
3 copy files cloudflared: not running [1]
4 start container cloudflared: not running [1 2 3]
`},
		{"a half-made container that is out of date makes room for its successor", func(p *plan.Project, o *plan.Observed, _ *plan.Options) {
			p.Services[1].Hash = "newer"
			half := o.Containers[1]
			half.ID, half.Name, half.State = "cccccccccccccccc", "bbbbbbbbbbbb_cloudflared", plan.StateCreated
			o.Containers = append(o.Containers, half)
		}, `
0 remove container cloudflared: left by an interrupted recreate
1 create container cloudflared: configuration changed as bbbbbbbbbbbb_cloudflared [0]
2 copy files cloudflared: created [1]
3 start container cloudflared: created [2]
4 await connection of cloudflared: the old one serves until it connects [3]
5 stop container cloudflared: configuration changed [4]
6 remove container cloudflared: configuration changed [5]
7 rename container cloudflared: replaces the old one as cloudflared [6]
`},
		{"a name left by an interrupted recreate is healed", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			o.Containers[1].Name = "0123456789ab_cloudflared"
		}, `
0 rename container cloudflared: name left by an interrupted recreate as cloudflared
`},
		{"what scale left over goes, the running one stays", func(_ *plan.Project, o *plan.Observed, _ *plan.Options) {
			second := o.Containers[0]
			second.ID, second.Name, second.State = "dddddddddddddddd", "mqtunnel-mosquitto-2", plan.StateExited
			o.Containers = append(o.Containers, second)
		}, `
0 remove container mosquitto: left over
`},
		{"only the services asked for", func(_ *plan.Project, o *plan.Observed, opt *plan.Options) {
			o.Containers = nil
			opt.Services = []string{"cloudflared"}
		}, `
0 create container cloudflared: does not exist
1 copy files cloudflared: created [0]
2 start container cloudflared: created [1]
`},
		{"orphans go only when asked", func(_ *plan.Project, o *plan.Observed, opt *plan.Options) {
			o.Containers = append(o.Containers, plan.Container{ID: "eeeeeeeeeeeeeeee", Name: "old", State: plan.StateRunning, Labels: map[string]string{plan.LabelProject: "mqtunnel", plan.LabelService: "old"}})
			opt.RemoveOrphans = true
		}, `
0 stop container old: no service of this project
1 remove container old: no service of this project [0]
`},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			p, o, opt := project(), observed(), plan.Options{}
			tc.change(&p, &o, &opt)
			got := plan.Up(p, o, opt).String()
			if d := cmp.Diff(strings.TrimPrefix(tc.want, "\n"), got); d != "" {
				t.Errorf("plan differs (-want +got):\n%s", d)
			}
		})
	}
}

func TestStepsOnlyWaitForEarlierOnes(t *testing.T) {
	p, o := project(), observed()
	p.Services[0].Hash, p.Services[1].Hash = "x", "y"
	for _, pl := range []plan.Plan{plan.Up(p, o, plan.Options{}), plan.Down(o, true), plan.RestartServices(p, o, nil)} {
		for i, s := range pl.Steps {
			for _, a := range s.After {
				if a >= i {
					t.Errorf("step %d waits for %d in\n%s", i, a, pl)
				}
			}
		}
	}
}

func TestDownStopsTheBrokerAMomentAfterTheConnector(t *testing.T) {
	want := `0 stop container cloudflared: down
1 stop container mosquitto: down, 500ms later
2 remove container cloudflared: down [0]
3 remove container mosquitto: down [1]
4 remove network default: down [2 3]
`
	if d := cmp.Diff(want, plan.Down(observed(), false).String()); d != "" {
		t.Errorf("plan differs (-want +got):\n%s", d)
	}
	withData := plan.Down(observed(), true).String()
	if !strings.Contains(withData, "remove volume data: its data was not to be kept") {
		t.Errorf("with volumes:\n%s", withData)
	}
}

func TestDownOfNothingIsEmpty(t *testing.T) {
	if pl := plan.Down(plan.Observed{}, true); !pl.Empty() {
		t.Errorf("plan:\n%s", pl)
	}
}

func TestRestartStartsTheBrokerFirst(t *testing.T) {
	want := `0 stop container cloudflared: restart
1 stop container mosquitto: restart, 500ms later
2 copy files mosquitto: restart [1]
3 start container mosquitto: restart [2]
4 copy files cloudflared: restart [0]
5 start container cloudflared: restart [4 3]
`
	if d := cmp.Diff(want, plan.RestartServices(project(), observed(), nil).String()); d != "" {
		t.Errorf("plan differs (-want +got):\n%s", d)
	}
	one := plan.RestartServices(project(), observed(), []string{"mosquitto"}).String()
	if strings.Contains(one, "cloudflared") || strings.Contains(one, "later") {
		t.Errorf("one service:\n%s", one)
	}
}

func TestWhatStandsInTheWayIsFound(t *testing.T) {
	p, o := project(), observed()
	o.Foreign = []plan.Container{{Name: "mosquitto", Labels: map[string]string{plan.LabelProject: "original", plan.LabelWorkingDir: "/root/original"}}}
	got := plan.Conflicts(p, o)
	if len(got) != 1 || got[0].Container.Describe() != "container mosquitto of Compose project original in /root/original" {
		t.Errorf("conflicts: %+v", got)
	}
	o.Containers[0].Labels[plan.LabelWorkingDir] = "/elsewhere"
	if dir, elsewhere := plan.Elsewhere(p, o); !elsewhere || dir != "/elsewhere" {
		t.Errorf("Elsewhere = %q, %v", dir, elsewhere)
	}
}
