package plan

import (
	"slices"
	"time"
)

// streamGrace is how long the broker's stop waits behind the connector's, so
// that the edge has stopped sending new clients before open streams end. A
// connector whose streams the broker ends stops at once; left alone it takes
// its whole grace.
const streamGrace = 500 * time.Millisecond

// stopDelay is streamGrace for a broker whose connector is stopped too.
func stopDelay(c Container, all []Container) time.Duration {
	if c.Service() != ServiceBroker {
		return 0
	}
	if slices.ContainsFunc(all, func(o Container) bool { return o.Service() == ServiceConnector && o.State == StateRunning }) {
		return streamGrace
	}
	return 0
}

// running reports whether the container has a process, so that a stop has
// something to do.
func running(c Container) bool {
	return c.State == StateRunning || c.State == StateRestarting || c.State == StatePaused
}

// inStopOrder sorts the connector first.
func inStopOrder(list []Container) []Container {
	sorted := slices.Clone(list)
	slices.SortStableFunc(sorted, func(a, b Container) int {
		return role(a) - role(b)
	})
	return sorted
}

// role is the service's place in the order in which to stop.
func role(c Container) int {
	switch c.Service() {
	case ServiceConnector:
		return 0
	case ServiceBroker:
		return 1
	}
	return 2
}

// Down returns the steps that stop and remove the project's containers and its
// networks, and with volumes its data too. External networks and volumes stay:
// they do not carry the label that the project's own have.
func Down(o Observed, volumes bool) Plan {
	var pl Plan
	var removed []int
	all := inStopOrder(o.Containers)
	stopped := map[string]int{}
	for _, c := range all {
		if running(c) {
			stopped[c.ID] = pl.add(Step{Op: Stop, Subject: c.Service(), Why: "down", ID: c.ID, Delay: stopDelay(c, all)})
		}
	}
	for _, c := range all {
		step := Step{Op: Remove, Subject: c.Service(), Why: "down", ID: c.ID}
		if i, ok := stopped[c.ID]; ok {
			step.After = []int{i}
		}
		removed = append(removed, pl.add(step))
	}
	for _, n := range o.Networks {
		if n.Labels[LabelNetwork] != "" {
			pl.add(Step{Op: RemoveNetwork, Subject: n.Labels[LabelNetwork], Why: "down", ID: n.ID, Name: n.Name, After: removed})
		}
	}
	if !volumes {
		return pl
	}
	for _, v := range o.Volumes {
		if v.Labels[LabelVolume] != "" {
			pl.add(Step{Op: RemoveVolume, Subject: v.Labels[LabelVolume], Why: "its data was not to be kept", ID: v.Name, Name: v.Name, Data: true, After: removed})
		}
	}
	return pl
}

// RestartServices returns the steps that stop the named services, or all, put their
// files in again, and start them: the broker first, so that the connector finds
// it.
func RestartServices(p Project, o Observed, services []string) Plan {
	var pl Plan
	var chosen []Container
	for _, s := range p.Services {
		if len(services) > 0 && !slices.Contains(services, s.Name) {
			continue
		}
		if c, ok := o.Find(s.Name); ok {
			chosen = append(chosen, c)
		}
	}
	stopped := map[string]int{}
	for _, c := range inStopOrder(chosen) {
		if running(c) {
			stopped[c.ID] = pl.add(Step{Op: Stop, Subject: c.Service(), Why: "restart", ID: c.ID, Delay: stopDelay(c, chosen)})
		}
	}
	broker := -1
	started := inStopOrder(chosen)
	slices.Reverse(started)
	for _, c := range started {
		after := -1
		if i, ok := stopped[c.ID]; ok {
			after = i
		}
		filled := pl.add(Step{Op: CopyFiles, Subject: c.Service(), Why: "restart", ID: c.ID, After: []int{after}})
		i := pl.add(Step{Op: Start, Subject: c.Service(), Why: "restart", ID: c.ID, After: []int{filled, broker}})
		if c.Service() == ServiceBroker {
			broker = i
		}
	}
	return pl
}
