package doctor

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
)

func judgeConnectorContainer(e *Evidence) Outcome { return judgeContainer(e, thisConnector) }

// connectorCause is what the connector's log tells; the zero Cause when it tells
// nothing.
func connectorCause(e *Evidence) cloudflared.Cause {
	if e.Project.Status == nil || e.Project.Status.Cause == nil {
		return cloudflared.Cause{}
	}
	return *e.Project.Status.Cause
}

// causeLine is the line that a cause was read from, as evidence.
func causeLine(c cloudflared.Cause) string {
	line := c.Line.Message
	if reason := c.Line.Reason(); reason != "" {
		line = strings.TrimSpace(line + " error=" + reason)
	}
	return withoutToken(line)
}

// tagDate is a version of cloudflared at the end of an image reference.
var tagDate = regexp.MustCompile(`:(\d{4})\.(\d{1,2})\.\d+$`)

// oldImage reports whether the tag names a cloudflared that knows no
// TUNNEL_TOKEN_FILE, and whether it names a version at all.
func oldImage(image string) (old, known bool) {
	reference, _, _ := strings.Cut(image, "@")
	m := tagDate.FindStringSubmatch(reference)
	if m == nil {
		return false, false
	}
	year, _ := strconv.Atoi(m[1])  // digits, by the expression
	month, _ := strconv.Atoi(m[2]) // likewise
	return year < 2025 || year == 2025 && month < 4, true
}

func judgeConnectorImage(e *Evidence) Outcome {
	d, found := e.details(thisConnector)
	if !found {
		return unknown(thisConnector)
	}
	cause := connectorCause(e)
	image := e.image(thisConnector, d)
	old, versioned := oldImage(image)
	line := ""
	switch {
	case cause.ID == cloudflared.CauseTokenMissing && (old || !versioned):
		line = causeLine(cause)
	case cause.ID != "" || !old || !e.failing(thisConnector):
		return pass("%s", image)
	}
	return fault("the connector's image is too old to read its token from a file").seen("image "+image, line).
		do("set CLOUDFLARED_IMAGE in .env to 2025.4.0 or newer, or take the line out, and type: mqtunnel up", "mqtunnel up")
}

// image is the reference that the container was made from.
func (e *Evidence) image(p part, d plan.Details) string {
	for _, svc := range e.Project.Status.Services {
		if svc.Service == string(p) && svc.Image != "" && !strings.HasPrefix(svc.Image, "sha256:") {
			return svc.Image
		}
	}
	return d.Image
}

func judgeConnectorSettings(e *Evidence) Outcome {
	d, found := e.details(thisConnector)
	if !found {
		return unknown(thisConnector)
	}
	cause := connectorCause(e)
	switch cause.ID {
	case cloudflared.CauseTokenFile:
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do("make its container anew", "mqtunnel up --force-recreate")
	case cloudflared.CauseUsage, cloudflared.CauseSetting, cloudflared.CauseMetrics:
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint, "mqtunnel up")
	case "":
		if e.failing(thisConnector) && d.EndKnown() && d.ExitCode == 0 {
			return fault("the connector does not know one of its options, or cannot read the value of one").
				seen(fmt.Sprintf("%s ends with exit code 0 and is started again, %d times so far", d.Name, d.RestartCount)).
				do("correct TUNNEL_GRACE_PERIOD and the other TUNNEL_ settings in .env, and what compose.override.yaml changes of cloudflared; then type: mqtunnel up", "mqtunnel up")
		}
	default:
	}
	return pass("")
}

func judgeConnectorMemory(e *Evidence) Outcome { return judgeMemory(e, thisConnector) }

func judgeConnectorStarted(e *Evidence) Outcome {
	return judgeStarted(e, thisConnector, connectorCheck(e))
}

func judgeConnectorUnpaused(e *Evidence) Outcome { return judgeUnpaused(e, thisConnector) }

// connectorCheck is the check that tells why the connector does not stay up.
func connectorCheck(e *Evidence) string {
	d, _ := e.details(thisConnector)
	if d.OOMKilled {
		return "connector-memory"
	}
	cause := connectorCause(e)
	switch cause.ID {
	case cloudflared.CauseTokenInvalid:
		if e.Project.TokenHeld != nil && !*e.Project.TokenHeld {
			return "in-force" // .env has another one by now
		}
		return "token-form"
	case cloudflared.CauseTokenMissing:
		return "connector-image"
	case cloudflared.CauseUsage, cloudflared.CauseSetting, cloudflared.CauseTokenFile, cloudflared.CauseMetrics:
		return "connector-settings"
	case "":
		switch {
		case !d.EndKnown(), d.ExitCode == 1:
			// It has not said yet what it will end of, or had; without the names of the
			// edge it always ends.
			return "edge-dns"
		case d.ExitCode == 0:
			return "connector-settings"
		case d.ExitCode == exitToken:
			return "connector-image"
		}
		return ""
	default:
		return beyondConnector(cause.ID)
	}
}

