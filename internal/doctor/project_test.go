package doctor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// site is a project of a lab of its own, as mqtunnel up makes it.
type site struct {
	*engine.Client

	t      *testing.T
	lab    *bench.Lab
	docker *client.Client
	dir    string
	files  FilesEvidence
}

func newSite(t *testing.T, version string) *site {
	t.Helper()
	s := &site{t: t, docker: labtest.Engine(t), lab: labtest.Start(t, bench.Options{Mosquitto: version}), dir: t.TempDir()}
	var err error
	s.Client, err = engine.Open(engine.Options{Environ: os.Environ()})
	s.must(err)
	t.Cleanup(func() { s.must(s.Close()) })
	tunnel, err := s.lab.Control.CreateTunnel(t.Context(), control.TunnelRequest{Name: "doctor"})
	s.must(err)
	project := bench.ProjectName(s.lab.Name, "")
	s.must(s.lab.WriteProject(s.dir, bench.ProjectOptions{Name: project, Token: tunnel.Token, Settings: []string{config.KeyProbePassword + "=abcdef-abcdef"}}))
	s.must(os.MkdirAll(filepath.Join(s.dir, "mosquitto", "conf.d"), 0o700))
	s.must(os.WriteFile(filepath.Join(s.dir, "mosquitto", "conf.d", "more.conf"), []byte("# more\nmax_keepalive 900\n"), 0o600))
	s.render()
	s.up()
	return s
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// render reads the directory.
func (s *site) render() {
	s.t.Helper()
	settings, err := config.Load(s.dir, nil)
	s.must(err)
	token, err := settings.ParseToken()
	s.must(err)
	d, err := render.ReadDirectory(s.dir)
	s.must(err)
	env := map[string]string{config.KeyToken: settings.Token.Reveal(), config.KeyProject: settings.Project} // as up does
	r, err := d.Render(s.t.Context(), settings, env, false, func() string { return "revision" })
	s.must(err)
	s.files = FilesEvidence{Dir: s.dir, Settings: &settings, Token: &token, Rendered: &r}
}

// up makes the project and waits until both services do their work.
func (s *site) up() {
	s.t.Helper()
	p := s.files.Rendered.Project
	found, err := lifecycle.Images(s.t.Context(), s.Client, p.Services, func(lifecycle.Event) {})
	s.must(err)
	s.must(lifecycle.Execute(s.t.Context(), s.Client, p, found, plan.Up(p, plan.Observed{Images: found}, plan.Options{}), func(lifecycle.Event) {}))
	s.until("broker and connector work", func(e *Evidence) bool { return e.works(thisBroker) && e.works(thisConnector) })
}

// look gathers what the Engine has of the project.
func (s *site) look() *Evidence {
	e := &Evidence{At: time.Now(), Files: s.files}
	gatherProject(s.t.Context(), Sources{Dir: s.dir, Service: "http://mosquitto:9001"}, s.Client, e)
	gatherHeld(s.t.Context(), s.Client, e)()
	gatherContainers(s.t.Context(), s.Client, e)
	return e
}

// until looks again and again until a condition holds.
func (s *site) until(what string, holds func(*Evidence) bool) *Evidence {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	for {
		e := s.look()
		if e.Project.Status != nil && holds(e) {
			return e
		}
		select {
		case <-ctx.Done():
			s.t.Fatalf("waited in vain until %s", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// findings are the IDs of what is found by the checks of the containers.
func findings(e *Evidence) []string {
	var ids []string
	for _, r := range judge(slices.Concat(brokerChecks(), connectorChecks()), e).Findings() {
		ids = append(ids, r.ID)
	}
	return ids
}

func (s *site) broker(e *Evidence) plan.Container {
	s.t.Helper()
	c, found := e.Project.Observed.Find(plan.ServiceBroker)
	if !found {
		s.t.Fatal("no container of the broker")
	}
	return c
}

// inject puts a file into the broker's container in place of the one that is there.
func (s *site) inject(path string, uid int, change func(string) string) {
	s.t.Helper()
	broker := s.broker(s.look())
	for _, svc := range s.files.Rendered.Project.Services {
		for _, f := range svc.Files {
			if f.Path == path {
				f.UID, f.GID, f.Content = uid, uid, secret.New(change(f.Content.Reveal()))
				s.must(s.CopyFiles(s.t.Context(), broker.ID, []plan.File{f}))
			}
		}
	}
}

func TestTheEngineTellsWhatIsWrongWithTheContainers(t *testing.T) {
	for _, version := range images.Versions() {
		t.Run(version, func(t *testing.T) {
			s := newSite(t, version)
			s.healthy()
			s.shown()
			s.unreadable()
			s.stopped()
			s.disconnected()
			s.misconfigured()
			s.withoutFiles()
		})
	}
}

func (s *site) healthy() {
	e := s.look()
	p := e.Project
	if got := findings(e); len(got) > 0 || p.Plan == nil || !p.Plan.Empty() || p.TokenHeld == nil || !*p.TokenHeld || len(p.Showing) > 0 {
		s.t.Errorf("healthy: findings %v, plan %v, token held %v, showing %v", got, p.Plan, p.TokenHeld, p.Showing)
	}
	if b := p.Broker; b == nil || b.Unwritable || len(b.Unreadable) > 0 || b.DataFree <= 0 || b.DataSize < b.DataFree {
		s.t.Errorf("healthy: look into the broker: %+v", b)
	}
	if !slices.Contains(p.Environment[plan.ServiceConnector], "TUNNEL_TOKEN_FILE="+render.TokenPath) {
		s.t.Errorf("healthy: environment %d, want the connector's", len(p.Environment))
	}
	if d, _ := e.details(thisBroker); d.Policy.Name != "unless-stopped" || len(d.Arguments) == 0 {
		s.t.Errorf("healthy: broker's policy %q, %d arguments", d.Policy.Name, len(d.Arguments))
	}
	if held := tokenHeld(&cloudflared.Token{}, *p.Observed); held == nil || *held {
		s.t.Errorf("another token: held %v", held)
	}
}

// shown has a container of somebody's show the token.
func (s *site) shown() {
	name := s.lab.Name + "-old"
	created, err := s.docker.ContainerCreate(s.t.Context(), &container.Config{
		Image: s.lab.Cloudflared, Cmd: []string{"tunnel", "run", "--token", s.files.Token.Secret().Reveal()}, // the fault itself
	}, nil, nil, nil, name)
	s.must(err)
	e := s.look()
	s.must(s.Remove(s.t.Context(), created.ID, true))
	if !slices.Equal(e.Project.Showing, []string{name}) {
		s.t.Errorf("showing %v, want %s", e.Project.Showing, name)
	}
}

func (s *site) unreadable() {
	s.inject(mosquitto.PasswdPath, 0, func(text string) string { return text })
	if got := findings(s.look()); !slices.Equal(got, []string{"broker-users"}) {
		s.t.Errorf("password file of root: findings %v", got)
	}
	s.inject(mosquitto.PasswdPath, mosquitto.UID, func(text string) string { return text + "#changed\n" })
	if e := s.look(); !strings.Contains(e.Project.Plan.String(), "passwd changed") {
		s.t.Errorf("another password file: plan %v", e.Project.Plan)
	}
	s.inject(mosquitto.PasswdPath, mosquitto.UID, func(text string) string { return text })
}

func (s *site) stopped() {
	broker := s.broker(s.look())
	s.must(s.Stop(s.t.Context(), broker.ID, nil))
	if got := findings(s.look()); !slices.Equal(got, []string{"broker-started"}) {
		s.t.Errorf("stopped: findings %v", got)
	}
	s.must(s.Start(s.t.Context(), broker.ID))
	s.must(s.docker.ContainerPause(s.t.Context(), broker.ID))
	if got := findings(s.look()); !slices.Equal(got, []string{"broker-unpaused"}) {
		s.t.Errorf("paused: findings %v", got)
	}
	s.must(s.docker.ContainerUnpause(s.t.Context(), broker.ID))
	s.must(s.docker.ContainerRename(s.t.Context(), broker.ID, s.lab.Name+"-renamed"))
	if got := findings(s.look()); !slices.Equal(got, []string{"broker-name"}) {
		s.t.Errorf("renamed: findings %v", got)
	}
	s.must(s.docker.ContainerRename(s.t.Context(), broker.ID, broker.Name))
}

func (s *site) disconnected() {
	broker := s.broker(s.look())
	network := s.files.Rendered.Project.Networks[0].Name
	for _, n := range s.files.Rendered.Project.Networks {
		if !n.External {
			network = n.Name
		}
	}
	s.must(s.docker.NetworkDisconnect(s.t.Context(), network, broker.ID, true))
	if got := findings(s.look()); !slices.Equal(got, []string{"broker-network"}) {
		s.t.Errorf("disconnected: findings %v", got)
	}
	s.must(s.docker.NetworkConnect(s.t.Context(), network, broker.ID, nil))
}

func (s *site) misconfigured() {
	broker := s.broker(s.look())
	s.must(s.Stop(s.t.Context(), broker.ID, nil))
	s.inject(mosquitto.ConfPath, mosquitto.UID, func(text string) string { return strings.Replace(text, "max_keepalive", "max_keepalife", 1) })
	s.must(s.Start(s.t.Context(), broker.ID))
	e := s.until("the broker ends again and again", func(e *Evidence) bool {
		// The broker tells where the line stands in one of its own, after the first.
		return e.failing(thisBroker) && e.Project.Status.Fault != nil && e.Project.Place != ""
	})
	if got := findings(e); !slices.Equal(got, []string{"broker-configuration"}) || e.Project.Place != "mosquitto/conf.d/more.conf:2" {
		s.t.Errorf("misconfigured: findings %v at %q", got, e.Project.Place)
	}
}

// withoutFiles has somebody else make the broker's container, who does not know
// what it is filled with.
func (s *site) withoutFiles() {
	broker := s.broker(s.look())
	s.must(s.Stop(s.t.Context(), broker.ID, nil))
	s.must(s.Remove(s.t.Context(), broker.ID, false))
	for _, svc := range s.files.Rendered.Project.Services {
		if svc.Name == plan.ServiceBroker {
			labels := plan.ContainerLabels(s.files.Rendered.Project, svc, plan.Image{Label: broker.Labels[plan.LabelImage]}, plan.Step{})
			id, err := s.CreateContainer(s.t.Context(), plan.Creation{Name: svc.ContainerName, Service: svc, Labels: labels})
			s.must(err)
			s.must(s.Start(s.t.Context(), id))
		}
	}
	e := s.until("the broker ends again and again", func(e *Evidence) bool {
		d, _ := e.details(thisBroker)
		return d.State == plan.StateRestarting
	})
	r, _ := judge(brokerChecks(), e).Result("broker-steady")
	if got := findings(e); !slices.Equal(got, []string{"broker-steady"}) || !slices.Contains(r.Commands, "mqtunnel up --force-recreate") {
		s.t.Errorf("without its files: findings %v: %s %v", got, r.Sentence, r.Commands)
	}
}
