package lifecycle

import (
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
	Settled  bool          // nothing was started just now: connections are told in one line
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

// waiter is one wait. Its fields but facts and looks are of the goroutine that
// goes through the stages.
type waiter struct {
	Readiness

	engine   Watcher
	emit     func(Event)
	facts    *facts
	looks    *looks
	ids      map[string]string    // container by service
	restarts map[string]int       // by service, when the wait began
	ended    map[string]time.Time // by service: since when it was seen to have ended
	began    time.Time
	replayed chan struct{} // closed when the logs were read as far as they went when the wait began

	told map[int]bool // connections to the edge that were told
	last trouble      // what the stage under way last saw
}

// Await waits until a message has gone all the way: the broker serves, the
// connector runs and is connected to the edge, a configuration that leads to the
// broker has come, the broker answers the connector's side, and a message comes
// back through the public hostname. When it does not, the error is a
// remedy.Error with code No that names the cause; containers are left as they
// are. When ctx ends it returns as soon as the probe's container is removed.
func Await(ctx context.Context, e Watcher, r Readiness, emit func(Event)) (Ready, error) {
	w := &waiter{
		Readiness: r, engine: e, emit: oneAtATime(emit), facts: newFacts(), looks: newLooks(), began: time.Now(),
		replayed: make(chan struct{}), ids: map[string]string{}, restarts: map[string]int{}, ended: map[string]time.Time{}, told: map[int]bool{},
	}
	since, err := w.find(ctx)
	if err != nil {
		return Ready{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, gctx := errgroup.WithContext(ctx)
	var ready Ready
	g.Go(func() error {
		o := plan.LogOptions{Since: since, Tail: keptLines}
		err := followFrom(gctx, e, r.Project.Name, nil, o, w.facts.take, func() { close(w.replayed) })
		if gctx.Err() == nil {
			return err
		}
		return nil // the wait is over
	})
	g.Go(func() error { w.looks.run(gctx, e, w.View); return nil })
	g.Go(func() error {
		defer cancel()
		var err error
		ready, err = w.stages(gctx)
		return err
	})
	return ready, g.Wait()
}

// startLead is how long before its start, as the Engine notes it, a process may
// have written its first lines: it is noted once the process runs, on a busy
// machine seconds later (seen on 20.10).
const startLead = 5 * time.Second

// find looks the two containers up and returns from when on their logs tell of
// the start of the earlier one.
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
		d, err := w.engine.Inspect(ctx, c.ID)
		if err != nil {
			return since, err
		}
		w.ids[service], w.restarts[service] = c.ID, d.RestartCount
		if start := d.StartedAt.Add(-startLead); since.IsZero() || start.Before(since) {
			since = start
		}
	}
	w.View.Connector = w.ids[plan.ServiceConnector]
	return since, nil
}

// stages waits for one stage after the other.
func (w *waiter) stages(ctx context.Context) (Ready, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.Timeout, errTimeout)
	defer cancel()
	// Until then what was true once would pass for what is.
	select {
	case <-w.replayed:
	case <-ctx.Done():
	}
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
		Inside: w.looks.last.report.Result, Public: result, Database: v.database,
	}, nil
}

// errTimeout says that a stage did not come in time.
var errTimeout = errors.New("timed out")

const (
	// tick is how often a condition is looked at.
	tick = 50 * time.Millisecond
	// inspectEvery is how often a container's state is asked for meanwhile.
	inspectEvery = 500 * time.Millisecond
)

// begin tells that a stage is waited for.
func (w *waiter) begin(stage Stage) {
	w.last = trouble{}
	w.looks.hurry()
	w.emit(StageBegan{Stage: stage})
}

