package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// WatchEngine is the Engine as far as a watch needs it.
type WatchEngine interface {
	Actor
	LogReader
	FileReader
}

// Watching says what to watch.
type Watching struct {
	Project string
	// Lock makes this command the only one at work on the project, and waits for it.
	Lock func(context.Context) (release func(), err error)
	// Began is called once, when the broker tells what clients do. whole is false where
	// clients may be connected whom the log does not tell of any more.
	Began func(whole bool)
	// Each gets what clients of any user do once Began has returned, and when the broker
	// reads its files again. The two are never called at once. An error of Each ends
	// the watch.
	Each func(mosquitto.Action) error
}

const (
	// watchTail is how many lines of the log are read for who is connected.
	watchTail = 10000
	// restoreTime bounds how long the broker's configuration may take to be put back.
	restoreTime = 30 * time.Second
)

// Watch makes the running broker tell what its clients do, by debug lines in its log,
// and passes it on until ctx ends or Each returns an error. Then the broker has its
// configuration back, which other commands do that come after a killed watch. When one
// of them does so while this one lives, or another watch ends, or the broker is made
// anew, the lines are asked for again.
func Watch(ctx context.Context, e WatchEngine, w Watching) error {
	g, gctx := errgroup.WithContext(ctx)
	f := watchReader{Watching: w, changed: make(chan bool, 1)}
	asked := false
	g.Go(func() error {
		o := plan.LogOptions{Tail: watchTail}
		return followFrom(gctx, e, w.Project, []string{plan.ServiceBroker}, o, f.take, f.reached)
	})
	g.Go(func() error {
		for {
			serving := false
			select {
			case <-gctx.Done():
				return gctx.Err()
			case serving = <-f.changed:
			}
			if !serving {
				// A signal would end it before it is ready for one.
				if err := startsOrRuns(gctx, e, w.Project); err != nil {
					return err
				}
				continue
			}
			first := !asked
			asked = true
			if err := listen(gctx, e, w, first); err != nil {
				return err
			}
			if first {
				w.Began(f.whole)
				f.begun.Store(true)
			}
		}
	})
	err := g.Wait()
	if !asked {
		return err
	}
	return errors.Join(err, restore(ctx, e, w))
}

// ErrWatchLeft says that the broker's configuration was not put back.
var ErrWatchLeft = errors.New("the broker goes on telling in its log what clients do")

// watchReader reads the broker's log.
type watchReader struct {
	Watching

	begun    atomic.Bool // Began has returned
	live     bool        // the lines from before the watch are over
	whole    bool        // they told of the broker's start
	starting bool        // or ending
	changed  chan bool   // the broker may have another configuration than before, and serves
	reader   mosquitto.DebugReader
}

// reached is called between the lines that were there and those that come.
func (f *watchReader) reached() {
	f.live, f.whole = true, f.reader.Clients.Whole()
	f.change()
}

// change puts the news in the place of older ones that nobody has looked at.
func (f *watchReader) change() {
	select {
	case <-f.changed:
	default:
	}
	f.changed <- !f.starting
}

func (f *watchReader) take(entry LogEntry) error {
	line := mosquitto.ParseLine(entry.Line.Text)
	line.Time = entry.Line.Time // with a fraction, and there on every line
	action, told := f.reader.Read(line)
	switch {
	case mosquitto.Running(line):
		f.starting = false
	case line.FromScript, strings.HasPrefix(line.Text, "mosquitto version "):
		f.starting = true
	}
	if !f.live {
		return nil
	}
	if action.Kind == mosquitto.ActionReloaded || mosquitto.Running(line) {
		f.change()
	}
	if !told || !f.begun.Load() {
		return nil
	}
	return f.Each(action)
}

// startsOrRuns wants a broker that runs, or will soon.
func startsOrRuns(ctx context.Context, e WatchEngine, project string) error {
	o, err := e.Observe(ctx, plan.Query{Project: project})
	if err != nil {
		return err
	}
	if broker, found := o.Find(plan.ServiceBroker); !found || broker.State != plan.StateRunning {
		return notRunning()
	}
	return nil
}

func notRunning() error {
	return remedy.Errorf(remedy.No, "type: mqtunnel up", "the broker does not run")
}

