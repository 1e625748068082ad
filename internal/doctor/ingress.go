package doctor

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// brokerURL is what a public hostname has to lead to.
const brokerURL = "http://mosquitto:9001"

// configGrace is how long after its first connection a connector may be without a
// configuration. The edge sends it within a second.
const configGrace = 10 * time.Second

// ingress returns the newest configuration that the connector is known to have.
// Its version is -1 when none is.
func (e *Evidence) ingress() cloudflared.Ingress {
	in := cloudflared.Ingress{Version: -1}
	if e.Project.Status != nil {
		in = e.Project.Status.Ingress
	}
	if r := e.Inside.Report; r != nil && r.Config.OK {
		// An answer that cannot be read leaves what the log told.
		if now, err := cloudflared.ParseConfig(bytes.NewReader(r.Config.Body)); err == nil && now.Version >= 0 &&
			(in.Unread || now.Version > in.Version) {
			in = now
		}
	}
	return in
}

// route returns the configuration and what it does with the broker's public
// hostname; false when no configuration is known.
func (e *Evidence) route() (cloudflared.Ingress, cloudflared.Advice, bool) {
	in := e.ingress()
	if !in.Received() {
		return in, cloudflared.Advice{}, false
	}
	want := ""
	if e.Files.Settings != nil {
		want = e.Files.Settings.Hostname
	}
	advice, _ := in.Advise(brokerURL, want)
	return in, advice, true
}

// refusal returns the line by which the connector refuses the configuration that
// Cloudflare has, and the ID of the check that tells it; "" when it does not.
func (e *Evidence) refusal() (line cloudflared.Line, id string) {
	if e.Project.Status == nil {
		return line, ""
	}
	line, found := cloudflared.Refused(e.Project.Status.ConnectorLines)
	switch {
	case !found:
		return line, ""
	case strings.HasPrefix(line.Reason(), "The last ingress rule must match all URLs"):
		return line, "catch-all"
	default:
		return line, "configuration-accepted"
	}
}

// routeFault returns the ID of the check of this layer that tells why requests for
// the public hostname do not reach the broker, "" when the configuration is right or
// unknown.
func (e *Evidence) routeFault() string {
	if _, id := e.refusal(); id != "" {
		return id
	}
	_, advice, known := e.route()
	if !known {
		return ""
	}
	switch advice.Kind {
	case cloudflared.AdviceNone:
		return ""
	case cloudflared.AdviceLocalhost:
		return "service-localhost"
	case cloudflared.AdviceAddress:
		return "service-address"
	case cloudflared.AdviceName:
		return "service-name"
	case cloudflared.AdvicePort:
		return "service-port"
	case cloudflared.AdviceTLS:
		return "service-tls"
	case cloudflared.AdviceTCP:
		return "service-tcp"
	case cloudflared.AdviceType:
		return "service-type"
	case cloudflared.AdvicePath:
		return "path-empty"
	case cloudflared.AdviceShadowed:
		return "rule-first"
	default:
		return "hostname-published"
	}
}

// flows reports whether every message that was sent through the public hostname came
// back, and not by another connector alone.
func (e *Evidence) flows() bool {
	return len(e.Public.Trips) > 0 && e.Public.Served != 0 &&
		!slices.ContainsFunc(e.Public.Trips, func(t Trip) bool { return t.Err != nil })
}

func judgeConfigured(e *Evidence) Outcome {
	in := e.ingress()
	status := e.Project.Status
	switch {
	case in.Received():
		return pass("version %d, %s", in.Version, counted(len(in.Rules), "rule"))
	case in.Unread:
		return pass("sent, and too long for the connector's log")
	case status == nil || len(status.Connections) == 0:
		return unseen("the connector is not known to be connected")
	case (e.Inside.Report == nil || !e.Inside.Report.Config.OK) && !status.Begun[plan.ServiceConnector]:
		return unseen("the beginning of the connector's log is gone, and nobody could look inside")
	case e.At.Sub(connectedSince(status.ConnectorLines)) < configGrace:
		return unseen("the connector has connected a moment ago")
	}
	o := fault("Cloudflare has sent no configuration: the tunnel publishes nothing yet").
		seen("the connector is connected, and answers every request with 503").
		do("in the dashboard, at the tunnel, add a Public hostname or Published application: Hostname " + e.wantedName() + ", " + typedService)
	_, id := e.refusal()
	return o.because(id)
}

