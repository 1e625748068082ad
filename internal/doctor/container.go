package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
)

// part is one of the project's two services, by its name.
type part string

const (
	thisBroker    part = plan.ServiceBroker
	thisConnector part = plan.ServiceConnector
)

// String calls the service what people call it.
func (p part) String() string {
	if p == thisBroker {
		return "the broker"
	}
	return "the connector"
}

// check is the ID of the service's own check of that kind.
func (p part) check(kind string) string {
	if p == thisBroker {
		return "broker-" + kind
	}
	return "connector-" + kind
}

// details returns the service's container as an inspect shows it.
func (e *Evidence) details(p part) (plan.Details, bool) {
	if e.Project.Status == nil {
		return plan.Details{}, false
	}
	d, found := e.Project.Status.Details[string(p)]
	return d, found
}

// wanted returns the service as the files want it.
func (e *Evidence) wanted(p part) (plan.Service, bool) {
	if e.Files.Rendered == nil {
		return plan.Service{}, false
	}
	services := e.Files.Rendered.Project.Services
	i := slices.IndexFunc(services, func(s plan.Service) bool { return s.Name == string(p) })
	if i < 0 {
		return plan.Service{}, false
	}
	return services[i], true
}

// running reports whether the service's container runs.
func (e *Evidence) running(p part) bool {
	d, found := e.details(p)
	return found && d.State == plan.StateRunning
}

// unknown is the outcome of a check on a container that nobody has seen.
func unknown(p part) Outcome { return unseen("%s's container was not seen", p) }

func judgeContainer(e *Evidence, p part) Outcome {
	o := e.Project.Observed
	if o == nil {
		return unknown(p)
	}
	c, found := o.Find(string(p))
	switch {
	case !found && len(o.Containers) == 0:
		return fault("the project is down: it has no containers").do("", "mqtunnel up").because(missingCause(e))
	case !found:
		return fault("%s has no container", p).do("", "mqtunnel up").because(missingCause(e))
	case c.State == plan.StateDead:
		return fault("%s's container is dead: the Engine could not remove it", p).seen(c.Name+": "+c.Status).
			do("remove it and make a new one; where the Engine cannot remove it either, restart Docker first", "docker rm -f "+c.Name, "mqtunnel up")
	case c.State == plan.StateRemoving:
		return fault("%s's container is being removed", p).seen(c.Name+": "+c.Status).do("when it is gone, type: mqtunnel up", "mqtunnel up")
	}
	return pass("%s", c.Name)
}

// missingCause is the check that tells why a container could not be made.
func missingCause(e *Evidence) string {
	if e.Files.Rendered != nil && len(plan.Conflicts(e.Files.Rendered.Project, *e.Project.Observed)) > 0 {
		return "names-free"
	}
	return "platform"
}

// endedWell reports whether a container ended as one that is stopped: by itself at
// a signal, or killed by one.
func endedWell(d plan.Details) bool {
	return !d.OOMKilled && slices.Contains([]int{0, 128 + 9, 128 + 15}, d.ExitCode)
}

// restartsAlways reports whether the Engine starts the container again however it
// ends, so that one that has ended was stopped by somebody.
func restartsAlways(d plan.Details) bool {
	return d.Policy.Name == "unless-stopped" || d.Policy.Name == "always"
}

// judgeStarted judges whether somebody has stopped the container, or it could not
// be started. crash is the check that tells why it failed before.
func judgeStarted(e *Evidence, p part, crash string) Outcome {
	d, found := e.details(p)
	if !found {
		return unknown(p)
	}
	ended := fmt.Sprintf("%s ended with exit code %d at %s", d.Name, d.ExitCode, clock(d.FinishedAt))
	switch {
	case d.State == plan.StateCreated && d.Error == "":
		return fault("%s's container was made and never started", p).seen(d.Name+" was made at "+clock(d.Created)).do("", "mqtunnel up")
	case (d.State == plan.StateCreated || d.State == plan.StateExited) && d.Error != "":
		return fault("%s's container could not be started", p).seen("the Engine says: "+withoutToken(d.Error)).do("", "mqtunnel up").because(startCause(d, p))
	case d.State != plan.StateExited:
		return pass("")
	case d.OOMKilled:
		return fault("%s has ended for want of memory", p).seen(ended).because(p.check("memory"))
	case restartsAlways(d):
		back := "does not come back by itself, not even after a reboot"
		if d.Policy.Name == "always" {
			back = "does not come back before Docker is restarted"
		}
		o := fault("%s was stopped by hand, and so %s", p, back).seen(ended).do("", "mqtunnel up")
		if !endedWell(d) {
			o = o.because(crash)
		}
		return o
	case endedWell(d):
		return fault("%s has ended, and its restart policy %q does not start it again", p, d.Policy.Name).seen(ended).
			do("take restart out of compose.override.yaml and type: mqtunnel up", "mqtunnel up")
	}
	return pass("")
}

