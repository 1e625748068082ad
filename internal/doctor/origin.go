package doctor

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// way is a part of the way from the connector to the broker.
type way int

// The parts in their order.
const (
	wayName way = iota
	wayPort
	wayUpgrade
	wayLogin
	wayTopic
	wayMessage
	wayAll // the message came back
)

// wayTo tells on which part of the way the probe's message was stopped, by what it
// met there.
func wayTo(f probe.Finding) way {
	switch f.Class {
	case probe.ClassNameUnknown, probe.ClassNameLookup, probe.ClassNameTimeout:
		return wayName
	case probe.ClassRefused, probe.ClassTCPTimeout, probe.ClassUnreachable, probe.ClassProhibited:
		return wayPort
	case probe.ClassNotAuthorised, probe.ClassBrokerBusy, probe.ClassConnack:
		return wayLogin
	case probe.ClassSubscribeDenied, probe.ClassPublishDenied, probe.ClassNotReturned:
		return wayTopic
	case probe.ClassNoSuback, probe.ClassConnectionLost:
		return wayMessage
	default:
		return wayUpgrade
	}
}

// brokerGrace is how long a broker may take to listen.
const brokerGrace = 20 * time.Second

// judgeWay judges one part of the way: it holds when the probe's message went
// further.
func judgeWay(e *Evidence, part way) Outcome {
	r := e.Inside.Report
	if r == nil || !r.RoundTrip.Done {
		return unlooked(e)
	}
	f, wrong := r.Origin()
	stopped := wayAll
	if wrong {
		stopped = wayTo(f)
	}
	d, _ := e.details(thisBroker)
	switch {
	case stopped > part:
		return pass("")
	case stopped < part:
		return unseen("the message did not come so far")
	case !e.Project.serving() && e.At.Sub(d.StartedAt) < brokerGrace:
		return unseen("the broker has started a moment ago")
	}
	o := fault("%s", f.Own).seen(r.RoundTrip.Error.Error()).do(f.Hint)
	if len(r.Addresses) > 0 {
		o = o.seen("the broker's name leads to " + strings.Join(r.Addresses, ", "))
	}
	return o
}

// serving reports whether the broker says that it has started.
func (p ProjectEvidence) serving() bool { return p.Status != nil && p.Status.Serving }

func judgeBrokerResolves(e *Evidence) Outcome {
	o := judgeWay(e, wayName)
	if o.Status != Passed {
		return o
	}
	r := e.Inside.Report
	if n := strangers(e, r.Addresses); n > 0 {
		return fault("another container has the broker's name on the connector's network, so that messages go here and there").
			seen(fmt.Sprintf("%s leads to %s", plan.ServiceBroker, strings.Join(r.Addresses, ", "))).
			seen(namesakes(e)...).
			do("take the name or alias " + plan.ServiceBroker + " from the other container, or take it off the network")
	}
	return pass("%s", strings.Join(r.Addresses, ", "))
}

// strangers returns how many IPv4 addresses the broker's name has beyond one for
// each network that it shares with the connector.
func strangers(e *Evidence, addresses []string) int {
	own := 1
	if o := e.Project.Observed; o != nil {
		broker, _ := o.Find(plan.ServiceBroker)
		connector, _ := o.Find(plan.ServiceConnector)
		shared := 0
		for name := range connector.Networks {
			if _, both := broker.Networks[name]; both {
				shared++
			}
		}
		own = max(own, shared)
	}
	n := 0
	for _, text := range addresses {
		if address, err := netip.ParseAddr(text); err == nil && address.Is4() {
			n++
		}
	}
	return max(0, n-own)
}

// namesakes lists the running containers of others on the broker's networks, of
// which one has its name.
func namesakes(e *Evidence) []string {
	if e.Project.Observed == nil {
		return nil
	}
	broker, _ := e.Project.Observed.Find(plan.ServiceBroker)
	connector, _ := e.Project.Observed.Find(plan.ServiceConnector)
	var lines []string
	for _, c := range e.Project.All {
		if c.ID == broker.ID || c.ID == connector.ID || c.State != plan.StateRunning {
			continue
		}
		for name := range c.Networks {
			if _, shared := broker.Networks[name]; shared {
				lines = append(lines, c.Name+" is on "+name)
			}
		}
	}
	slices.Sort(lines)
	return lines
}

// judgeOriginProxy judges by the rules by which cloudflared, as every program of Go,
// chooses a proxy for the broker's URL.
func judgeOriginProxy(e *Evidence) Outcome {
	env, known := e.Project.Environment[plan.ServiceConnector]
	if !known {
		return unknown(thisConnector)
	}
	value := func(names ...string) (name, set string) {
		for _, name := range names {
			for _, pair := range env {
				if set, found := strings.CutPrefix(pair, name+"="); found && set != "" {
					return name, set
				}
			}
		}
		return "", ""
	}
	name, address := value("HTTP_PROXY", "http_proxy")
	_, direct := value("NO_PROXY", "no_proxy")
	config := httpproxy.Config{HTTPProxy: address, NoProxy: direct}
	broker := &url.URL{Scheme: "http", Host: plan.ServiceBroker + ":9001"}
	proxy, err := config.ProxyFunc()(broker)
	switch {
	case err != nil:
		return fault("the connector's %s is no address of a proxy, so that it does not reach the broker", name).
			do("correct it where it comes from: compose.override.yaml, or proxies in ~/.docker/config.json; then type: mqtunnel up", "mqtunnel up")
	case proxy == nil:
		return pass("")
	}
	return fault("the connector looks for the broker through the HTTP proxy %s", proxy.Host).
		seen(name+" is set in the connector's container, and NO_PROXY there does not name "+plan.ServiceBroker).
		do("let NO_PROXY of cloudflared name "+plan.ServiceBroker+" in compose.override.yaml, or take the proxy out there or in ~/.docker/config.json; then type: mqtunnel up", "mqtunnel up")
}

func judgeBrokerReached(e *Evidence) Outcome { return judgeWay(e, wayPort) }

func judgeBrokerUpgrade(e *Evidence) Outcome { return judgeWay(e, wayUpgrade) }

func judgeProbeLogin(e *Evidence) Outcome {
	o := judgeWay(e, wayLogin)
	if set := e.Files.Settings; o.Status == Failed && set != nil && set.ProbePassword.IsZero() {
		return fault("the password of mqtunnel's own account is not in .env any more").do("", "mqtunnel up")
	}
	if o.Status == Failed && e.Inside.Report.RoundTrip.Error.Class != probe.ClassNotAuthorised {
		return o
	}
	return unread(o)
}

func judgeProbeTopic(e *Evidence) Outcome { return unread(judgeWay(e, wayTopic)) }

// unread gives a refusal its remedy. That the broker's files are older than the
// project's, or that it cannot read them, is told by checks further up: what is left
// is a broker that has not read them again.
func unread(o Outcome) Outcome {
	if o.Status != Failed {
		return o
	}
	return o.do("make the broker read its users and their rights again", "mqtunnel restart mosquitto")
}

func judgeMessageInside(e *Evidence) Outcome {
	o := judgeWay(e, wayMessage)
	if o.Status == Passed {
		o.Sentence = fmt.Sprintf("after %v", e.Inside.Report.Result.Message.Round(100*time.Microsecond))
	}
	return o
}
