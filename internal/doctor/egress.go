package doctor

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

func judgeContainerDns(e *Evidence) Outcome {
	edge := wayOut(e)
	if edge == nil || !edge.Any.Done {
		return unlooked(e)
	}
	servers := strings.Join(e.Inside.Report.Resolvers, ", ")
	if edge.Any.OK || edge.Service.OK || some(edge.Regions, func(r probe.Region) bool { return r.Lookup.OK }) {
		return pass("%s", servers)
	}
	o := fault("containers cannot resolve any name: %s", silence(edge.Any))
	if isConnected(e) {
		o = warning("containers cannot resolve any name any more, so that the connector could not connect again")
	}
	if servers != "" {
		o = o.seen("name servers inside: " + servers)
	}
	o = o.seen(words(edge.Any, edge.Service, edge.ServiceTLS)...).
		do("give containers a name server that answers: dns in /etc/docker/daemon.json, then restart Docker; or dns in compose.override.yaml, then mqtunnel up")
	if noWay(edge.ServiceTLS) {
		// Without a way out no name server answers either.
		o = o.because("edge-route")
	}
	return o
}

// silence words how a lookup of any name fails.
func silence(c probe.Check) string {
	switch {
	case c.Error == nil:
		return "nothing answers"
	case c.Error.Class == probe.ClassNameTimeout:
		return "their name server does not answer"
	case c.Error.Class == probe.ClassNameUnknown:
		return "their name server says of every name that it does not exist"
	}
	return "their name server answers with errors"
}

// noWay reports whether this host or its network say that there is no way.
func noWay(c probe.Check) bool {
	return c.Error != nil && (c.Error.Class == probe.ClassUnreachable || c.Error.Class == probe.ClassProhibited)
}

func judgeEdgeDns(e *Evidence) Outcome {
	edge, cause := wayOut(e), connectorCause(e)
	inLog := cause.ID == cloudflared.CauseDNS && edge == nil || cause.ID == cloudflared.CauseAddressFamily
	switch {
	case inLog && !isConnected(e):
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint)
	case edge == nil:
		return unlooked(e)
	}
	names := unresolved(edge, isConnected(e))
	switch {
	case len(names) == 0:
		return pass("")
	case isConnected(e):
		return warning("the name server of containers does not have %s any more, so that the connector could not connect again", strings.Join(names, ", ")).
			seen(words(lookUps(edge)...)...)
	}
	return fault("the name server of containers does not have %s, the names of Cloudflare's edge", strings.Join(names, ", ")).
		seen(words(lookUps(edge)...)...).
		do("let the DNS filter (Pi-hole, AdGuard, router) pass argotunnel.com, or give containers another name server: dns in compose.override.yaml, then mqtunnel up")
}

// lookUps are those of the edge's names.
func lookUps(edge *probe.Edge) []probe.Check {
	checks := []probe.Check{edge.Service, edge.ServiceTLS}
	for _, r := range edge.Regions {
		checks = append(checks, r.Lookup)
	}
	return checks
}

func timedOut(c probe.Check) bool { return c.Error != nil && c.Error.Class == probe.ClassNameTimeout }

// unresolved returns the names of the edge that the connector needs and does not
// get, without those that only timed out if patient. The service is found by DNS
// over TLS too.
func unresolved(edge *probe.Edge, patient bool) []string {
	fails := func(c probe.Check) bool { return c.Done && !c.OK && (!patient || !timedOut(c)) }
	var names []string
	if fails(edge.Service) && !edge.ServiceTLS.OK {
		names = append(names, "_v2-origintunneld._tcp.argotunnel.com")
	}
	for _, r := range edge.Regions {
		if fails(r.Lookup) || slices.ContainsFunc(r.Addresses, blackHole) {
			names = append(names, r.Name)
		}
	}
	return names
}

// blackHole reports whether an address is what a DNS filter answers for names that
// it blocks.
func blackHole(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.IsUnspecified()
}

