package render

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// translate turns the loaded project into the vocabulary of the plan.
func translate(p *types.Project, files []types.ConfigFile) (plan.Project, error) {
	out := plan.Project{Name: p.Name, Dir: p.WorkingDir}
	for _, f := range files {
		out.ConfigFiles = append(out.ConfigFiles, f.Filename)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Networks)) {
		n, err := network(key, p.Networks[key])
		if err != nil {
			return plan.Project{}, err
		}
		out.Networks = append(out.Networks, n)
	}
	for _, key := range slices.Sorted(maps.Keys(p.Volumes)) {
		v, err := volume(key, p.Volumes[key])
		if err != nil {
			return plan.Project{}, err
		}
		out.Volumes = append(out.Volumes, v)
	}
	for _, name := range startOrder(p) {
		s, err := service(p, p.Services[name])
		if err != nil {
			return plan.Project{}, err
		}
		out.Services = append(out.Services, s)
	}
	return out, checkRoles(out)
}

// checkRoles makes sure that an override left both services what they are.
func checkRoles(p plan.Project) error {
	for name, role := range map[string]string{plan.ServiceBroker: plan.RoleBroker, plan.ServiceConnector: plan.RoleConnector} {
		i := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Name == name })
		if i < 0 || p.Services[i].Spec.Labels[plan.LabelRole] != role {
			return remedy.Errorf(remedy.Input, "leave the service and its label "+plan.LabelRole+" as they are",
				"the service %s is not the %s any more", name, role)
		}
	}
	return nil
}

// startOrder returns the names of the services so that each comes after those
// that it depends on; where that leaves a choice the broker comes first, then
// the connector, then the others by name.
func startOrder(p *types.Project) []string {
	rank := map[string]int{plan.ServiceBroker: -2, plan.ServiceConnector: -1}
	names := slices.SortedFunc(maps.Keys(p.Services), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank[a], rank[b]), strings.Compare(a, b))
	})
	var order []string
	var visit func(name string)
	visit = func(name string) {
		// compose-go has refused cycles, so this ends.
		if _, exists := p.Services[name]; !exists || slices.Contains(order, name) {
			return
		}
		for _, dependency := range slices.Sorted(maps.Keys(p.Services[name].DependsOn)) {
			visit(dependency)
		}
		order = append(order, name)
	}
	for _, name := range names {
		visit(name)
	}
	return order
}

func network(key string, n types.NetworkConfig) (plan.Network, error) {
	hash, err := networkHash(n)
	if err != nil {
		return plan.Network{}, fmt.Errorf("hash network %s: %w", key, err)
	}
	out := plan.Network{
		Key: key, Name: n.Name, External: bool(n.External), Driver: n.Driver, DriverOpts: n.DriverOpts,
		Internal: n.Internal, IPv6: n.EnableIPv6 != nil && *n.EnableIPv6, Labels: n.Labels, Hash: hash,
	}
	for _, pool := range n.Ipam.Config {
		out.Subnets = append(out.Subnets, pool.Subnet)
	}
	return out, nil
}

func volume(key string, v types.VolumeConfig) (plan.Volume, error) {
	hash, err := volumeHash(v)
	if err != nil {
		return plan.Volume{}, fmt.Errorf("hash volume %s: %w", key, err)
	}
	return plan.Volume{
		Key: key, Name: v.Name, External: bool(v.External), Driver: v.Driver, DriverOpts: v.DriverOpts,
		Labels: v.Labels, Hash: hash,
	}, nil
}

func service(p *types.Project, s types.ServiceConfig) (plan.Service, error) {
	hash, err := serviceHash(s)
	if err != nil {
		return plan.Service{}, fmt.Errorf("hash service %s: %w", s.Name, err)
	}
	out := plan.Service{
		Name: s.Name, ContainerName: containerName(p.Name, s), Image: s.Image, Platform: s.Platform, Hash: hash,
	}
	if out.Spec, err = spec(p, s); err != nil {
		return plan.Service{}, fmt.Errorf("service %s: %w", s.Name, err)
	}
	files, mounts := references(p, s)
	out.Files = files
	for _, m := range mounts {
		if !slices.ContainsFunc(out.Spec.Mounts, func(have plan.Mount) bool { return have.Target == m.Target }) {
			out.Spec.Mounts = append(out.Spec.Mounts, m)
		}
	}
	if s.ReadOnly && len(files) > 0 {
		return plan.Service{}, remedy.Errorf(remedy.Input, "remove read_only, or take the content from a file",
			"service %s is read_only: neither Engine nor Compose can put %s into it", s.Name, files[0].Path)
	}
	return out, nil
}

// containerName is the name of the first and only container of a service.
func containerName(project string, s types.ServiceConfig) string {
	return cmp.Or(s.ContainerName, project+"-"+s.Name+"-1")
}

