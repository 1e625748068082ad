package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// ServiceStatus is how one service is.
type ServiceStatus struct {
	Service   string
	Container string
	Image     string
	Version   string // as far as the log or the probe told
	State     plan.State
	Health    plan.HealthState
	Since     time.Time // when the state began
	Restarts  int
	ExitCode  int
	Exists    bool
}

// Status is how a project is.
type Status struct {
	Services    []ServiceStatus
	ConnectorID string
	Connections []cloudflared.Event // registered ones by index
	Ingress     cloudflared.Ingress // Version is -1 when none is known
	Database    *mosquitto.DatabaseReport
	Inside      *probe.Report // with a live look only
	Problems    []Problem     // empty when healthy, the most upstream first
}

// Problem is one thing that keeps the project from being healthy.
type Problem struct {
	Text string
	Hint string
}

// Healthy reports whether nothing is wrong as far as was looked.
func (s Status) Healthy() bool { return len(s.Problems) == 0 }

// statusLines is how much of each log's end is read for what it tells.
const statusLines = 2000

// Inquiry says what a status is about.
type Inquiry struct {
	Project  string
	Observed plan.Observed
	Service  string       // of the ingress rule that leads to the broker
	Hostname string       // public hostname, "" for any
	Live     *View        // look from inside too; Connector is filled in
	Expect   probe.Expect // what counts as a fault of a live look
}