func judgeEdgeRoute(e *Evidence) Outcome {
	edge, cause := wayOut(e), connectorCause(e)
	regions := tried(edge)
	blocked := all(regions, func(r probe.Region) bool { return noWay(r.TCP) && noWay(r.UDP) }) ||
		len(regions) == 0 && edge != nil && noWay(edge.ServiceTLS)
	told := cause.ID == cloudflared.CauseNoRoute || cause.ID == cloudflared.CauseFirewall
	// The look goes by IPv4 where it can.
	told = told && (len(regions) == 0 || e.Files.Settings != nil && e.Files.Settings.EdgeIPVersion == "6")
	switch {
	case isConnected(e):
		return pass("")
	case blocked && prohibited(edge):
		return fault("a firewall of this host forbids containers the way to Cloudflare's edge").seen(blockedWords(edge)...).
			do("allow outgoing UDP and TCP 7844 for containers in the firewall of this host")
	case blocked:
		return fault("there is no way from the containers to the internet").seen(blockedWords(edge)...).
			do("see that this host reaches the internet, and that the project's network is not internal: in compose.override.yaml")
	case told:
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint)
	case len(regions) == 0:
		return unlooked(e)
	}
	return pass("")
}

func prohibited(edge *probe.Edge) bool {
	forbidden := func(c probe.Check) bool { return c.Error != nil && c.Error.Class == probe.ClassProhibited }
	return forbidden(edge.ServiceTLS) || some(edge.Regions, func(r probe.Region) bool { return forbidden(r.TCP) || forbidden(r.UDP) })
}

// blockedWords returns what went wrong on the way to each region.
func blockedWords(edge *probe.Edge) []string {
	lines := words(edge.ServiceTLS)
	for _, r := range edge.Regions {
		lines = append(lines, words(r.TCP, r.TLS, r.UDP)...)
	}
	return lines
}

func judgeEdgePorts(e *Evidence) Outcome {
	regions := tried(wayOut(e))
	switch {
	case isConnected(e):
		return pass("")
	case len(regions) == 0:
		return unlooked(e)
	case all(regions, noTCP) && all(regions, noUDP):
		return fault("port 7844 to Cloudflare's edge is blocked, UDP and TCP").seen(blockedWords(wayOut(e))...).
			do("allow outgoing UDP and TCP 7844 in the firewall or router; one of them is enough: for TCP alone set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up")
	}
	return pass("")
}

func judgeEdgeUdp(e *Evidence) Outcome {
	regions, cause := tried(wayOut(e)), connectorCause(e)
	blocked := all(regions, noUDP) || len(regions) == 0 && cause.ID == cloudflared.CauseUDPBlocked
	switch {
	case blocked && isConnected(e):
		return pass("UDP port 7844 does not answer, and the connector is connected all the same")
	case blocked && triedProtocol(e) == cloudflared.ProtocolHTTP2:
		return pass("UDP port 7844 does not answer, and the connector goes by HTTP/2")
	case blocked:
		text := "UDP port 7844 is blocked, while TCP port 7844 is open"
		if len(regions) == 0 {
			text = cause.Sentence
		}
		o := fault("%s", text).seen(udpWords(regions)...)
		if cause.ID == cloudflared.CauseUDPBlocked {
			o = o.seen(causeLine(cause))
		}
		if len(regions) > 0 && !some(regions, func(r probe.Region) bool { return r.TLS.OK }) {
			o = o.because("edge-tls") // HTTP/2 would not come through either
		}
		return o.do("set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up; or allow outgoing UDP 7844 in the firewall or router", "mqtunnel up")
	case len(regions) == 0:
		return unlooked(e)
	}
	return pass("")
}

func udpWords(regions []probe.Region) []string {
	var lines []string
	for _, r := range regions {
		lines = append(lines, words(r.UDP)...)
	}
	return lines
}

