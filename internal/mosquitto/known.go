package mosquitto

import (
	"slices"
	"strings"
)

// Known is what a line of the broker's log is known to mean. All of it is ours:
// nothing of the line itself is in it.
type Known struct {
	// Template is the line with a placeholder such as <client> for each part that
	// differs from one line to the next.
	Template string
	Means    string // lower case, no full stop
	Remedy   string // "" where there is nothing to do
	Harmless bool   // it belongs to a broker that works as it should
}

// Known looks the line up, in the wording of 2.0 and of 2.1, and reports whether it
// is known. It compares the beginnings and ends of lines, between which a client can
// put any words; so what a line is taken for does not depend on these. One that was
// cut short has no end of the broker's, and is not known.
func (l Line) Known() (Known, bool) {
	if l.Cut {
		return Known{}, false
	}
	if l.FromScript {
		return lookUp(scriptLines(), l.Text)
	}
	if rest, ok := strings.CutPrefix(l.Text, "New client connected from "); ok {
		return knownConnected(rest)
	}
	if rest, ok := strings.CutPrefix(l.Text, "Client "); ok {
		if k, ok := knownDisconnected(rest); ok {
			return k, true
		}
	}
	if k, ok := lookUp(brokerLines(), l.Text); ok {
		return k, true
	}
	intro, text := introduced(l.Text)
	k, ok := lookUp(faultLines(), text)
	if !ok {
		return Known{}, false
	}
	k.Template = intro + k.Template
	return k, true
}

// Template returns the template of a line that is known, see Known.
func Template(l Line) (text string, known bool) {
	k, known := l.Known()
	return k.Template, known
}

// Messages lists every line of the tables as it stands behind the stamp, with
// placeholders: what a client that wants to be mistaken would say.
func Messages() []string {
	var all []string
	for _, k := range scriptLines() {
		all = append(all, scriptPrefix+k.Template)
	}
	for _, k := range slices.Concat(brokerLines(), faultLines()) {
		all = append(all, k.Template)
	}
	for _, f := range faultTable() {
		for _, begin := range f.begins {
			all = append(all, "Error: "+begin+"<text>")
		}
	}
	for _, r := range reasons() {
		all = append(all, "Client <client> [<address>] disconnected: "+r.words+".")
	}
	for _, end := range oldEnds() {
		all = append(all, "Client <client>"+end.words)
	}
	return append(all, "New client connected from <address> as <client> (p<n>, c<n>, k<n>, u'<user>').")
}

// lookUp returns the first row that fits the text.
func lookUp(rows []Known, text string) (Known, bool) {
	i := slices.IndexFunc(rows, func(k Known) bool { return fits(k.Template, text) })
	if i < 0 {
		return Known{}, false
	}
	return rows[i], true
}

// fits reports whether the text begins and ends as the template does around its
// placeholders; it is the template where that has none.
func fits(template, text string) bool {
	open, closing := strings.IndexByte(template, '<'), strings.LastIndexByte(template, '>')
	if open < 0 {
		return text == template
	}
	begin, end := template[:open], template[closing+1:]
	return len(text) >= len(begin)+len(end) && strings.HasPrefix(text, begin) && strings.HasSuffix(text, end)
}

// faultLines are the rows of the table of faults.
func faultLines() []Known {
	var rows []Known
	for _, f := range faultTable() {
		if f.starting {
			continue // too general for a line of which it is not known when it was written
		}
		for _, begin := range f.begins {
			rows = append(rows, Known{Template: begin + "<text>", Means: f.cause, Remedy: f.hint})
		}
	}
	return append(
		rows,
		Known{Template: "Invalid <text> value in configuration.", Means: "the broker does not accept a value of its configuration", Remedy: hintConfD},
		Known{Template: "Invalid <text>).", Means: "the broker does not accept a value of its configuration", Remedy: hintConfD},
		Known{Template: "Invalid '<text>.", Means: "the broker does not accept a value of its configuration", Remedy: hintConfD},
		Known{Template: "Empty <text> value in configuration.", Means: "a directive of the broker's configuration has no value", Remedy: hintConfD},
		Known{Template: "Duplicate <text> value in configuration.", Means: "a directive of the broker's configuration stands twice", Remedy: hintConfD},
		Known{Template: "Error found at <place>.", Means: "the broker does not accept its configuration", Remedy: hintConfD},
		Known{Template: "Permission denied<text>", Means: "the broker may not do something that it needs", Remedy: "did compose.override.yaml change its user or a mount?"},
		Known{Template: "Unable to start any listening sockets, exiting.", Means: "the broker has no listener", Remedy: hintConfD},
		Known{Template: "Unable to open log file <path> for writing.", Means: "the broker cannot write its log file", Remedy: hintConfD},
		Known{
			Template: "It is not currently possible to add/remove listeners when reloading the config file.",
			Means:    "listeners change at a restart only", Remedy: "type: mqtunnel restart mosquitto",
		},
	)
}

