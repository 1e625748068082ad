package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/engineproxy"
	"mqtunnel/internal/migrate"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// operation is a command in a situation.
type operation struct {
	name    string
	args    func(*patient) []string
	stdin   string
	prepare func(*patient, context.Context) error // brings the situation about
	leaves  phase
	reads   bool // it changes nothing
	again   int  // with what it may end besides 0 when it is run again
	// holds is what holds afterwards besides the state.
	holds func(*patient, context.Context) error

	// What an undisturbed run shows.
	calls []engineproxy.Call
	want  string
}

// Passwords of the users.
const (
	steadyPassword = "the-password-of-steady"
	roundPassword  = "the-password-of-a-operation"
	steady         = "steady"
)

// exitInput is what mqtunnel ends with when the user must correct something: one who
// was added is there already.
const exitInput = 4

// operations are all commands that make calls of the Engine, in all situations in which
// they make other ones.
func operations() []*operation {
	up := func(more ...string) func(*patient) []string {
		return func(p *patient) []string {
			return append([]string{"up", "--timeout", "60s", "--connect-to", p.lab.ConnectTo(p.host)}, more...)
		}
	}
	// How a wait is broken off is seen with the first of them.
	started := up("--no-wait")
	fixed := func(args ...string) func(*patient) []string { return func(*patient) []string { return args } }
	user := func(verb string, more ...string) func(*patient) []string {
		return func(p *patient) []string { return append([]string{"user", verb, p.user()}, more...) }
	}
	runs := func(p *patient, ctx context.Context) error { return p.ensure(ctx, running) }
	return []*operation{
		{name: "up from nothing", args: up(), prepare: (*patient).nothing, leaves: bare, holds: (*patient).anything},
		{name: "up with nothing to do", args: up(), prepare: runs, leaves: running, holds: (*patient).data},
		{name: "up after down", args: started, prepare: (*patient).stopped, leaves: running, holds: (*patient).data},
		{name: "up with another configuration", args: started, prepare: (*patient).newConfiguration, leaves: running, holds: (*patient).configuration},
		{name: "up with another token", args: started, prepare: (*patient).newToken, leaves: running, holds: (*patient).data},
		{name: "up with a moved tag", args: started, prepare: (*patient).newImage, leaves: running, holds: (*patient).data},
		{name: "up after docker stop", args: started, prepare: (*patient).stoppedByHand, leaves: running, holds: (*patient).data},
		{name: "up --force-recreate", args: up("--no-wait", "--force-recreate"), prepare: runs, leaves: running, holds: (*patient).data},
		{name: "restart", args: fixed("restart", "--no-wait"), prepare: runs, leaves: running, holds: (*patient).data},
		{name: "restart cloudflared", args: fixed("restart", "--no-wait", "cloudflared"), prepare: runs, leaves: running, holds: (*patient).data},
		{name: "user add", args: user("add", "--topics", "own"), stdin: roundPassword, prepare: (*patient).newUser, leaves: running, again: exitInput, holds: (*patient).letIn},
		{name: "user passwd", args: user("passwd"), stdin: roundPassword, prepare: (*patient).otherPassword, leaves: running, holds: (*patient).letIn},
		{name: "user allow", args: user("allow", "read", "house/#"), prepare: (*patient).addedUser, leaves: running, holds: (*patient).letIn},
		{name: "user deny", args: func(p *patient) []string {
			return []string{"user", "deny", p.user(), "readwrite", p.user() + "/private/#"}
		}, prepare: (*patient).addedUser, leaves: running, holds: (*patient).letIn},
		{name: "user remove", args: user("remove", "--yes"), prepare: (*patient).addedUser, leaves: running, again: exitInput, holds: (*patient).keptOut},
		{name: "status --live", args: fixed("status", "--live"), reads: true, prepare: runs, leaves: running, holds: (*patient).data},
		{
			name: "doctor", args: func(p *patient) []string { return []string{"doctor", "--connect-to", p.lab.ConnectTo(p.host)} },
			reads: true, prepare: runs, leaves: running, holds: (*patient).data,
		},
		{
			name: "import", args: func(p *patient) []string { return []string{"import", p.old(), "--yes"} },
			prepare: (*patient).nothing, leaves: down, holds: (*patient).imported,
		},
		{name: "down", args: fixed("down"), prepare: runs, leaves: down, holds: (*patient).anything},
		{name: "down --volumes", args: fixed("down", "--volumes", "--yes"), prepare: runs, leaves: gone, holds: (*patient).anything},
	}
}

// user is the name of the round's user.
func (p *patient) user() string { return fmt.Sprintf("user%d", p.round) }

// ensure brings the patient to a phase in which it runs or is down.
func (p *patient) ensure(ctx context.Context, want phase) error {
	if want == down && p.phase == down || want == running && p.phase == running {
		return nil
	}
	switch p.phase {
	case gone:
		if err := p.fresh(ctx); err != nil {
			return err
		}
	case bare:
		if err := p.populate(ctx); err != nil {
			return err
		}
	case down:
		if err := p.up(ctx); err != nil {
			return err
		}
	case running:
	}
	p.phase = running
	if want == down {
		_, err := p.must(ctx, "down")
		p.phase = down
		return err
	}
	return nil
}

