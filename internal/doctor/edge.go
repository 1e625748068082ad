package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/probe"
)

// settleTime is how long after a start a single failure on the way tells nothing: a
// registered connection takes some seconds to be known at every place of the edge.
const settleTime = 30 * time.Second

// settling reports whether broker or connector have started only just now.
func (e *Evidence) settling() bool {
	if e.Project.Status == nil {
		return false
	}
	for _, s := range e.Project.Status.Services {
		if s.Exists && e.At.Sub(s.Since) < settleTime {
			return true
		}
	}
	return false
}

// through counts the round trips that came back.
func (p *PublicEvidence) through() int {
	n := 0
	for _, t := range p.Trips {
		if t.Err == nil {
			n++
		}
	}
	return n
}

// ownedBy returns the failures of round trips that this check tells of.
func (p *PublicEvidence) ownedBy(id string) []*probe.Error {
	var own []*probe.Error
	for _, t := range p.Trips {
		if t.Err != nil && owner(t.Err) == id {
			own = append(own, t.Err)
		}
	}
	return own
}

// fromCloudflare reports whether an HTTP answer is Cloudflare's, which puts its name
// and a Ray ID into each.
func fromCloudflare(err *probe.Error) bool {
	return strings.EqualFold(err.Server, "cloudflare") || err.Ray != ""
}

// byCloudflare reports whether a round trip met Cloudflare.
func (p *PublicEvidence) byCloudflare() bool {
	return slices.ContainsFunc(p.Trips, func(t Trip) bool { return t.Err == nil || fromCloudflare(t.Err) })
}

// atAccess reports whether the answer is a login page of Cloudflare Access, whatever
// its status.
func atAccess(err *probe.Error) bool {
	return err.Class == probe.ClassAccessLogin || strings.Contains(err.Body, ".cloudflareaccess.com")
}

// owner returns the ID of the check that tells of a failed round trip.
func owner(err *probe.Error) string {
	switch {
	case err.Status != 0 && !fromCloudflare(err):
		return "edge-reached"
	case err.Status != 0 && atAccess(err):
		return "edge-access"
	}
	switch err.Stage {
	case probe.StageDNS, probe.StageTCP:
		return "edge-reached"
	case probe.StageTLS:
		return ownerOfTLS(err.Class)
	case probe.StageConnect:
		return ownerOfConnect(err.Class)
	case probe.StageSubscribe, probe.StageMessage:
		return "public-message"
	default:
		return ownerOfAnswer(err.Class)
	}
}

func ownerOfTLS(class probe.Class) string {
	switch class {
	case probe.ClassNotTLS, probe.ClassTLSClosed, probe.ClassTLSTimeout:
		return "edge-reached"
	default:
		return "edge-certificate"
	}
}

func ownerOfConnect(class probe.Class) string {
	switch class {
	case probe.ClassNotAuthorised, probe.ClassBrokerBusy, probe.ClassConnack:
		return "public-login"
	default:
		return "public-message"
	}
}

func ownerOfAnswer(class probe.Class) string {
	switch class {
	case probe.ClassNoConnector:
		return "edge-connector"
	case probe.ClassTunnelUnknown:
		return "edge-tunnel"
	case probe.ClassOriginFailed:
		return "edge-origin"
	case probe.ClassNoIngress:
		return "edge-configured"
	case probe.ClassCatchAll:
		return "edge-rule"
	case probe.ClassForbidden:
		return "edge-allowed"
	case probe.ClassRedirect:
		return "edge-redirect"
	case probe.ClassRateLimited:
		return "edge-rate"
	case probe.ClassEdgeOrigin:
		return "edge-server"
	case probe.ClassUpgradeRejected, probe.ClassUpgradeStripped, probe.ClassUpgradeInvalid, probe.ClassSubprotocol:
		return "edge-websocket"
	default:
		return "edge-answer"
	}
}

// depth is how far a client comes that meets a failure of this check; all answers of
// the edge are equally far.
func depth(id string) int {
	i := slices.Index([]string{"edge-reached", "edge-certificate", "edge", "public-login", "public-message"}, id)
	if i < 0 {
		return depth("edge")
	}
	return i
}

// tripLines tells how the round trips failed, each way once.
func (p *PublicEvidence) tripLines() []string {
	var texts []string
	count := map[string]int{}
	for _, t := range p.Trips {
		if t.Err == nil {
			continue
		}
		text := t.Err.Error()
		if count[text]++; count[text] == 1 {
			texts = append(texts, text)
		}
	}
	for i, text := range texts {
		texts[i] = fmt.Sprintf("%d of %d: %s", count[text], len(p.Trips), text)
	}
	return texts
}

