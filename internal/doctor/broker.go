package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
)

func judgeNetwork(e *Evidence) Outcome {
	o := e.Project.Observed
	if o == nil {
		return unseen("the Engine's networks were not seen")
	}
	if len(o.Containers) == 0 {
		return unseen("the project is down")
	}
	exists := func(name string) bool {
		return slices.ContainsFunc(o.Networks, func(n plan.ObservedNetwork) bool { return n.Name == name })
	}
	if e.Files.Rendered != nil {
		for _, n := range e.Files.Rendered.Project.Networks {
			switch {
			case exists(n.Name):
			case n.External:
				return fault("the network %s, which compose.override.yaml wants, does not exist", n.Name).
					do("make it, then type: mqtunnel up", "docker network create "+n.Name, "mqtunnel up")
			default:
				return fault("the project's network %s does not exist", n.Name).do("", "mqtunnel up")
			}
		}
		return pass("")
	}
	for _, c := range o.Containers {
		for name := range c.Networks {
			if !exists(name) {
				return fault("the network %s of %s does not exist", name, c.Name).do("", "mqtunnel up")
			}
		}
	}
	return pass("")
}

func judgeNamesFree(e *Evidence) Outcome {
	if e.Files.Rendered == nil || e.Project.Observed == nil {
		return unseen("the names of the project are not known")
	}
	p, o := e.Files.Rendered.Project, *e.Project.Observed
	err := lifecycle.CheckNames(p, o)
	if err == nil {
		return pass("")
	}
	var seen []string
	for _, c := range plan.Conflicts(p, o) {
		seen = append(seen, fmt.Sprintf("%s is %s", c.Container.Name, c.Container.Status))
	}
	hint := strings.ReplaceAll(remedy.HintOf(err), "\n", "; ")
	if e.running(thisBroker) && e.running(thisConnector) {
		return warning("%s", err.Error()).seen(seen...).do(hint)
	}
	return fault("%s", err.Error()).seen(seen...).do(hint)
}

// publishedPorts are what the files want of the broker's ports on this host.
func publishedPorts(e *Evidence) []plan.Port {
	svc, _ := e.wanted(thisBroker)
	return svc.Spec.Ports
}

func judgeLanAddress(e *Evidence) Outcome {
	const do = "correct the address in MQTT_LAN_LISTEN in .env, or leave it out: a port alone means every address; then type: mqtunnel up"
	if d, found := e.details(thisBroker); found && d.State != plan.StateRunning && addressMissing(d.Error) {
		return fault("the broker's port cannot be published: the address is none of this host").seen("the Engine says: "+d.Error).do(do, "mqtunnel up")
	}
	if len(e.Host.Addresses) == 0 || e.Files.Rendered == nil {
		return unseen("the addresses of the Engine's host, or the wanted one, are not known")
	}
	for _, p := range publishedPorts(e) {
		address, err := netip.ParseAddr(p.HostIP)
		if err != nil || !address.Is4() || address.IsUnspecified() || address.IsLoopback() || slices.Contains(e.Host.Addresses, address) {
			continue
		}
		var have []string
		for _, a := range e.Host.Addresses {
			have = append(have, a.String())
		}
		return fault("plain MQTT should be published on %s, which is no address of this host", address).
			seen("this host has "+strings.Join(have, ", ")).do(do, "mqtunnel up")
	}
	return pass("")
}

func judgeLanPort(e *Evidence) Outcome {
	const do = "stop what has the port, or choose another in MQTT_LAN_LISTEN in .env; then type: mqtunnel up"
	d, found := e.details(thisBroker)
	if found && d.State == plan.StateRunning {
		return pass("")
	}
	var holder error
	if e.Files.Rendered != nil {
		holder = lifecycle.CheckPorts(e.Files.Rendered.Project, e.Project.All)
	}
	engine := ""
	if found && portTaken(d.Error) {
		engine = "the Engine says: " + d.Error
	}
	var ports []string
	for _, p := range publishedPorts(e) {
		ports = append(ports, p.HostPort)
	}
	switch {
	case holder != nil:
		return fault("%s", holder.Error()).seen(engine).do(do, "mqtunnel up")
	case engine != "" && len(ports) == 0:
		return fault("the broker's port cannot be published: something else has it").seen(engine).do(do, "mqtunnel up")
	case engine != "" || e.Host.PortTaken:
		port := strings.Join(ports, ", ")
		return fault("port %s cannot be published: another program of this host has it", port).seen(engine).
			do(do, "sudo ss -ltnp sport = :"+port, "mqtunnel up")
	}
	return pass("")
}