// fresh makes all of it anew, whatever is there.
func (p *patient) fresh(ctx context.Context) error {
	if err := p.wipe(ctx); err != nil {
		return err
	}
	if err := p.up(ctx); err != nil {
		return err
	}
	return p.populate(ctx)
}

// populate adds a user and a retained message.
func (p *patient) populate(ctx context.Context) error {
	r, err := p.mqtunnel(ctx, steadyPassword, "user", "add", steady, "--topics", "all")
	if err == nil && r.code != 0 {
		err = fmt.Errorf("user add %s: exit %d: %s", steady, r.code, r.err)
	}
	if err != nil {
		return err
	}
	c, err := p.connect(ctx, account{user: steady, password: steadyPassword}, ignored)
	if err != nil {
		return err
	}
	p.phase = running
	return errors.Join(c.publish(ctx, keptTopic, keptMessage, true), c.close())
}

// What the broker is to keep.
const (
	keptTopic   = "kept/one"
	keptMessage = "never lost"
)

// wipe removes everything but the user's own files.
func (p *patient) wipe(ctx context.Context) error {
	p.phase = gone
	var errs []error
	for _, label := range []string{plan.LabelProject, plan.LabelProbe} {
		list, err := p.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label+"="+p.name))})
		errs = append(errs, err)
		for _, c := range list {
			errs = append(errs, p.b.Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
		}
	}
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+p.name))
	networks, err := p.b.Engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	errs = append(errs, err)
	for _, n := range networks {
		errs = append(errs, p.b.Engine.NetworkRemove(ctx, n.ID))
	}
	volumes, err := p.b.Engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	errs = append(errs, err)
	for _, v := range volumes.Volumes {
		errs = append(errs, p.b.Engine.VolumeRemove(ctx, v.Name, true))
	}
	return errors.Join(append(errs, p.asGiven())...)
}

// asGiven leaves the files that a user supplies.
func (p *patient) asGiven() error {
	for _, name := range []string{".env", "compose.yaml", ".gitignore", "mosquitto"} {
		if err := os.RemoveAll(filepath.Join(p.dir, name)); err != nil {
			return err
		}
	}
	if err := p.configure(); err != nil {
		return err
	}
	return p.lab.WriteProject(p.dir, bench.ProjectOptions{Name: p.name, Token: p.tunnel.Token, Settings: []string{"MOSQUITTO_IMAGE=" + p.moving()}})
}

// configure writes a directive that is another one each round.
func (p *patient) configure() error {
	dir := filepath.Join(p.dir, "mosquitto", "conf.d")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "round.conf"), []byte(p.directive()+"\n"), 0o600)
}

func (p *patient) directive() string { return fmt.Sprintf("max_inflight_messages %d", 20+p.round) }

// nothing is a directory with what a user supplies, and nothing on the Engine.
func (p *patient) nothing(ctx context.Context) error {
	if p.phase != gone {
		if _, err := p.must(ctx, "down", "--volumes", "--yes"); err != nil {
			return err
		}
	}
	p.phase = gone
	return p.asGiven()
}

// old is the directory of a set-up that was made by hand.
func (p *patient) old() string { return p.dir + "-old" }

// writeOld makes a set-up with the user and the retained message.
func (p *patient) writeOld() error {
	passwords := &mosquitto.Passwords{}
	if err := passwords.Set(steady, secret.New(steadyPassword)); err != nil {
		return err
	}
	database, _, err := migrate.FromRetained(fmt.Sprintf("1 1 %x %s\n", keptMessage, keptTopic))
	if err != nil {
		return err
	}
	for name, text := range map[string]string{
		"docker-compose.yml": "services:\n  mosquitto:\n    image: eclipse-mosquitto:2\n    volumes:\n      - .:/mosquitto/config\n      - ./data:/mosquitto/data\n",
		"mosquitto.conf":     "listener 1883\nallow_anonymous false\npassword_file /mosquitto/config/passwd\npersistence true\npersistence_location /mosquitto/data/\n",
		"passwd":             passwords.Render().Reveal(), // as an old set-up has it
		"data/mosquitto.db":  string(database),
	} {
		file := filepath.Join(p.old(), name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			return err
		}
	}
	return nil
}

// imported wants what the old set-up held in the project that is started then.
func (p *patient) imported(ctx context.Context) error {
	return errors.Join(p.ensure(ctx, running), p.data(ctx))
}

func (p *patient) stopped(ctx context.Context) error { return p.ensure(ctx, down) }

func (p *patient) newConfiguration(ctx context.Context) error {
	if err := p.ensure(ctx, running); err != nil {
		return err
	}
	p.round++
	return p.configure()
}

func (p *patient) newToken(ctx context.Context) error {
	if err := p.ensure(ctx, running); err != nil {
		return err
	}
	token, err := p.lab.Control.Rotate(ctx, p.tunnel.TunnelID)
	if err != nil {
		return err
	}
	p.tunnel = token
	r, err := p.mqtunnel(ctx, token.Token.Reveal(), "token", "set")
	if err == nil && r.code != 0 {
		err = fmt.Errorf("token set: exit %d: %s", r.code, r.err)
	}
	return err
}