// startCause is the check that tells why the Engine could not start a container,
// by the Engine's own words, of which there is no other form.
func startCause(d plan.Details, p part) string {
	switch {
	case portTaken(d.Error):
		return "lan-port"
	case addressMissing(d.Error):
		return "lan-address"
	case strings.Contains(d.Error, "network") && strings.Contains(d.Error, "not found"):
		return p.check("network")
	}
	return ""
}

func portTaken(engine string) bool {
	return strings.Contains(engine, "port is already allocated") || strings.Contains(engine, "address already in use")
}

func addressMissing(engine string) bool {
	return strings.Contains(engine, "cannot assign requested address")
}

func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

func judgeUnpaused(e *Evidence, p part) Outcome {
	d, found := e.details(p)
	switch {
	case !found:
		return unknown(p)
	case d.State == plan.StatePaused:
		return fault("%s is paused", p).seen(d.Name+" is in state paused").do("", "mqtunnel up")
	}
	return pass("")
}

// freshStart is how long a container has to run until the Engine takes its next
// end for the first one.
const freshStart = 10 * time.Second

// slowStart is how long a start may take that fails for want of an answer from the
// network.
const slowStart = time.Minute

// failing reports whether the service does not stay up by itself: it ends again and
// again, or has ended and is left so.
func (e *Evidence) failing(p part) bool {
	d, found := e.details(p)
	switch {
	case !found:
		return false
	case d.State == plan.StateRestarting:
		return true
	case d.State == plan.StateExited:
		return d.Error == "" && !endedWell(d)
	case d.State == plan.StateRunning:
		// Between two ends.
		age := e.At.Sub(d.StartedAt)
		return d.RestartCount > 1 && d.Health != plan.HealthHealthy && (age < freshStart || age < slowStart && !e.works(p))
	}
	return false
}

// works reports whether the service says in its log that it does its work.
func (e *Evidence) works(p part) bool {
	st := e.Project.Status
	if p == thisBroker {
		return st.Serving
	}
	return len(st.Connections) > 0
}

// judgeSteady judges whether the service stays up. meaning tells what an exit code
// says, told what its log says, and cause is the check that tells more.
func judgeSteady(e *Evidence, p part, meaning func(code int) string, told, cause string) Outcome {
	d, found := e.details(p)
	switch {
	case !found:
		return unknown(p)
	case !e.failing(p):
		return pass("")
	}
	why := told
	if d.EndKnown() && why == "" {
		why = meaning(d.ExitCode)
	}
	text := fmt.Sprintf("%s ends again and again with exit code %d", p, d.ExitCode)
	seen := fmt.Sprintf("%s: %d restarts, the last end at %s", d.Name, d.RestartCount, clock(d.FinishedAt))
	switch {
	case !d.EndKnown():
		text = fmt.Sprintf("%s ends again and again", p)
	case d.State == plan.StateExited:
		text = fmt.Sprintf("%s has ended with exit code %d", p, d.ExitCode)
	}
	if why != "" {
		text += ": " + why
	}
	var code string
	if d.EndKnown() {
		code = fmt.Sprintf("exit code %d: %s", d.ExitCode, meaning(d.ExitCode))
	}
	return fault("%s", text).seen(seen, code).do("see what it says: mqtunnel logs "+string(p), "mqtunnel logs "+string(p)).because(cause)
}

// signalExit words the exit codes that a shell or the kernel gives.
func signalExit(code int) string {
	switch code {
	case 126:
		return "its program cannot be run in this image"
	case 127:
		return "its program is not in this image"
	case 128 + 4:
		return "this processor does not know an instruction of the image (SIGILL)"
	case 128 + 6:
		return "it ended itself because of a fault of its own (SIGABRT)"
	case 128 + 9:
		return "it was killed, by somebody or for want of memory (SIGKILL)"
	case 128 + 11:
		return "it crashed (SIGSEGV)"
	case 128 + 15:
		return "it was stopped (SIGTERM)"
	}
	return "a code that it does not document"
}

func judgeMemory(e *Evidence, p part) Outcome {
	d, found := e.details(p)
	switch {
	case !found:
		return unknown(p)
	case d.OOMKilled && (d.State != plan.StateRunning || e.failing(p)):
		return fault("%s ran out of memory and was killed by the kernel", p).
			seen(fmt.Sprintf("%s: the kernel killed it at %s, %d restarts", d.Name, clock(d.FinishedAt), d.RestartCount)).
			do("raise mem_limit of "+string(p)+" in compose.override.yaml, or free memory on this host, then type: mqtunnel up", "mqtunnel up")
	}
	return pass("")
}