// listen makes the running broker write debug lines, if it does not yet. must says
// that there has to be one; else one that has ended says so itself when it runs again.
func listen(ctx context.Context, e WatchEngine, w Watching, must bool) error {
	if _, watching, err := heldConf(ctx, e, w.Project); err == nil && watching {
		return nil
	}
	err := underLock(ctx, w, func() error {
		conf, watching, err := heldConf(ctx, e, w.Project)
		switch {
		case err != nil || watching:
			return err
		case conf.state != plan.StateRunning:
			return notRunning()
		}
		debug := mosquitto.DebugConf(conf.text.Reveal()) // it goes back to where it came from
		if _, watching := mosquitto.PlainConf(debug); !watching {
			return errors.New("the broker's configuration has no line with log_type, so it is not mqtunnel's")
		}
		return conf.put(ctx, e, debug)
	})
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case !must && startsOrRuns(ctx, e, w.Project) != nil:
		return nil //nolint:nilerr // there will be a start, or none
	}
	return fmt.Errorf("make the broker tell what clients do: %w", err)
}

// underLock does something while nobody else is at work on the project.
func underLock(ctx context.Context, w Watching, do func() error) error {
	release, err := w.Lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	return do()
}

// containerConf is the configuration that a broker's container holds.
type containerConf struct {
	id    string
	state plan.State
	text  secret.Text
}

// heldConf reads the broker's configuration from its container, and reports whether it
// is one for a watch. Without a container it is empty.
func heldConf(ctx context.Context, e WatchEngine, project string) (c containerConf, watching bool, err error) {
	o, err := e.Observe(ctx, plan.Query{Project: project})
	if err != nil {
		return c, false, err
	}
	broker, found := o.Find(plan.ServiceBroker)
	if !found {
		return c, false, nil
	}
	return confOf(ctx, e, broker)
}

func confOf(ctx context.Context, e FileReader, broker plan.Container) (c containerConf, watching bool, err error) {
	c.id, c.state = broker.ID, broker.State
	c.text, _, err = ReadFile(ctx, e, c.id, mosquitto.ConfPath)
	_, watching = mosquitto.PlainConf(c.text.Reveal()) // only looked at
	return c, watching, err
}

// put puts a configuration into the container, and makes a running broker read it.
func (c containerConf) put(ctx context.Context, a Actor, text string) error {
	files := []plan.File{{Path: mosquitto.ConfPath, UID: mosquitto.UID, GID: mosquitto.GID, Mode: 0o600, Content: secret.New(text)}}
	if c.state == plan.StateRunning {
		return Reload(ctx, a, c.id, files)
	}
	return a.CopyFiles(ctx, c.id, files)
}

// restore puts the broker's configuration back, also when the caller gave up.
func restore(ctx context.Context, e WatchEngine, w Watching) (err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), restoreTime)
	defer cancel()
	defer func() {
		if err != nil {
			err = remedy.Errorf(remedy.Failed, "type: mqtunnel up", "%w: %w", ErrWatchLeft, err)
		}
	}()
	return underLock(ctx, w, func() error {
		conf, watching, err := heldConf(ctx, e, w.Project)
		if err != nil || !watching {
			return err
		}
		return conf.putBack(ctx, e)
	})
}

func (c containerConf) putBack(ctx context.Context, a Actor) error {
	plain, _ := mosquitto.PlainConf(c.text.Reveal()) // it goes back to where it came from
	return c.put(ctx, a, plain)
}

// EndWatch puts the configuration of a broker back where a killed watch has left its
// own. A watch that lives notices, and asks again. The caller holds the lock.
func EndWatch(ctx context.Context, e WatchEngine, broker plan.Container) error {
	conf, watching, err := confOf(ctx, e, broker)
	if err == nil && watching {
		err = conf.putBack(ctx, e)
	}
	if err != nil {
		return fmt.Errorf("put the broker's configuration back: %w", err)
	}
	return nil
}

// Presence reads from the end of a broker's log who is connected.
func Presence(ctx context.Context, r LogReader, id string) (*mosquitto.Clients, error) {
	var c mosquitto.Clients
	err := readLog(ctx, r, id, plan.LogOptions{Tail: watchTail}, func(l plan.LogLine) error {
		line := mosquitto.ParseLine(l.Text)
		line.Time = l.Time
		c.Take(line)
		return nil
	})
	return &c, err
}
