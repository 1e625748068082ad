package cloudflared

import (
	"regexp"
	"slices"
	"strings"
)

// CauseID names a known cause of failure. Scripts may depend on the names.
type CauseID string

// The causes that the log tells.
const (
	CauseTokenInvalid CauseID = "token-invalid"
	CauseTokenMissing CauseID = "token-missing"
	CauseTokenFile    CauseID = "token-file"
	CauseUsage        CauseID = "usage"
	CauseSetting      CauseID = "setting"
	CauseSecret       CauseID = "tunnel-secret"
	CauseNoTunnel     CauseID = "tunnel-not-found"
	CauseRefused      CauseID = "registration-refused"
	// CauseRefusedSilently is a refusal whose reason the log does not tell.
	CauseRefusedSilently CauseID = "registration-refused-silently"
	CauseDNS             CauseID = "dns"
	CauseAddressFamily   CauseID = "edge-addresses"
	CauseUDPBlocked      CauseID = "udp-7844"
	CauseTCPBlocked      CauseID = "tcp-7844"
	CauseNoRoute         CauseID = "no-route"
	CauseFirewall        CauseID = "firewall"
	CauseClock           CauseID = "clock"
	CauseInterception    CauseID = "tls-interception"
	CauseReset           CauseID = "tls-reset"
	CauseEdgeSilent      CauseID = "edge-silent"
	CauseMetrics         CauseID = "metrics-address"
	CauseNoIngress       CauseID = "no-ingress"
	CauseBadIngress      CauseID = "bad-ingress"
	CauseOriginName      CauseID = "origin-name"
	CauseOriginRefused   CauseID = "origin-refused"
	CauseOriginTimeout   CauseID = "origin-timeout"
	CauseOriginNoHTTP    CauseID = "origin-not-http"
	CauseOriginTLS       CauseID = "origin-tls"
	CauseOriginProxy     CauseID = "origin-proxy"
	CauseOrigin          CauseID = "origin"
)

// Cause is why the connector does not do its work, as its log tells. Sentence and
// Hint are our words; Line is the evidence and outside text.
type Cause struct {
	ID       CauseID
	Sentence string // one sentence without a full stop
	Hint     string
	Line     Line
}

// Diagnose returns the newest relevant failure that no success follows. It goes
// through the lines in their order; a registered connection settles what stood
// against that connection, against the start and against every connection of the
// run before, a new configuration settles what stood against the old one. Harmless lines and everything between a graceful
// stop and the next start are ignored. One failed QUIC dial is not a cause yet,
// two in a row are.
func Diagnose(lines []Line) (Cause, bool) {
	d := diagnosis{dials: map[int]int{}}
	for _, line := range lines {
		d.take(line)
	}
	if len(d.open) == 0 {
		return Cause{}, false
	}
	return d.open[len(d.open)-1].cause, true
}

// diagnosis is what is known after some lines.
type diagnosis struct {
	table      []failure
	open       []standing // oldest first
	dials      map[int]int
	stopping   bool
	registered bool // since the last start
	starts     int
}

// standing is a failure that nothing has settled yet.
type standing struct {
	cause Cause
	topic topic
	index int
	start int // the start of cloudflared that it came after
}

// take goes on by one line.
func (d *diagnosis) take(line Line) {
	if d.table == nil {
		d.table = failureTable()
	}
	event := line.Event()
	switch event.Kind {
	case EventStarting:
		d.stopping, d.registered = false, false
		d.starts++
		d.dials = map[int]int{}
		// What ended without a reason may have ended because somebody stopped it.
		d.settle(func(s standing) bool {
			return s.topic == ofIngress || s.topic == ofOrigin || s.cause.ID == CauseRefusedSilently
		})
		return
	case EventShutdown:
		d.stopping = true
		d.open = nil
		return
	case EventRegistered:
		d.registered = true
		delete(d.dials, event.Index)
		d.settle(func(s standing) bool {
			return s.topic == ofStart || s.topic == ofEdge && (s.index == event.Index || s.index < 0 || s.start < d.starts)
		})
		return
	case EventConfig:
		d.settle(func(s standing) bool { return s.topic == ofIngress || s.topic == ofOrigin })
		return
	case EventFallback:
		d.dials = map[int]int{}
	default:
	}
	d.match(line, event)
}

