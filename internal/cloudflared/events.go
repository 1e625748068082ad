package cloudflared

import (
	"strconv"
	"strings"
)

// EventKind is what a log line reports.
type EventKind int

// The kinds of event. EventNone is no event.
const (
	EventNone         EventKind = iota
	EventStarting               // TunnelID: a process begins
	EventVersion                // Version
	EventConnector              // ConnectorID: new with every process
	EventProtocol               // Protocol: the first one tried
	EventRegistered             // Index, Location, Protocol, IP: connected to the edge
	EventUnregistered           // Index: left in good order
	EventLost                   // Index: connection gone
	EventConfig                 // Ingress, which may be Unread: the remote configuration was applied
	EventConfigFailed           // the remote configuration was refused, the old one stays
	EventFallback               // Protocol: switched to it
	EventDialFailed             // Index, IP: no QUIC connection
	EventShutdown               // graceful stop begins
	EventStopped                // graceful stop is done
)

// Event is a recognised log line. Its texts are outside text.
type Event struct {
	Kind        EventKind
	Index       int // of the connection, -1 where the event is about none
	Location    string
	Protocol    string
	IP          string
	TunnelID    string
	ConnectorID string
	Version     string
	Ingress     Ingress
}

// eventRow tells an event by the message: by the beginning of one with a placeholder
// in its template, else by all of it.
type eventRow struct {
	template string
	kind     EventKind
	means    string
	harmless bool // it happens to a connector that works as it should
}

// eventTable lists the messages of the events.
func eventTable() []eventRow {
	const refused = "the connector refuses the tunnel's configuration"
	const lost = "a connection to the edge broke off, and is made again"
	return []eventRow{
		{"Starting tunnel", EventStarting, "the connector starts", true},
		{"Version <version> (Checksum <text>)", EventVersion, "the connector's version", true},
		{"Generated Connector ID: <id>", EventConnector, "the connector's own ID", true},
		{"Initial protocol <protocol>", EventProtocol, "how the connector tries to reach the edge", true},
		{"Registered tunnel connection", EventRegistered, "a connection to the edge stands", true},
		{"Unregistered tunnel connection", EventUnregistered, "a connection to the edge was ended in good order", true},
		{"Lost connection with the edge", EventLost, lost, true},
		{"Connection terminated", EventLost, lost, true},
		{"Updated to new configuration", EventConfig, "the tunnel's configuration came from Cloudflare", true},
		{"Failed to deserialize new configuration", EventConfigFailed, refused, false},
		{"Failed to update ingress", EventConfigFailed, refused, false},
		{"Switching to fallback protocol <protocol>", EventFallback, "nothing comes back on UDP port 7844, so TCP is tried", false},
		{"Changing protocol to <protocol>", EventFallback, "Cloudflare wants another protocol", true},
		{"Failed to dial a quic connection", EventDialFailed, "a connection over UDP port 7844 did not come about", false},
		{"Initiating graceful shutdown due to signal <text>", EventShutdown, "the connector was told to end", true},
		{"Tunnel server stopped", EventStopped, "the connector has ended", true},
	}
}

// Event returns what the line reports; its Kind is EventNone for a line that
// reports nothing of interest. A line that the logger did not write is none, and
// neither is one of level debug, which begins with a word of the request's own.
func (l Line) Event() Event {
	none := Event{Index: -1}
	if l.Level == "" || l.Level == LevelDebug {
		return none
	}
	for _, row := range eventTable() {
		begin, _, open := strings.Cut(row.template, "<")
		rest, ok := strings.CutPrefix(l.Message, begin)
		// The end of a long configuration may be missing, and fields are told from
		// the end.
		cut := row.kind == EventConfig && strings.HasPrefix(rest, " config=")
		if !ok || !open && rest != "" && !cut {
			continue
		}
		e := Event{
			Kind: row.kind, Index: l.connIndex(), Location: l.Fields["location"],
			Protocol: l.Fields["protocol"], IP: l.Fields["ip"], TunnelID: l.Fields["tunnelID"],
		}
		return l.complete(e, rest)
	}
	return none
}

// complete adds what stands in the message itself or in a field of this kind of
// event only.
func (l Line) complete(e Event, rest string) Event {
	first, _, _ := strings.Cut(rest, " ")
	switch e.Kind {
	case EventVersion:
		e.Version = first
	case EventConnector:
		e.ConnectorID = first
	case EventProtocol, EventFallback:
		e.Protocol = first
	case EventConfig:
		// A configuration that cannot be read was still applied: the one before it is
		// no longer in force.
		version, err := strconv.Atoi(l.Fields["version"])
		if err != nil || rest != "" {
			e.Ingress = Ingress{Version: -1, Unread: true}
		} else if e.Ingress, err = ParsePushed(l.Fields["config"], version); err != nil {
			e.Ingress = Ingress{Version: version, Unread: true}
		}
	default:
	}
	return e
}
