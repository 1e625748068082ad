// Package doctor finds out why messages do not flow: it looks at everything from
// the Docker Engine to the public hostname, and names the one cause that the rest
// follows from. Gather looks and decides nothing; Judge decides and touches
// nothing, by the one table of Checks.
package doctor

import (
	"slices"
	"strings"
)

// Layer is where on the way from the machine to a client a check belongs. A layer
// works only when those before it do.
type Layer string

// The layers in the order in which one depends on the other.
const (
	LayerHost      Layer = "host"      // this machine and its Docker Engine
	LayerFiles     Layer = "files"     // the project directory
	LayerToken     Layer = "token"     // the tunnel token
	LayerBroker    Layer = "broker"    // the broker's container
	LayerConnector Layer = "connector" // the connector's container
	LayerEgress    Layer = "egress"    // the way to Cloudflare's edge
	LayerIngress   Layer = "ingress"   // the tunnel's configuration in the dashboard
	LayerOrigin    Layer = "origin"    // the broker as the connector sees it
	LayerDNS       Layer = "dns"       // the public hostname's name
	LayerEdge      Layer = "edge"      // what Cloudflare answers to a client
	LayerMQTT      Layer = "mqtt"      // messages from outside
)

// Layers lists all layers in their order.
func Layers() []Layer {
	return []Layer{
		LayerHost, LayerFiles, LayerToken, LayerBroker, LayerConnector, LayerEgress,
		LayerIngress, LayerOrigin, LayerDNS, LayerEdge, LayerMQTT,
	}
}

// Check is one thing that must hold. Code and ID never change their meaning:
// scripts and answers on the internet refer to them.
type Check struct {
	Code   string // e.g. "MQT-S03"
	ID     string // e.g. "service-localhost"
	Layer  Layer
	Title  string   // what holds when all is well, lower case, no full stop
	Needs  []string // IDs of checks that must hold for this one to mean anything
	Remedy string   // what to do when it does not hold, where nothing more exact is known
	Fix    bool     // doctor --fix may mend it
	Judge  func(*Evidence) Outcome
}

// Status is how a check came out.
type Status string

// The outcomes of a check. Only Failed makes doctor exit with 3.
const (
	Passed  Status = "passed"
	Failed  Status = "failed"  // it does not work, or is open to others
	Warned  Status = "warning" // it works, and somebody should know
	Skipped Status = "skipped" // nothing can be said
)

// Outcome is what a check makes of the evidence. Sentence and Remedy are ours;
// Seen is outside text, for the display to make safe.
type Outcome struct {
	Status   Status
	Sentence string   // failed, warned: what is wrong. passed: what was found, may be empty. skipped: why
	Seen     []string // the evidence, one line each, most telling first
	Remedy   string   // what to do; "" takes the check's
	Commands []string // what to type, in order; those of mqtunnel and of the system

	// Because is the ID of a check that this outcome follows from: when that one
	// does not hold, this one is skipped, whatever its status.
	Because string

	// literal is the sentence where it stands so in the code, with nothing filled in.
	literal string
}

// Result is the outcome of one check of the table.
type Result struct {
	Check
	Outcome

	// Blocker is the ID of the check for which this one was skipped, "" when it was
	// skipped for want of evidence.
	Blocker string
}

// Diagnosis is what all checks came to, in the order of the table.
type Diagnosis struct {
	Results []Result
}

// Judge applies the checks to the evidence. It is pure.
func Judge(e *Evidence) Diagnosis { return judge(Checks(), e) }

// Findings returns what should be acted on, the most upstream first: faults, then
// warnings.
func (d Diagnosis) Findings() []Result {
	var found []Result
	for _, status := range []Status{Failed, Warned} {
		for _, r := range d.Results {
			if r.Status == status {
				found = append(found, r)
			}
		}
	}
	return found
}

// Healthy reports whether no fault was found.
func (d Diagnosis) Healthy() bool {
	return !slices.ContainsFunc(d.Results, func(r Result) bool { return r.Status == Failed })
}

// Flows reports whether a message was seen to come back through the public
// hostname. Without it nobody knows that all is well, whatever was not found.
func (d Diagnosis) Flows() bool {
	r, known := d.Result("public-message")
	return known && (r.Status == Passed || r.Status == Warned)
}

// Result returns the result of the check with this ID.
func (d Diagnosis) Result(id string) (Result, bool) {
	i := slices.IndexFunc(d.Results, func(r Result) bool { return r.ID == id })
	if i < 0 {
		return Result{}, false
	}
	return d.Results[i], true
}

// Only keeps the results of the checks with these codes or IDs, in any letter
// case, and of whole layers.
func (d Diagnosis) Only(names []string) Diagnosis {
	var kept Diagnosis
	for _, r := range d.Results {
		if slices.ContainsFunc(names, r.Named) {
			kept.Results = append(kept.Results, r)
		}
	}
	return kept
}

// Named reports whether name is the check's code, its ID or its layer, in any
// letter case.
func (c Check) Named(name string) bool {
	return strings.EqualFold(name, c.Code) || strings.EqualFold(name, c.ID) || strings.EqualFold(name, string(c.Layer))
}
