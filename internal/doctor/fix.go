package doctor

import (
	"fmt"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/plan"
)

// Mend is how a repair is carried out.
type Mend string

// The ways to mend, in the order in which they are carried out.
const (
	MendMode     Mend = "mode"     // .env gets mode 0600
	MendProtocol Mend = "protocol" // TUNNEL_TRANSPORT_PROTOCOL=http2 in .env; needs MendUp after it
	MendUp       Mend = "up"       // the plan that up makes is carried out
	MendRestart  Mend = "restart"  // the connector is restarted
)

// Repair is something that is safe to mend from here.
type Repair struct {
	Mend     Mend
	What     string   // what is done, lower case, no full stop
	Why      []string // the sentences of the checks that it is for
	Rests    []string // what was seen that it rests on, none of it in a log; outside text
	Commands []string // what a person would type for it
	Checks   []string // IDs of the checks that it is for
}

// Repairs returns what can be mended of the faults, in the order to do it. Each
// rests on more than words in a log. Nothing is offered behind a fault that cannot be
// mended from here, since it would come back or could not be carried out; only the
// mode of .env is no matter of what else is wrong.
func Repairs(d Diagnosis, e *Evidence) []Repair {
	var list repairs
	blocked := false
	for _, r := range d.Results {
		if r.Status != Failed && r.Status != Warned {
			continue
		}
		mend, rests := mendOf(r, e)
		switch {
		case mend != "" && (!blocked || mend == MendMode):
			list.add(mend, r, rests)
		case r.Status == Failed:
			blocked = true
		}
	}
	for _, r := range list {
		if r.Mend == MendProtocol {
			// The connector gets its new setting by up.
			list.add(MendUp, Result{Check: Check{ID: r.Checks[0]}, Outcome: Outcome{Sentence: r.Why[0]}}, r.Rests)
		}
	}
	var ordered []Repair
	for _, mend := range []Mend{MendMode, MendProtocol, MendUp, MendRestart} {
		for _, r := range list {
			// A connector that up makes anew needs no restart.
			if r.Mend == mend && (mend != MendRestart || !list.has(MendUp)) {
				ordered = append(ordered, r)
			}
		}
	}
	return ordered
}

// repairs is the list as it grows.
type repairs []Repair

func (list repairs) has(mend Mend) bool {
	for _, r := range list {
		if r.Mend == mend {
			return true
		}
	}
	return false
}

// add adds what one check needs, one repair for each way to mend.
func (list *repairs) add(mend Mend, r Result, rests []string) {
	for i := range *list {
		if have := &(*list)[i]; have.Mend == mend {
			have.Why, have.Checks = append(have.Why, r.Sentence), append(have.Checks, r.ID)
			return
		}
	}
	repair := Repair{Mend: mend, Why: []string{r.Sentence}, Rests: rests, Checks: []string{r.ID}}
	switch mend {
	case MendMode:
		repair.What, repair.Commands = "give .env mode 0600", []string{"chmod 600 .env"}
	case MendProtocol:
		repair.What = "set " + config.KeyProtocol + "=http2 in .env"
		repair.Commands = []string{"edit .env: " + config.KeyProtocol + "=http2"}
	case MendUp:
		repair.What, repair.Commands = "do what up would do", []string{"mqtunnel up"}
	case MendRestart:
		repair.What, repair.Commands = "restart the connector", []string{"mqtunnel restart cloudflared"}
	}
	*list = append(*list, repair)
}

// mendOf returns how a fault is mended, and what that rests on, which is nothing of
// a log; "" where it is not mended from here.
func mendOf(r Result, e *Evidence) (mend Mend, rests []string) {
	if !r.Fix {
		return "", nil
	}
	switch r.ID {
	case "env-private":
		return mendMode(e)
	case "edge-udp":
		return mendProtocol(e)
	case "connector-answers":
		return mendRestart(e)
	default:
		return mendUp(e)
	}
}

// mendMode rests on the mode itself.
func mendMode(e *Evidence) (Mend, []string) {
	if e.Files.EnvMode&^0o600 == 0 || e.Files.LinesErr != nil {
		return "", nil
	}
	return MendMode, []string{fmt.Sprintf(".env has mode %04o", e.Files.EnvMode)}
}

// mendProtocol rests on handshakes of the probe's own: UDP came through nowhere,
// TLS over TCP did. A setting in the environment would win over .env.
func mendProtocol(e *Evidence) (Mend, []string) {
	report, settings := e.Inside.Report, e.Files.Settings
	if report == nil || report.Edge == nil || settings == nil || settings.Protocol == "http2" ||
		settings.Entry(config.KeyProtocol).Source.Kind == config.FromEnvironment {
		return "", nil
	}
	var rests []string
	tried, open := false, false
	for _, region := range report.Edge.Regions {
		if region.UDP.OK {
			return "", nil
		}
		tried = tried || region.UDP.Done
		if region.TLS.OK {
			open = true
			rests = append(rests, region.Name+": no handshake over UDP 7844, one over TCP 7844")
		}
	}
	if !tried || !open {
		return "", nil
	}
	return MendProtocol, rests
}

// mendRestart rests on the Engine's health check and on the probe's way to the edge.
func mendRestart(e *Evidence) (Mend, []string) {
	d, found := e.details(thisConnector)
	if !found || d.Health != plan.HealthUnhealthy || d.Failing < sickGrace || !edgeOpen(e) {
		return "", nil
	}
	return MendRestart, []string{
		fmt.Sprintf("the health check has failed for about %d minutes", int(d.Failing.Minutes())),
		"Cloudflare's edge was reached from the connector's place",
	}
}

// mendUp rests on what the Engine has, from which the plan is made.
func mendUp(e *Evidence) (Mend, []string) {
	if !e.Engine.Known() || e.Project.Plan == nil || e.Project.Plan.Empty() {
		return "", nil
	}
	return MendUp, strings.Split(strings.TrimSpace(e.Project.Plan.String()), "\n")
}