func spec(p *types.Project, s types.ServiceConfig) (plan.Spec, error) {
	ports, err := ports(s.Ports)
	if err != nil {
		return plan.Spec{}, err
	}
	expose, err := expose(s.Expose)
	if err != nil {
		return plan.Spec{}, err
	}
	out := plan.Spec{
		Entrypoint: s.Entrypoint, Command: s.Command, Env: environment(s.Environment), Labels: labels(s),
		User: s.User, WorkingDir: s.WorkingDir, Hostname: s.Hostname, StopSignal: s.StopSignal,
		Init: s.Init, TTY: s.Tty, Privileged: s.Privileged, ReadOnly: s.ReadOnly,
		CapAdd: s.CapAdd, CapDrop: s.CapDrop, SecurityOpt: s.SecurityOpt, GroupAdd: s.GroupAdd, Sysctls: s.Sysctls,
		Ulimits: ulimits(s.Ulimits), Restart: restart(s.Restart), Mounts: mounts(p, s.Volumes), Tmpfs: tmpfs(s.Tmpfs),
		Ports: ports, Expose: expose, NetworkMode: s.NetworkMode, Networks: endpoints(p, s),
		DNS: s.DNS, DNSSearch: s.DNSSearch, DNSOpt: s.DNSOpts, ExtraHosts: hosts(s.ExtraHosts),
		MemoryLimit: int64(s.MemLimit), MemoryRes: int64(s.MemReservation), CPUs: decimal(s.CPUS), PidsLimit: s.PidsLimit,
		ShmSize: int64(s.ShmSize), OOMScoreAdj: int(s.OomScoreAdj),
	}
	for _, d := range s.Devices {
		out.Devices = append(out.Devices, plan.Device{Host: d.Source, Container: d.Target, Permissions: d.Permissions})
	}
	if s.StopGracePeriod != nil {
		grace := time.Duration(*s.StopGracePeriod)
		out.StopGrace = &grace
	}
	if s.Logging != nil {
		out.Logging = &plan.Logging{Driver: s.Logging.Driver, Options: s.Logging.Options}
	}
	if out.Health, err = health(s.HealthCheck); err != nil {
		return plan.Spec{}, err
	}
	limits(s.Deploy, &out)
	return out, nil
}

// limits applies deploy.resources, which wins over the older keys.
func limits(d *types.DeployConfig, out *plan.Spec) {
	if d == nil {
		return
	}
	if l := d.Resources.Limits; l != nil {
		out.MemoryLimit = cmp.Or(int64(l.MemoryBytes), out.MemoryLimit)
		out.CPUs = cmp.Or(decimal(float32(l.NanoCPUs)), out.CPUs)
		out.PidsLimit = cmp.Or(l.Pids, out.PidsLimit)
	}
	if r := d.Resources.Reservations; r != nil {
		out.MemoryRes = cmp.Or(int64(r.MemoryBytes), out.MemoryRes)
	}
}

// decimal widens f to the number that was written, 0.1 to 0.1.
func decimal(f float32) float64 {
	const places = 1e6
	return math.Round(float64(f)*places) / places
}

// labels are the service's own and the one of Compose's that only the file
// tells: what it depends on. The others come from the project as a whole.
func labels(s types.ServiceConfig) map[string]string {
	out := map[string]string{}
	maps.Copy(out, s.Labels)
	var dependencies []string
	for _, name := range slices.Sorted(maps.Keys(s.DependsOn)) {
		d := s.DependsOn[name]
		dependencies = append(dependencies, fmt.Sprintf("%s:%s:%t", name, d.Condition, d.Restart))
	}
	out[plan.LabelDependsOn] = strings.Join(dependencies, ",")
	return out
}

// environment lists the variables sorted. A name without a value takes one of
// the image's away, as Compose has it.
func environment(env types.MappingWithEquals) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if value := env[name]; value != nil {
			out = append(out, name+"="+*value)
		} else {
			out = append(out, name)
		}
	}
	return out
}

func ulimits(m map[string]*types.UlimitsConfig) []plan.Ulimit {
	var out []plan.Ulimit
	for _, name := range slices.Sorted(maps.Keys(m)) {
		u := m[name]
		out = append(out, plan.Ulimit{
			Name: name,
			Soft: int64(cmp.Or(u.Soft, u.Single)),
			Hard: int64(cmp.Or(u.Hard, u.Single)),
		})
	}
	return out
}

// restart reads "no", "always", "unless-stopped" or "on-failure[:retries]".
func restart(policy string) plan.Restart {
	name, retries, _ := strings.Cut(policy, ":")
	n, err := strconv.Atoi(retries)
	if err != nil {
		n = 0 // Compose does not look at what is no number
	}
	return plan.Restart{Name: name, MaxRetries: n}
}

func health(h *types.HealthCheckConfig) (*plan.Health, error) {
	if h == nil {
		return nil, nil //nolint:nilnil // no health check is no error
	}
	if h.StartInterval != nil && h.StartPeriod == nil {
		return nil, remedy.Errorf(remedy.Input, "add a start_period to the health check",
			"healthcheck: start_interval needs a start_period")
	}
	duration := func(d *types.Duration) time.Duration {
		if d == nil {
			return 0
		}
		return time.Duration(*d)
	}
	out := &plan.Health{
		Test: h.Test, Interval: duration(h.Interval), Timeout: duration(h.Timeout),
		StartPeriod: duration(h.StartPeriod), StartInterval: duration(h.StartInterval),
	}
	if h.Disable {
		out.Test = []string{"NONE"}
	}
	if h.Retries != nil {
		out.Retries = int(*h.Retries)
	}
	return out, nil
}
