package cloudflared

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// AdviceKind is what is wrong with the configuration for the broker.
type AdviceKind string

// The kinds of advice. Those from AdviceLocalhost on are about one rule.
const (
	AdviceNone        AdviceKind = ""             // the public hostname leads to the broker
	AdviceUnread      AdviceKind = "unread"       // a configuration is in force that is not known
	AdviceNotReceived AdviceKind = "not-received" // none has come
	AdviceNoHostname  AdviceKind = "no-hostname"  // no rule is the broker's
	AdviceNoName      AdviceKind = "no-name"      // only a wildcard leads to the broker, and no name of it is known
	AdviceForm        AdviceKind = "form"         // the rule's hostname is written so that no request has it

	AdviceLocalhost AdviceKind = "localhost" // the service is the connector's own container
	AdviceAddress   AdviceKind = "address"   // ... an IP address
	AdviceName      AdviceKind = "name"      // ... another host
	AdviceType      AdviceKind = "type"      // ... no HTTP, TLS or TCP to a host
	AdviceTLS       AdviceKind = "tls"       // ... the broker, with TLS
	AdviceTCP       AdviceKind = "tcp"       // ... the broker, as a TCP stream
	AdvicePort      AdviceKind = "port"      // ... another port of the broker
	AdvicePath      AdviceKind = "path"      // the service is right, for other paths
	AdviceShadowed  AdviceKind = "shadowed"  // the rule is right, and an earlier one takes its requests
)

// Advice says what is wrong with the configuration and what to type instead. Rule,
// Earlier, Hostname and Service are outside text.
type Advice struct {
	Kind     AdviceKind
	Hostname string // of the rule that is wrong, "" when there is none
	Service  string // as it is now
	Cause    string // one sentence without a full stop
	Hint     string

	Rule    Rule // the one that was most likely meant for the broker, also when nothing is wrong
	Number  int  // its place in the configuration, from 1; 0 when there is none
	Earlier Rule // the one that takes its requests, of AdviceShadowed
	Before  int  // its place
}

// Advise returns what has to change in the dashboard so that a public hostname
// leads to the service, and false when one does already. want is the hostname that
// the user asked for, or "" for any. A tunnel carries other hostnames too: without
// want only a rule is judged that looks as if the broker was meant.
func (in Ingress) Advise(service, want string) (Advice, bool) {
	want = strings.ToLower(want)
	names := in.PublicHostnames(service)
	hostname := want
	if hostname == "" && len(names) > 0 {
		hostname = names[0]
	}
	if i := in.route(hostname, ClientPath); hostname != "" && i >= 0 && SameService(in.Rules[i].Service, service) {
		return Advice{Rule: in.Rules[i], Number: i + 1}, false
	}
	if in.Unread {
		return Advice{
			Kind:  AdviceUnread,
			Cause: "the connector's log does not show the whole configuration that Cloudflare sent",
			Hint:  "look from inside: mqtunnel status --live",
		}, true
	}
	if !in.Received() {
		return Advice{Kind: AdviceNotReceived, Cause: "no configuration has come from Cloudflare yet", Hint: publish(service, want)}, true
	}
	i, certain := in.meant(service, want)
	switch {
	case i < 0 || len(names) > 0 && !certain:
		return in.unpublished(service, want, names), true
	case want == "" && strings.HasPrefix(in.Rules[i].Hostname, "*") && SameService(in.Rules[i].Service, service) && in.Rules[i].takes(ClientPath):
		return Advice{
			Kind: AdviceNoName, Hostname: in.Rules[i].Hostname, Service: in.Rules[i].Service, Rule: in.Rules[i], Number: i + 1,
			Cause: "only a wildcard leads to the broker, so nobody knows which name its clients use",
			Hint:  "set MQTT_HOSTNAME in .env to the name that clients use",
		}, true
	default:
		return in.correct(i, service, want), true
	}
}

