package doctor

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// Engine is the Docker Engine as far as the doctor looks at it. It changes
// nothing but the short-lived containers of its looks.
type Engine interface {
	lifecycle.Watcher
	Local() bool
	Version(ctx context.Context) (plan.EngineInfo, error)
	All(ctx context.Context) ([]plan.Container, error)
	Exec(ctx context.Context, id string, cmd []string, stdin secret.Text) (plan.ExecResult, error)
	ReadFile(ctx context.Context, id, path string, limit int64) (data []byte, found bool, err error)
}

// Sources says where to look.
type Sources struct {
	Dir     string // project directory
	Environ []string
	Project string // name of the project, "" as the settings say
	Root    string // of the file system in which systemd's units are looked for, "/" but in tests
	// Open connects to the Engine. Fault tells what kind of fault its error is.
	Open  func(context.Context) (Engine, error)
	Fault func(error) plan.EngineFault
	// View says how to look from inside the project's network. An error says why
	// nobody can.
	View func(context.Context, Engine, config.Settings, plan.Project) (lifecycle.View, error)
	// Service is what the public hostname has to lead to, e.g. "http://mosquitto:9001".
	Service string
	Public  probe.Target  // how to connect from outside; URL is filled in
	DoH     bool          // ask Cloudflare's DNS-over-HTTPS too
	Soak    time.Duration // how long to watch a quiet connection, 0 not at all
}

// Deadlines: of everything but the soak, and of the looks.
const (
	gatherTimeout = 14 * time.Second
	engineTimeout = 8 * time.Second  // until the Engine answers
	lookTimeout   = 12 * time.Second // of the look from inside, with its container
	publicTimeout = 6 * time.Second  // of one round trip
	dnsTimeout    = 4 * time.Second  // of one name
)

// Glance looks at what is at hand: the files, this machine, and what the Engine has
// of the project. Of Sources it needs neither View nor Public.
func Glance(ctx context.Context, s Sources) *Evidence {
	e, engine := glance(ctx, s)
	if engine != nil {
		gatherHeld(ctx, engine, e)()
	}
	return e
}

// glance leaves out what the containers hold, and returns the Engine too, nil when
// there is none.
func glance(ctx context.Context, s Sources) (*Evidence, Engine) {
	e := &Evidence{At: time.Now(), Public: PublicEvidence{Served: -1}}
	gatherFiles(ctx, s, e)
	engine := gatherEngine(ctx, s, e)
	gatherHost(s, e)
	if engine != nil {
		gatherProject(ctx, s, engine, e)
		gatherLAN(e)
	}
	return e, engine
}

// Gather looks at everything and returns what it saw. It decides nothing: what
// cannot be looked at stands in the evidence as unseen. It returns within 15 s and
// the time of the soak, or when ctx ends, with what it has by then.
func Gather(ctx context.Context, s Sources) *Evidence {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout+s.Soak)
	defer cancel()
	e, engine := glance(ctx, s)
	// What is known of the hostname by now saves waiting for the look from inside.
	known := publicHostname(s, e) != ""
	var g errgroup.Group // every look fills a part of its own
	held := func() {}
	if engine != nil {
		g.Go(func() error { held = gatherHeld(ctx, engine, e); return nil })
		g.Go(func() error { gatherContainers(ctx, engine, e); return nil })
		g.Go(func() error { gatherInside(ctx, s, engine, e); return nil })
	}
	if known {
		g.Go(func() error { gatherPublic(ctx, s, e); return nil })
	}
	_ = g.Wait() // no look returns an error, each stands in the evidence
	held()
	if engine != nil {
		gatherTrial(ctx, engine, e)
	}
	if !known {
		gatherPublic(ctx, s, e)
	}
	if engine != nil {
		gatherServed(ctx, engine, e)
	}
	return e
}