func judgeBrokerContainer(e *Evidence) Outcome { return judgeContainer(e, thisBroker) }

// brokerFault is what the broker's log tells; the zero Fault when it tells nothing.
func brokerFault(e *Evidence) mosquitto.Fault {
	if e.Project.Status == nil || e.Project.Status.Fault == nil {
		return mosquitto.Fault{}
	}
	return *e.Project.Status.Fault
}

// Exit codes of Mosquitto, see its source of 2.0.22 and 2.1.2.
const (
	exitDatabase      = 1 // a listener, the database; in 2.0 the pid file
	exitScript        = 2 // of the shell, which found no start script
	exitConfiguration = 3
	exitUsers         = 13 // password file, ACL file, plugin
	exitPid           = 14
)

// brokerFails reports whether the broker does not stay up because of the topic: its
// log says so, or where that says nothing its exit code.
func brokerFails(e *Evidence, topic mosquitto.FaultTopic, code int) bool {
	if !e.failing(thisBroker) {
		return false
	}
	d, _ := e.details(thisBroker)
	if f := brokerFault(e); f.Line != "" {
		return f.Topic == topic
	}
	return d.EndKnown() && d.ExitCode == code
}

func judgeBrokerConfiguration(e *Evidence) Outcome {
	f, place := brokerFault(e), e.Project.Place
	fails := brokerFails(e, mosquitto.FaultConfiguration, exitConfiguration)
	switch {
	case e.Project.Status == nil:
		return unknown(thisBroker)
	case !fails && (f.Topic != mosquitto.FaultConfiguration || !e.running(thisBroker)):
		return pass("")
	case !fails:
		return warning("the broker could not read its configuration again, and goes on with the old one: %s", f.Cause).
			seen(f.Line, place).do(f.Hint, "mqtunnel up")
	case f.Line == "":
		return fault("the broker does not accept its configuration").seen("it ends with exit code 3, and its log does not say why")
	case place != "":
		return fault("%s: %s", place, f.Cause).seen(f.Line).do("correct "+place+", then type: mqtunnel up", "mqtunnel up")
	}
	return fault("%s", f.Cause).seen(f.Line).do(f.Hint, "mqtunnel up")
}

func judgeBrokerUsers(e *Evidence) Outcome {
	f, look := brokerFault(e), e.Project.Broker
	const do = "mqtunnel up --force-recreate"
	if e.Project.Status == nil {
		return unknown(thisBroker)
	}
	if look != nil {
		for _, path := range look.Unreadable {
			if path == mosquitto.PasswdPath || path == mosquitto.ACLPath {
				return fault("the broker cannot read %s in its container", path).seen("uid 1883 may not read "+path).do("", do)
			}
		}
	}
	switch {
	case brokerFails(e, mosquitto.FaultUsers, exitUsers) && f.Line == "":
		return fault("the broker does not accept its password or ACL file").seen("it ends with exit code 13, and its log does not say why").do("", do)
	case f.Topic == mosquitto.FaultUsers:
		return fault("%s", f.Cause).seen(f.Line).do("", do)
	}
	return pass("")
}