// until waits for what reached looks at: the facts, and the state of the
// service's container once it was asked for. Between looks it makes sure that the
// container lives, and tells what keeps the stage from coming. It ends when
// reached says so, or with its error.
func (w *waiter) until(ctx context.Context, stage Stage, service string, reached func(view, plan.Details) (detail string, ok bool, err error)) error {
	w.begin(stage)
	start, inspected := time.Now(), time.Time{}
	var d plan.Details
	for {
		v := w.facts.view()
		detail, ok, err := reached(v, d)
		if err != nil {
			return err
		}
		if ok {
			if detail != "" {
				w.emit(StageReached{Stage: stage, Detail: detail, Took: time.Since(start)})
			}
			return nil
		}
		if time.Since(inspected) >= inspectEvery {
			inspected = time.Now()
			d, err = w.alive(ctx, stage, service, v)
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
		if pause(ctx, tick) != nil {
			return &stuckError{stage: stage}
		}
	}
}

// stuckError is a stage that did not come: in time, or before the wait was given
// up.
type stuckError struct{ stage Stage }

func (s *stuckError) Error() string { return fmt.Sprintf("the %s stage did not come", s.stage) }

// alive tells what is wrong with a service that does not get on, and returns an
// error when waiting any longer is of no use.
func (w *waiter) alive(ctx context.Context, stage Stage, service string, v view) (plan.Details, error) {
	d, err := w.engine.Inspect(ctx, w.ids[service])
	if err != nil {
		return d, err
	}
	var t trouble
	if service == plan.ServiceBroker {
		t = brokerTrouble(d, v, w.restarts[service])
	} else {
		t = connectorTrouble(d, v, time.Since(w.began)).withEdge(v.cause.ID, w.looks.last.report.Edge)
	}
	if t.hopeless && !w.mayStart(service, d) {
		return d, notReady(stage, t.String(), t.hint)
	}
	w.tell(stage, t, "")
	return d, nil
}

// restartGap is how long a container that was stopped may take to be started again, by
// somebody who restarts it meanwhile: the Engine does not do that by itself.
const restartGap = 5 * time.Second

// mayStart reports whether a container has ended only just now.
func (w *waiter) mayStart(service string, d plan.Details) bool {
	if !ended(d) {
		delete(w.ended, service)
		return false
	}
	if w.ended[service].IsZero() {
		w.ended[service] = time.Now()
	}
	return time.Since(w.ended[service]) < restartGap
}

// tell says what the stage under way sees, once as long as only the detail of it
// changes. further is a hint that holds only while the wait goes on.
func (w *waiter) tell(stage Stage, t trouble, further string) {
	if t.saw == "" {
		return
	}
	same := t.saw == w.last.saw && t.hint == w.last.hint
	w.last = t
	if !same {
		w.emit(Waiting{Stage: stage, Saw: t.String(), Hint: strings.TrimPrefix(t.hint+further, "\n")})
	}
}

// tellConnections tells each connection to the edge once, as it comes.
func (w *waiter) tellConnections(v view) {
	for _, c := range v.connections {
		if !w.told[c.Index] {
			w.told[c.Index] = true
			w.emit(StageReached{Stage: StageEdge, Detail: describeConnection(c)})
		}
	}
}

func describeConnection(c cloudflared.Event) string {
	place := c.Location
	if place == "" {
		place = c.IP
	}
	return fmt.Sprintf("connection %d of %d at %s over %s", c.Index+1, edgeConnections, place, c.Protocol)
}

// notReady is the answer of a stage that will not come.
func notReady(stage Stage, saw, hint string) error {
	return notReadyFor(stage, errors.New(saw), hint)
}

// notReadyFor is notReady for an error that callers may want to look at.
func notReadyFor(stage Stage, saw error, hint string) error {
	return remedy.Errorf(remedy.No, strings.TrimSpace(hint+"\nthe containers are left running: mqtunnel logs, mqtunnel status"), "not ready: %s: %w", stage, saw)
}

// explain turns the end of the wait into what a person needs: what was waited for
// and what was last seen of it.
func (w *waiter) explain(ctx context.Context, err error) error {
	s, isStuck := errors.AsType[*stuckError](err)
	if !isStuck {
		return err
	}
	if !errors.Is(context.Cause(ctx), errTimeout) {
		return ctx.Err()
	}
	t := w.last
	if t.saw == "" {
		t = unheard(s.stage)
	}
	return notReady(s.stage, fmt.Sprintf("%s (waited %v)", t, w.Timeout), t.hint)
}
