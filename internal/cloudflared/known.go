package cloudflared

import (
	"slices"
	"strings"
)

// Known is what a line of the connector's log is known to mean. All of it is ours:
// nothing of the line itself is in it.
type Known struct {
	// Template is the line with a placeholder such as <error> for each part that
	// differs from one line to the next. Of the fields only the error is in it.
	Template string
	Means    string // lower case, no full stop
	Remedy   string // "" where there is nothing to do
	Harmless bool   // it belongs to a connector that works as it should
}

// Known looks the line up, and reports whether it is known. It compares the
// beginnings and ends of message and error, where cloudflared's own words stand.
func (l Line) Known() (Known, bool) {
	rows := messageLines
	if l.Level == "" {
		rows = plainLines
	}
	k, known := lookUp(rows(), l.Message)
	reason := unwrapped(l.Reason())
	about, told := lookUp(reasonLines(), reason)
	if told && about.Means != "" {
		k.Means, k.Harmless = about.Means, about.Harmless
	}
	if f, ok := failureOf(l, reason); ok {
		k.Means, k.Remedy, k.Harmless = f.sentence, f.hint, false
		about.Template, told = f.template(), true
	}
	if !known && !told || l.Message == "" && reason == "" {
		return Known{}, false
	}
	if !known && l.Message != "" {
		k.Template = "<text>"
	}
	if reason != "" {
		if !told {
			about.Template = "<error>"
		}
		k.Template = strings.TrimPrefix(k.Template+` error="`+about.Template+`"`, " ")
	}
	return k, true
}

// Template returns the template of a line that is known, see Known.
func Template(l Line) (text string, known bool) {
	k, known := l.Known()
	return k.Template, known
}

// Messages lists every line of the tables as it stands behind time and level, with
// placeholders: what somebody who wants to be mistaken would say.
func Messages() []string {
	var all []string
	for _, k := range slices.Concat(plainLines(), messageLines(), reasonLines()) {
		if k.Template != "" {
			all = append(all, k.Template)
		}
	}
	for _, f := range failureTable() {
		if !f.plain {
			all = append(all, strings.TrimPrefix(f.message+` error="`+f.template()+`"`, " "))
		}
	}
	return all
}

// failureOf returns the row of the table of failures that the line matches. That
// there are no rules is said at every start too, so it is none by itself.
func failureOf(l Line, reason string) (failure, bool) {
	table := failureTable()
	i := slices.IndexFunc(table, func(f failure) bool { return f.matches(l, reason) })
	if i < 0 || table[i].id == CauseNoIngress {
		return failure{}, false
	}
	return table[i], true
}

// template is the error of a row with a placeholder.
func (f failure) template() string { return f.cause + "<error>" + f.end }

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

// plainLines are those from outside the logger.
func plainLines() []Known {
	rows := []Known{
		{Template: "See 'cloudflared tunnel run --help'.", Means: "the connector was started wrongly"},
		{Template: "failed to sufficiently increase receive buffer size (<text>", Means: "the host's buffers are smaller than QUIC would like", Harmless: true},
		{Template: "failed to sufficiently increase send buffer size (<text>", Means: "the host's buffers are smaller than QUIC would like", Harmless: true},
	}
	for _, f := range failureTable() {
		if f.plain {
			rows = append(rows, Known{Template: f.message + "<text>", Means: f.sentence, Remedy: f.hint})
		}
	}
	return rows
}

// reasonLines are errors that are no failures by themselves, after cloudflared's
// wrappers. Those without a meaning of their own leave it to the message.
func reasonLines() []Known {
	const ended = "a client or the edge ended a request early"
	return []Known{
		{Template: "Incoming request ended abruptly: context canceled", Means: ended, Harmless: true},
		{Template: "stream <n> canceled by remote with error code <n>", Means: ended, Harmless: true},
		{Template: "context canceled", Means: "given up because something else ended", Harmless: true},
		{Template: "request filtered by middleware handler (<text>", Means: "a request without a login of Cloudflare Access was refused"},
		{Template: "already connected to this server, trying another address", Means: "two connections went to one server of the edge, and are sorted out", Harmless: true},
		{Template: "connection with edge closed"},
		{Template: "timeout: <error>"},
		{Template: "context deadline exceeded"},
		{Template: "failed to accept QUIC stream: <error>"},
		{Template: "Application error <text>"},
		{Template: "accept stream listener encountered a failure while serving"},
		{Template: "datagram manager encountered a failure while serving"},
		{Template: "control stream encountered a failure while serving"},
		{Template: "Could not lookup srv records on <name>"},
		{Template: "Couldn't resolve SRV record <name>"},
		{Template: "lookup <name>"},
		{Template: "dial tcp <address>"},
		{Template: "dial udp <address>"},
		{Template: "Group ID <n> is not between ping group <text>"},
	}
}