func judgeDatabase(e *Evidence) Outcome {
	f, look := brokerFault(e), e.Project.Broker
	st := e.Project.Status
	if st == nil {
		return unknown(thisBroker)
	}
	if f.Topic == mosquitto.FaultDatabase {
		hint := f.Hint
		if hint == "" {
			hint = "give the broker's data volume to uid 1883 again, then type: mqtunnel up"
		}
		return fault("%s", f.Cause).seen(f.Line).do(hint, "mqtunnel up")
	}
	if look != nil && slices.Contains(look.Unreadable, mosquitto.DataPath+"/mosquitto.db") {
		return fault("the broker cannot read its database, and will overwrite it").
			seen("uid 1883 may not read "+mosquitto.DataPath+"/mosquitto.db").
			do("give it to uid 1883 before the broker saves or restarts",
				"docker exec -u 0 "+brokerName(e)+" chown 1883:1883 "+mosquitto.DataPath+"/mosquitto.db", "mqtunnel restart mosquitto")
	}
	if st.Database != nil && st.Database.Loss != nil {
		return fault("%s", st.Database.String()).
			seen(fmt.Sprintf("the start script found it %s: %d bytes, %d copies kept", st.Database.State, st.Database.Bytes, st.Database.Copies)).
			do(st.Database.Hint(), "docker exec "+brokerName(e)+" ls -l "+mosquitto.CopiesPath)
	}
	return pass("")
}

// brokerName is what docker calls the broker's container.
func brokerName(e *Evidence) string {
	d, _ := e.details(thisBroker)
	return d.Name
}

// Bounds of free space for the broker's data.
const (
	fullBytes   = 4 << 20 // less is as good as none
	scarceBytes = 1 << 30 // less is scarce where it is less than scarceShare too
	scarceShare = 100     // of the file system, as a divisor
)

func judgeDatabaseSaved(e *Evidence) Outcome {
	f, look := brokerFault(e), e.Project.Broker
	const room = "make room on the disk that holds Docker's volumes; docker system df shows what Docker itself uses"
	free := ""
	if look != nil && look.DataFree >= 0 {
		free = fmt.Sprintf("%d MB of %d MB are free for %s", look.DataFree>>20, look.DataSize>>20, mosquitto.DataPath)
	}
	switch {
	case e.Project.Status == nil:
		return unknown(thisBroker)
	case look != nil && look.Unwritable:
		return fault("the broker cannot write to its data directory: nothing that changes survives a restart").
			seen(mosquitto.DataPath+" is not writable for uid 1883", f.Line).
			do("give the broker's data volume to uid 1883, and mount it writable",
				"docker exec -u 0 "+brokerName(e)+" chown 1883:1883 "+mosquitto.DataPath, "mqtunnel restart mosquitto")
	case free != "" && look.DataFree < fullBytes:
		return fault("the disk with the broker's data is full").seen(free, f.Line).do(room, "docker system df")
	case f.Topic == mosquitto.FaultSaving:
		return fault("the broker could not save its database the last time").seen(f.Line, free).do(f.Hint)
	case free != "" && look.DataFree < scarceBytes && look.DataFree < look.DataSize/scarceShare:
		return warning("the disk with the broker's data is almost full").seen(free).do(room, "docker system df")
	}
	return pass("%s", free)
}

func judgeBrokerMemory(e *Evidence) Outcome {
	o, f := judgeMemory(e, thisBroker), brokerFault(e)
	if o.Status != Passed || f.Topic != mosquitto.FaultMemory {
		return o
	}
	if e.failing(thisBroker) {
		return fault("%s", f.Cause).seen(f.Line).do(f.Hint)
	}
	return warning("the broker has been at the limit of its memory since it started").seen(f.Line).do(f.Hint)
}

func judgeBrokerStarted(e *Evidence) Outcome {
	return judgeStarted(e, thisBroker, brokerCause(e))
}

func judgeBrokerUnpaused(e *Evidence) Outcome { return judgeUnpaused(e, thisBroker) }

// brokerCause is the check that tells why the broker does not stay up.
func brokerCause(e *Evidence) string {
	d, _ := e.details(thisBroker)
	f := brokerFault(e)
	switch {
	case d.OOMKilled:
		return "broker-memory"
	case f.Topic == mosquitto.FaultConfiguration, f.Line == "" && d.EndKnown() && d.ExitCode == exitConfiguration:
		return "broker-configuration"
	case f.Topic == mosquitto.FaultUsers, f.Line == "" && d.EndKnown() && d.ExitCode == exitUsers:
		return "broker-users"
	case f.Topic == mosquitto.FaultDatabase:
		return "database"
	case f.Topic == mosquitto.FaultSaving:
		return "database-saved"
	case f.Topic == mosquitto.FaultMemory:
		return "broker-memory"
	case f.Topic == mosquitto.FaultWebSocket:
		return "broker-websocket"
	}
	return ""
}

