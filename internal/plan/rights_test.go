package plan_test

import (
	"slices"
	"testing"

	"mqtunnel/internal/plan"
)

func TestEveryRightThatIsNotNeededIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*plan.Rights)
		want   []string
	}{
		"as rendered":        {func(*plan.Rights) {}, nil},
		"other words for it": {func(r *plan.Rights) { r.CapDrop, r.SecurityOpt = []string{"all"}, []string{"no-new-privileges"} }, nil},
		"another user":       {func(r *plan.Rights) { r.User = "1000" }, nil},
		"root by name":       {func(r *plan.Rights) { r.User = "root:1883" }, []string{"runs as root"}},
		"root by number":     {func(r *plan.Rights) { r.User = "0" }, []string{"runs as root"}},
		"no user":            {func(r *plan.Rights) { r.User = "" }, []string{"runs as root"}},
		"capabilities":       {func(r *plan.Rights) { r.CapAdd = []string{"CAP_NET_ADMIN", "sys_time"} }, []string{"has the capability NET_ADMIN", "has the capability SYS_TIME"}},
		"some dropped":       {func(r *plan.Rights) { r.CapDrop = []string{"CAP_CHOWN"} }, []string{"keeps the capabilities that Docker gives by itself"}},
		"new privileges":     {func(r *plan.Rights) { r.SecurityOpt = []string{"no-new-privileges:false"} }, []string{"may gain privileges, as no-new-privileges is off"}},
		"unconfined": {func(r *plan.Rights) {
			r.SecurityOpt = append(r.SecurityOpt, "seccomp=unconfined", "apparmor:unconfined")
		}, []string{"runs without the filter seccomp", "runs without the profile of AppArmor"}},
		"a profile of its own":   {func(r *plan.Rights) { r.SecurityOpt = append(r.SecurityOpt, "seccomp={}") }, nil},
		"namespaces of the host": {func(r *plan.Rights) { r.HostNetwork, r.HostPID, r.HostIPC = true, true, true }, []string{"sees the processes of the host", "shares memory with the processes of the host", "uses the network of the host"}},
		"privileged has it all":  {func(r *plan.Rights) { r.Privileged, r.CapAdd, r.CapDrop = true, []string{"NET_ADMIN"}, nil }, []string{"is privileged"}},
		"privileged root":        {func(r *plan.Rights) { r.Privileged, r.User, r.SecurityOpt = true, "", []string{"label=disable"} }, []string{"is privileged", "runs as root", "may gain privileges, as no-new-privileges is off"}},
	} {
		r := plan.Spec{User: "1883:1883", CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"}}.Rights()
		c.change(&r)
		if got := r.Excess(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	if got := (plan.Spec{Privileged: true, NetworkMode: "host"}).Rights(); !got.Privileged || !got.HostNetwork {
		t.Errorf("of a spec that asks for them: %+v", got)
	}
}
