package proof

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/engineproxy"
)

// disturbance is what happens to a command at one of its calls.
type disturbance struct {
	name   string
	fault  engineproxy.Fault
	signal syscall.Signal                       // for the command, 0 for none
	at     func(n int, c engineproxy.Call) bool // at which calls, nil for all
	// ended judges how the command ended, and how long after it was disturbed; nil
	// takes any end. It is called from several goroutines.
	ended func(c *operation, r result, after time.Duration) error
}

// disturbed is one run of a command that is disturbed at one call.
type disturbed struct {
	command *operation
	how     disturbance
	call    int
}

func (d disturbed) String() string {
	return fmt.Sprintf("%s, %s at call %d (%s)", d.command.name, d.how.name, d.call, d.command.calls[d.call-1])
}

const (
	// patients is how many projects are disturbed side by side.
	patients = 3
	// disturbedLimit is when a command counts as one that never ends.
	disturbedLimit = 100 * time.Second
)

// disturbAll disturbs every command at every call in all ways, and wants the same
// command, run again, to come to where it comes to when nothing happens to it.
func (b *Bench) disturbAll(ctx context.Context, name string, hows []disturbance) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, name)
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	var list []*patient
	for n := range patients {
		p, err := b.patient(ctx, lab, dir, strconv.Itoa(n))
		if err != nil {
			return "", err
		}
		defer finish(&err, func() error { return p.close(ctx) })
		list = append(list, p)
	}
	start := time.Now()
	commands := slices.DeleteFunc(operations(), func(c *operation) bool { return len(b.Faults) > 0 && !slices.Contains(b.Faults, c.name) })
	if err := onPatients(ctx, list, commands, (*patient).undisturbed); err != nil {
		return "", err
	}
	var t outcomes
	err = onPatients(ctx, list, everyCall(commands, hows), func(p *patient, ctx context.Context, d disturbed) error {
		struck, err := p.disturb(ctx, d)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if n := t.add(struck, err); n%progress == 0 && struck {
			b.logf("%d interruptions so far, the last of %s", n, d.command.name)
		}
		if err == nil {
			return nil
		}
		b.logf("%v", err)
		return p.fresh(ctx)
	})
	if err != nil {
		return "", err
	}
	for _, p := range list {
		t.add(false, p.nothingLeft(ctx))
	}
	figure = fmt.Sprintf("%d of %d interruptions of %d commands converged (%v)", t.struck-t.wrong, t.struck, len(commands), time.Since(start).Round(time.Second))
	if err := errors.Join(t.errs...); err != nil {
		return "", missed("%s: %w", figure, err)
	}
	return figure, nil
}

// everyCall lists what there is to disturb.
func everyCall(commands []*operation, hows []disturbance) []disturbed {
	var list []disturbed
	for _, c := range commands {
		for _, how := range hows {
			for i, call := range c.calls {
				if how.at == nil || how.at(i+1, call) {
					list = append(list, disturbed{c, how, i + 1})
				}
			}
		}
	}
	return list
}

// outcomes counts how disturbed commands came out.
type outcomes struct {
	mu            sync.Mutex
	struck, wrong int
	errs          []error
}

// add counts one and returns how many were struck.
func (t *outcomes) add(struck bool, err error) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if struck {
		t.struck++
	}
	if err != nil {
		t.errs = append(t.errs, err)
		if struck {
			t.wrong++
		}
	}
	return t.struck
}

// progress is after how many interruptions something is said.
const progress = 50