// typedService is the service as the dashboard's form asks for it.
const typedService = "Type HTTP, URL mosquitto:9001, Path empty"

// wantedName is how the public hostname is called to somebody who has to type it.
func (e *Evidence) wantedName() string {
	if e.Files.Settings != nil && e.Files.Settings.Hostname != "" {
		return e.Files.Settings.Hostname
	}
	return "a name of yours such as mqtt.example.com"
}

// connectedSince returns when the first connection of the last start was
// registered, as far as the lines go back.
func connectedSince(lines []cloudflared.Line) (at time.Time) {
	for _, line := range lines {
		switch line.Event().Kind {
		case cloudflared.EventStarting:
			at = time.Time{}
		case cloudflared.EventRegistered:
			if at.IsZero() {
				at = line.Time
			}
		default:
		}
	}
	return at
}

// counted writes a number of things.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// refusals lists how cloudflared words what it refuses in a configuration, by the
// end or any part that holds no text of others; see its ingress/ingress.go.
func refusals() []struct{ words, sentence, remedy string } {
	return []struct{ words, sentence, remedy string }{
		{
			"ingress rules don't support proxying to a different path on the origin service",
			"a service of the tunnel has a path behind its address, so the connector refuses the whole configuration",
			"in the dashboard take the path off the URL of that service; the broker's is " + typedService,
		},
		{
			"is an invalid address, please make sure it has a scheme and a hostname",
			"a service of the tunnel is no address, so the connector refuses the whole configuration",
			"in the dashboard give that Public hostname a Type and a URL; the broker's is " + typedService,
		},
		{
			"Hostname cannot contain a port",
			"a public hostname of the tunnel has a port in it, so the connector refuses the whole configuration",
			"in the dashboard write the Public hostname without a port; clients use port 443",
		},
		{
			"Hostname patterns can have at most one wildcard",
			"a public hostname of the tunnel has its wildcard in the wrong place, so the connector refuses the whole configuration",
			"in the dashboard write the Public hostname without *, or with *. at its beginning alone",
		},
		{
			"has an invalid regex",
			"the Path of a public hostname is no regular expression, so the connector refuses the whole configuration",
			"in the dashboard empty the Path of that Public hostname",
		},
		{
			"this will match every hostname, meaning the rules which follow it will never be triggered",
			"a rule before the last one takes every request, so the connector refuses the whole configuration",
			"in the dashboard give that rule a Public hostname, or delete it",
		},
		{
			"invalid HTTP status code",
			"a service of the tunnel is an HTTP status that is none, so the connector refuses the whole configuration",
			"in the dashboard correct the status of that Public hostname",
		},
		{
			"", "the connector refuses the tunnel's configuration",
			"in the dashboard correct what the line names; the broker's Public hostname has " + typedService,
		},
	}
}

func judgeConfigurationAccepted(e *Evidence) Outcome {
	line, id := e.refusal()
	switch {
	case id == "catch-all":
		return unseen("the catch-all rule is missing")
	case id == "" && e.ingress().Received():
		return pass("")
	case id == "":
		return unseen("no configuration is known")
	}
	all := refusals()
	i := slices.IndexFunc(all, func(r struct{ words, sentence, remedy string }) bool { return strings.Contains(line.Reason(), r.words) })
	return fault("%s", all[i].sentence).seen(line.Reason(), inForce(e, line)).do(all[i].remedy)
}

// inForce tells which configuration stays while the newer one of the line is
// refused.
func inForce(e *Evidence, line cloudflared.Line) string {
	refused := "version " + line.Fields["version"] + " is refused"
	if in := e.ingress(); in.Received() {
		return fmt.Sprintf("%s; version %d stays in force until the connector is started again", refused, in.Version)
	}
	return refused + ", and no other is in force"
}

func judgeCatchAll(e *Evidence) Outcome {
	line, id := e.refusal()
	switch {
	case id == "catch-all":
		return fault("the tunnel has no catch-all rule at its end, so the connector refuses the whole configuration").
			seen(line.Reason(), inForce(e, line)).
			do("save the Public hostname again in the dashboard, which adds the catch-all rule; through the API, end the list with the rule http_status:404, without hostname and path")
	case e.ingress().Received():
		return pass("")
	default:
		return unseen("no configuration is known")
	}
}

// mostListed bounds how many public hostnames are listed.
const mostListed = 5

