package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

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
	var changed Outcome // where a container was changed by hand, which has a check of its own
	for _, c := range o.Containers {
		unwanted := e.unwanted(c)
		for _, port := range exposed(c) {
			if slices.Contains(unwanted, port) {
				changed = fault("a port is published on the LAN, and the files do not say so").because(part(c.Service()).check("unchanged"))
				continue
			}
			seen = append(seen, c.Name+" "+port)
		}
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
	case len(seen) == 0 && changed.Status == Failed:
		return changed
	case len(seen) == 0:
		return pass("")
	case len(asked) > 0 && len(seen) == 1:
		return warning("%s", asked[0]).seen(seen...)
	}
	return warning("compose.override.yaml publishes ports on the LAN, and Docker opens them past a host firewall such as ufw").seen(seen...).
		do("take ports out of compose.override.yaml where nobody needs them, and type: mqtunnel up", "mqtunnel up")
}

// unwanted tells which ports a container of the broker's or the connector's publishes
// on the LAN that the files do not ask for, where it was made from them.
func (e *Evidence) unwanted(c plan.Container) []string {
	p := part(c.Service())
	svc, known := e.wanted(p)
	if !known || p != thisBroker && p != thisConnector || c.Labels[plan.LabelConfigHash] != svc.Hash {
		return nil
	}
	asked := func(port plan.Port) bool {
		return slices.ContainsFunc(svc.Spec.Ports, func(want plan.Port) bool { return asksFor(want, port) })
	}
	c.Ports = slices.DeleteFunc(slices.Clone(c.Ports), asked)
	return exposed(c)
}

// asksFor reports whether a port of a service comes to this one of a container.
func asksFor(want, port plan.Port) bool {
	return want.Container == port.Container && cmp.Or(want.Protocol, "tcp") == cmp.Or(port.Protocol, "tcp") &&
		hostAddress(want.HostIP) == hostAddress(port.HostIP) && among(port.HostPort, want.HostPort)
}

// among reports whether a port is the one that was asked for, or one of a range of them.
// Where none was asked for, the Engine chooses.
func among(port, asked string) bool {
	first, last, spread := strings.Cut(asked, "-")
	if !spread {
		return asked == "" || asked == port
	}
	low, err1 := strconv.Atoi(first)
	high, err2 := strconv.Atoi(last)
	n, err3 := strconv.Atoi(port)
	return errors.Join(err1, err2, err3) == nil && low <= n && n <= high
}

// exposed tells which ports of a container others than this host reach, each as the end
// of a sentence about the container.
func exposed(c plan.Container) []string {
	var lines []string
	for _, p := range c.Ports {
		if a, err := netip.ParseAddr(p.HostIP); err == nil && a.IsLoopback() {
			continue
		}
		lines = append(lines, fmt.Sprintf("publishes port %d on %s, port %s", p.Container, hostAddress(p.HostIP), p.HostPort))
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
