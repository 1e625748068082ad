package doctor

import (
	"fmt"
	"net/netip"
	"slices"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

func judgeAnonymous(e *Evidence) Outcome {
	s, r := e.Files.Settings, e.Inside.Report
	allowed := s != nil && s.AllowAnonymous
	var open []string
	asked := false
	if r != nil {
		for _, c := range []struct {
			where string
			check probe.Check
		}{{"on the WebSocket listener, where the tunnel leads", r.AnonymousWebSocket}, {"on the plain listener", r.AnonymousPlain}} {
			asked = asked || c.check.OK
			if c.check.Error != nil && c.check.Error.Class == probe.ClassAnonymousAccepted {
				open = append(open, "a client without username was let in "+c.where)
			}
		}
	}
	switch {
	case len(open) > 0 && !allowed && s != nil:
		return fault("the broker lets clients in without a user, and MQTT_ALLOW_ANONYMOUS does not say so").seen(open...).
			do("", "mqtunnel up --force-recreate")
	case len(open) > 0 && s == nil:
		return warning("the broker lets clients in without a user").seen(open...)
	case len(open) > 0, allowed && !asked:
		return warning("%s", lifecycle.Weaker(true, s.LAN.String())[0]).seen(open...).
			do("make users, then take MQTT_ALLOW_ANONYMOUS out of .env and type: mqtunnel up", "mqtunnel user add NAME", "mqtunnel up")
	case asked:
		return pass("")
	}
	return unseen("nobody looked from inside the network")
}

func judgePublished(e *Evidence) Outcome {
	o := e.Project.Observed
	if o == nil {
		return unseen("the Engine was not asked")
	}
	var seen, asked []string
	for _, c := range o.Containers {
		seen = append(seen, exposed(c)...)
	}
	if s := e.Files.Settings; s != nil && s.LAN.Enabled() {
		asked = lifecycle.Weaker(false, s.LAN.String())
	}
	for _, p := range []part{thisBroker, thisConnector} {
		if svc, known := e.wanted(p); known && svc.Spec.NetworkMode == "host" && e.running(p) {
			seen = append(seen, string(p)+" uses the host's network, and all its ports are open there")
		}
	}
	switch {
	case len(seen) == 0:
		return pass("")
	case len(asked) > 0 && len(seen) == 1:
		return warning("%s", asked[0]).seen(seen...)
	}
	return warning("compose.override.yaml publishes ports on the LAN, and Docker opens them past a host firewall such as ufw").seen(seen...).
		do("take ports out of compose.override.yaml where nobody needs them, and type: mqtunnel up", "mqtunnel up")
}

// exposed tells which ports of a container others than this host reach.
func exposed(c plan.Container) []string {
	var lines []string
	for _, p := range c.Ports {
		if a, err := netip.ParseAddr(p.HostIP); err == nil && a.IsLoopback() {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s publishes port %d on %s, port %s", c.Name, p.Container, hostAddress(p.HostIP), p.HostPort))
	}
	slices.Sort(lines)
	return slices.Compact(lines)
}

// hostAddress words the address that a port is published on; both families of
// every address are one.
func hostAddress(ip string) string {
	if a, err := netip.ParseAddr(ip); err != nil || a.IsUnspecified() {
		return "every address"
	}
	return ip
}
