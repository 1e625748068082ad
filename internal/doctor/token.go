package doctor

import (
	"errors"
	"slices"
	"strings"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

func judgeToken(e *Evidence) Outcome {
	switch {
	case e.Files.Settings == nil:
		return unseen("the settings could not be read")
	case errors.Is(e.Files.TokenErr, cloudflared.ErrTokenEmpty):
		return fault("there is no tunnel token in %s", config.EnvName).
			seen("looked for " + config.KeyToken + " in " + e.Files.Dir + " and in the environment").
			do(remedy.HintOf(e.Files.TokenErr))
	default:
		return pass("")
	}
}

func judgeTokenForm(e *Evidence) Outcome {
	switch {
	case e.Files.TokenErr != nil:
		return faulty(e.Files.TokenErr)
	case e.Files.Token == nil:
		return unseen("the settings could not be read")
	default:
		return pass("for tunnel %s", e.Files.Token.TunnelID)
	}
}

func judgeTokenTunnel(e *Evidence) Outcome {
	if e.Files.Token == nil || servedTunnel(e) == "" {
		return unseen("which tunnel the connector serves is not known")
	}
	other := otherTunnel(e)
	if other == "" {
		return pass("")
	}
	o := fault("the connector serves the tunnel %s, and the token is for the tunnel %s", other, e.Files.Token.TunnelID).
		seen("the token comes from: "+e.Files.Settings.Entry(config.KeyToken).Source.String()).
		do("put the token into force; or store the one of the tunnel that is meant: mqtunnel token set", "mqtunnel up")
	if e.Files.Settings.Entry(config.KeyToken).Overridden {
		o = o.because("environment")
	}
	return o
}

// otherTunnel returns the tunnel that the connector serves when it is not the
// token's, else "".
func otherTunnel(e *Evidence) string {
	served := servedTunnel(e)
	if e.Files.Token == nil || served == e.Files.Token.TunnelID {
		return ""
	}
	return served
}

// servedTunnel returns the ID of the tunnel that the connector serves: as its log
// says, or else as its container was made for. It is "" when neither is known.
func servedTunnel(e *Evidence) string {
	if e.Project.Status != nil {
		for _, line := range slices.Backward(e.Project.Status.ConnectorLines) {
			if event := line.Event(); event.Kind == cloudflared.EventStarting && event.TunnelID != "" {
				return strings.ToLower(event.TunnelID)
			}
		}
	}
	if e.Project.Observed != nil {
		if c, found := e.Project.Observed.Find(plan.ServiceConnector); found {
			return c.Labels[plan.LabelTunnel]
		}
	}
	return ""
}

func judgeTokenHidden(e *Evidence) Outcome {
	if e.Project.All == nil {
		return unseen("the containers of the Engine were not seen")
	}
	showing := e.Project.Showing
	if len(showing) == 0 {
		return pass("")
	}
	return fault("the container %s shows a tunnel token to everybody who may ask the Engine", showing[0]).
		seen("in an argument or a variable, as docker inspect prints them, of: "+strings.Join(showing, ", ")).
		do("", "docker rm -f "+strings.Join(showing, " "), "mqtunnel token set", "mqtunnel up")
}

func judgeTunnelAlone(e *Evidence) Outcome {
	if e.Project.All == nil || e.Files.Token == nil {
		return unseen("the containers of the Engine were not seen")
	}
	err := lifecycle.CheckTunnel(plan.Project{Name: e.Project.Name}, e.Files.Token.TunnelID, e.Project.All)
	if err != nil {
		return faulty(err)
	}
	return pass("")
}

func judgeTokenAccepted(e *Evidence) Outcome {
	cause, o := loggedCause(e)
	if cause == nil {
		return o
	}
	refused := cause.ID == cloudflared.CauseRefused && strings.HasPrefix(cause.Line.Reason(), "Unauthorized:")
	if !refused && !slices.Contains([]cloudflared.CauseID{
		cloudflared.CauseSecret, cloudflared.CauseRefusedSilently, cloudflared.CauseTokenInvalid,
	}, cause.ID) {
		return o
	}
	return refusal(e, *cause)
}

func judgeTunnelExists(e *Evidence) Outcome {
	cause, o := loggedCause(e)
	if cause == nil || cause.ID != cloudflared.CauseNoTunnel {
		return o
	}
	return refusal(e, *cause)
}

// loggedCause returns what the connector's log tells of a failure, if anything,
// and the outcome when that is about something else.
func loggedCause(e *Evidence) (*cloudflared.Cause, Outcome) {
	st := e.Project.Status
	switch {
	case st == nil || len(st.ConnectorLines) == 0:
		return nil, unseen("the connector has not said anything")
	case len(st.Connections) > 0:
		return st.Cause, pass("")
	default:
		return st.Cause, unseen("the connector is not connected, for another reason")
	}
}

// refusal is Cloudflare's no to the token that the connector has. When that is not
// the one of the files, it follows from there.
func refusal(e *Evidence, cause cloudflared.Cause) Outcome {
	o := fault("%s", cause.Sentence).
		seen(causeLine(cause)).
		do(strings.ReplaceAll(cause.Hint, "\n", "; "), "mqtunnel token set", "mqtunnel up")
	switch held := e.Project.TokenHeld; {
	case e.Files.TokenErr != nil:
		return o.because("token-form")
	case otherTunnel(e) != "":
		return o.because("token-tunnel")
	case held != nil && !*held:
		return o.because("in-force")
	default:
		return o
	}
}
