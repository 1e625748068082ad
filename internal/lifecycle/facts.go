package lifecycle

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"sync"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// keptLines is how many of a service's last lines are kept to find a cause in.
const keptLines = 400

// edgeConnections is how many connections a connector keeps to the edge.
const edgeConnections = 4

// facts is what the logs of the two services have told so far. It is safe for
// concurrent use.
type facts struct {
	mu        sync.Mutex
	broker    []mosquitto.Line // since its last start
	connector []cloudflared.Line
	serving   bool
	ended     *mosquitto.Fault  // of the broker's run before, which never served
	begun     map[string]bool   // by service: a start of it is among the lines
	lines     map[string]int    // by service: how many lines there were
	version   map[string]string // by service
	database  *mosquitto.DatabaseReport
	conns     map[int]cloudflared.Event // registered connections by index
	connID    string
	ingress   cloudflared.Ingress
	logged    int // version of the configuration that the log last told in full, -1 for none
	reader    *mosquitto.LogReader

	judged  bool // the four below are those of the lines as they are
	cause   cloudflared.Cause
	caused  bool
	fault   mosquitto.Fault
	faulted bool
}

func newFacts() *facts {
	return &facts{
		begun: map[string]bool{}, lines: map[string]int{}, version: map[string]string{},
		conns: map[int]cloudflared.Event{}, reader: mosquitto.NewLogReader(""),
		ingress: cloudflared.Ingress{Version: -1}, logged: -1,
	}
}

// serving reports whether the broker says that it has started.
func serving(l mosquitto.Line) bool {
	return !l.FromScript && strings.HasPrefix(l.Text, "mosquitto version ") && strings.HasSuffix(l.Text, " running")
}

// take reads one line of a service.
func (f *facts) take(e LogEntry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.judged = false
	f.lines[e.Service]++
	switch e.Service {
	case plan.ServiceBroker:
		f.takeBroker(mosquitto.ParseLine(e.Line.Text))
	case plan.ServiceConnector:
		f.takeConnector(cloudflared.ParseLine(e.Line.Text))
	}
	return nil
}

func (f *facts) takeBroker(l mosquitto.Line) {
	if report, ok := mosquitto.ParseDatabaseReport(l); ok {
		f.database = &report
		// The start script says so before it starts the broker.
		f.brokerStarts()
	}
	if event := f.reader.Event(l); event.Kind == mosquitto.EventStarting {
		f.brokerStarts()
		f.version[plan.ServiceBroker] = event.Version
	}
	if serving(l) {
		f.serving, f.ended = true, nil
	}
	f.broker = keep(f.broker, l)
}

// brokerStarts begins a run of the broker, and keeps what ended the one before.
func (f *facts) brokerStarts() {
	if fault, found := mosquitto.FindFault(f.broker); found && !f.serving {
		f.ended = &fault
	}
	f.begun[plan.ServiceBroker], f.serving, f.broker = true, false, nil
}

func (f *facts) takeConnector(l cloudflared.Line) {
	f.connector = keep(f.connector, l)
	event := l.Event()
	switch event.Kind {
	case cloudflared.EventStarting:
		f.begun[plan.ServiceConnector] = true
		clear(f.conns)
		f.ingress, f.logged = cloudflared.Ingress{Version: -1}, -1
	case cloudflared.EventVersion:
		f.version[plan.ServiceConnector] = event.Version
	case cloudflared.EventConnector:
		f.connID = event.ConnectorID
	case cloudflared.EventRegistered:
		f.conns[event.Index] = event
	case cloudflared.EventLost, cloudflared.EventUnregistered:
		delete(f.conns, event.Index)
	case cloudflared.EventShutdown, cloudflared.EventStopped:
		clear(f.conns)
	case cloudflared.EventConfig:
		f.ingress = event.Ingress
		if f.ingress.Unread {
			// A look tells it, if it finds one that is newer.
			f.ingress.Version = f.logged
		}
		f.logged = f.ingress.Version
	default:
	}
}

// keep appends to the last lines.
func keep[T any](lines []T, l T) []T {
	if len(lines) >= keptLines {
		lines = slices.Delete(lines, 0, keptLines/4)
	}
	return append(lines, l)
}

// view is a copy of the facts at one moment.
type view struct {
	serving     bool
	unseen      map[string]bool   // by service: its start lies before all that was read
	version     map[string]string // by service
	database    *mosquitto.DatabaseReport
	connections []cloudflared.Event // by index
	connectorID string
	ingress     cloudflared.Ingress
	cause       cloudflared.Cause
	caused      bool
	fault       mosquitto.Fault
	faulted     bool
}

func (f *facts) view() view {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.judged {
		f.cause, f.caused = cloudflared.Diagnose(f.connector)
		f.fault, f.faulted = mosquitto.FindFault(f.broker)
		f.judged = true
	}
	v := view{
		serving: f.serving, version: maps.Clone(f.version), database: f.database, connectorID: f.connID, ingress: f.ingress,
		cause: f.cause, caused: f.caused, fault: f.fault, faulted: f.faulted, unseen: map[string]bool{},
	}
	for service, n := range f.lines {
		v.unseen[service] = n >= keptLines && !f.begun[service]
	}
	for _, i := range slices.Sorted(maps.Keys(f.conns)) {
		v.connections = append(v.connections, f.conns[i])
	}
	return v
}

// learn takes over what the connector itself answered to a probe, which is newer
// than what is left of its log. With instead its connections are those that it
// names; else they are added to those of the log, which may be ahead.
func (f *facts) learn(r probe.Report, instead bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Tunnel.OK {
		// An answer that cannot be read leaves the facts as they are.
		if diag, err := cloudflared.ParseDiag(bytes.NewReader(r.Tunnel.Body)); err == nil {
			f.learnConnections(diag, instead)
		}
	}
	if !r.Config.OK {
		return
	}
	if in, err := cloudflared.ParseConfig(bytes.NewReader(r.Config.Body)); err == nil && in.Version > f.ingress.Version {
		f.ingress = in
	}
}

func (f *facts) learnConnections(diag cloudflared.Diag, instead bool) {
	if diag.ConnectorID != "" {
		f.connID = diag.ConnectorID
	}
	old := maps.Clone(f.conns)
	if instead {
		clear(f.conns)
	}
	for _, c := range diag.Connections {
		event, known := old[c.Index]
		if !known || instead && event.IP != c.EdgeAddress {
			// The answer names no location; the log does.
			event = cloudflared.Event{Kind: cloudflared.EventRegistered, Index: c.Index, Protocol: c.Protocol, IP: c.EdgeAddress}
		}
		f.conns[c.Index] = event
	}
}
