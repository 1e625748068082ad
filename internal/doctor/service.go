package doctor

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// published tells the public hostname of the rule.
func (e *Evidence) published(advice cloudflared.Advice) string {
	if e.Files.Settings != nil && e.Files.Settings.Hostname != "" {
		return e.Files.Settings.Hostname
	}
	return advice.Rule.Hostname
}

// judgeRule is the judge of one way in which the rule of the broker can be wrong. why
// makes the sentence more exact.
func judgeRule(e *Evidence, kind cloudflared.AdviceKind, why func(cloudflared.Rule) string) Outcome {
	in, advice, known := e.route()
	switch {
	case !known:
		return unseen("no configuration is known")
	case advice.Number == 0:
		return unseen("no rule of the tunnel is the broker's")
	case advice.Kind == cloudflared.AdviceNone, advice.Kind == cloudflared.AdviceNoName:
		return pass("")
	case advice.Kind != kind:
		return unseen("the broker's rule is wrong in another way")
	}
	_, refused := e.refusal()
	o := fault("%s%s", advice.Cause, why(advice.Rule)).because(refused)
	if e.flows() || e.reaches(advice.Rule) {
		o = warning("%s%s; it works today", advice.Cause, why(advice.Rule))
	}
	o = o.seen(shownRule(advice.Rule, advice.Number))
	if advice.Before > 0 {
		o = o.seen(shownRule(advice.Earlier, advice.Before) + ", which comes first")
	}
	return o.seen(fmt.Sprintf("the tunnel's configuration is version %d, %s", in.Version, counted(len(in.Rules), "rule"))).do(advice.Hint)
}

// reaches reports whether a service under another name or address is the broker's
// WebSocket listener all the same.
func (e *Evidence) reaches(rule cloudflared.Rule) bool {
	u, err := url.Parse(rule.Service)
	if err != nil || u.Port() != "9001" || u.Scheme != "http" && u.Scheme != "ws" || !e.takesClients(rule) {
		return false
	}
	if r := e.Inside.Report; r != nil && r.Name.OK && slices.Contains(r.Addresses, u.Hostname()) {
		return true
	}
	if e.Project.Observed == nil {
		return false
	}
	broker, found := e.Project.Observed.Find(plan.ServiceBroker)
	return found && strings.EqualFold(broker.Name, u.Hostname())
}

// takesClients reports whether the rule is the one that a client's request meets.
func (e *Evidence) takesClients(rule cloudflared.Rule) bool {
	met, found := e.ingress().Route(rule.Hostname, cloudflared.ClientPath)
	return found && met == rule
}

// plainly adds nothing to the sentence.
func plainly(cloudflared.Rule) string { return "" }

func judgeServiceLocalhost(e *Evidence) Outcome {
	return judgeRule(e, cloudflared.AdviceLocalhost, plainly)
}

func judgeServiceAddress(e *Evidence) Outcome {
	return judgeRule(e, cloudflared.AdviceAddress, func(r cloudflared.Rule) string {
		u, err := url.Parse(r.Service)
		if err != nil {
			return ""
		}
		addr, err := netip.ParseAddr(u.Hostname())
		if err != nil {
			return ""
		}
		return ": " + addr.WithZone("").String()
	})
}

// plainHost is a host that can stand in a sentence as it is.
var plainHost = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)

func judgeServiceName(e *Evidence) Outcome {
	return judgeRule(e, cloudflared.AdviceName, func(r cloudflared.Rule) string {
		u, err := url.Parse(r.Service)
		switch {
		case err != nil || !plainHost.MatchString(u.Hostname()):
			return ""
		case strings.EqualFold(u.Hostname(), r.Hostname):
			return ": it leads back to itself"
		default:
			return ": " + u.Hostname() + " in place of mosquitto"
		}
	})
}

func judgeServicePort(e *Evidence) Outcome {
	return judgeRule(e, cloudflared.AdvicePort, func(r cloudflared.Rule) string {
		u, err := url.Parse(r.Service)
		if err != nil {
			return ""
		}
		switch u.Port() {
		case "":
			return ": without one it is 80, and WebSocket is on 9001"
		case "1883":
			return ": 1883 is plain MQTT, and WebSocket is on 9001"
		case "8883":
			return ": 8883 is MQTT with TLS elsewhere, and WebSocket is on 9001"
		case "9883":
			return ": 9883 is a web page of other Mosquittos, and WebSocket is on 9001"
		default:
			return ", since WebSocket is on 9001"
		}
	})
}

func judgeServiceTls(e *Evidence) Outcome { return judgeRule(e, cloudflared.AdviceTLS, plainly) }

func judgeServiceTcp(e *Evidence) Outcome { return judgeRule(e, cloudflared.AdviceTCP, plainly) }

func judgeServiceType(e *Evidence) Outcome {
	return judgeRule(e, cloudflared.AdviceType, func(r cloudflared.Rule) string {
		kind, _, _ := strings.Cut(r.Service, ":")
		switch kind {
		case "":
			return ": it has no service"
		case "http_status":
			return ": it answers every request with a fixed status"
		case "hello_world", "hello-world":
			return ": it shows cloudflared's test page"
		case "unix", "unix+tls":
			return ": it leads to a socket file, which the connector does not have"
		case "ssh", "rdp", "smb", "bastion", "socks-proxy":
			return ": its Type " + strings.ToUpper(kind) + " is for something else"
		default:
			return ""
		}
	})
}

func judgePathEmpty(e *Evidence) Outcome { return judgeRule(e, cloudflared.AdvicePath, plainly) }

func judgeRuleFirst(e *Evidence) Outcome { return judgeRule(e, cloudflared.AdviceShadowed, plainly) }

func judgeOtherServices(e *Evidence) Outcome {
	in, advice, known := e.route()
	r := e.Inside.Report
	if !known || r == nil || len(r.Others) == 0 {
		return unseen("there are no others, or nobody could look")
	}
	var lost []string
	for i, rule := range in.Rules {
		if i+1 == advice.Number {
			continue
		}
		if d, found := dialed(r.Others, rule.Service); found && d.Done && !d.OK {
			line := shownRule(rule, i+1)
			if d.Error != nil {
				line += ": " + string(d.Error.Class)
			}
			lost = append(lost, line)
		}
	}
	if len(lost) == 0 {
		return pass("%d reached", len(r.Others))
	}
	if more := len(lost) - mostListed; more > 0 {
		lost = append(lost[:mostListed], fmt.Sprintf("and %d more", more))
	}
	return warning("the tunnel also publishes what this connector does not reach, so requests for it that arrive here get 502").
		seen(lost...).
		do("where another connector elsewhere serves those names with the same token, give the broker a tunnel of its own, since Cloudflare sends each request to either; else correct or delete them in the dashboard")
}

// dialed finds the address of a service among those that were tried.
func dialed(others []probe.Dialed, service string) (probe.Dialed, bool) {
	u, err := url.Parse(service)
	if err != nil || u.Hostname() == "" {
		return probe.Dialed{}, false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}[u.Scheme]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	i := slices.IndexFunc(others, func(d probe.Dialed) bool { return strings.EqualFold(d.Address, address) })
	if i < 0 {
		return probe.Dialed{}, false
	}
	return others[i], true
}