// judgeTrips is the outcome of a check on what clients meet. wrong makes the fault of
// the first failure that the check tells of.
func judgeTrips(e *Evidence, id string, wrong func(*probe.Error) Outcome) Outcome {
	p := &e.Public
	switch {
	case p.Hostname == "":
		return unseen("no public hostname is known")
	case len(p.Trips) == 0:
		return unseen("no client was tried")
	case p.through() > 0:
		return pass("") // what only some clients meet is told by the MQTT checks
	}
	own := p.ownedBy(id)
	if len(own) > 0 {
		return wrong(own[0]).seen(p.tripLines()...).seen(ray(own[0]))
	}
	if slices.ContainsFunc(p.Trips, func(t Trip) bool { return depth(owner(t.Err)) > depth(id) }) {
		return pass("")
	}
	return unseen("no client came that far")
}

// ray tells Cloudflare's ID of an answer, by which its support finds the request.
func ray(err *probe.Error) string {
	if err.Ray == "" {
		return ""
	}
	return "Cf-Ray: " + err.Ray
}

func judgeEdgeReached(e *Evidence) Outcome {
	return judgeTrips(e, "edge-reached", func(err *probe.Error) Outcome {
		name := e.Public.Hostname
		switch {
		case err.Status != 0:
			return fault("what answers for %s on port 443 is not Cloudflare", name).seen("Server: " + err.Server).
				do("see what stands between this network and Cloudflare: a captive portal, a proxy, a rewrite of the name")
		case err.Stage == probe.StageDNS:
			return fault("the name %s cannot be resolved here", name).because("name-here")
		case err.Stage == probe.StageTLS:
			return fault("what answers for %s on port 443 does not speak TLS as Cloudflare does", name).because("edge-route")
		case err.Class == probe.ClassRefused:
			return fault("the connection to %s on port 443 is refused", name).because("edge-route")
		default:
			return fault("nothing answers for %s on port 443", name).because("edge-route")
		}
	})
}

func judgeEdgeCertificate(e *Evidence) Outcome {
	return judgeTrips(e, "edge-certificate", func(err *probe.Error) Outcome {
		name := e.Public.Hostname
		switch err.Class {
		case probe.ClassCertExpired, probe.ClassCertNotYet:
			return fault("the certificate of %s is out of date, or the clock of this machine is wrong", name).
				do("correct the clock of this machine first", "timedatectl").because("clock")
		case probe.ClassCertAuthority:
			return fault("the certificate of %s comes from somebody whom nobody here trusts: TLS is intercepted", name)
		case probe.ClassCertName, probe.ClassTLSAlert:
			return fault("Cloudflare has no certificate for %s", name).
				do("in the dashboard see SSL/TLS, Edge Certificates: a new domain waits up to a day, and Universal SSL must be on")
		default:
			return fault("the certificate of %s cannot be verified", name)
		}
	})
}

func judgeEdgeConnector(e *Evidence) Outcome {
	return judgeTrips(e, "edge-connector", func(*probe.Error) Outcome {
		if e.settling() {
			return unseen("the connector has connected only just now, and the edge does not know it everywhere yet")
		}
		return fault("the connector is connected, but %s leads to another tunnel, of which no connector is", e.Public.Hostname).
			do("in the dashboard, under DNS, the record of the name must be a CNAME to the tunnel of the token: delete it, then save the Public hostname again")
	})
}

func judgeEdgeTunnel(e *Evidence) Outcome {
	return judgeTrips(e, "edge-tunnel", func(*probe.Error) Outcome {
		return fault("the DNS record of %s leads to a tunnel that does not exist any more", e.Public.Hostname)
	})
}

// restartGrace is how long after a start of the broker a 502 tells nothing: it may
// have been asked for just before.
const restartGrace = 5 * time.Second

func judgeEdgeOrigin(e *Evidence) Outcome {
	outcome := judgeTrips(e, "edge-origin", func(*probe.Error) Outcome {
		if d, found := e.details(thisBroker); found && e.At.Sub(d.StartedAt) < restartGrace {
			return unseen("the broker has started a moment ago")
		}
		told := fault("Cloudflare answers 502: a connector of the tunnel gets no answer from its broker").because("one-broker")
		if e.Inside.Report == nil || !e.Inside.Report.RoundTrip.OK {
			return told
		}
		if e.stripped() {
			return told.because("edge-websocket")
		}
		told.Sentence = "Cloudflare answers 502 although the broker answers the connector here"
		if e.Public.Served == 0 {
			told.Sentence += ", which got none of these requests"
			return told.do("in the dashboard see at the tunnel whether a second connector runs: it has to reach a broker too, or stop; " +
				"else see https://www.cloudflarestatus.com")
		}
		return told.do("in the dashboard see under Network whether WebSockets are on, and at the tunnel whether a second connector runs: " +
			"it has to reach a broker too, or stop")
	})
	if outcome.Status == Passed {
		outcome.Sentence = "a browser shows 502 there although all is well: a broker is no web page"
	}
	return outcome
}