func judgeBrokerSteady(e *Evidence) Outcome {
	f := brokerFault(e)
	o := judgeSteady(e, thisBroker, brokerExit, f.Cause, brokerCause(e))
	d, _ := e.details(thisBroker)
	switch {
	case o.Status != Failed:
	case f.Line == "" && d.EndKnown() && slices.Contains([]int{exitScript, 126, 127}, d.ExitCode):
		// Somebody else has made the container, without its files.
		o = o.do("make its container anew", "mqtunnel up --force-recreate")
	default:
		o = o.seen(f.Line)
	}
	return o
}

// brokerExit words an exit code of the broker.
func brokerExit(code int) string {
	switch code {
	case 0:
		return "it ended as if it had been asked to"
	case exitScript, 126, 127:
		return "its start script, or the broker itself, is not in its container"
	case exitDatabase:
		return "a listener cannot be opened, or its database cannot be loaded"
	case exitConfiguration:
		return "it does not accept its configuration"
	case exitUsers:
		return "it does not accept its password file, its ACL file or a plugin"
	case exitPid:
		return "it cannot write its pid file"
	}
	return signalExit(code)
}

func judgeBrokerName(e *Evidence) Outcome { return judgeName(e, thisBroker) }

func judgeBrokerNetwork(e *Evidence) Outcome { return judgeOnNetwork(e, thisBroker) }

// answersPlain reports whether the broker answered on its plain port, whatever.
func answersPlain(r *probe.Report) bool {
	c := r.AnonymousPlain
	return c.Done && (c.OK || c.Error != nil && c.Error.Class == probe.ClassAnonymousAccepted)
}

func judgeBrokerWebsocket(e *Evidence) Outcome {
	if f := brokerFault(e); f.Topic == mosquitto.FaultWebSocket {
		return fault("%s", f.Cause).seen(f.Line).do(f.Hint+", then type: mqtunnel up", "mqtunnel up")
	}
	r := e.Inside.Report
	if r == nil {
		return unseen("nobody looked from inside the network")
	}
	trip := r.RoundTrip
	if trip.Error != nil && trip.Error.Class == probe.ClassRefused && answersPlain(r) {
		return fault("the broker has no WebSocket listener: nothing listens on port 9001, and on 1883 it answers").
			seen(trip.Error.Error()).do("", "mqtunnel up --force-recreate")
	}
	return pass("")
}

func judgeBrokerRoom(e *Evidence) Outcome {
	r := e.Inside.Report
	if r == nil {
		return unseen("nobody looked from inside the network")
	}
	trip := r.RoundTrip
	if !trip.Done || trip.OK || trip.Error == nil || !answersPlain(r) {
		return pass("")
	}
	switch trip.Error.Class {
	case probe.ClassClosed, probe.ClassUpgradeTimeout, probe.ClassClosedByBroker, probe.ClassNoConnack, probe.ClassBrokerBusy:
	default:
		return pass("")
	}
	denied := deniedForRoom(e)
	text := "the broker takes no more clients on its WebSocket listener, and on its plain one it still answers"
	if denied != "" {
		text = "the broker is full: its WebSocket listener has all the connections that it takes"
	}
	return fault("%s", text).seen(trip.Error.Error(), denied).
		do("restart the broker, then see which clients open so many connections: mqtunnel logs mosquitto", "mqtunnel restart mosquitto")
}

// deniedForRoom returns the last line that says that the broker is full. An address
// stands in it and no client's words.
func deniedForRoom(e *Evidence) string {
	if e.Project.Status == nil {
		return ""
	}
	for _, l := range slices.Backward(e.Project.Status.BrokerLines) {
		rest, denies := strings.CutPrefix(l.Text, "Client connection from ")
		address, full := strings.CutSuffix(rest, " denied: max_connections exceeded.")
		if denies && full && !strings.Contains(address, " ") {
			return l.Text
		}
	}
	return ""
}
