package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

func (w *waiter) broker(ctx context.Context) error {
	return w.until(ctx, StageBroker, plan.ServiceBroker, func(v view, d plan.Details) (string, bool, error) {
		if v.serving {
			return named("serving", "mosquitto", v.version[plan.ServiceBroker]), true, nil
		}
		// Where the start is long past, the message inside the network proves the rest.
		return named("running", "mosquitto", v.version[plan.ServiceBroker]), running(plan.ServiceBroker, v, d), nil
	})
}

func (w *waiter) connector(ctx context.Context) error {
	err := w.until(ctx, StageConnector, plan.ServiceConnector, func(v view, d plan.Details) (string, bool, error) {
		ok := v.version[plan.ServiceConnector] != "" || v.connectorID != "" || len(v.connections) > 0 || running(plan.ServiceConnector, v, d)
		return named("running", "cloudflared", v.version[plan.ServiceConnector]), ok, nil
	})
	if err == nil {
		w.looks.ask(false)
	}
	return err
}

func named(what, product, version string) string {
	if version == "" {
		return what
	}
	return what + ", " + product + " " + version
}

// look takes over a look from inside that has come back. It asks for the next
// where the log no longer tells what is waited for, and where UDP is blocked or the
// connector is late, to know which ways to the edge are open.
func (w *waiter) look(v view, late bool) {
	w.takeLook()
	blocked := v.caused && v.cause.ID == cloudflared.CauseUDPBlocked
	wayOut := (late || blocked) && w.looks.last.report.Edge == nil
	if w.Settled || v.unseen[plan.ServiceConnector] || v.ingress.Unread || wayOut {
		w.looks.ask(wayOut)
	}
}

// takeLook takes over a look from inside, and reports whether one has come back.
func (w *waiter) takeLook() (fresh bool) {
	if !w.looks.take() {
		return false
	}
	if w.looks.last.err == nil {
		w.facts.learn(w.looks.last.report, false)
	}
	return true
}

// edgeLate is when a connector that is not connected yet most likely cannot: the
// first connection takes a second.
const edgeLate = 4 * time.Second

func (w *waiter) edge(ctx context.Context) error {
	start := time.Now()
	return w.until(ctx, StageEdge, plan.ServiceConnector, func(v view, _ plan.Details) (string, bool, error) {
		if len(v.connections) == 0 {
			w.look(v, time.Since(start) > edgeLate)
			return "", false, nil
		}
		if w.Settled {
			return fmt.Sprintf("%d of %d connections over %s", len(v.connections), edgeConnections, v.connections[0].Protocol), true, nil
		}
		w.tellConnections(v)
		return "", true, nil
	})
}

// pushGrace is how long after the first connection a configuration may take. The
// edge sends it within a second.
const pushGrace = 5 * time.Second

func (w *waiter) configuration(ctx context.Context) error {
	start := time.Now()
	return w.until(ctx, StageConfiguration, plan.ServiceConnector, func(v view, _ plan.Details) (string, bool, error) {
		w.furtherConnections(v)
		advice, wrong := v.ingress.Advise(w.Service, w.Hostname)
		if !wrong {
			return fmt.Sprintf("version %d: %s -> %s", v.ingress.Version, w.hostname(v), w.Service), true, nil
		}
		w.look(v, false)
		grace := pushGrace
		if v.ingress.Unread {
			grace = lookFresh // a look from inside tells it
		}
		if time.Since(start) < grace && !v.ingress.Received() {
			return "", false, nil
		}
		t := misrouted(advice)
		if !w.Patient {
			return "", false, notReady(StageConfiguration, t.String(), t.hint)
		}
		w.tell(StageConfiguration, t, "\nwaiting until it is there; Ctrl-C leaves everything running")
		return "", false, nil
	})
}

// furtherConnections tells those that come after the first.
func (w *waiter) furtherConnections(v view) {
	if !w.Settled {
		w.tellConnections(v)
	}
}

// misrouted says what is wrong with the configuration.
func misrouted(a cloudflared.Advice) trouble {
	t := trouble{saw: a.Cause, hint: a.Hint}
	if a.Hostname != "" {
		t.saw += ": " + a.Hostname + " -> " + a.Service
	}
	return t
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

// lookFresh is how old a look from inside may be to count for the origin: the
// dashboard may have been waited for since.
const lookFresh = 15 * time.Second

func (w *waiter) origin(ctx context.Context) error {
	return w.until(ctx, StageOrigin, plan.ServiceBroker, func(v view, _ plan.Details) (string, bool, error) {
		w.furtherConnections(v)
		fresh := w.takeLook()
		l := w.looks.last
		if l.at.IsZero() || time.Since(l.at) > lookFresh {
			w.looks.ask(false)
			return "", false, nil
		}
		t := originTrouble(l, w.Expect)
		switch {
		case t.hopeless:
			return "", false, notReady(StageOrigin, t.String(), t.hint)
		case t.saw == "":
			return fmt.Sprintf("a message came back in %v, anonymous clients %s", l.report.Result.Message.Round(100*time.Microsecond), anonymous(w.Expect)), true, nil
		case fresh:
			w.tell(StageOrigin, t, "")
		}
		w.looks.ask(false)
		return "", false, nil
	})
}

// originTrouble says what a look from inside found wrong. A broker that lets
// everybody in is not waited for.
func originTrouble(l looked, expect probe.Expect) trouble {
	if l.err != nil {
		return trouble{saw: l.err.Error()}
	}
	found := l.report.Findings(expect)
	if i := slices.IndexFunc(found, func(f probe.Finding) bool { return f.Class == probe.ClassAnonymousAccepted }); i >= 0 {
		return trouble{saw: found[i].Text, hint: found[i].Hint, hopeless: true}
	}
	switch {
	case len(found) > 0:
		return trouble{saw: found[0].Text, hint: found[0].Hint}
	case !l.report.RoundTrip.OK:
		return trouble{saw: "the look from inside sent no message"}
	}
	return trouble{}
}

func anonymous(expect probe.Expect) string {
	if expect.Anonymous {
		return "let in as MQTT_ALLOW_ANONYMOUS says"
	}
	return "refused"
}