// scriptLines are those of the start script, without its name.
func scriptLines() []Known {
	const full = "is the disk full? " + DataPath + " must belong to uid 1883"
	return []Known{
		{Template: "database <report>", Means: "what the database was before this start", Harmless: true},
		{Template: "warning: no copy of the database <text>", Means: "no copy of the database could be made", Remedy: full},
		{Template: "warning: the database held <text>", Means: "the database lost content", Remedy: "copies are in " + CopiesPath + " of the broker's container"},
		{Template: "warning: <path> could not be written", Means: "a loss of the database could not be noted", Remedy: full},
		{Template: "warning: <path> is not writable: nothing that changes from now on survives a restart", Means: "the broker cannot save its database", Remedy: full},
		{Template: "error: <text>", Means: "the database cannot be read, so the broker was not started", Remedy: full},
	}
}

// brokerLines are about the broker itself and about connections without a client ID.
func brokerLines() []Known {
	const (
		hintService = "in the dashboard set the service to Type HTTP, URL mosquitto:9001"
		fileMode    = "the broker's files have another owner or mode than it wants"
	)
	return append([]Known{
		{Template: "mosquitto version <version> starting", Means: "the broker starts", Harmless: true},
		{Template: "mosquitto version <version> running", Means: "the broker serves", Harmless: true},
		{Template: "mosquitto version <version> terminating", Means: "the broker ends", Harmless: true},
		{Template: "Config loaded from <path>.", Means: "the configuration was read", Harmless: true},
		{Template: "Using default config.", Means: "the broker runs without our configuration", Remedy: "type: mqtunnel up"},
		{Template: "Loading config file <path>", Means: "a further configuration file was read", Harmless: true},
		{Template: "Loading plugin: <path>", Means: "a plugin was loaded", Harmless: true},
		{Template: "Plugin <text> events.", Means: "a plugin was registered", Harmless: true},
		{Template: "Plugin <text> on topic <topic>.", Means: "a plugin was registered", Harmless: true},
		{Template: "Bridge support available.", Means: "a feature of this build", Harmless: true},
		{Template: "Persistence support available.", Means: "a feature of this build", Harmless: true},
		{Template: "Persistence support NOT available.", Means: "this build of the broker keeps nothing", Remedy: "set MOSQUITTO_IMAGE to an official eclipse-mosquitto image"},
		{Template: "TLS support available.", Means: "a feature of this build", Harmless: true},
		{Template: "TLS-PSK support available.", Means: "a feature of this build", Harmless: true},
		{Template: "Websockets support available.", Means: "a feature of this build", Harmless: true},
		{Template: "Websockets support NOT available.", Means: "this build of the broker has no WebSockets", Remedy: "set MOSQUITTO_IMAGE to an official eclipse-mosquitto image"},
		{Template: "Warning: Websockets support not available.", Means: "this build of the broker has no WebSockets", Remedy: "set MOSQUITTO_IMAGE to an official eclipse-mosquitto image"},
		{Template: "Info: running mosquitto as user: <user>.", Means: "whom the broker runs as", Harmless: true},
		{Template: "Info: running mosquitto as user id: <n>.", Means: "whom the broker runs as", Harmless: true},
		{Template: "Warning: Mosquitto should not be run as root/administrator.", Means: "the broker runs as root", Remedy: "leave user: \"1883:1883\" in place in compose.override.yaml"},
		{Template: "Opening ipv4 listen socket on port <n>.", Means: "a listener opens", Harmless: true},
		{Template: "Opening ipv6 listen socket on port <n>.", Means: "a listener opens", Harmless: true},
		{Template: "Opening websockets listen socket on port <n>.", Means: "the WebSocket listener opens", Harmless: true},
		{Template: "Opening unix listen socket on path <path>.", Means: "a listener opens", Harmless: true},
		{Template: "Starting in local only mode. Connections will only be possible from clients running on this machine.", Means: "the broker runs without our configuration", Remedy: "type: mqtunnel up"},
		{Template: "Create a configuration file which defines a listener to allow remote access.", Means: "the broker runs without our configuration", Remedy: "type: mqtunnel up"},
		{Template: "For more details see https://mosquitto.org/documentation/authentication-methods/", Means: "the broker runs without our configuration", Remedy: "type: mqtunnel up"},
		{Template: reloading, Means: "the broker reads its files again", Harmless: true},
		{Template: saving + "<path>.", Means: "the broker saves its database", Harmless: true},
		{Template: "Restored <n> base messages", Means: "the database was loaded", Harmless: true},
		{Template: "Restored <n> client messages", Means: "the database was loaded", Harmless: true},
		{Template: "Restored <n> clients", Means: "the database was loaded", Harmless: true},
		{Template: "Restored <n> retained messages", Means: "the database was loaded", Harmless: true},
		{Template: "Restored <n> subscriptions", Means: "the database was loaded", Harmless: true},
		{Template: "Warning: Persistence file is empty.", Means: "the database is an empty file", Remedy: "copies are in " + CopiesPath + " of the broker's container"},
		{Template: "The '<directive>' option is now deprecated and will be removed <text>", Means: "a directive will go away", Harmless: true},
		{Template: "Warning: File <path> <text>", Means: fileMode, Harmless: true},
		{Template: "To fix this, use `<text>`.", Means: fileMode, Harmless: true},
		{Template: "Unable to decode password salt for user <user>, removing entry.", Means: "a user's password is of a form that this version does not read", Remedy: "type: mqtunnel user passwd NAME"},
		{Template: "Invalid password hash type for user <user>, removing entry.", Means: "a user's password is of a form that this version does not read", Remedy: "type: mqtunnel user passwd NAME"},
		{Template: "Warning: ACL pattern '<topic>' does not contain '%c' or '%u'.", Means: "a pattern of the ACL file holds for everybody", Harmless: true},
		{Template: "New connection from <address> on port <n>.", Means: "somebody connects", Harmless: true},
		{Template: "Client connection from <address> denied: max_connections exceeded.", Means: "a listener has as many clients as it takes", Remedy: "type: mqtunnel restart mosquitto"},
		{Template: "Client from <address> appears to be using TLS to connect to a non-TLS listener.", Means: "the public hostname leads to the broker with TLS, which it does not speak inside", Remedy: hintService},
		{Template: "Protocol error from <address>: First packet not CONNECT (47).", Means: "the public hostname leads to the broker's plain MQTT port", Remedy: hintService},
		{Template: "Protocol error from <text>", Means: "a client does not keep to MQTT", Harmless: true},
		{Template: "Invalid protocol <text> in CONNECT from <address>.", Means: "a client does not keep to MQTT", Harmless: true},
		{Template: "Bad client <client> sending multiple CONNECT messages.", Means: "a client does not keep to MQTT", Harmless: true},
		{Template: "Bad socket read/write on client <client>: <error>", Means: "a client's connection broke off", Harmless: true},
		{Template: "ACL denying access to client with dangerous client id \"<client>\"", Means: "a client ID with + or # in it may use no topic", Remedy: "give the client another client ID"},
		{Template: "ACL denying access to client with dangerous username \"<user>\"", Means: "a user with + or # in its name may use no topic", Remedy: "give the client another user"},
		{Template: "Expiring client <client> due to timeout.", Means: "an old session is given up", Harmless: true},
	}, debugLines()...)
}

