package mosquitto

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// ActionKind is what a client did, or what was done with what it wanted.
type ActionKind string

// The kinds of action.
const (
	ActionConnected    ActionKind = "connected"    // Address, User
	ActionDisconnected ActionKind = "disconnected" // Reason, Address from 2.1
	ActionRefused      ActionKind = "refused"      // a login, Reason; it is not told as whom
	ActionWill         ActionKind = "will"         // a message for when the client is lost: Topic, QoS, Retained
	ActionSubscribed   ActionKind = "subscribed"   // Topic, QoS; Denied is rare, see Subscribe
	ActionUnsubscribed ActionKind = "unsubscribed" // Topic
	ActionPublished    ActionKind = "published"    // Topic, QoS, Retained
	ActionReceived     ActionKind = "received"     // a message went to the client, or was held back: as above
	ActionUnclear      ActionKind = "unclear"      // a line that can be read in several ways
	ActionReloaded     ActionKind = "reloaded"     // the broker reads its files again: of no client
)

// Action is something that a client did. ClientID, Topic and Reason are not the
// broker's words and may hold anything.
type Action struct {
	Kind     ActionKind
	Time     time.Time
	ClientID string
	User     string // of the client, where it is known
	Address  string
	Topic    string // topic or topic filter
	QoS      int
	Retained bool
	Denied   bool   // the rules of the user do not allow it, and the broker dropped it
	Dropped  bool   // the broker dropped it for another reason
	Reason   string // of a disconnect, a refused login or a drop
}

// DebugReader reads what clients do from the debug lines of 2.0 and 2.1, which are
// alike. A client chooses its ID and its topics, and both stand in one line: where
// they allow more than one reading, the action is unclear. Lines that come from
// log_type subscribe and unsubscribe begin with the client's own words and must not
// be in the log, see DebugConf. It is not safe for concurrent use.
type DebugReader struct {
	Clients Clients

	last    string     // ID of the client that connected last
	pending Action     // what the indented lines that follow are about
	indent  ActionKind // kind of the pending action, "" for none
	inside  bool       // somebody connected from the broker's own container and was not told of yet
}

// The frames of debug lines around the words of clients, each at the line's own end.
var (
	publishEnd  = regexp.MustCompile(`', \.\.\. \([0-9]+ bytes\)\)$`)
	publishFrom = regexp.MustCompile(` \(d[01], q([0-3]), r([01]), m[0-9]+, '`)
	publishTo   = regexp.MustCompile(` \(q([0-3]), r([01]), '`)
	connackEnd  = regexp.MustCompile(` \([0-9]+, ([0-9]+)\)$`)
	willLine    = regexp.MustCompile(`^Will message specified \([0-9]+ bytes\) \(r([01]), q([0-3])\)\.$`)
	filterEnd   = regexp.MustCompile(` \(QoS ([0-3])\)$`)
)

const deniedEnd = " (denied)"

// Read goes on by one line, and reports whether it tells of an action. Lines of the
// broker's own clients in its container are left out.
func (r *DebugReader) Read(l Line) (Action, bool) {
	if l.FromScript || l.Cut {
		r.indent = ""
		return Action{}, false
	}
	if words, ok := strings.CutPrefix(l.Text, "\t"); ok {
		return r.indented(l, words)
	}
	if a, ok := r.clients(l); ok {
		return a, a.Kind != ""
	}
	a, ok := r.debug(l.Text)
	if !ok {
		return Action{}, false
	}
	a.Time = l.Time
	if a.Kind != ActionRefused { // nobody knows whose login it was meant to be
		client, _ := r.Clients.Find(a.ClientID)
		a.User = client.User
	}
	return a, true
}

// clients reads the lines about connections, which are there without debug too, and
// reports whether the line is one.
func (r *DebugReader) clients(l Line) (Action, bool) {
	e := r.Clients.Take(l)
	a := Action{Time: e.Time, ClientID: e.ClientID, User: e.User, Address: e.Address, Reason: e.Reason}
	switch e.Kind {
	case EventConnected:
		r.indent, r.last = "", e.ClientID
		if !ownLogin(e) {
			a.Kind = ActionConnected
		}
	case EventDisconnected:
		if e.User != "" {
			a.Kind = ActionDisconnected
		}
	case EventReloading:
		r.indent, a.Kind = "", ActionReloaded
	case EventStarting:
		r.indent = ""
	case EventRefused: // the CONNACK before it tells more
	case EventOther:
		return Action{}, false
	}
	return a, true
}

