package mosquitto

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Line is a line of the broker's log, taken apart by position.
type Line struct {
	Time time.Time // zero when the line has no stamp
	Text string    // what follows the stamp, as it came: clients' words may be in it
	// FromScript is true for the lines of the start script, Text without its name.
	FromScript bool
	// Cut is true for a line that the broker may have cut short. What stands at its
	// end can then be a client's.
	Cut bool
}

// lineLimit is how many bytes of a line the broker writes, in 2.0 and in 2.1.
const lineLimit = 999

// scriptPrefix begins each line of the start script. The broker begins none so.
const scriptPrefix = "mqtunnel: "

// ParseLine takes a line apart. It knows the stamps "2026-08-18T10:00:00+0200: ",
// as the rendered configuration asks for, and Unix seconds, as the broker writes them
// before it has read that. It accepts any text.
func ParseLine(line string) Line {
	line = strings.TrimRight(line, "\r\n")
	if text, ok := strings.CutPrefix(line, scriptPrefix); ok {
		return Line{Text: text, FromScript: true}
	}
	cut := len(line) >= lineLimit
	stamp, text, ok := strings.Cut(line, ": ")
	if !ok {
		return Line{Text: line, Cut: cut}
	}
	if at, err := time.Parse("2006-01-02T15:04:05-0700", stamp); err == nil {
		return Line{Time: at, Text: text, Cut: cut}
	}
	if seconds, err := strconv.ParseInt(stamp, 10, 64); err == nil && len(stamp) >= 9 && len(stamp) <= 11 {
		return Line{Time: time.Unix(seconds, 0), Text: text, Cut: cut}
	}
	return Line{Text: line, Cut: cut}
}

// EventKind is what happened, as far as a line of the broker tells.
type EventKind string

// The kinds of event.
const (
	EventOther        EventKind = ""             // nothing below
	EventStarting     EventKind = "starting"     // Version is set
	EventReloading    EventKind = "reloading"    // on SIGHUP
	EventConnected    EventKind = "connected"    // ClientID, Address, User
	EventDisconnected EventKind = "disconnected" // ClientID, Reason; Address from 2.1
	EventRefused      EventKind = "refused"      // wrong login or none: ClientID, Reason; Address from 2.1
)

// Event is what a line says. ClientID is the client's own word and may hold
// anything; User is a name that passed the password file, or "". Mosquitto 2.0
// writes no refusal for clients over WebSocket, only that they closed the connection.
type Event struct {
	Kind     EventKind
	Time     time.Time
	Version  string
	ClientID string
	Address  string // host:port as the broker saw it
	User     string
	Reason   string // the broker's words, "" when the client said goodbye
}

// LogReader reads the events of a log in order. It follows the version that the
// broker states when it starts, since a line of one version with a hostile client ID
// can look like one of the other. The zero value takes the log for that of 2.1.
// It is not safe for concurrent use.
type LogReader struct {
	old bool // before 2.1
}

// NewLogReader returns a reader for a log that begins in the middle of a run of the
// given version, "" when that is not known.
func NewLogReader(version string) *LogReader { return &LogReader{old: Older(version)} }

// Older reports whether a version is one before 2.1; "" is not.
func Older(version string) bool {
	return strings.HasPrefix(version, "1.") || version == "2.0" || strings.HasPrefix(version, "2.0.")
}

var (
	startingLine = regexp.MustCompile(`^mosquitto version (\d[0-9A-Za-z.+~-]*) starting$`)
	// The broker ends the line after the client ID; the last match is its own.
	connectedEnd = regexp.MustCompile(`^\(p[0-9], c[01], k[0-9]+(?:, u'(.*)')?\)\.$`)
	addressWord  = regexp.MustCompile(`^[0-9A-Za-z.:%, /_-]*:-?[0-9]+$`)
	newEnd       = regexp.MustCompile(`^\[([^\[\]]*:-?[0-9]+)\] disconnected(?:: (.*?))?\.?$`)
)

