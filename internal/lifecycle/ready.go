package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
)

// Watcher is the Engine as far as waiting needs it.
type Watcher interface {
	Prober
	LogReader
}

// Readiness says what to wait for.
type Readiness struct {
	Project  plan.Project
	Service  string        // of the ingress rule that leads to the broker, e.g. "http://mosquitto:9001"
	Hostname string        // public hostname, "" takes the first that leads to Service
	Expect   probe.Expect  // what counts as a fault
	View     View          // how to look from inside; Connector is filled in
	Public   probe.Target  // how to connect from outside; URL is filled in
	Topic    string        // topic of the round trip
	Timeout  time.Duration // from now
	Patient  bool          // somebody looks on: what only the dashboard can mend is waited for
	Settled  bool          // nothing was started just now, so the logs may be long past the start
}

// Ready is what was proven.
type Ready struct {
	Hostname    string
	Connections int
	Ingress     cloudflared.Ingress
	Inside      probe.Result // the message inside the network
	Public      probe.Result // the message through the tunnel
	Database    *mosquitto.DatabaseReport
}

// waiter is one wait.
type waiter struct {
	Readiness

	engine Watcher
	emit   func(Event)
	facts  *facts
	ids    map[string]string // container by service
	began  time.Time

	report   chan looked // the latest look from inside
	relook   chan struct{}
	looking  bool // a look is asked for or under way
	lastLook looked
	last     error // of the last round trip through the public hostname
}

// looked is the outcome of one probe.
type looked struct {
	report probe.Report
	err    error
}