// debug reads a line that begins with words of the broker.
func (r *DebugReader) debug(text string) (Action, bool) {
	for _, frame := range publishFrames() {
		if rest, ok := strings.CutPrefix(text, frame.begin); ok {
			return frame.read(rest)
		}
	}
	if id, ok := strings.CutPrefix(text, "Received SUBSCRIBE from "); ok {
		r.indent, r.pending = ActionSubscribed, Action{ClientID: id}
		return Action{}, false
	}
	if id, ok := strings.CutPrefix(text, "Received UNSUBSCRIBE from "); ok {
		r.indent, r.pending = ActionUnsubscribed, Action{ClientID: id}
		return Action{}, false
	}
	if m := willLine.FindStringSubmatch(text); m != nil {
		r.indent, r.pending = ActionWill, Action{ClientID: r.last, QoS: digit(m[2]), Retained: m[1] == "1"}
		return Action{}, false
	}
	if rest, ok := strings.CutPrefix(text, "Sending CONNACK to "); ok {
		r.indent = ""
		return r.refusedLogin(rest)
	}
	if strings.HasPrefix(text, "New connection from 127.0.0.1:") {
		r.inside = true
	}
	if strings.HasPrefix(text, "Received ") || strings.HasPrefix(text, "Sending SUBACK ") || strings.HasPrefix(text, "Sending UNSUBACK ") {
		r.indent = "" // between the lines of one SUBSCRIBE, retained messages are sent and nothing is received
	}
	return Action{}, false
}

// indented reads a line that goes on with what the one before began.
func (r *DebugReader) indented(l Line, words string) (Action, bool) {
	a := r.pending
	a.Kind, a.Time, a.Topic = r.indent, l.Time, words
	switch r.indent {
	case ActionSubscribed:
		m := filterEnd.FindStringSubmatchIndex(words)
		switch {
		case m != nil:
			a.Topic, a.QoS = words[:m[0]], digit(words[m[2]:m[3]])
		case strings.HasSuffix(words, deniedEnd):
			a.Topic, a.Denied = strings.TrimSuffix(words, deniedEnd), true
		default:
			return Action{}, false
		}
	case ActionUnsubscribed:
	case ActionWill:
		r.indent = "" // a will has one topic
	default:
		return Action{}, false
	}
	client, _ := r.Clients.Find(a.ClientID)
	a.User = client.User
	return a, true
}

// publishFrame is how a line about one message begins.
type publishFrame struct {
	begin  string
	middle *regexp.Regexp // between client ID and topic
	action Action
}

func publishFrames() []publishFrame {
	return []publishFrame{
		{"Received PUBLISH from ", publishFrom, Action{Kind: ActionPublished}},
		{"Denied PUBLISH from ", publishFrom, Action{Kind: ActionPublished, Denied: true}},
		{"Dropped too large PUBLISH from ", publishFrom, Action{Kind: ActionPublished, Dropped: true, Reason: "larger than message_size_limit"}},
		{"Sending PUBLISH to ", publishFrom, Action{Kind: ActionReceived}},
		{"Denied PUBLISH to ", publishTo, Action{Kind: ActionReceived, Denied: true}},
	}
}

// read reads "ID (d0, q1, r0, m1, 'TOPIC', ... (2 bytes))". What stands in the middle
// can stand in a client ID and in a topic as well, and then nobody knows where one
// ends and the other begins.
func (f publishFrame) read(rest string) (Action, bool) {
	end := publishEnd.FindStringIndex(rest)
	if end == nil {
		return Action{}, false
	}
	all := f.middle.FindAllStringSubmatchIndex(rest[:end[0]], 2)
	switch len(all) {
	case 0:
		return Action{}, false
	case 1:
	default:
		return Action{Kind: ActionUnclear}, true
	}
	m, a := all[0], f.action
	a.ClientID, a.Topic = rest[:m[0]], rest[m[1]:end[0]]
	a.QoS, a.Retained = digit(rest[m[2]:m[3]]), rest[m[4]:m[5]] == "1"
	return a, true
}