// unpublished is the advice where no rule is the broker's.
func (in Ingress) unpublished(service, want string, names []string) Advice {
	a := Advice{Kind: AdviceNoHostname, Cause: "no public hostname leads to the broker", Hint: publish(service, want)}
	if want == "" {
		return a
	}
	a.Cause = "the tunnel does not publish " + want
	if slices.ContainsFunc(in.Rules, func(r Rule) bool { return r.Hostname == want }) {
		a.Cause = want + " leads to something else than the broker"
	}
	if len(names) > 0 {
		a.Hint = "set MQTT_HOSTNAME=" + names[0] + " in .env, since that name leads to the broker; or " + a.Hint
	}
	return a
}

// correct is the advice about the rule at i.
func (in Ingress) correct(i int, service, want string) Advice {
	rule := in.Rules[i]
	a := Advice{
		Hostname: rule.Hostname, Service: rule.Service, Rule: rule, Number: i + 1,
		Hint: "in the dashboard, at the tunnel's Public hostname or Published application " + in.shown(i) + ", set " + typed(service),
	}
	hostname := want
	if hostname == "" {
		hostname = rule.Hostname
	}
	switch {
	case !rule.covers(hostname) || want == "" && in.shown(i) != rule.Hostname:
		a.Kind = AdviceForm
		a.Hint = "in the dashboard write the Public hostname as " + hostname + ", and set " + typed(service)
		if want == "" {
			a.Hint = "in the dashboard write the Public hostname as a name alone, such as mqtt.example.com, and set " + typed(service)
		}
	case !SameService(rule.Service, service):
		a.Kind = misfit(rule.Service, service)
	case !rule.takes(ClientPath):
		a.Kind = AdvicePath
	default:
		a.Kind = AdviceShadowed
		earlier := in.route(hostname, ClientPath)
		a.Earlier, a.Before = in.Rules[earlier], earlier+1
		a.Hint = "in the dashboard move the Public hostname " + in.shown(i) + " above " + in.shown(earlier) + ", or delete that one"
	}
	a.Cause = causes(a.Kind)
	return a
}

// meant returns the index of the rule that was most likely meant for the broker, -1
// when none looks so. certain is false when nothing but its place speaks for it.
func (in Ingress) meant(service, want string) (best int, certain bool) {
	target, err := url.Parse(service)
	if err != nil {
		return -1, false
	}
	written := slices.IndexFunc(in.Rules, func(r Rule) bool { return want != "" && bareName(r.Hostname) == want })
	best, most := -1, 0
	for i, rule := range in.Rules {
		switch {
		case want == "" && rule.Hostname == "",
			want != "" && written >= 0 && bareName(rule.Hostname) != want,
			want != "" && written < 0 && !rule.covers(want):
			continue
		}
		if points := resemblance(rule, service, target); points > most {
			best, most = i, points
		}
	}
	switch only := in.only(); {
	case best >= 0:
		return best, true
	case written >= 0:
		return written, false
	case want == "" && only >= 0 && misfit(in.Rules[only].Service, service) == AdviceType:
		return only, false // there is no other, and it leads nowhere yet
	default:
		return -1, false
	}
}

// only returns the index of the one rule that has a hostname, -1 when it is not one.
func (in Ingress) only() int {
	only := -1
	for i, rule := range in.Rules {
		switch {
		case rule.Hostname == "" || rule.Hostname == "*":
		case only >= 0:
			return -1
		default:
			only = i
		}
	}
	return only
}

// resemblance tells by points how much a rule looks as if it was meant for the
// broker, 0 for not at all.
func resemblance(rule Rule, service string, target *url.URL) int {
	if SameService(rule.Service, service) {
		return 6
	}
	host, port := "", ""
	if u, err := url.Parse(rule.Service); err == nil {
		host, port = hostOf(u), u.Port()
	}
	label, _, _ := strings.Cut(rule.Hostname, ".")
	switch {
	case host == hostOf(target):
		return 5
	case port == target.Port():
		return 4
	case slices.Contains([]string{"1883", "8883", "9883"}, port):
		return 3 // ports of other listeners of a broker
	case strings.Contains(host, "mosquitto") || brokerName(host) || host != "" && host == rule.Hostname:
		return 2
	case brokerName(label):
		return 1
	default:
		return 0
	}
}

