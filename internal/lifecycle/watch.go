package lifecycle

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
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
	version   map[string]string // by service
	database  *mosquitto.DatabaseReport
	conns     map[int]cloudflared.Event // registered connections by index
	connID    string
	ingress   cloudflared.Ingress
	reader    *mosquitto.LogReader

	onConnection func(cloudflared.Event)
}

func newFacts(onConnection func(cloudflared.Event)) *facts {
	return &facts{
		version: map[string]string{}, conns: map[int]cloudflared.Event{}, reader: mosquitto.NewLogReader(""),
		ingress: cloudflared.Ingress{Version: -1}, onConnection: onConnection,
	}
}

// serving reports whether the broker says that it has started.
func serving(l mosquitto.Line) bool {
	return strings.HasPrefix(l.Text, "mosquitto version ") && strings.HasSuffix(l.Text, " running")
}

// take reads one line of a service.
func (f *facts) take(e LogEntry) error {
	f.mu.Lock()
	defer f.mu.Unlock()
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
	}
	if event := f.reader.Event(l); event.Kind == mosquitto.EventStarting {
		f.serving, f.broker = false, nil
		f.version[plan.ServiceBroker] = event.Version
	}
	if serving(l) {
		f.serving = true
	}
	f.broker = keep(f.broker, l)
}

func (f *facts) takeConnector(l cloudflared.Line) {
	f.connector = keep(f.connector, l)
	event := l.Event()
	switch event.Kind {
	case cloudflared.EventStarting:
		clear(f.conns)
		f.ingress = cloudflared.Ingress{Version: -1}
	case cloudflared.EventVersion:
		f.version[plan.ServiceConnector] = event.Version
	case cloudflared.EventConnector:
		f.connID = event.ConnectorID
	case cloudflared.EventRegistered:
		_, known := f.conns[event.Index]
		f.conns[event.Index] = event
		if !known && f.onConnection != nil {
			f.onConnection(event)
		}
	case cloudflared.EventLost, cloudflared.EventUnregistered:
		delete(f.conns, event.Index)
	case cloudflared.EventShutdown, cloudflared.EventStopped:
		clear(f.conns)
	case cloudflared.EventConfig:
		f.ingress = event.Ingress
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
	version     map[string]string
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
	v := view{serving: f.serving, version: maps.Clone(f.version), database: f.database, connectorID: f.connID, ingress: f.ingress}
	for _, i := range slices.Sorted(maps.Keys(f.conns)) {
		v.connections = append(v.connections, f.conns[i])
	}
	v.cause, v.caused = cloudflared.Diagnose(f.connector)
	v.fault, v.faulted = mosquitto.FindFault(f.broker)
	return v
}

// learn takes over what the connector itself answered, which is newer than what
// is left of its log.
func (f *facts) learn(diag cloudflared.Diag, ingress cloudflared.Ingress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if ingress.Version > f.ingress.Version {
		f.ingress = ingress
	}
	if diag.ConnectorID != "" {
		f.connID = diag.ConnectorID
	}
	for _, c := range diag.Connections {
		if _, known := f.conns[c.Index]; !known {
			f.conns[c.Index] = cloudflared.Event{Kind: cloudflared.EventRegistered, Index: c.Index, Protocol: c.Protocol, IP: c.EdgeAddress}
		}
	}
}