// onPatients does a piece of work for each item, on several projects at once.
func onPatients[T any](ctx context.Context, list []*patient, items []T, work func(*patient, context.Context, T) error) error {
	q := queue[T]{items: items}
	group, ctx := errgroup.WithContext(ctx)
	for _, p := range list {
		group.Go(func() error {
			for item, more := q.take(); more && ctx.Err() == nil; item, more = q.take() {
				if err := work(p, ctx, item); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// queue hands items out to several goroutines.
type queue[T any] struct {
	mu    sync.Mutex
	items []T
}

func (q *queue[T]) take() (item T, more bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.items) == 0 {
		return item, false
	}
	item, q.items = q.items[0], q.items[1:]
	return item, true
}

// patient is a project whose commands are disturbed. It belongs to one goroutine.
type patient struct {
	*project

	engine   *engineproxy.Proxy
	phase    phase
	round    int                 // counts what has to be another one each time
	left     map[string][]string // IDs of throw-away containers that were seen left, with their volumes
	composed map[string]composed // by the files that it was read from
}

// phase is what there is of a patient.
type phase string

// The phases.
const (
	gone    phase = "gone"    // no container and no data
	down    phase = "down"    // the data is there
	bare    phase = "bare"    // runs, without a user and without data
	running phase = "running" // runs, with a user and a retained message
)

// patient makes a project with a proxy before its Engine, which is not up yet.
func (b *Bench) patient(ctx context.Context, lab *bench.Lab, dir, suffix string) (*patient, error) {
	p, err := b.project(ctx, lab, dir, suffix, "mqtt"+suffix+".example.com")
	if err != nil {
		return nil, err
	}
	proxy, err := engineproxy.Listen(ctx, engineproxy.Options{Socket: filepath.Join(dir, suffix+".sock"), Dial: b.Engine.Dialer()})
	if err != nil {
		return nil, err
	}
	a := &patient{project: p, engine: proxy, phase: gone, left: map[string][]string{}, composed: map[string]composed{}}
	if err := errors.Join(a.writeOld(), a.tag(ctx)); err != nil {
		return nil, errors.Join(err, proxy.Close())
	}
	return a, nil
}

// close ends the proxy and removes what else is the patient's own.
func (p *patient) close(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return errors.Join(p.wipe(ctx), p.untag(ctx), p.engine.Close())
}

// undisturbed runs a command to its end, and keeps its calls and what it comes to.
func (p *patient) undisturbed(ctx context.Context, c *operation) error {
	if err := c.prepare(p, ctx); err != nil {
		return fmt.Errorf("before %s: %w", c.name, err)
	}
	p.engine.Forget()
	r, err := p.through(ctx, c, nil)
	if err != nil {
		return err
	}
	c.calls = p.engine.Calls()
	if r.code != 0 {
		return fmt.Errorf("%s: exit %d: %s", c.name, r.code, r.err)
	}
	p.phase = c.leaves
	if c.want, err = p.state(ctx); err != nil {
		return err
	}
	p.b.logf("%s: %d calls\n%s", c.name, len(c.calls), c.want)
	return c.holds(p, ctx)
}

// casualty is a command that a fault may send a signal.
type casualty struct {
	signal  syscall.Signal
	started chan struct{} // closed when cmd is there
	cmd     *exec.Cmd

	mu     sync.Mutex
	struck time.Time
	err    error
}

// strike sends the signal.
func (v *casualty) strike() {
	<-v.started
	v.mu.Lock()
	defer v.mu.Unlock()
	v.struck = time.Now()
	if v.signal != 0 {
		v.err = signalGroup(v.cmd, v.signal)
	}
}

func (v *casualty) sees(cmd *exec.Cmd) {
	v.cmd = cmd
	close(v.started)
}

// through runs a command with the proxy as its Engine.
func (p *patient) through(ctx context.Context, c *operation, started func(*exec.Cmd)) (result, error) {
	ctx, cancel := context.WithTimeout(ctx, disturbedLimit)
	defer cancel()
	return p.b.run(ctx, command{
		dir: p.dir, stdin: c.stdin, path: p.b.program(), args: c.args(p), started: started,
		env: []string{"SSL_CERT_FILE=" + filepath.Join(p.dir, "ca.pem"), "DOCKER_HOST=" + p.engine.Host()},
	})
}

// disturb runs a command that is disturbed, and again, and wants what it comes to
// when nothing happens. It reports whether there was such a call.
func (p *patient) disturb(ctx context.Context, d disturbed) (struck bool, err error) {
	defer func() {
		if err != nil {
			err = missed("%s: %w", d, err)
		}
	}()
	if err := d.command.prepare(p, ctx); err != nil {
		return false, fmt.Errorf("before it: %w", err)
	}
	v := &casualty{signal: d.how.signal, started: make(chan struct{})}
	fault := d.how.fault
	fault.Call, fault.Strike = d.call, v.strike
	p.engine.Arm(fault)
	r, err := p.through(ctx, d.command, v.sees)
	ended := time.Now()
	_, struck = p.engine.Struck()
	p.engine.Forget()
	if err := errors.Join(err, v.err); err != nil {
		return struck, err
	}
	if struck && d.how.ended != nil {
		if err := d.how.ended(d.command, r, ended.Sub(v.struck)); err != nil {
			return struck, err
		}
	}
	if strings.Contains(r.err, "goroutine ") {
		return struck, fmt.Errorf("it panics: %s", r.err)
	}
	again, err := p.through(ctx, d.command, nil)
	if err != nil {
		return struck, fmt.Errorf("run again: %w", err)
	}
	if again.code != 0 && again.code != d.command.again {
		return struck, fmt.Errorf("run again: exit %d: %s; the first time: exit %d: %s", again.code, again.err, r.code, r.err)
	}
	p.phase = d.command.leaves
	state, err := p.state(ctx)
	if err != nil {
		return struck, err
	}
	if state != d.command.want {
		return struck, fmt.Errorf("run again it comes to another end, %s; the second time it said: exit %d: %s", changedLines(d.command.want, state), again.code, again.all())
	}
	return struck, d.command.holds(p, ctx)
}
