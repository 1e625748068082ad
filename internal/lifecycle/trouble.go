package lifecycle

import (
	"fmt"
	"slices"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// trouble is what keeps a stage from coming, as far as was seen.
type trouble struct {
	saw      string // "" when nothing is seen to be wrong
	detail   string // what of it may change from one look to the next
	hint     string
	hopeless bool // waiting any longer is of no use
}

// String words what was seen.
func (t trouble) String() string {
	if t.detail == "" {
		return t.saw
	}
	return t.saw + " (" + t.detail + ")"
}

// restartsGiven is how often a broker may die before it is hopeless: the first
// start on a damaged database fails, the second does not.
const restartsGiven = 3

// brokerTrouble says what is wrong with the broker, by its container and its log.
// before is how often it had restarted when the wait began: that of a container
// that has run for months says nothing.
func brokerTrouble(d plan.Details, v view, before int) trouble {
	if v.serving && d.State == plan.StateRunning {
		return trouble{}
	}
	t := died(d)
	if t.saw != "" {
		t.hint = "type: mqtunnel logs mosquitto"
	}
	if v.faulted {
		t.saw, t.detail, t.hint = v.fault.Cause+": "+v.fault.Line, "", v.fault.Hint
	}
	dying := d.RestartCount > before || v.faulted
	t.hopeless = ended(d) || d.State != plan.StateRunning && d.RestartCount >= restartsGiven && dying
	return t
}

// propagation is how long a tunnel that was just made may be unknown to the edge.
const propagation = 20 * time.Second

// connectorTrouble says what is wrong with the connector, by its container and its
// log. waited is for how long that has been looked at.
func connectorTrouble(d plan.Details, v view, waited time.Duration) trouble {
	if v.caused {
		lasting := definite(v.cause.ID) || perhaps(v.cause.ID) && waited > propagation
		// A connector that has a connection lacks an address for a further one only, as
		// when one was slow to answer on a busy machine.
		lasting = lasting && (v.cause.ID != cloudflared.CauseAddressFamily || len(v.connections) == 0)
		return trouble{saw: v.cause.Sentence, detail: v.cause.Line.Reason(), hint: v.cause.Hint, hopeless: lasting || ended(d)}
	}
	t := died(d)
	if t.saw != "" {
		t.hint = "type: mqtunnel logs cloudflared"
	}
	t.hopeless = ended(d)
	return t
}

// withEdge adds to a blocked UDP port what a look from inside found of the TCP
// port of the same number: the way out is open, or there is none.
func (t trouble) withEdge(cause cloudflared.CauseID, edge *probe.Edge) trouble {
	if cause != cloudflared.CauseUDPBlocked || edge == nil || !slices.ContainsFunc(edge.Regions, func(r probe.Region) bool { return r.TCP.Done }) {
		return t
	}
	open := slices.ContainsFunc(edge.Regions, func(r probe.Region) bool { return r.TCP.OK })
	if open {
		t.saw = "UDP port 7844 is blocked, while TCP port 7844 is open"
		t.hint = "set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up\nor allow outgoing UDP 7844; cloudflared itself changes to http2 only after some minutes"
		return t
	}
	t.saw = "neither UDP nor TCP port 7844 gets out of this network"
	t.hint = "allow outgoing UDP 7844, or TCP 7844 with TUNNEL_TRANSPORT_PROTOCOL=http2 in .env, in the firewall or router"
	return t
}

// died words the state of a container that does not run.
func died(d plan.Details) trouble {
	switch {
	case d.State == plan.StateRunning:
		return trouble{}
	case d.OOMKilled:
		return trouble{saw: "its container ran out of memory"}
	case d.State == plan.StatePaused:
		return trouble{saw: "its container is paused"}
	case d.State == plan.StateRestarting:
		return trouble{
			saw:    fmt.Sprintf("its container ends with exit code %d and is started again", d.ExitCode),
			detail: restarts(d.RestartCount) + " so far",
		}
	case ended(d) && d.Error != "":
		return trouble{saw: "its container did not start: " + d.Error}
	case ended(d):
		return trouble{saw: fmt.Sprintf("its container has ended with exit code %d", d.ExitCode)}
	}
	return trouble{}
}

func restarts(n int) string {
	if n == 1 {
		return "1 restart"
	}
	return fmt.Sprintf("%d restarts", n)
}

// ended reports whether the Engine will not start a container again by itself.
func ended(d plan.Details) bool {
	return d.State == plan.StateExited || d.State == plan.StateDead || d.State == plan.StateCreated
}

// perhaps reports whether a cause can go away by itself, but only soon.
func perhaps(id cloudflared.CauseID) bool {
	return id == cloudflared.CauseNoTunnel || id == cloudflared.CauseRefusedSilently
}

// definite reports whether a cause does not go away by waiting.
func definite(id cloudflared.CauseID) bool {
	switch id {
	case cloudflared.CauseTokenInvalid, cloudflared.CauseTokenMissing, cloudflared.CauseTokenFile, cloudflared.CauseUsage,
		cloudflared.CauseSetting, cloudflared.CauseSecret, cloudflared.CauseMetrics, cloudflared.CauseAddressFamily:
		return true
	default:
		return false
	}
}

// running reports whether a service runs whose start lies before everything that
// was read of its log, so that the log cannot tell.
func running(service string, v view, d plan.Details) bool {
	return d.State == plan.StateRunning && (d.Health == plan.HealthHealthy || v.unseen[service])
}

// unheard says what was waited for where nothing is seen to be wrong.
func unheard(stage Stage) trouble {
	switch stage {
	case StageBroker:
		return trouble{saw: "the broker runs and does not say that it serves", hint: "type: mqtunnel logs mosquitto"}
	case StageConnector:
		return trouble{saw: "the connector's container runs and says nothing", hint: "type: mqtunnel logs cloudflared"}
	case StageEdge:
		return trouble{saw: "the connector has registered no connection to Cloudflare's edge", hint: "type: mqtunnel logs cloudflared"}
	case StageConfiguration:
		return trouble{saw: "no configuration that leads to the broker has come", hint: "type: mqtunnel logs cloudflared"}
	default:
		return trouble{saw: "no look from inside the network has come back", hint: "type: mqtunnel logs"}
	}
}