func judgeEdgeTcp(e *Evidence) Outcome {
	regions, cause := tried(wayOut(e)), connectorCause(e)
	blocked := all(regions, noTCP) || len(regions) == 0 && cause.ID == cloudflared.CauseTCPBlocked
	switch {
	case blocked && isConnected(e):
		return pass("TCP port 7844 does not answer, and the connector is connected all the same")
	case blocked && triedProtocol(e) != cloudflared.ProtocolHTTP2:
		return pass("TCP port 7844 does not answer, and the connector goes by QUIC")
	case blocked:
		text := "TCP port 7844 is blocked, while UDP port 7844 is open"
		if len(regions) == 0 {
			text = cause.Sentence
		}
		o := fault("%s", text)
		for _, r := range regions {
			o = o.seen(words(r.TCP)...)
		}
		if cause.ID == cloudflared.CauseTCPBlocked {
			o = o.seen(causeLine(cause))
		}
		return o.do("take TUNNEL_TRANSPORT_PROTOCOL out of .env and type: mqtunnel up; or allow outgoing TCP 7844 in the firewall or router", "mqtunnel up")
	case len(regions) == 0:
		return unlooked(e)
	}
	return pass("")
}

func judgeEdgeTls(e *Evidence) Outcome {
	edge, cause := wayOut(e), connectorCause(e)
	regions := tried(edge)
	cut := all(regions, func(r probe.Region) bool { return r.TCP.OK && !r.TLS.OK }) &&
		(all(regions, noUDP) || triedProtocol(e) == cloudflared.ProtocolHTTP2)
	switch {
	case isConnected(e):
		return pass("")
	case cause.ID == cloudflared.CauseClock:
		return fault("the certificate of Cloudflare's edge is not valid by the clock of this machine").
			seen(append([]string{causeLine(cause)}, certificates(regions)...)...).do(cause.Hint).because("clock")
	case cause.ID == cloudflared.CauseInterception:
		return fault("%s", cause.Sentence).seen(append(certificates(regions), causeLine(cause))...).do(cause.Hint)
	case cut:
		o := fault("something on the way ends the TLS handshake with Cloudflare's edge")
		for _, r := range regions {
			o = o.seen(words(r.TLS)...)
		}
		return o.do("exempt region1.v2.argotunnel.com and region2.v2.argotunnel.com, port 7844, from inspection, or try another network")
	case cause.ID == cloudflared.CauseReset && len(regions) == 0:
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint)
	case len(regions) == 0:
		return unlooked(e)
	}
	return pass("")
}

// certificates describes what was presented in the edge's place.
func certificates(regions []probe.Region) []string {
	var lines []string
	for _, r := range regions {
		if c := r.Certificate; c != nil {
			lines = append(lines, fmt.Sprintf("%s presents a certificate of %q for %s, valid from %s to %s",
				r.Name, c.Issuer, strings.Join(c.Names, ", "), clock(c.NotBefore), clock(c.NotAfter)))
		}
	}
	return lines
}

// Times that a connector is given.
const (
	connectGrace = 20 * time.Second // for its first connection, and for the next one when the last was lost
	fourGrace    = time.Minute      // for all four
)

func judgeRegistered(e *Evidence) Outcome {
	n, known := connected(e)
	cause := connectorCause(e)
	lost, _ := lastChanges(e)
	waiting := e.At.Sub(lost) < connectGrace
	switch {
	case n > 0:
		return pass("%d of 4 connections", n)
	case !known:
		return unseen("whether the connector is connected is not known")
	case ofRegistration(cause.ID):
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint).because(beyondConnector(cause.ID))
	case waiting:
		return unseen("the connector was started or lost its connections only just now")
	case ofEdge(cause.ID):
		return fault("the connector is not connected although the way to Cloudflare's edge is open by now").seen(causeLine(cause)).
			do("it tries again by itself within some minutes; at once: mqtunnel restart cloudflared", "mqtunnel restart cloudflared")
	}
	return fault("the connector is not connected to Cloudflare's edge, and its log does not say why").
		do("see what it says: mqtunnel logs cloudflared; and https://www.cloudflarestatus.com", "mqtunnel logs cloudflared")
}

// ofRegistration reports whether a cause is the edge's answer to the connector, or
// that it gives none.
func ofRegistration(id cloudflared.CauseID) bool {
	switch id {
	case cloudflared.CauseSecret, cloudflared.CauseNoTunnel, cloudflared.CauseRefused, cloudflared.CauseRefusedSilently, cloudflared.CauseEdgeSilent:
		return true
	default:
		return false
	}
}