// Await waits until a message has gone all the way: the broker serves, the
// connector runs and is connected to the edge, a configuration that leads to the
// broker has come, the broker answers the connector's side, and a message comes
// back through the public hostname. When it does not, the error is a
// remedy.Error with code No that names the cause; containers are left as they
// are.
func Await(ctx context.Context, e Watcher, r Readiness, emit func(Event)) (Ready, error) {
	emit = oneAtATime(emit)
	w := &waiter{Readiness: r, engine: e, emit: emit, began: time.Now(), report: make(chan looked), relook: make(chan struct{}, 1), ids: map[string]string{}}
	w.facts = newFacts(func(c cloudflared.Event) {
		if !r.Settled {
			emit(StageReached{Stage: StageEdge, Detail: describeConnection(c)})
		}
	})
	since, err := w.find(ctx)
	if err != nil {
		return Ready{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	var ready Ready
	g.Go(func() error {
		err := Follow(gctx, e, r.Project.Name, nil, plan.LogOptions{Since: since, Tail: keptLines}, w.facts.take)
		if gctx.Err() == nil {
			return err
		}
		return nil // the wait is over
	})
	g.Go(func() error { w.look(gctx); return nil })
	g.Go(func() error {
		defer cancel()
		var err error
		ready, err = w.stages(gctx)
		return err
	})
	return ready, g.Wait()
}

func describeConnection(c cloudflared.Event) string {
	place := c.Location
	if place == "" {
		place = c.IP
	}
	return fmt.Sprintf("connection %d of %d at %s over %s", c.Index+1, edgeConnections, place, c.Protocol)
}

// find looks the two containers up and returns when the earlier of them started.
func (w *waiter) find(ctx context.Context) (since time.Time, err error) {
	o, err := w.engine.Observe(ctx, plan.Query{Project: w.Project.Name})
	if err != nil {
		return since, err
	}
	for _, service := range []string{plan.ServiceBroker, plan.ServiceConnector} {
		c, found := o.Find(service)
		if !found {
			return since, remedy.Errorf(remedy.No, "type: mqtunnel up", "there is no container of %s", service)
		}
		w.ids[service] = c.ID
		d, err := w.engine.Inspect(ctx, c.ID)
		if err != nil {
			return since, err
		}
		if since.IsZero() || d.StartedAt.Before(since) {
			since = d.StartedAt
		}
	}
	w.View.Connector = w.ids[plan.ServiceConnector]
	return since, nil
}

// stages waits for one stage after the other.
func (w *waiter) stages(ctx context.Context) (Ready, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, errTimeout)
	defer cancel()
	for _, stage := range []func(context.Context) error{w.broker, w.connector, w.edge, w.configuration, w.origin} {
		if err := stage(ctx); err != nil {
			return Ready{}, w.explain(ctx, err)
		}
	}
	hostname, result, err := w.public(ctx)
	if err != nil {
		return Ready{}, w.explain(ctx, err)
	}
	v := w.facts.view()
	return Ready{
		Hostname: hostname, Connections: len(v.connections), Ingress: v.ingress,
		Inside: w.lastLook.report.Result, Public: result, Database: v.database,
	}, nil
}

// errTimeout says that a stage did not come in time.
var errTimeout = errors.New("timed out")

// tick is how often a condition is looked at.
const tick = 50 * time.Millisecond

// inspectEvery is how often a container's state is asked for meanwhile.
const inspectEvery = 500 * time.Millisecond

// until waits for a condition on the facts. Between looks it makes sure that the
// service's container lives, and tells what keeps the stage from coming.
func (w *waiter) until(ctx context.Context, stage Stage, service string, reached func(view) (detail string, ok bool)) error {
	w.emit(StageBegan{Stage: stage})
	start, inspected := time.Now(), time.Now()
	for {
		v := w.facts.view()
		if detail, ok := reached(v); ok {
			if detail != "" {
				w.emit(StageReached{Stage: stage, Detail: detail, Took: time.Since(start)})
			}
			return nil
		}
		if time.Since(inspected) >= inspectEvery {
			inspected = time.Now()
			if err := w.alive(ctx, stage, service, v); err != nil {
				return err
			}
		}
		if err := pause(ctx, tick); err != nil {
			return &stuck{stage: stage, service: service}
		}
	}
}

// stuck is a stage that did not come: in time, or before the wait was given up.
type stuck struct {
	stage   Stage
	service string
}

func (s *stuck) Error() string { return fmt.Sprintf("the %s stage did not come", s.stage) }

// alive tells what is wrong with a service that does not get on, and returns an
// error when waiting any longer is of no use.
func (w *waiter) alive(ctx context.Context, stage Stage, service string, v view) error {
	d, err := w.engine.Inspect(ctx, w.ids[service])
	if err != nil {
		return err
	}
	saw, hint, hopeless := w.trouble(service, d, v)
	if hopeless {
		return notReady(stage, saw, hint)
	}
	if saw != "" {
		w.emit(Waiting{Stage: stage, Saw: saw, Hint: hint})
	}
	return nil
}

// restartsGiven is how often a broker may die before it is hopeless: the first
// start on a damaged database fails, the second does not.
const restartsGiven = 3

// trouble says what is wrong with a service, by its state and its log, and
// whether it is hopeless.
func (w *waiter) trouble(service string, d plan.Details, v view) (saw, hint string, hopeless bool) {
	if service == plan.ServiceBroker {
		if v.serving && d.State == plan.StateRunning {
			return "", "", false
		}
		saw, hint = w.died(d), "type: mqtunnel logs mosquitto"
		if v.faulted {
			saw, hint = v.fault.Cause+": "+v.fault.Line, v.fault.Hint
		}
		return saw, hint, d.RestartCount >= restartsGiven || stopped(d)
	}
	if v.caused {
		saw = v.cause.Sentence
		if e := v.cause.Line.Reason(); e != "" {
			saw += " (" + e + ")"
		}
		return saw, v.cause.Hint, definite(v.cause.ID) || v.cause.ID == cloudflared.CauseNoTunnel && time.Since(w.began) > propagation
	}
	if saw = w.died(d); saw != "" {
		hint = "type: mqtunnel logs " + service
	}
	return saw, hint, stopped(d)
}

// propagation is how long a tunnel that was just made may be unknown to the edge.
const propagation = 20 * time.Second

// died words the state of a container that does not run.
func (w *waiter) died(d plan.Details) string {
	switch {
	case d.OOMKilled:
		return "its container ran out of memory"
	case d.State == plan.StateRestarting || d.RestartCount > 0 && d.State != plan.StateRunning:
		return fmt.Sprintf("its container ends with exit code %d and is started again (%d times so far)", d.ExitCode, d.RestartCount)
	case stopped(d):
		return fmt.Sprintf("its container has ended with exit code %d", d.ExitCode)
	}
	return ""
}

func stopped(d plan.Details) bool {
	return d.State == plan.StateExited || d.State == plan.StateDead || d.State == plan.StateCreated
}

// definite reports whether a cause does not go away by waiting.
func definite(id cloudflared.CauseID) bool {
	switch id {
	case cloudflared.CauseTokenInvalid, cloudflared.CauseTokenMissing, cloudflared.CauseTokenFile, cloudflared.CauseUsage,
		cloudflared.CauseSetting, cloudflared.CauseSecret, cloudflared.CauseMetrics, cloudflared.CauseAddressFamily:
		return true
	default:
		return false
	}
}

func (w *waiter) broker(ctx context.Context) error {
	start := time.Now()
	return w.until(ctx, StageBroker, plan.ServiceBroker, func(v view) (string, bool) {
		// Where the start is long past, the message inside the network proves it.
		ok := v.serving || w.Settled && time.Since(start) > 2*tick
		return named("serving", "mosquitto", v.version[plan.ServiceBroker]), ok
	})
}

func (w *waiter) connector(ctx context.Context) error {
	err := w.until(ctx, StageConnector, plan.ServiceConnector, func(v view) (string, bool) {
		ok := w.Settled || v.version[plan.ServiceConnector] != "" || v.connectorID != "" || len(v.connections) > 0
		return named("running", "cloudflared", v.version[plan.ServiceConnector]), ok
	})
	if err == nil {
		w.lookAgain()
	}
	return err
}

func named(what, product, version string) string {
	if version == "" {
		return what
	}
	return what + ", " + product + " " + version
}

func (w *waiter) edge(ctx context.Context) error {
	err := w.until(ctx, StageEdge, plan.ServiceConnector, func(v view) (string, bool) {
		if len(v.connections) > 0 {
			if !w.Settled {
				return "", true // each connection was told as it came
			}
			return fmt.Sprintf("%d of %d connections over %s", len(v.connections), edgeConnections, v.connections[0].Protocol), true
		}
		w.takeLook()
		return "", false
	})
	return err
}

// pushGrace is how long after the first connection a configuration may take. The
// edge sends it within a second.
const pushGrace = 5 * time.Second

func (w *waiter) configuration(ctx context.Context) error {
	start := time.Now()
	told := false
	var missing error
	err := w.until(ctx, StageConfiguration, plan.ServiceConnector, func(v view) (string, bool) {
		w.takeLook()
		advice, wrong := v.ingress.Advise(w.Service, w.Hostname)
		if !wrong {
			return fmt.Sprintf("version %d: %s -> %s", v.ingress.Version, w.hostname(v), w.Service), true
		}
		if time.Since(start) < pushGrace && !v.ingress.Received() {
			return "", false
		}
		saw := advice.Cause
		if advice.Hostname != "" {
			saw = fmt.Sprintf("%s: %s -> %s", advice.Cause, advice.Hostname, advice.Service)
		}
		if !w.Patient {
			missing = notReady(StageConfiguration, saw, advice.Hint)
			return "", true
		}
		if !told {
			told = true
			w.emit(Waiting{Stage: StageConfiguration, Saw: saw, Hint: advice.Hint + "\nwaiting until it is there; Ctrl-C leaves everything running"})
		}
		return "", false
	})
	return errors.Join(err, missing)
}

// hostname returns the public hostname: the one that was asked for, or the first
// that leads to the broker.
func (w *waiter) hostname(v view) string {
	if w.Hostname != "" {
		return w.Hostname
	}
	if names := v.ingress.PublicHostnames(w.Service); len(names) > 0 {
		return names[0]
	}
	return ""
}

// look runs the probe whenever it is asked for, one at a time.
func (w *waiter) look(ctx context.Context) {
	for {
		select {
		case <-w.relook:
		case <-ctx.Done():
			return
		}
		report, err := Look(ctx, w.engine, w.View)
		select {
		case w.report <- looked{report: report, err: err}:
		case <-ctx.Done():
			return
		}
	}
}

// lookAgain asks for a look, unless one is under way.
func (w *waiter) lookAgain() {
	if !w.looking {
		w.looking = true
		w.relook <- struct{}{}
	}
}

// takeLook takes over a look that is there, without waiting, and reports whether
// there was one.
func (w *waiter) takeLook() bool {
	select {
	case l := <-w.report:
		w.looking = false
		w.learn(l)
		return true
	default:
		return false
	}
}

func (w *waiter) learn(l looked) {
	w.lastLook = l
	if l.err != nil {
		return
	}
	var diag cloudflared.Diag
	ingress := cloudflared.Ingress{Version: -1}
	if l.report.Tunnel.OK {
		// An answer that cannot be read leaves the facts as they are.
		diag, _ = cloudflared.ParseDiag(bytes.NewReader(l.report.Tunnel.Body))
	}
	if l.report.Config.OK {
		if in, err := cloudflared.ParseConfig(bytes.NewReader(l.report.Config.Body)); err == nil {
			ingress = in
		}
	}
	w.facts.learn(diag, ingress)
}

// originRetry is the pause between two looks from inside that found a fault.
const originRetry = time.Second

func (w *waiter) origin(ctx context.Context) error {
	next := time.Now()
	var hopeless error
	err := w.until(ctx, StageOrigin, plan.ServiceBroker, func(view) (string, bool) {
		fresh := w.takeLook()
		l := w.lastLook
		if l.err == nil && l.report.RoundTrip.Done {
			found := l.report.Findings(w.Expect)
			if len(found) == 0 {
				return fmt.Sprintf("a message came back in %v, anonymous clients %s", l.report.Result.Message.Round(100*time.Microsecond), w.anonymous()), true
			}
			if found[0].Class == probe.ClassAnonymousAccepted {
				hopeless = notReady(StageOrigin, found[0].Text, found[0].Hint)
				return "", true
			}
			if fresh {
				w.emit(Waiting{Stage: StageOrigin, Saw: found[0].Text, Hint: found[0].Hint})
			}
		}
		if l.err != nil && fresh {
			w.emit(Waiting{Stage: StageOrigin, Saw: l.err.Error()})
		}
		if fresh {
			next = time.Now().Add(originRetry)
		}
		if time.Now().After(next) {
			w.lookAgain()
		}
		return "", false
	})
	return errors.Join(err, hopeless)
}

func (w *waiter) anonymous() string {
	if w.Expect.Anonymous {
		return "let in as MQTT_ALLOW_ANONYMOUS says"
	}
	return "refused"
}

// notReady is the answer of a stage that will not come.
func notReady(stage Stage, saw, hint string) error {
	return remedy.Errorf(remedy.No, strings.TrimSpace(hint+"\nthe containers are left running: mqtunnel logs, mqtunnel status"), "not ready: %s: %s", stage, saw)
}

// explain turns the end of the wait into what a person needs: the cause that was
// last seen.
func (w *waiter) explain(ctx context.Context, err error) error {
	s, isStuck := errors.AsType[*stuck](err)
	if !isStuck {
		return err
	}
	if !errors.Is(context.Cause(ctx), errTimeout) {
		return context.Canceled
	}
	saw, hint := "nothing was heard of it", "type: mqtunnel logs "+s.service
	inspect, cancel := context.WithTimeout(context.WithoutCancel(ctx), inspectEvery*4)
	defer cancel()
	if d, ierr := w.engine.Inspect(inspect, w.ids[s.service]); ierr == nil {
		if what, how, _ := w.trouble(s.service, d, w.facts.view()); what != "" {
			saw, hint = what, how
		}
	}
	if found := w.lastLook.report.Findings(w.Expect); s.stage == StageOrigin && len(found) > 0 {
		saw, hint = found[0].Text, found[0].Hint
	} else if s.stage == StageOrigin && w.lastLook.err != nil {
		saw = w.lastLook.err.Error()
	}
	return notReady(s.stage, fmt.Sprintf("%s (waited %v)", saw, w.Timeout), hint)
}