// knownConnected looks at what follows "New client connected from ".
func knownConnected(rest string) (Known, bool) {
	e := connected(Event{}, rest)
	if e.Kind != EventConnected {
		return Known{}, false
	}
	k := Known{Template: "New client connected from <address> as <client> (p<n>, c<n>, k<n>).", Means: "a client without a user is connected", Harmless: true}
	if e.User != "" {
		k.Template, k.Means = "New client connected from <address> as <client> (p<n>, c<n>, k<n>, u'<user>').", "a client is connected"
	}
	return k, true
}

// knownDisconnected looks at what follows "Client ". The last words of a line are the
// broker's: no line of 2.1 ends as those of 2.0 do, but for the bare goodbye. What
// else can be a line of 2.1 is taken for that if its reason is one of 2.1.
func knownDisconnected(rest string) (Known, bool) {
	oldKnown := func(end oldEnd) (Known, bool) {
		k, ok := knownReason(end.reason)
		k.Template = "Client <client>" + end.words
		return k, ok && strings.HasSuffix(rest, end.words)
	}
	ends := oldEnds()
	bare := ends[len(ends)-1]
	for _, end := range ends[:len(ends)-1] {
		if k, ok := oldKnown(end); ok {
			return k, true
		}
	}
	now := newDisconnected(Event{}, rest)
	if now.Kind != EventOther {
		if k, ok := knownReason(now.Reason); ok {
			return k, true
		}
	}
	if k, ok := oldKnown(bare); ok {
		return k, true
	}
	broken := Known{Means: "a client's connection broke off", Harmless: true}
	switch {
	case now.Kind != EventOther:
		broken.Template = "Client <client> [<address>] disconnected: <error>."
	case oldDisconnected(Event{}, rest).Kind != EventOther:
		broken.Template = "Client <client> disconnected: <error>."
	default:
		return Known{}, false
	}
	return broken, true
}