// beyondConnector is the check that a cause outside the connector's container
// belongs to.
func beyondConnector(id cloudflared.CauseID) string {
	switch id {
	case cloudflared.CauseSecret, cloudflared.CauseRefused, cloudflared.CauseRefusedSilently:
		return "token-accepted"
	case cloudflared.CauseNoTunnel:
		return "tunnel-exists"
	case cloudflared.CauseDNS, cloudflared.CauseAddressFamily:
		return "edge-dns"
	case cloudflared.CauseNoRoute, cloudflared.CauseFirewall:
		return "edge-route"
	case cloudflared.CauseUDPBlocked:
		return "edge-udp"
	case cloudflared.CauseTCPBlocked:
		return "edge-tcp"
	case cloudflared.CauseClock:
		return "clock"
	case cloudflared.CauseInterception, cloudflared.CauseReset:
		return "edge-tls"
	default:
		return ""
	}
}

func judgeConnectorSteady(e *Evidence) Outcome {
	cause := connectorCause(e)
	o := judgeSteady(e, thisConnector, connectorExit, cause.Sentence, connectorCheck(e))
	if o.Status != Failed || cause.ID == "" {
		return o
	}
	return o.seen(causeLine(cause)).do(cause.Hint)
}

// exitToken is cloudflared's exit code when it got no token, or was called wrongly.
const exitToken = 255

// connectorExit words an exit code of cloudflared.
func connectorExit(code int) string {
	switch code {
	case 0:
		return "it does not know one of its options, or cannot read the value of one"
	case 1:
		return "it cannot work as it is set up, or finds no way to Cloudflare's edge"
	case 2:
		return "it crashed (panic)"
	case exitToken:
		return "it got no token that it can read, or was called wrongly"
	}
	return signalExit(code)
}

func judgeConnectorName(e *Evidence) Outcome { return judgeName(e, thisConnector) }

func judgeConnectorNetwork(e *Evidence) Outcome { return judgeOnNetwork(e, thisConnector) }

// Times that a connector is given.
const (
	answerGrace = time.Minute     // until it answers: it waits for the DNS first
	sickGrace   = 5 * time.Minute // of a failing health check, until somebody should help
)

func judgeConnectorAnswers(e *Evidence) Outcome {
	d, found := e.details(thisConnector)
	switch {
	case !found:
		return unknown(thisConnector)
	case d.State != plan.StateRunning:
		return unseen("the connector does not run")
	}
	r := e.Inside.Report
	if silent(e) {
		if e.At.Sub(d.StartedAt) < answerGrace {
			return unseen("the connector has started a moment ago")
		}
		return fault("the connector runs and does not answer on its metrics port").seen(r.Ready.Error.Error()).do("", "mqtunnel restart cloudflared")
	}
	if d.Health == plan.HealthUnhealthy && d.Failing >= sickGrace {
		return sick(e, d)
	}
	if r == nil && d.Health != plan.HealthHealthy {
		return unseen("nobody looked from inside the network")
	}
	return pass("")
}

// silent reports whether the connector gave no answer at all where it should, as
// seen from its own network namespace.
func silent(e *Evidence) bool {
	moved := slices.ContainsFunc(e.Project.Environment[plan.ServiceConnector], func(v string) bool {
		address, metrics := strings.CutPrefix(v, "TUNNEL_METRICS=")
		return metrics && !strings.HasSuffix(address, metricsPort)
	})
	r := e.Inside.Report
	return r != nil && e.Inside.From == plan.ServiceConnector && !moved && r.Ready.Done && r.Ready.Error != nil && r.Ready.Status == 0
}

// metricsPort ends the address at which the connector is asked.
const metricsPort = ":20241"

// sick judges a connector whose health check has failed for long: it is the
// connector's own fault where it is connected, or the way to the edge is open and
// nothing but that way was ever the matter.
func sick(e *Evidence, d plan.Details) Outcome {
	minutes := fmt.Sprintf("its health check has failed for about %d minutes", int(d.Failing/time.Minute))
	last := ""
	if len(d.HealthLog) > 0 {
		last = "the last health check said: " + withoutToken(d.HealthLog[len(d.HealthLog)-1])
	}
	switch {
	case e.works(thisConnector):
		return fault("the connector is connected and unhealthy all the same").seen(minutes, last).do("", "mqtunnel restart cloudflared")
	case edgeOpen(e) && passing(connectorCause(e).ID):
		return fault("the connector does not connect, although the way to Cloudflare's edge is open").seen(minutes, last).do("", "mqtunnel restart cloudflared")
	}
	return pass("")
}

// edgeOpen reports whether a look from inside came through to a region of the edge
// by both protocols.
func edgeOpen(e *Evidence) bool {
	r := e.Inside.Report
	if r == nil || r.Edge == nil {
		return false
	}
	for _, region := range r.Edge.Regions {
		if region.TLS.OK && region.UDP.OK {
			return true
		}
	}
	return false
}

// passing reports whether a cause is one of the network's, which may be over while
// the connector still waits for its next try, or none at all.
func passing(id cloudflared.CauseID) bool {
	return slices.Contains([]cloudflared.CauseID{
		"", cloudflared.CauseDNS, cloudflared.CauseAddressFamily, cloudflared.CauseNoRoute, cloudflared.CauseUDPBlocked,
		cloudflared.CauseTCPBlocked, cloudflared.CauseFirewall, cloudflared.CauseReset, cloudflared.CauseEdgeSilent,
	}, id)
}