// messageLines are the messages of the logger.
func messageLines() []Known {
	const (
		request = "a request did not reach the broker"
		wrapped = "a connection to the edge failed; the line before tells more"
		precise = "result of a look that the connector takes at its start"
	)
	rows := []Known{
		{Template: "", Means: request},
		{Template: "Request failed", Means: request},
		{Template: "failed to serve incoming request", Means: request},
		{Template: "GOOS: <text>", Means: "what the connector runs on", Harmless: true},
		{Template: "Settings: <text>", Means: "the connector's settings", Harmless: true},
		{Template: "Environmental variables <text>", Means: "the connector's settings", Harmless: true},
		{Template: "Cannot determine default configuration path. <text>", Means: "there is no configuration file, and none is needed", Harmless: true},
		{Template: "ICMP proxy will use <address> as source for IPv4", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "ICMP proxy will use <address> as source for IPv6", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "ICMP proxy feature is disabled", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "The user running cloudflared process has a GID (group ID) that is not within ping_group_range. <text>", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "Created ICMP proxy listening on <address>", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "icmp router terminated", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "Starting metrics server on <address>", Means: "the connector can be asked how it is", Harmless: true},
		{Template: "Metrics server stopped", Means: "the connector has ended", Harmless: true},
		{Template: "Tunnel connection curve preferences: <text>", Means: "how a connection to the edge is encrypted", Harmless: true},
		{Template: "You requested <n> HA connections but I can give you at most <n>.", Means: "the DNS gives few addresses of the edge", Harmless: true},
		{Template: "Retrying connection in up to <time>", Means: "a connection to the edge is tried again", Harmless: true},
		{Template: "No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests", Means: "at a start, the configuration has not come yet; later, the tunnel publishes nothing", Harmless: true},
		{Template: "Failed to parse log level <text>", Means: "TUNNEL_LOGLEVEL is not known to the connector", Remedy: hintSetting},
		{Template: "h2mux is no longer a supported protocol<text>", Means: "TUNNEL_TRANSPORT_PROTOCOL is an old one", Remedy: hintSetting},
		{Template: "Autoupdate frequency is set", Means: "nothing: the image does not update itself", Harmless: true},
		{Template: "update check failed", Means: "the connector could not ask for a newer version", Harmless: true},
		{Template: "Failed to fetch features, default to disable", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "Failed to refresh feature selector", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "Failed to refresh protocol", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "Unable to lookup protocol percentage.", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "Failed to initialize DNS local resolver", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "Failed to refresh DNS local resolver", Means: "the DNS did not answer at once", Harmless: true},
		{Template: "edge discovery: error looking up Cloudflare edge IPs: the DNS query failed", Means: "the connector cannot find Cloudflare's edge in the DNS", Remedy: hintDNS},
		{Template: dialEdge, Means: "a connection over TCP port 7844 did not come about"},
		{Template: "Unable to establish connection.", Means: wrapped},
		{Template: serveError, Means: wrapped},
		{Template: "failed to serve tunnel connection", Means: wrapped},
		{Template: "failed to serve the control stream", Means: wrapped},
		{Template: "failed to run the datagram handler", Means: wrapped},
		{Template: "failed to accept incoming stream requests", Means: "a connection to the edge broke off, and is made again", Harmless: true},
		{Template: "initial tunnel connection failed", Means: wrapped},
		{Template: "Register tunnel error from server side", Means: "Cloudflare refuses the connection"},
		{Template: "no more connections active and exiting", Means: "no connection to the edge is left, so the connector ends"},
		{Template: "Initiating shutdown", Means: "the connector ends because of an error"},
		{Template: "Error shutting down control stream: <error>", Means: "the connector ends", Harmless: true},
		{Template: "Couldn't start tunnel", Means: "the connector refuses one of its settings", Remedy: hintSetting},
		{Template: "Error opening metrics server listener", Means: "the connector's metrics address is in use or not its own"},
		{Template: "If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with `quic` protocol<text>", Means: "nothing comes back on UDP port 7844", Remedy: hintHTTP2},
		{Template: "observer channel buffer is full", Means: "the connector may tell old news of itself", Remedy: "type: mqtunnel restart cloudflared"},
		{Template: "Too many concurrent flows being handled, rejecting tcp proxy", Means: "nothing that MQTT needs", Harmless: true},
		{Template: "Error writing response header", Means: "a client or the edge ended a request early", Harmless: true},
		{Template: "precheck", Means: precise, Harmless: true},
		{Template: "precheck complete", Means: precise, Harmless: true},
		{Template: "+-<text>-+", Means: precise, Harmless: true},
		{Template: "|  SUMMARY: Environment is healthy.<text>|", Means: "the connector finds the ways to the edge open", Harmless: true},
		{Template: "|  SUMMARY: Environment ready with degraded transport.<text>|", Means: "the connector finds one of UDP and TCP port 7844 closed"},
		{Template: "|  SUMMARY: Environment has critical failures.<text>|", Means: "the connector finds no way to the edge"},
		{Template: "| <text>|", Means: precise, Harmless: true},
	}
	for _, e := range eventTable() {
		rows = append(rows, Known{Template: e.template, Means: e.means, Harmless: e.harmless})
	}
	return rows
}