func judgeEdgeConfigured(e *Evidence) Outcome {
	return judgeTrips(e, "edge-configured", func(*probe.Error) Outcome {
		return fault("a connector of the tunnel has no configuration, so Cloudflare answers 503")
	})
}

func judgeEdgeRule(e *Evidence) Outcome {
	return judgeTrips(e, "edge-rule", func(*probe.Error) Outcome {
		return fault("no rule of the tunnel takes requests for %s, so Cloudflare answers 404", e.Public.Hostname)
	})
}

func judgeEdgeAllowed(e *Evidence) Outcome {
	return judgeTrips(e, "edge-allowed", func(err *probe.Error) Outcome {
		return fault("Cloudflare refuses clients of %s with %d: a firewall or bot rule, or Access, stands in front", e.Public.Hostname, err.Status)
	})
}

func judgeEdgeAccess(e *Evidence) Outcome {
	return judgeTrips(e, "edge-access", func(*probe.Error) Outcome {
		if set := e.Files.Settings; set != nil && set.AccessID != "" {
			return fault("Cloudflare Access does not accept the service token of CF_ACCESS_CLIENT_ID for %s", e.Public.Hostname).
				do("in Zero Trust give the Access application of the name a policy with action Service Auth that includes this service token; " +
					"or correct CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET in .env")
		}
		return fault("Cloudflare Access asks clients of %s for a login, which no MQTT client can give", e.Public.Hostname)
	})
}

func judgeEdgeRedirect(e *Evidence) Outcome {
	return judgeTrips(e, "edge-redirect", func(err *probe.Error) Outcome {
		return fault("Cloudflare redirects clients of %s elsewhere", e.Public.Hostname).seen("to " + err.Location)
	})
}

func judgeEdgeRate(e *Evidence) Outcome {
	limited := func(*probe.Error) Outcome {
		return fault("Cloudflare limits the rate of requests for %s", e.Public.Hostname)
	}
	if own := e.Public.ownedBy("edge-rate"); len(own) > 0 {
		return limited(own[0]).seen(e.Public.tripLines()...)
	}
	return judgeTrips(e, "edge-rate", limited)
}

func judgeEdgeServer(e *Evidence) Outcome {
	return judgeTrips(e, "edge-server", func(err *probe.Error) Outcome {
		return fault("Cloudflare answers %d: it does not reach what the DNS record of %s points to", err.Status, e.Public.Hostname)
	})
}

// stripped reports whether requests reach the broker here and are none that it
// answers, although it answers the same request of a WebSocket client.
func (e *Evidence) stripped() bool {
	return e.Public.allFailedAtOrigin() && e.Public.Served > 0 && e.Inside.Report != nil && e.Inside.Report.RoundTrip.OK
}

func judgeEdgeWebsocket(e *Evidence) Outcome {
	if e.stripped() {
		return fault("Cloudflare passes requests for %s on without their WebSocket upgrade, and the broker answers nothing else", e.Public.Hostname).
			seen(e.Public.tripLines()...).
			seen(fmt.Sprintf("%d of them reached the broker here, which answers WebSocket clients", e.Public.Served))
	}
	return judgeTrips(e, "edge-websocket", func(err *probe.Error) Outcome {
		name := e.Public.Hostname
		switch err.Class {
		case probe.ClassSubprotocol:
			return fault("the WebSocket of %s comes without the subprotocol mqtt, so something else than the broker answers", name).
				do("in the dashboard set the service to Type HTTP, URL mosquitto:9001")
		case probe.ClassUpgradeInvalid:
			return fault("the answer to a WebSocket upgrade at %s breaks the protocol", name)
		default:
			return fault("a page answers at %s instead of a WebSocket", name).seen(answerBody(err))
		}
	})
}

func judgeEdgeAnswer(e *Evidence) Outcome {
	return judgeTrips(e, "edge-answer", func(err *probe.Error) Outcome {
		name := e.Public.Hostname
		switch {
		case err.Status != 0:
			return fault("Cloudflare answers clients of %s with HTTP %d", name, err.Status).seen(answerBody(err))
		case err.Class == probe.ClassUpgradeTimeout:
			return fault("Cloudflare does not answer clients of %s in time: the connector waits for its broker", name).because("edge-origin")
		default:
			return fault("Cloudflare closes connections to %s without an answer", name).because("edge-origin")
		}
	})
}

// answerBody tells the beginning of an answer.
func answerBody(err *probe.Error) string {
	if err.Body == "" {
		return ""
	}
	return "answer: " + err.Body
}