// Inquire finds out how the project is, from the Engine and the ends of the
// logs, and with Live by a look from inside.
func Inquire(ctx context.Context, e Watcher, q Inquiry) (Status, error) {
	var s Status
	facts := newFacts(nil)
	g, gctx := errgroup.WithContext(ctx)
	s.Services = make([]ServiceStatus, 2)
	details := make([]plan.Details, 2)
	for i, service := range []string{plan.ServiceBroker, plan.ServiceConnector} {
		g.Go(func() (err error) {
			s.Services[i], details[i], err = inquire(gctx, e, q.Observed, service, facts)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return Status{}, err
	}
	if q.Live != nil && s.Services[1].Exists {
		view := *q.Live
		c, _ := q.Observed.Find(plan.ServiceConnector)
		view.Connector = c.ID
		report, err := Look(ctx, e, view)
		if err != nil {
			return Status{}, err
		}
		s.Inside = &report
		learnReport(facts, report)
	}
	s.fill(facts.view(), details, q)
	return s, nil
}

// learnReport replaces what the log told by what the connector itself answers.
func learnReport(f *facts, r probe.Report) {
	f.mu.Lock()
	if r.Tunnel.OK {
		clear(f.conns)
	}
	f.mu.Unlock()
	w := waiter{facts: f}
	w.learn(looked{report: r})
}

// inquire reads one service's state and the end of its log.
func inquire(ctx context.Context, e Watcher, o plan.Observed, service string, f *facts) (ServiceStatus, plan.Details, error) {
	st := ServiceStatus{Service: service}
	c, found := o.Find(service)
	if !found {
		return st, plan.Details{}, nil
	}
	d, err := e.Inspect(ctx, c.ID)
	if err != nil {
		return st, d, err
	}
	st = ServiceStatus{
		Service: service, Exists: true, Container: d.Name, Image: c.Image, State: d.State, Health: d.Health,
		Since: since(d), Restarts: d.RestartCount, ExitCode: d.ExitCode,
	}
	err = e.Logs(ctx, c.ID, plan.LogOptions{Tail: statusLines, Since: d.StartedAt.Add(-time.Second)}, func(l plan.LogLine) error {
		return f.take(LogEntry{Service: service, Line: l})
	})
	return st, d, err
}

// since returns when the present state began.
func since(d plan.Details) time.Time {
	if d.State == plan.StateRunning || d.State == plan.StatePaused || d.FinishedAt.Before(d.StartedAt) {
		return d.StartedAt
	}
	return d.FinishedAt
}

// fill adds what was found out and what is wrong with it.
func (s *Status) fill(v view, details []plan.Details, q Inquiry) {
	s.ConnectorID, s.Connections, s.Ingress, s.Database = v.connectorID, v.connections, v.ingress, v.database
	up := true
	for i := range s.Services {
		st := &s.Services[i]
		st.Version = v.version[st.Service]
		if p, wrong := st.problem(details[i]); wrong {
			s.Problems = append(s.Problems, p)
			up = false
			s.because(st.Service, v)
		}
	}
	if s.Services[1].State != plan.StateRunning {
		s.Connections = nil
	}
	if up {
		s.beyond(v, q)
	}
	if s.Database != nil && s.Database.String() != "" {
		s.Problems = append(s.Problems, Problem{Text: s.Database.String(), Hint: s.Database.Hint()})
	}
}

// because adds what the log says about a service that is down.
func (s *Status) because(service string, v view) {
	switch {
	case service == plan.ServiceBroker && v.faulted:
		s.Problems = append(s.Problems, Problem{Text: v.fault.Cause + ": " + v.fault.Line, Hint: v.fault.Hint})
	case service == plan.ServiceConnector && v.caused:
		s.Problems = append(s.Problems, Problem{Text: v.cause.Sentence, Hint: v.cause.Hint})
	}
}

// problem tells whether a service's container is not as it should be.
func (st ServiceStatus) problem(d plan.Details) (Problem, bool) {
	switch {
	case !st.Exists:
		return Problem{Text: "there is no container of " + st.Service, Hint: "type: mqtunnel up"}, true
	case st.State == plan.StatePaused:
		return Problem{Text: st.Service + " is paused", Hint: "type: mqtunnel up"}, true
	case d.OOMKilled && st.State != plan.StateRunning:
		return Problem{Text: st.Service + " ran out of memory", Hint: "type: mqtunnel logs " + st.Service}, true
	case st.State == plan.StateRestarting:
		return Problem{
			Text: fmt.Sprintf("%s ends with exit code %d and is started again, %d times so far", st.Service, st.ExitCode, st.Restarts),
			Hint: "type: mqtunnel logs " + st.Service,
		}, true
	case st.State != plan.StateRunning:
		return Problem{Text: fmt.Sprintf("%s is %s, exit code %d", st.Service, st.State, st.ExitCode), Hint: "type: mqtunnel up"}, true
	case st.Health == plan.HealthUnhealthy:
		return Problem{Text: st.Service + " fails its health check", Hint: "type: mqtunnel logs " + st.Service}, true
	}
	return Problem{}, false
}

// beyond adds what is wrong although both services run.
func (s *Status) beyond(v view, q Inquiry) {
	if s.Inside != nil {
		for _, f := range s.Inside.Findings(q.Expect) {
			s.Problems = append(s.Problems, Problem{Text: f.Text, Hint: f.Hint})
		}
	}
	known := len(v.connections) > 0 || v.caused || s.Inside != nil
	switch {
	case len(v.connections) == 0 && v.caused:
		s.Problems = append(s.Problems, Problem{Text: v.cause.Sentence, Hint: v.cause.Hint})
	case len(v.connections) == 0 && known:
		s.Problems = append(s.Problems, Problem{Text: "the connector has no connection to Cloudflare's edge", Hint: "type: mqtunnel logs cloudflared"})
	case len(v.connections) == 0 && s.Services[1].Health != plan.HealthHealthy:
		s.Problems = append(s.Problems, Problem{Text: "no connection to Cloudflare's edge is known of", Hint: "look from inside: mqtunnel status --live"})
	}
	if len(v.connections) == 0 {
		return
	}
	advice, wrong := v.ingress.Advise(q.Service, q.Hostname)
	switch {
	case wrong && (v.ingress.Received() || s.Inside != nil):
		text := advice.Cause
		if advice.Hostname != "" {
			text += ": " + advice.Hostname + " -> " + advice.Service
		}
		s.Problems = append(s.Problems, Problem{Text: text, Hint: advice.Hint})
	case v.caused && s.current(v.cause):
		s.Problems = append(s.Problems, Problem{Text: v.cause.Sentence, Hint: v.cause.Hint})
	}
}

// How long a request that failed at the broker speaks for its state, and how
// long after a start of the broker a request may still fail for it: nothing in
// the connector's log says that requests succeed again.
const (
	originMemory = time.Minute
	originStart  = 3 * time.Second
)

// current reports whether a cause still stands. What the log tells about single
// requests is settled by a later start of the broker, and by time.
func (s *Status) current(c cloudflared.Cause) bool {
	if !c.ID.Origin() {
		return true
	}
	return c.Line.Time.After(s.Services[0].Since.Add(originStart)) && time.Since(c.Line.Time) < originMemory
}

// Weaker lists the settings in force that make the broker less safe than it
// would be without them, worst first.
func Weaker(anonymous bool, lan string) []string {
	var list []string
	if anonymous {
		who := "everybody who learns the hostname"
		if lan != "" {
			who += ", and everybody on the LAN,"
		}
		list = append(list, "MQTT_ALLOW_ANONYMOUS=true: "+who+" may read and write everything, without a password")
	}
	if lan != "" {
		list = append(list, "MQTT_LAN_LISTEN="+lan+": plain MQTT is published on the LAN; passwords cross it in clear, and Docker opens the port past a host firewall such as ufw")
	}
	return list
}

// Hostnames returns the public hostnames that lead to the broker.
func (s Status) Hostnames(service string) []string {
	return slices.Clone(s.Ingress.PublicHostnames(service))
}
