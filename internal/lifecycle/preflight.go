package lifecycle

import (
	"fmt"
	"strings"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// CheckOwner refuses to act on a project that runs for another directory,
// unless it is to be adopted.
func CheckOwner(p plan.Project, o plan.Observed, adopt bool) error {
	dir, elsewhere := plan.Elsewhere(p, o)
	if !elsewhere || adopt {
		return nil
	}
	return remedy.Errorf(remedy.Input,
		fmt.Sprintf("go there: cd %s\nor give this one another name: -p NAME\nor take that one over: --adopt", dir),
		"project %s belongs to the directory %s", p.Name, dir)
}

// CheckNames refuses when a container that is not of the project holds a name
// that the project wants, and says how to free it.
func CheckNames(p plan.Project, o plan.Observed) error {
	conflicts := plan.Conflicts(p, o)
	if len(conflicts) == 0 {
		return nil
	}
	c := conflicts[0].Container
	return remedy.Errorf(remedy.Input, freeName(c), "the name %s is taken by %s", conflicts[0].Name, c.Describe())
}

// freeName says what to type so that a container gives its name up.
func freeName(c plan.Container) string {
	other := "or give this project another name, which changes the container names: -p NAME"
	dir := c.Labels[plan.LabelWorkingDir]
	if c.Project() != "" && dir != "" {
		return fmt.Sprintf("stop that project: docker compose --project-directory %s -p %s down\n%s", dir, c.Project(), other)
	}
	return fmt.Sprintf("stop and remove it: docker rm -f %s\n%s", c.Name, other)
}

// CheckTunnel refuses when a connector of the same tunnel runs on this Engine
// for another project: Cloudflare would hand clients to either at random.
func CheckTunnel(p plan.Project, tunnelID string, managed []plan.Container) error {
	for _, c := range managed {
		if c.Labels[plan.LabelTunnel] != tunnelID || tunnelID == "" || c.Project() == p.Name || c.State != plan.StateRunning {
			continue
		}
		return remedy.Errorf(remedy.Input,
			fmt.Sprintf("stop that one: mqtunnel -C %s down\nor use the token of another tunnel here: mqtunnel token set", c.Labels[plan.LabelWorkingDir]),
			"tunnel %s is already served by %s: clients would reach either broker at random", tunnelID, c.Describe())
	}
	return nil
}

// CheckExternal refuses when a network or volume that must exist does not.
func CheckExternal(p plan.Project, o plan.Observed) error {
	for _, n := range p.Networks {
		if n.External && !contains(o.Networks, n.Name, func(x plan.ObservedNetwork) string { return x.Name }) {
			return remedy.Errorf(remedy.Input, "make it: docker network create "+n.Name, "network %s is external and does not exist", n.Name)
		}
	}
	for _, v := range p.Volumes {
		if v.External && !contains(o.Volumes, v.Name, func(x plan.ObservedVolume) string { return x.Name }) {
			return remedy.Errorf(remedy.Input, "make it: docker volume create "+v.Name, "volume %s is external and does not exist", v.Name)
		}
	}
	return nil
}

func contains[T any](list []T, name string, nameOf func(T) string) bool {
	for _, x := range list {
		if nameOf(x) == name {
			return true
		}
	}
	return false
}

// CheckPorts refuses when another container publishes a port that the project
// wants on the same address.
func CheckPorts(p plan.Project, all []plan.Container) error {
	for _, s := range p.Services {
		for _, want := range s.Spec.Ports {
			if want.HostPort == "" {
				continue
			}
			for _, c := range all {
				if c.Project() == p.Name || c.State != plan.StateRunning || !publishes(c, want) {
					continue
				}
				return remedy.Errorf(remedy.Input, "choose another port: MQTT_LAN_LISTEN=PORT in .env\nor stop that container",
					"port %s is published by %s", want.HostPort, c.Describe())
			}
		}
	}
	return nil
}

// publishes reports whether the container holds the port on an address that
// collides with the wanted one.
func publishes(c plan.Container, want plan.Port) bool {
	for _, have := range c.Ports {
		if have.HostPort != want.HostPort || !strings.EqualFold(have.Protocol, want.Protocol) {
			continue
		}
		if have.HostIP == want.HostIP || everyAddress(have.HostIP) || everyAddress(want.HostIP) {
			return true
		}
	}
	return false
}

func everyAddress(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
