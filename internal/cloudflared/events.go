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

// eventRow tells an event by the beginning of the message, or by all of it.
type eventRow struct {
	message string
	prefix  bool
	kind    EventKind
}

// eventTable lists the messages of the events.
func eventTable() []eventRow {
	return []eventRow{
		{"Starting tunnel", false, EventStarting},
		{"Version ", true, EventVersion},
		{"Generated Connector ID: ", true, EventConnector},
		{"Initial protocol ", true, EventProtocol},
		{"Registered tunnel connection", false, EventRegistered},
		{"Unregistered tunnel connection", false, EventUnregistered},
		{"Lost connection with the edge", false, EventLost},
		{"Connection terminated", false, EventLost},
		{"Updated to new configuration", false, EventConfig},
		{"Failed to deserialize new configuration", false, EventConfigFailed},
		{"Failed to update ingress", false, EventConfigFailed},
		{"Switching to fallback protocol ", true, EventFallback},
		{"Changing protocol to ", true, EventFallback},
		{"Failed to dial a quic connection", false, EventDialFailed},
		{"Initiating graceful shutdown due to signal ", true, EventShutdown},
		{"Tunnel server stopped", false, EventStopped},
	}
}

// Event returns what the line reports; its Kind is EventNone for a line that
// reports nothing of interest. A line that the logger did not write is none.
func (l Line) Event() Event {
	none := Event{Index: -1}
	if l.Level == "" {
		return none
	}
	for _, row := range eventTable() {
		rest, ok := strings.CutPrefix(l.Message, row.message)
		// The end of a long configuration may be missing, and fields are told from
		// the end.
		cut := row.kind == EventConfig && strings.HasPrefix(rest, " config=")
		if !ok || !row.prefix && rest != "" && !cut {
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