func (p *patient) stoppedByHand(ctx context.Context) error {
	if err := p.ensure(ctx, running); err != nil {
		return err
	}
	soon := 5
	for _, service := range []string{"cloudflared", "mosquitto"} {
		if err := p.b.Engine.ContainerStop(ctx, p.container(service), container.StopOptions{Timeout: &soon}); err != nil {
			return err
		}
	}
	return nil
}

func (p *patient) newUser(ctx context.Context) error {
	p.round++
	return p.ensure(ctx, running)
}

// addedUser makes the round's user.
func (p *patient) addedUser(ctx context.Context) error { return p.withUser(ctx, roundPassword) }

func (p *patient) otherPassword(ctx context.Context) error {
	return p.withUser(ctx, "another-"+roundPassword)
}

func (p *patient) withUser(ctx context.Context, password string) error {
	if err := p.newUser(ctx); err != nil {
		return err
	}
	r, err := p.mqtunnel(ctx, password, "user", "add", p.user(), "--topics", "own")
	if err == nil && r.code != 0 {
		err = fmt.Errorf("user add %s: exit %d: %s", p.user(), r.code, r.err)
	}
	return err
}

func (p *patient) anything(context.Context) error { return nil }

// data is there, and the user is let in.
func (p *patient) data(ctx context.Context) error {
	return eventually(ctx, back, func() error {
		out, err := p.b.exec(ctx, p.container("mosquitto"), "mosquitto_sub", "-h", "127.0.0.1", "-u", steady, "-P", steadyPassword, "-t", keptTopic, "-C", "1", "-W", "10")
		if err != nil || strings.TrimSpace(out) != keptMessage {
			err = missed("the retained message is not there: %q, %w", out, err)
		}
		return err
	})
}

// configuration wants the round's directive in the broker.
func (p *patient) configuration(ctx context.Context) error {
	if _, err := p.b.exec(ctx, p.container("mosquitto"), "grep", "-q", p.directive(), "/mosquitto/config/mqtunnel.conf"); err != nil {
		return missed("the broker does not have %q: %w", p.directive(), err)
	}
	return p.data(ctx)
}

// letIn wants the round's user let in through the tunnel, and no one lost.
func (p *patient) letIn(ctx context.Context) error {
	err := eventually(ctx, back, func() error { return p.roundTrip(ctx, p.user(), roundPassword, p.user()+"/x") })
	if err != nil {
		return missed("the user is not let in: %w", err)
	}
	return p.data(ctx)
}

// keptOut wants the round's user refused.
func (p *patient) keptOut(ctx context.Context) error {
	err := eventually(ctx, back, func() error {
		err := p.roundTrip(ctx, p.user(), roundPassword, p.user()+"/x")
		switch {
		case err == nil:
			return final(missed("the removed user is let in"))
		case probe.ClassOf(err) != probe.ClassNotAuthorised:
			return missed("the removed user is not refused: %w", err)
		}
		return nil
	})
	return errors.Join(err, p.data(ctx))
}

// moving is a tag of the broker's image that is moved to and fro.
func (p *patient) moving() string { return "mqtunnel-lab/moving-" + p.name + ":1" }

// tag makes the tag, and a second image for it.
func (p *patient) tag(ctx context.Context) error {
	c, err := p.b.Engine.ContainerCreate(ctx, &container.Config{Image: p.lab.Mosquitto, Labels: map[string]string{bench.LabelLab: p.lab.Name}}, nil, nil, nil, "")
	if err != nil {
		return err
	}
	_, err = p.b.Engine.ContainerCommit(ctx, c.ID, container.CommitOptions{Reference: p.second(), Changes: []string{"LABEL second=true"}})
	err = errors.Join(err, p.b.Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{RemoveVolumes: true}))
	return errors.Join(err, p.b.Engine.ImageTag(ctx, p.lab.Mosquitto, p.moving()), p.asGiven())
}

// second is the tag of the second image.
func (p *patient) second() string { return "mqtunnel-lab/moving-" + p.name + ":2" }

// untag removes both. The project's containers may still be of them.
func (p *patient) untag(ctx context.Context) error {
	var errs []error
	for _, ref := range []string{p.moving(), p.second()} {
		_, err := p.b.Engine.ImageRemove(ctx, ref, image.RemoveOptions{Force: true})
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p *patient) newImage(ctx context.Context) error {
	if err := p.ensure(ctx, running); err != nil {
		return err
	}
	p.round++
	images := []string{p.lab.Mosquitto, p.second()}
	now, err := p.b.Engine.ImageInspect(ctx, p.moving())
	if err != nil {
		return err
	}
	other := slices.IndexFunc(images, func(ref string) bool {
		info, err := p.b.Engine.ImageInspect(ctx, ref)
		return err == nil && info.ID != now.ID
	})
	if other < 0 {
		return errors.New("there is no second image")
	}
	return p.b.Engine.ImageTag(ctx, images[other], p.moving())
}
