package plan

import (
	"slices"
	"strings"
)

// Rights are what a container lets its processes do beyond the container. Capabilities
// and security options may be spelt as Docker takes them or as the Engine tells them.
type Rights struct {
	User        string // "" is root, unless it is the image's to say
	Privileged  bool
	CapAdd      []string
	CapDrop     []string
	SecurityOpt []string
	HostNetwork bool
	HostPID     bool
	HostIPC     bool
}

// Rights returns what a container of this spec is to have.
func (s Spec) Rights() Rights {
	return Rights{
		User: s.User, Privileged: s.Privileged, CapAdd: s.CapAdd, CapDrop: s.CapDrop, SecurityOpt: s.SecurityOpt,
		HostNetwork: s.NetworkMode == "host",
	}
}

// Excess tells what r allows and neither service needs, the worst first. Each is the end
// of a sentence about the service.
func (r Rights) Excess() []string {
	var list []string
	add := func(is bool, text string) {
		if is {
			list = append(list, text)
		}
	}
	add(r.Privileged, "is privileged")
	add(r.Root(), "runs as root")
	if !r.Privileged { // which has all of it
		for _, c := range r.CapAdd {
			add(true, "has the capability "+capability(c))
		}
		add(!slices.ContainsFunc(r.CapDrop, func(c string) bool { return capability(c) == "ALL" }), "keeps the capabilities that Docker gives by itself")
		add(r.option("seccomp", "unconfined"), "runs without the filter seccomp")
		add(r.option("apparmor", "unconfined"), "runs without the profile of AppArmor")
	}
	add(!r.option("no-new-privileges", "true"), "may gain privileges, as no-new-privileges is off")
	add(r.HostPID, "sees the processes of the host")
	add(r.HostIPC, "shares memory with the processes of the host")
	add(r.HostNetwork, "uses the network of the host")
	return list
}

// Root reports whether the user is root.
func (r Rights) Root() bool {
	user, _, _ := strings.Cut(r.User, ":")
	return slices.Contains([]string{"", "0", "root"}, user)
}

// option reports whether a security option has a value. One without any is true.
func (r Rights) option(name, value string) bool {
	return slices.ContainsFunc(r.SecurityOpt, func(o string) bool {
		rest, is := strings.CutPrefix(o, name)
		return is && (rest == "" && value == "true" || rest == ":"+value || rest == "="+value)
	})
}

// capability is the name of one as Compose files have it.
func capability(name string) string { return strings.TrimPrefix(strings.ToUpper(name), "CAP_") }
