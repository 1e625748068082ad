package lifecycle

import (
	"fmt"
	"time"

	"mqtunnel/internal/plan"
)

// fill adds what was found out and what is wrong with it.
func (s *Status) fill(v view, details []plan.Details, q Inquiry) {
	s.ConnectorID, s.Connections, s.Ingress, s.Database = v.connectorID, v.connections, v.ingress, v.database
	up := true
	if !s.Services[0].Exists && !s.Services[1].Exists {
		s.Problems = append(s.Problems, Problem{Text: "the project is down: it has no containers", Hint: "type: mqtunnel up"})
		return
	}
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
		s.apart(q.Observed)
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

// apart adds that the two services share no network, so that the connector cannot
// find the broker.
func (s *Status) apart(o plan.Observed) {
	broker, found := o.Find(plan.ServiceBroker)
	connector, both := o.Find(plan.ServiceConnector)
	if !found || !both {
		return
	}
	for name := range broker.Networks {
		if _, shared := connector.Networks[name]; shared {
			return
		}
	}
	s.Problems = append(s.Problems, Problem{Text: "broker and connector are on no network together", Hint: "type: mqtunnel up"})
}

// crashLoop is how long a container has to run until the Engine takes its next end
// for the first one.
const crashLoop = 10 * time.Second

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
			Text: fmt.Sprintf("%s ends with exit code %d and is started again, %s so far", st.Service, st.ExitCode, restarts(st.Restarts)),
			Hint: "type: mqtunnel logs " + st.Service,
		}, true
	case st.Restarts > 1 && st.Health != plan.HealthHealthy && time.Since(st.Since) < crashLoop:
		// Between two ends of a container that the Engine starts again and again.
		return Problem{
			Text: fmt.Sprintf("%s keeps ending and is started again, %s so far", st.Service, restarts(st.Restarts)),
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
	case wrong && !v.ingress.Unread && (v.ingress.Received() || s.Inside != nil || s.noConfiguration(v)):
		text := advice.Cause
		if advice.Hostname != "" {
			text += ": " + advice.Hostname + " -> " + advice.Service
		}
		s.Problems = append(s.Problems, Problem{Text: text, Hint: advice.Hint})
	case v.caused && !v.cause.ID.Origin():
		// What single requests met is left out: anybody can send one that fails.
		s.Problems = append(s.Problems, Problem{Text: v.cause.Sentence, Hint: v.cause.Hint})
	}
}

// noConfiguration reports whether the connector's log was read from its start and
// the edge would have sent a configuration by now.
func (s *Status) noConfiguration(v view) bool {
	return v.version[plan.ServiceConnector] != "" && time.Since(s.Services[1].Since) > 2*pushGrace
}