// match looks the line up in the table.
func (d *diagnosis) match(line Line, event Event) {
	cause := unwrapped(line.Reason())
	for _, f := range d.table {
		if !f.matches(line, cause) || d.stopping && f.topic != ofStart {
			continue
		}
		if event.Kind == EventDialFailed {
			d.dials[event.Index]++
			if f.id == CauseUDPBlocked && d.dials[event.Index] < 2 {
				return
			}
		}
		if f.id == CauseNoIngress && !d.registered {
			return // the same warning at a start is harmless
		}
		d.stopping = d.stopping && f.topic != ofStart
		d.add(standing{Cause{f.id, f.sentence, f.hint, line}, f.topic, line.connIndex(), d.starts})
		return
	}
}

// add makes a failure the newest one, in place of an older one of its kind. One
// that tells no reason does not stand before one that does.
func (d *diagnosis) add(s standing) {
	told := func(old standing) bool {
		return old.topic == ofEdge && old.index == s.index && old.cause.ID != CauseRefusedSilently
	}
	if s.cause.ID == CauseRefusedSilently && slices.ContainsFunc(d.open, told) {
		return
	}
	d.settle(func(old standing) bool { return old.cause.ID == s.cause.ID && old.index == s.index })
	d.open = append(d.open, s)
}

// settle forgets the failures of which settled holds.
func (d *diagnosis) settle(settled func(standing) bool) {
	var open []standing
	for _, s := range d.open {
		if !settled(s) {
			open = append(open, s)
		}
	}
	d.open = open
}

// topic is what a failure stands against, and so what settles it.
type topic int

// The topics.
const (
	ofStart topic = iota // of the process
	ofEdge
	ofIngress
	ofOrigin
)

// failure is one row of the table. A line matches by the beginning of its message
// or of its error, where cloudflared's own words stand; never by what follows,
// which may be anybody's. The end is compared where Go's network errors put the
// reason, behind an address of cloudflared's own.
type failure struct {
	message  string // the message begins so; "" is any
	cause    string // the error begins so, after cloudflared's wrappers; "" is any
	end      string // and the error ends so; "" is any
	plain    bool   // the line comes from outside the logger, at exit
	topic    topic
	id       CauseID
	sentence string
	hint     string
}

// matches compares one line.
func (f failure) matches(line Line, cause string) bool {
	if f.plain != (line.Level == "") {
		return false
	}
	if !f.plain && line.Level != LevelWarn && line.Level != LevelError && line.Level != LevelFatal {
		return false
	}
	return strings.HasPrefix(line.Message, f.message) && strings.HasPrefix(cause, f.cause) && strings.HasSuffix(cause, f.end)
}

// cryptoError is how QUIC announces a failure of TLS.
var cryptoError = regexp.MustCompile(`^CRYPTO_ERROR 0x[0-9a-f]+ \((local|remote)\): `)

// unwrapped strips cloudflared's own wrappers from the beginning of an error.
func unwrapped(cause string) string {
	for {
		before := cause
		for _, wrapper := range []string{
			"failed to dial to edge with quic: ", "DialContext error: ", "TLS handshake with edge error: ",
			"Failed to proxy HTTP: ", "tls: failed to verify certificate: ", "initial tunnel connection failed: ",
		} {
			cause = strings.TrimPrefix(cause, wrapper)
		}
		cause = strings.TrimPrefix(cause, cryptoError.FindString(cause))
		if cause == before {
			return cause
		}
	}
}

// Origin reports whether the cause is that of single requests on their way from
// the connector to the broker. A success of a later one is not in the log.
func (id CauseID) Origin() bool { return strings.HasPrefix(string(id), "origin") }