// judgeLimits looks at the containers, not at the file: the Engine leaves a limit out
// that the kernel cannot enforce, and only says so once. Where one container has its
// limit, the kernel can: the other one was made by hand.
func judgeLimits(e *Evidence) Outcome {
	var without []string
	looked := false
	for _, p := range []part{thisBroker, thisConnector} {
		svc, known := e.wanted(p)
		d, found := e.details(p)
		if !known || !found || svc.Spec.MemoryLimit == 0 {
			continue
		}
		looked = true
		if d.MemoryLimit == 0 {
			without = append(without, fmt.Sprintf("%s is to have %d MB at most, and has no limit", d.Name, svc.Spec.MemoryLimit>>20))
		}
	}
	switch {
	case len(without) > 0 && !e.enforces(memoryLimit):
		return warning("the memory limits are not enforced here: this kernel has no memory cgroup").seen(without...)
	case !looked:
		return unseen("no container with a limit was seen")
	}
	return pass("")
}

func judgeName(e *Evidence, p part) Outcome {
	o := e.Project.Observed
	if o == nil {
		return unknown(p)
	}
	var own, up []plan.Container
	for _, c := range o.Containers {
		if c.Service() == string(p) {
			own = append(own, c)
			if c.State == plan.StateRunning {
				up = append(up, c)
			}
		}
	}
	c, found := o.Find(string(p))
	if !found {
		return unknown(p)
	}
	want, known := e.wanted(p)
	switch {
	case len(up) > 1:
		return fault("%d containers run as %s, and clients meet one or the other", len(up), p).seen(names(up)...).do("", "mqtunnel up")
	case len(own) > 1:
		return warning("a container of %s is left of an interrupted change", p).seen(names(own)...).do("", "mqtunnel up")
	case plan.TemporaryName(c.Name):
		return warning("%s's container still has the name of an interrupted change", p).seen(names(own)...).do("", "mqtunnel up").because("names-free")
	case known && c.Name != want.ContainerName:
		return warning("%s's container was renamed by hand", p).seen(c.Name+" should be "+want.ContainerName).do("", "mqtunnel up").because("names-free")
	}
	return pass("%s", c.Name)
}

// names lists containers with their state.
func names(list []plan.Container) []string {
	var out []string
	for _, c := range list {
		out = append(out, c.Name+": "+string(c.State))
	}
	return out
}

// judgeOnNetwork judges whether the container is on every network that the files
// want, on the very one that exists.
func judgeOnNetwork(e *Evidence, p part) Outcome {
	if e.Project.Observed == nil {
		return unknown(p)
	}
	c, found := e.Project.Observed.Find(string(p))
	if !found {
		return unknown(p)
	}
	for _, name := range wantedNetworks(e, p, c) {
		id, on := c.Networks[name]
		if !on {
			o := fault("%s is not on the network %s", p, name).seen(networks(c)).do("", "mqtunnel up")
			if d, _ := e.details(p); d.Rights.HostNetwork {
				o = o.because(p.check("unchanged"))
			}
			return o
		}
		for _, n := range e.Project.Observed.Networks {
			if n.Name == name && id != "" && n.ID != "" && n.ID != id {
				return fault("%s is on a network %s that was removed since, and another has its name now", p, name).
					seen(fmt.Sprintf("%s is on %.12s, the network is %.12s", c.Name, id, n.ID)).do("", "mqtunnel up --force-recreate")
			}
		}
	}
	return apart(e, p, c)
}

// apart judges whether broker and connector share a network; the connector's check
// tells when they do not.
func apart(e *Evidence, p part, c plan.Container) Outcome {
	broker, found := e.Project.Observed.Find(plan.ServiceBroker)
	if p == thisBroker || !found {
		return pass("")
	}
	for name := range c.Networks {
		if _, shared := broker.Networks[name]; shared {
			return pass("%s", name)
		}
	}
	return fault("broker and connector are on no network together").seen(networks(broker), networks(c)).
		do("leave the network default to both in compose.override.yaml and type: mqtunnel up", "mqtunnel up").because("broker-network")
}

// wantedNetworks lists the networks that the container should be on. Without the
// files those are the ones that it says to be on.
func wantedNetworks(e *Evidence, p part, c plan.Container) []string {
	var list []string
	if svc, known := e.wanted(p); known {
		for _, n := range svc.Spec.Networks {
			list = append(list, n.Network)
		}
		return list
	}
	for name := range c.Networks {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func networks(c plan.Container) string {
	var list []string
	for name := range c.Networks {
		list = append(list, name)
	}
	slices.Sort(list)
	if len(list) == 0 {
		return c.Name + " is on no network"
	}
	return c.Name + " is on " + strings.Join(list, ", ")
}

// withoutToken returns a line of a log, unless a tunnel token stands in it.
func withoutToken(line string) string {
	if _, err := cloudflared.FindToken(line); err == nil {
		return "(a line that holds a tunnel token)"
	}
	return line
}
