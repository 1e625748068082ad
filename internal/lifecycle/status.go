package lifecycle

import (
	"context"
	"slices"
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
		report, err := Look(ctx, e, view)
		switch {
		case ctx.Err() != nil:
			return Status{}, ctx.Err()
		case err != nil:
			s.Problems = append(s.Problems, Problem{Text: err.Error(), Hint: "without a look from inside: mqtunnel status"})
		default:
			s.Inside = &report
			facts.learn(report, true)
		}
	}
	s.fill(facts.view(), details, q)
	return s, nil
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
	err = e.Logs(ctx, c.ID, plan.LogOptions{Tail: statusLines, Since: d.StartedAt.Add(-startLead), TTY: d.TTY}, func(l plan.LogLine) error {
		return f.take(LogEntry{Service: service, Line: l})
	})
	return st, d, err
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