// brokerName reports whether a name is one that brokers are given. That mqtt stands
// in it is not enough: zigbee2mqtt is no broker.
func brokerName(name string) bool {
	return slices.Contains([]string{"mqtt", "mqtts", "mosquitto", "broker"}, strings.TrimRight(name, "0123456789-"))
}

// bareName takes off what people add to a hostname: a port and a final dot.
func bareName(hostname string) string {
	name, _, _ := strings.Cut(hostname, ":")
	return strings.TrimSuffix(strings.TrimSpace(name), ".")
}

// misfit returns what is wrong with a service, which is not the same as want.
func misfit(service, want string) AdviceKind {
	got, err := url.Parse(service)
	target, wantErr := url.Parse(want)
	if err != nil || wantErr != nil || got.Hostname() == "" ||
		!slices.Contains([]string{"http", "ws", "https", "wss", "tcp", "mqtt", "mqtts"}, got.Scheme) {
		return AdviceType
	}
	switch host := hostOf(got); {
	case host != hostOf(target):
		return hostKind(host)
	case got.Scheme == "https" || got.Scheme == "wss":
		return AdviceTLS
	case got.Scheme != "http" && got.Scheme != "ws":
		return AdviceTCP
	case got.Port() != target.Port():
		return AdvicePort
	default:
		return AdviceType // a path behind the port
	}
}

// hostKind returns what is wrong with a host that is not the broker's.
func hostKind(host string) AdviceKind {
	addr, err := netip.ParseAddr(host)
	addr = addr.Unmap()
	switch {
	case host == "localhost" || strings.HasSuffix(host, ".localhost") || addr.IsLoopback() || addr.IsUnspecified():
		return AdviceLocalhost
	case err == nil:
		return AdviceAddress
	default:
		return AdviceName
	}
}

// causes says in a few words what is wrong with a rule.
func causes(kind AdviceKind) string {
	switch kind {
	case AdviceForm:
		return "the public hostname is written so that no request has it"
	case AdviceLocalhost:
		return "the public hostname leads to localhost, which is the connector's own container"
	case AdviceAddress:
		return "the public hostname leads to an address, and not to the broker by its name"
	case AdviceName:
		return "the public hostname leads to another host than the broker"
	case AdviceTLS:
		return "the public hostname leads to the broker with TLS, which it does not speak inside"
	case AdviceTCP:
		return "the public hostname has Type TCP, which breaks MQTT over WebSocket"
	case AdvicePort:
		return "the public hostname leads to the wrong port of the broker"
	case AdvicePath:
		return "the public hostname leads to the broker only for some paths"
	case AdviceShadowed:
		return "an earlier rule of the tunnel takes the requests for the public hostname"
	default:
		return "the public hostname does not lead to the broker"
	}
}

// shown names the rule at i by its hostname, and by its place where that is none.
func (in Ingress) shown(i int) string {
	if name := in.Rules[i].Hostname; name == "*" || IsHostname(strings.TrimPrefix(name, "*.")) {
		return name
	}
	return "number " + strconv.Itoa(i+1)
}

// publish says how a hostname is added.
func publish(service, hostname string) string {
	if hostname == "" {
		hostname = "a name of yours such as mqtt.example.com"
	}
	return "in the dashboard, at the tunnel, add a Public hostname or Published application: Hostname " + hostname + ", " + typed(service)
}

// typed spells a service as the dashboard's form asks for it.
func typed(service string) string {
	scheme, rest, _ := strings.Cut(service, "://")
	return "Type " + strings.ToUpper(scheme) + ", URL " + rest + ", Path empty"
}

// Refused returns the newest line by which the connector refuses the configuration
// that the edge sent, unless it accepted one since or was started again.
func Refused(lines []Line) (refusal Line, found bool) {
	for _, line := range lines {
		switch line.Event().Kind {
		case EventConfigFailed:
			refusal, found = line, true
		case EventConfig, EventStarting, EventShutdown:
			refusal, found = Line{}, false
		default:
		}
	}
	return refusal, found
}
