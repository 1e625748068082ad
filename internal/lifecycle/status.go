package lifecycle

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
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
	LogErr    error // why its log could not be read; what the log would tell is unknown then
}

// Status is how a project is.
type Status struct {
	Services    []ServiceStatus
	ConnectorID string
	Connections []cloudflared.Event // registered ones by index
	Ingress     cloudflared.Ingress // Version is -1 when none is known
	Database    *mosquitto.DatabaseReport
	Inside      *probe.Report // with a live look only
	InsideErr   error         // why a live look told nothing

	Details        map[string]plan.Details // by service, of those that exist
	Serving        bool                    // the broker says that it has started
	Begun          map[string]bool         // by service: its last start is among the lines
	Fault          *mosquitto.Fault        // what the broker's log tells: since its last start, or of the run that the Engine restarted
	Cause          *cloudflared.Cause      // what the connector's log tells, settled ones left out
	BrokerLines    []mosquitto.Line        // the last ones, since its last start
	ConnectorLines []cloudflared.Line      // the last ones
}

// lastRun is how far back the run before the present one is looked for: a connector
// without DNS ends after half a minute.
const lastRun = 2 * time.Minute

// endTime bounds how long the Engine may take to tell how a run ended.
const endTime = 2 * time.Second

// statusLines is how much of each log's end is read for what it tells.
const statusLines = 2000

// Inquiry says what a status is about.
type Inquiry struct {
	Project  string
	Observed plan.Observed
	Live     *View // look from inside too; Connector is filled in
}

// Inquire finds out how the project is, from the Engine and the ends of the
// logs, and with Live by a look from inside.
func Inquire(ctx context.Context, e Watcher, q Inquiry) (Status, error) {
	var s Status
	facts := newFacts()
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
		report, _, err := Look(ctx, e, view)
		switch {
		case ctx.Err() != nil:
			return Status{}, ctx.Err()
		case err != nil:
			s.InsideErr = err
		default:
			s.Inside = &report
			facts.learn(report, true)
		}
	}
	s.tell(facts, details)
	return s, nil
}

// tell adds what was seen as it is.
func (s *Status) tell(f *facts, details []plan.Details) {
	v := f.view()
	s.ConnectorID, s.Connections, s.Ingress, s.Database = v.connectorID, v.connections, v.ingress, v.database
	if s.Services[1].State != plan.StateRunning {
		s.Connections = nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s.Serving, s.Begun = v.serving, maps.Clone(f.begun)
	s.BrokerLines, s.ConnectorLines = slices.Clone(f.broker), slices.Clone(f.connector)
	switch {
	case v.faulted:
		s.Fault = &v.fault
	case s.Services[0].Restarts > 0 && !v.serving:
		// The Engine started it again as it was: what ended it will do so again.
		s.Fault = f.ended
	}
	if v.caused {
		s.Cause = &v.cause
	}
	s.Details = map[string]plan.Details{}
	for i, svc := range s.Services {
		s.Services[i].Version = v.version[svc.Service]
		if svc.Exists {
			s.Details[svc.Service] = details[i]
		}
	}
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
	if d, err = withEnd(ctx, e, d); err != nil {
		return st, d, err
	}
	st = ServiceStatus{
		Service: service, Exists: true, Container: d.Name, Image: c.Image, State: d.State, Health: d.Health,
		Since: since(d), Restarts: d.RestartCount, ExitCode: d.ExitCode,
	}
	from := d.StartedAt.Add(-startLead)
	if d.RestartCount > 0 {
		// What ended the run before may end this one, which has not come so far.
		from = from.Add(-lastRun)
	}
	st.LogErr = e.Logs(ctx, c.ID, plan.LogOptions{Tail: statusLines, Since: from, TTY: d.TTY}, func(l plan.LogLine) error {
		return f.take(LogEntry{Service: service, Line: l})
	})
	return st, d, ctx.Err()
}

// withEnd adds how the run before the present one ended, of a container that the
// Engine has started again and that runs: an inspect has forgotten it. Where the
// Engine does not remember either, it stays unknown.
func withEnd(ctx context.Context, e LogReader, d plan.Details) (plan.Details, error) {
	if d.State != plan.StateRunning || d.RestartCount == 0 {
		return d, nil
	}
	// Where the Engine's clock was set back, the start lies ahead, and it would wait.
	wait, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	past, err := e.PastEvents(wait, d.Labels[plan.LabelProject], d.StartedAt.Add(-lastRun), d.StartedAt)
	if err != nil {
		return d, ctx.Err() // it helps to know, and that is all
	}
	oom := false
	for _, event := range past {
		if event.ContainerID != d.ID {
			continue
		}
		switch event.Action {
		case "start":
			oom = false
		case "oom":
			oom = true
		case "die":
			code, err := strconv.Atoi(event.Attributes["exitCode"])
			if err == nil {
				d.ExitCode, d.OOMKilled, d.EndTold = code, oom && code != 0, true
			}
		}
	}
	return d, nil
}

// since returns when the present state began.
func since(d plan.Details) time.Time {
	if d.State == plan.StateCreated {
		return d.Created
	}
	if d.State == plan.StateRunning || d.State == plan.StatePaused || d.FinishedAt.Before(d.StartedAt) {
		return d.StartedAt
	}
	return d.FinishedAt
}

// Weaker lists the settings in force that make the broker less safe than it
// would be without them, worst first.
func Weaker(anonymous bool, lan string) []string {
	var list []string
	if anonymous {
		who := "everybody who learns the hostname"
		if lan != "" && !strings.HasPrefix(lan, "127.") {
			who += ", and everybody on the LAN,"
		}
		list = append(list, "MQTT_ALLOW_ANONYMOUS=true: "+who+" may read and write everything, without a password")
	}
	if lan != "" && !strings.HasPrefix(lan, "127.") {
		list = append(list, "MQTT_LAN_LISTEN="+lan+": plain MQTT is published on the LAN; passwords cross it in clear, and Docker opens the port past a host firewall such as ufw")
	}
	return list
}

// Hostnames returns the public hostnames that lead to the broker.
func (s Status) Hostnames(service string) []string {
	return slices.Clone(s.Ingress.PublicHostnames(service))
}