// Event reads one line. One that was cut short tells nothing.
func (r *LogReader) Event(line Line) Event {
	e := Event{Time: line.Time}
	if line.FromScript || line.Cut {
		return e
	}
	if m := startingLine.FindStringSubmatch(line.Text); m != nil {
		r.old = Older(m[1])
		e.Kind, e.Version = EventStarting, m[1]
		return e
	}
	if line.Text == reloading {
		e.Kind = EventReloading
		return e
	}
	if rest, ok := strings.CutPrefix(line.Text, "New client connected from "); ok {
		return connected(e, rest)
	}
	if rest, ok := strings.CutPrefix(line.Text, "Client "); ok {
		if r.old {
			return oldDisconnected(e, rest)
		}
		return newDisconnected(e, rest)
	}
	return e
}

// connected reads "ADDRESS:PORT as ID (p4, c1, k60, u'USER')." from both ends. With
// 2.0 over WebSocket the address is what a header claimed.
func connected(e Event, rest string) Event {
	i := strings.LastIndex(rest, " (p")
	if i < 0 {
		return e
	}
	m := connectedEnd.FindStringSubmatch(rest[i+1:])
	address, id, ok := strings.Cut(rest[:i], " as ")
	if m == nil || !ok || !addressWord.MatchString(address) {
		return e
	}
	e.Kind, e.Address, e.ClientID, e.User = EventConnected, address, id, m[1]
	return e
}

// newDisconnected reads "ID [ADDRESS:PORT] disconnected: REASON." of 2.1.
func newDisconnected(e Event, rest string) Event {
	i := strings.LastIndex(rest, " [")
	if i < 0 {
		return e
	}
	m := newEnd.FindStringSubmatch(rest[i+1:])
	if m == nil || strings.Contains(m[2], " disconnected") {
		return e // the broker says that word once, and the last one is its own
	}
	e.Kind, e.ClientID, e.Address, e.Reason = EventDisconnected, rest[:i], m[1], m[2]
	switch e.Reason {
	case "not authorised", "bad username or password":
		e.Kind = EventRefused
	}
	return e
}

// oldEnd is how a line of 2.0 about a client ends.
type oldEnd struct {
	words, reason string // reason is in the words of 2.1
	kind          EventKind
}

// oldEnds lists the ends of those lines, the longer ones first: the last one is the
// bare goodbye, in which lines of 2.1 may end as well.
func oldEnds() []oldEnd {
	return []oldEnd{
		{" disconnected, not authorised.", "not authorised", EventRefused},
		{" closed its connection.", "connection closed by client", EventDisconnected},
		{" has exceeded timeout, disconnecting.", "exceeded timeout", EventDisconnected},
		{" already connected, closing old connection.", "session taken over", EventDisconnected},
		{" been disconnected by administrative action.", "administrative action", EventDisconnected},
		{" disconnected due to malformed packet.", "malformed packet", EventDisconnected},
		{" disconnected due to out of memory.", "out of memory", EventDisconnected},
		{" disconnected due to oversize packet.", "oversize packet", EventDisconnected},
		{" disconnected due to oversize payload.", "oversize payload", EventDisconnected},
		{" disconnected due to protocol error.", "protocol error", EventDisconnected},
		{" disconnected due to using not allowed feature (QoS too high, retain not supported, or bad AUTH method).", "used disallowed feature", EventDisconnected},
		{" disconnected.", "", EventDisconnected},
	}
}

// oldDisconnected reads the lines of 2.0, which all end in words of the broker's; the
// last one decides, whatever the client ID says before it.
func oldDisconnected(e Event, rest string) Event {
	for _, end := range oldEnds() {
		if id, ok := strings.CutSuffix(rest, end.words); ok {
			e.Kind, e.ClientID, e.Reason = end.kind, id, end.reason
			return e
		}
	}
	const separator = " disconnected: "
	if i := strings.LastIndex(rest, separator); i >= 0 && strings.HasSuffix(rest, ".") {
		e.Kind, e.ClientID = EventDisconnected, rest[:i]
		e.Reason = strings.TrimSuffix(rest[i+len(separator):], ".")
	}
	return e
}