// refusedLogin reads "ID (FLAGS, CODE)" of a CONNACK. The health check of the broker's
// container is refused every half minute, and nobody wants to know; one that calls
// itself so from elsewhere is told.
func (r *DebugReader) refusedLogin(rest string) (Action, bool) {
	m := connackEnd.FindStringSubmatchIndex(rest)
	if m == nil {
		return Action{}, false
	}
	a := Action{Kind: ActionRefused, ClientID: rest[:m[0]], Reason: connackReason(rest[m[2]:m[3]])}
	if a.ClientID == HealthID && r.inside {
		r.inside = false
		return Action{}, false
	}
	return a, a.Reason != ""
}

// HealthID is the client ID of the broker's health check.
const HealthID = "mqtunnel-health"

// connackReason words the codes of MQTT 3.1.1 and 5, "" for success.
func connackReason(code string) string {
	switch code {
	case "0":
		return ""
	case "1", "132":
		return "the version of MQTT is not supported"
	case "2", "133":
		return "the client ID is not accepted"
	case "4", "5", "134", "135":
		return "wrong name or password, or none"
	default:
		return "code " + code
	}
}

// digit reads the one digit that a regular expression has found.
func digit(text string) int { return int(text[0] - '0') }

// What DebugConf adds and takes away stands between these lines, so that PlainConf can
// undo it.
const (
	debugBegin = "# mqtunnel user watch: begin"
	debugEnd   = "# mqtunnel user watch: end"
	debugKept  = "#was "
)

// DebugConf returns a configuration that makes the broker tell what clients do, and
// PlainConf the one that it was made from. Further log types of the user are taken
// away meanwhile: in lines of log_type subscribe, a client's own words come first, and
// could be any line.
func DebugConf(conf string) string {
	if _, is := PlainConf(conf); is {
		return conf
	}
	var b strings.Builder
	written := false
	for line := range strings.Lines(conf) {
		if !strings.HasPrefix(strings.TrimLeft(line, " "), "log_type ") {
			b.WriteString(line)
			continue
		}
		b.WriteString(debugBegin + "\n" + debugKept + strings.TrimSuffix(line, "\n") + "\n")
		if !written {
			for _, t := range []string{"error", "warning", "notice", "information", "debug"} {
				b.WriteString("log_type " + t + "\n")
			}
		}
		written = true
		b.WriteString(debugEnd + "\n")
	}
	return b.String()
}

// PlainConf undoes DebugConf, and reports whether there was anything to undo.
func PlainConf(conf string) (plain string, changed bool) {
	var b strings.Builder
	inside := false
	for line := range strings.Lines(conf) {
		switch was, kept := strings.CutPrefix(line, debugKept); {
		case line == debugBegin+"\n":
			inside, changed = true, true
		case line == debugEnd+"\n":
			inside = false
		case inside && kept:
			b.WriteString(was)
		case !inside:
			b.WriteString(line)
		}
	}
	return b.String(), changed
}

// debugLines are known without being told: they come while somebody watches.
func debugLines() []Known {
	var rows []Known
	add := func(means string, templates ...string) {
		for _, t := range templates {
			rows = append(rows, Known{Template: t, Means: means, Harmless: true})
		}
	}
	for _, f := range publishFrames() {
		middle := "(d<n>, q<n>, r<n>, m<n>, "
		if f.middle == publishTo {
			middle = "(q<n>, r<n>, "
		}
		add("debug: a message", fmt.Sprintf("%s<client> %s'<topic>', ... (<n> bytes))", f.begin, middle))
	}
	add("debug: a packet",
		"Received <packet> from <client>", "Sending CONNACK to <client> (<n>, <n>)", "Sending <packet> to <client>",
		"Rejected PUBLISH <text>, quota exceeded.", "Dropping too large outgoing PUBLISH for <client> (<n> bytes)")
	add("debug: a bridge", "Bridge <text>")
	add("debug: a client's will", "No will message specified.", "Will message specified (<n> bytes) (r<n>, q<n>).")
	return append(rows, Known{Template: "\t<topic>", Means: "debug: a topic", Harmless: true})
}