// ofEdge reports whether a cause is one of the way to the edge.
func ofEdge(id cloudflared.CauseID) bool {
	switch beyondConnector(id) {
	case "edge-dns", "edge-route", "edge-ports", "edge-udp", "edge-tcp", "edge-tls", "clock":
		return true
	default:
		return false
	}
}

// lastChanges returns when the connector was started or last lost a connection, and
// when it was started or one of its connections last came or went. One that never
// stood is not lost, although the log words the end of each try like that; where its
// beginning is gone, the first end that it tells is taken for a loss.
func lastChanges(e *Evidence) (lost, changed time.Time) {
	d, _ := e.details(thisConnector)
	lost, changed = d.StartedAt, d.StartedAt
	begun := e.Project.Status != nil && e.Project.Status.Begun[plan.ServiceConnector]
	stands := map[int]bool{}
	for _, l := range connectorLines(e) {
		event := l.Event()
		switch event.Kind {
		case cloudflared.EventStarting:
			clear(stands)
		case cloudflared.EventRegistered:
			stands[event.Index] = true
			changed = later(changed, l.Time)
		case cloudflared.EventLost:
			if stood, told := stands[event.Index]; stood || !told && !begun {
				lost, changed = later(lost, l.Time), later(changed, l.Time)
			}
			stands[event.Index] = false
		default:
		}
	}
	return lost, changed
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func judgeFourConnections(e *Evidence) Outcome {
	n, known := connected(e)
	_, changed := lastChanges(e)
	switch {
	case !known || n == 0:
		return unseen("the connector is not connected")
	case n >= 4:
		return pass("")
	case e.At.Sub(changed) < fourGrace:
		return unseen("%d of 4 connections so far; the others are given a minute", n)
	}
	text := fmt.Sprintf("only %d of the 4 connections to Cloudflare's edge stand", n)
	if names := unreached(tried(wayOut(e))); len(names) > 0 {
		text += ", and " + strings.Join(names, " and ") + " is not reached"
	}
	o := warning("%s", text).seen(missing(e)...)
	if edge := wayOut(e); edge != nil {
		o = o.seen(blockedWords(edge)...)
	}
	return o.do("messages flow; allow outgoing port 7844 to both regions of Cloudflare's edge, so that the loss of one does not matter")
}

// unreached returns the regions to which neither way is open.
func unreached(regions []probe.Region) []string {
	var names []string
	for _, r := range regions {
		if noTCP(r) && noUDP(r) {
			names = append(names, r.Name)
		}
	}
	return names
}

// missing tells of each connection that does not stand where it last was, or was
// last tried.
func missing(e *Evidence) []string {
	standing, known := standingConnections(e)
	if !known {
		return nil
	}
	last := map[int]string{}
	for _, l := range connectorLines(e) {
		event := l.Event()
		if ip := l.Fields["ip"]; ip != "" && event.Index >= 0 {
			last[event.Index] = ip
		}
	}
	var lines []string
	for index := range 4 {
		if slices.Contains(standing, index) {
			continue
		}
		line := fmt.Sprintf("connection %d does not stand", index)
		if ip := last[index]; ip != "" {
			line += ", last at " + ip + regionOf(wayOut(e), ip)
		}
		lines = append(lines, line)
	}
	return lines
}

// standingConnections returns the indexes of the connections that the connector
// says to have.
func standingConnections(e *Evidence) (list []int, known bool) {
	r := e.Inside.Report
	if r == nil || !r.Tunnel.OK {
		return nil, false
	}
	diag, err := cloudflared.ParseDiag(bytes.NewReader(r.Tunnel.Body))
	if err != nil {
		return nil, false
	}
	for _, c := range diag.Connections {
		list = append(list, c.Index)
	}
	return list, true
}

// regionOf names the region that an address of the edge belongs to.
func regionOf(edge *probe.Edge, ip string) string {
	if edge == nil {
		return ""
	}
	for _, r := range edge.Regions {
		if slices.Contains(r.Addresses, ip) {
			return " in " + r.Name
		}
	}
	return ""
}