// reason is why a client was disconnected, in the words of 2.1.
type reason struct {
	words, means, remedy string // words have a placeholder at their end at most
}

// knownReason looks up why a client was disconnected.
func knownReason(words string) (Known, bool) {
	if words == "" {
		return Known{Template: "Client <client> [<address>] disconnected.", Means: "a client said goodbye", Harmless: true}, true
	}
	for _, r := range reasons() {
		if fits(r.words, words) {
			return Known{Template: "Client <client> [<address>] disconnected: " + r.words + ".", Means: r.means, Remedy: r.remedy, Harmless: r.remedy == ""}, true
		}
	}
	return Known{}, false
}

// reasons lists why clients are disconnected. What a single client does wrong is
// harmless for the broker.
func reasons() []reason {
	const login = "a client has a wrong name or password, or none"
	const setPassword = "give the client the name and the password of a user: mqtunnel user list, mqtunnel user passwd NAME"
	return []reason{
		{"not authorised", login, setPassword},
		{"bad username or password", login, setPassword},
		{"connection closed by client", "a client went away without a goodbye", ""},
		{"exceeded timeout", "a client was silent for longer than it had promised", ""},
		{"session taken over", "another client came with the same client ID", "give each client a client ID of its own"},
		{"administrative action", "the broker ended the connection on request", ""},
		{"malformed packet", "a client does not keep to MQTT", ""},
		{"protocol error", "a client does not keep to MQTT", ""},
		{"oversize packet", "a client sent more than a packet may hold", "see max_packet_size in mosquitto/conf.d"},
		{"oversize payload", "a client sent more than a message may hold", "see message_size_limit in mosquitto/conf.d"},
		{"out of memory", "the broker has used up its memory", "type: mqtunnel restart mosquitto, then see which user publishes so much"},
		{"used disallowed feature<text>", "a client wants what the broker does not offer", ""},
		{"receive maximum exceeded", "a client does not keep to MQTT", ""},
		{"implementation specific error", "the broker ended the connection", ""},
		{"client identifier not valid", "a client has an empty or forbidden client ID", "give the client another client ID"},
		{"server unavailable", "the broker ended the connection", ""},
		{"server busy", "the broker ended the connection", ""},
		{"client banned", "the broker ended the connection", ""},
		{"bad authentication method", "a client wants a login that the broker does not offer", ""},
		{"quota exceeded", "the broker ended the connection", ""},
		{"connection rate exceeded", "the broker ended the connection", ""},
		{"topic alias invalid", "a client does not keep to MQTT", ""},
		{"non-matching http origin", "a web page of another origin was refused", "see websockets_origin in mosquitto/conf.d"},
		{"bad socket read/write: <error>", "a client's connection broke off, or it was no WebSocket client", ""},
	}
}