// publishes lists what the tunnel publishes.
func publishes(in cloudflared.Ingress) []string {
	var lines []string
	more := 0
	for i, rule := range in.Rules {
		switch {
		case rule.Hostname == "" && rule.Path == "":
		case len(lines) < mostListed:
			lines = append(lines, shownRule(rule, i+1))
		default:
			more++
		}
	}
	switch {
	case len(lines) == 0:
		lines = []string{"it publishes no hostname at all"}
	case more > 0:
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return append([]string{fmt.Sprintf("the tunnel's configuration is version %d", in.Version)}, lines...)
}

// shownRule writes a rule in a line.
func shownRule(rule cloudflared.Rule, number int) string {
	hostname, path, service := rule.Hostname, "", rule.Service
	if hostname == "" {
		hostname = "(every name)"
	}
	if rule.Path != "" {
		path = ", Path " + rule.Path
	}
	if service == "" {
		service = "(no service)"
	}
	return fmt.Sprintf("rule %d: %s%s -> %s", number, hostname, path, service)
}

func judgeHostnamePublished(e *Evidence) Outcome {
	in, advice, known := e.route()
	if !known {
		return unseen("no configuration is known")
	}
	_, refused := e.refusal()
	switch advice.Kind {
	case cloudflared.AdviceNone:
		return pass("%s", e.published(advice))
	case cloudflared.AdviceNoName:
		return warning("%s", advice.Cause).seen(shownRule(advice.Rule, advice.Number)).do(advice.Hint, "mqtunnel up")
	case cloudflared.AdviceNoHostname, cloudflared.AdviceForm:
		if e.flows() {
			return pass("messages flow through another rule")
		}
		return fault("%s", advice.Cause).seen(publishes(in)...).do(advice.Hint).because(refused)
	default:
		return pass("")
	}
}

func judgeAccessOff(e *Evidence) Outcome {
	_, advice, known := e.route()
	switch {
	case !known:
		return unseen("no configuration is known")
	case advice.Number == 0:
		return unseen("no rule of the tunnel is the broker's")
	case !advice.Rule.AccessRequired:
		return pass("")
	}
	// Behind an Access application that lets the client in, the connector does too:
	// what stands at the edge tells more than the rule.
	refused := slices.ContainsFunc(e.Public.Trips, func(t Trip) bool { return t.Err != nil && t.Err.Class == probe.ClassForbidden })
	keys := e.Files.Settings != nil && e.Files.Settings.AccessID != ""
	switch {
	case len(e.Public.Trips) > 0 && !refused:
		return pass("it asks, and lets through what Access let in")
	case len(e.Public.Trips) == 0 && keys:
		return unseen("it asks, and nobody could try CF_ACCESS_CLIENT_ID")
	default:
		return fault("the connector itself refuses clients that have no login of Cloudflare Access").
			seen(shownRule(advice.Rule, advice.Number) + ", with Protect with Access").
			do("in the dashboard, at the Public hostname, under Access, switch off Protect with Access")
	}
}

func judgeHostnameLevel(e *Evidence) Outcome {
	name := e.Public.Hostname
	if name == "" || len(e.Public.Trips) == 0 {
		return unseen("nobody could look at the certificate")
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(name)
	if err != nil {
		return unseen("the public hostname belongs to no domain that is known")
	}
	below := strings.TrimSuffix(strings.TrimSuffix(name, domain), ".")
	i := slices.IndexFunc(e.Public.Trips, func(t Trip) bool { return uncovered(t.Err, domain) })
	if i < 0 || !strings.Contains(below, ".") {
		return pass("")
	}
	better := strings.ReplaceAll(below, ".", "-") + "." + domain
	return fault("Cloudflare's certificate does not cover %s, which is more than one level below %s", name, domain).
		seen(e.Public.Trips[i].Err.Error()).
		do("in the dashboard use the Public hostname " + better + " instead, with " + typedService +
			"; or buy an Advanced Certificate for *." + strings.SplitN(name, ".", 2)[1])
}

// uncovered reports whether a handshake failed as it does at a Cloudflare edge that
// has no certificate for a name. A certificate of somebody else's is another fault.
func uncovered(err *probe.Error, domain string) bool {
	switch {
	case err == nil:
		return false
	case err.Class == probe.ClassTLSAlert:
		return true
	case err.Class != probe.ClassCertName:
		return false
	}
	return err.Certificate == nil || slices.ContainsFunc(err.Certificate.Names, func(n string) bool {
		return n == domain || strings.HasSuffix(n, "."+domain)
	})
}
