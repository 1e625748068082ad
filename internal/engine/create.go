package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/go-connections/nat"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// networksAPI is the first API that takes several networks at create, and the
// start interval of a health check.
const networksAPI = "1.44"

// startInterval is how often our services are checked while they start, where
// the Engine can do that; once started the interval of the service holds.
const startInterval = time.Second

// CreateContainer creates a container with everything that its service says,
// attached to all of its networks, and returns its ID. It does not start it. If
// a network cannot be joined the container is removed again. One that a command
// which was stopped had the Engine make under the same name, of the same
// configuration and image, and that never ran, is taken as it is.
func (c *Client) CreateContainer(ctx context.Context, s plan.Creation) (id string, err error) {
	docker, err := c.api(ctx)
	if err != nil {
		return "", err
	}
	config, err := c.containerConfig(s)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.Name, err)
	}
	host, err := hostConfig(s)
	if err != nil {
		return "", fmt.Errorf("create container %s: %w", s.Name, err)
	}
	endpoints, rest := c.endpoints(s)
	made, taken, err := c.create(ctx, docker, s, func() (string, error) {
		created, err := docker.ContainerCreate(ctx, config, host,
			&network.NetworkingConfig{EndpointsConfig: endpoints}, parsePlatform(s.Service.Platform), s.Name)
		return created.ID, err
	})
	if err != nil {
		return "", createError(s, err)
	}
	if taken {
		return made, nil
	}
	for _, e := range rest {
		err := docker.NetworkConnect(ctx, e.Network, made, endpointSettings(s.Service, e))
		if err != nil {
			err = fmt.Errorf("connect container %s to network %s: %w", s.Name, e.Network, clean(err))
			return "", errors.Join(err, c.discard(ctx, docker, made))
		}
	}
	return made, nil
}

// underWay bounds how long a creation that the Engine goes on with, though the
// command that asked for it was stopped, is waited for.
const underWay = 15 * time.Second

// create creates a container, or takes the one that is there already. The Engine
// holds a name from the moment that it begins to make a container of that name, and
// shows the container only when it is made.
func (c *Client) create(ctx context.Context, docker *client.Client, s plan.Creation, create func() (string, error)) (id string, taken bool, err error) {
	until := time.Now().Add(underWay)
	for {
		id, err := create()
		if err == nil || !IsConflict(err) || s.Labels[plan.LabelConfigHash] == "" {
			return id, false, err
		}
		there, lookErr := docker.ContainerInspect(ctx, s.Name)
		switch {
		case lookErr == nil && sameCreation(there, merged(s.Service.Spec.Labels, s.Labels)):
			if onNetworks(there, s) {
				return there.ID, true, nil
			}
			if err := c.discard(ctx, docker, there.ID); err != nil {
				return "", false, err
			}
		case lookErr == nil, !IsNotFound(lookErr), time.Now().After(until):
			return "", false, err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return "", false, err
		}
	}
}

// onNetworks reports whether a container is on all networks of its service.
func onNetworks(c container.InspectResponse, s plan.Creation) bool {
	for _, e := range s.Service.Spec.Networks {
		if c.NetworkSettings == nil || c.NetworkSettings.Networks[e.Network] == nil {
			return false
		}
	}
	return true
}

// sameCreation reports whether a container never ran and carries these labels, which
// name the project, the service, and the hashes of its configuration and image.
func sameCreation(c container.InspectResponse, labels map[string]string) bool {
	if c.State == nil || c.State.Status != container.StateCreated || c.Config == nil {
		return false
	}
	for key, value := range labels {
		if c.Config.Labels[key] != value {
			return false
		}
	}
	return true
}

// discard removes a half-made container, even when ctx has ended meanwhile.
func (c *Client) discard(ctx context.Context, docker *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !IsNotFound(err) {
		return fmt.Errorf("remove container %s: %w", short(id), clean(err))
	}
	return nil
}

// createError adds what to do where a create is refused for a known reason.
func createError(s plan.Creation, err error) error {
	err = fmt.Errorf("create container %s: %w", s.Name, clean(err))
	if IsConflict(err) {
		return &remedy.Error{
			Code: remedy.Input, Err: err,
			Hint: "docker inspect " + s.Name + " tells whose container that is",
		}
	}
	return err
}

// containerConfig is the part of the request that does not depend on the host.
func (c *Client) containerConfig(s plan.Creation) (*container.Config, error) {
	spec := s.Service.Spec
	ports, err := exposed(spec)
	if err != nil {
		return nil, err
	}
	config := &container.Config{
		Hostname:     spec.Hostname,
		User:         spec.User,
		AttachStdout: true, // as Compose does
		AttachStderr: true,
		ExposedPorts: ports,
		Tty:          spec.TTY,
		Env:          c.withProxies(spec.Env),
		Cmd:          spec.Command,
		Healthcheck:  c.health(spec.Health, s.Labels),
		Image:        s.Service.Image,
		WorkingDir:   spec.WorkingDir,
		Entrypoint:   spec.Entrypoint,
		Labels:       merged(spec.Labels, s.Labels),
		StopSignal:   spec.StopSignal,
	}
	if spec.StopGrace != nil {
		seconds := wholeSeconds(*spec.StopGrace)
		config.StopTimeout = &seconds
	}
	return config, nil
}

// wholeSeconds rounds up, since the Engine takes no fractions and 0 kills at
// once.
func wholeSeconds(d time.Duration) int { return int(math.Ceil(d.Seconds())) }

// withProxies adds the proxies of Docker's config.json, which docker and Compose
// give to every container; what the service sets itself wins.
func (c *Client) withProxies(env []string) []string {
	set := map[string]bool{}
	for _, pair := range env {
		name, _, _ := strings.Cut(pair, "=")
		set[name] = true
	}
	var proxies []string
	for name, value := range c.config.ParseProxyConfig(c.Endpoint(), nil) {
		if value != nil && !set[name] {
			proxies = append(proxies, name+"="+*value)
		}
	}
	slices.Sort(proxies)
	return append(proxies, env...)
}

// health translates a health check. The start interval is left out where the
// Engine does not know it: Docker's client refuses to send it there.
func (c *Client) health(h *plan.Health, labels map[string]string) *container.HealthConfig {
	if h == nil {
		return nil
	}
	config := &container.HealthConfig{
		Test: h.Test, Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries,
	}
	if !c.speaks(networksAPI) {
		return config
	}
	config.StartInterval = h.StartInterval
	if h.StartInterval == 0 && h.StartPeriod > 0 && labels[plan.LabelRole] != "" {
		config.StartInterval = startInterval
	}
	return config
}

// exposed joins the exposed ports with those that are published.
func exposed(spec plan.Spec) (nat.PortSet, error) {
	ports := nat.PortSet{}
	for _, e := range spec.Expose {
		number, proto, _ := strings.Cut(e, "/")
		if proto == "" {
			proto = "tcp"
		}
		port, err := nat.NewPort(proto, number)
		if err != nil {
			return nil, fmt.Errorf("exposed port %q: %w", e, err)
		}
		ports[port] = struct{}{}
	}
	for _, p := range spec.Ports {
		ports[natPort(p)] = struct{}{}
	}
	return ports, nil
}

func natPort(p plan.Port) nat.Port {
	proto := p.Protocol
	if proto == "" {
		proto = "tcp"
	}
	return nat.Port(strconv.Itoa(int(p.Container)) + "/" + proto)
}

// endpoints returns the networks to name at create, and those to connect before
// the start because an older Engine takes only one.
func (c *Client) endpoints(s plan.Creation) (map[string]*network.EndpointSettings, []plan.Endpoint) {
	networks := s.Service.Spec.Networks
	if s.NetworkMode != "" || s.Service.Spec.NetworkMode != "" || len(networks) == 0 {
		return nil, nil
	}
	first := len(networks)
	if !c.speaks(networksAPI) {
		first = 1
	}
	named := map[string]*network.EndpointSettings{}
	for _, e := range networks[:first] {
		named[e.Network] = endpointSettings(s.Service, e)
	}
	return named, networks[first:]
}

// endpointSettings gives a container its names on a network, in Compose's order:
// the container's final name, the service's, and the user's.
func endpointSettings(s plan.Service, e plan.Endpoint) *network.EndpointSettings {
	settings := &network.EndpointSettings{}
	if e.IPv4 != "" {
		settings.IPAMConfig = &network.EndpointIPAMConfig{IPv4Address: e.IPv4}
	}
	if e.Network == network.NetworkBridge || e.Network == network.NetworkDefault {
		return settings // the Engine has no names there
	}
	for _, alias := range append([]string{s.ContainerName, s.Name}, e.Aliases...) {
		if alias != "" && !slices.Contains(settings.Aliases, alias) {
			settings.Aliases = append(settings.Aliases, alias)
		}
	}
	return settings
}

// networkMode is what the container is on when it starts.
func networkMode(s plan.Creation) container.NetworkMode {
	switch {
	case s.NetworkMode != "":
		return container.NetworkMode(s.NetworkMode)
	case s.Service.Spec.NetworkMode != "":
		return container.NetworkMode(s.Service.Spec.NetworkMode)
	case len(s.Service.Spec.Networks) > 0:
		return container.NetworkMode(s.Service.Spec.Networks[0].Network)
	}
	return network.NetworkNone
}

// hostConfig is the part of the request about the host: limits, rights, mounts.
func hostConfig(s plan.Creation) (*container.HostConfig, error) {
	spec := s.Service.Spec
	host := &container.HostConfig{
		NetworkMode:    networkMode(s),
		PortBindings:   nat.PortMap{},
		RestartPolicy:  restartPolicy(s),
		AutoRemove:     s.AutoRemove,
		CapAdd:         spec.CapAdd,
		CapDrop:        spec.CapDrop,
		DNS:            spec.DNS,
		DNSOptions:     spec.DNSOpt,
		DNSSearch:      spec.DNSSearch,
		ExtraHosts:     spec.ExtraHosts,
		GroupAdd:       spec.GroupAdd,
		OomScoreAdj:    spec.OOMScoreAdj,
		Privileged:     spec.Privileged,
		ReadonlyRootfs: spec.ReadOnly,
		SecurityOpt:    spec.SecurityOpt,
		Tmpfs:          spec.Tmpfs,
		ShmSize:        spec.ShmSize,
		Sysctls:        spec.Sysctls,
		Init:           spec.Init,
		Resources:      resources(spec),
	}
	if spec.Logging != nil {
		host.LogConfig = container.LogConfig{Type: spec.Logging.Driver, Config: spec.Logging.Options}
	}
	for _, p := range spec.Ports {
		port := natPort(p)
		host.PortBindings[port] = append(host.PortBindings[port], nat.PortBinding{HostIP: p.HostIP, HostPort: p.HostPort})
	}
	var err error
	host.Binds, host.Mounts, err = mounts(spec.Mounts)
	return host, err
}

// restartPolicy leaves out what the Engine refuses beside automatic removal.
func restartPolicy(s plan.Creation) container.RestartPolicy {
	if s.AutoRemove {
		return container.RestartPolicy{}
	}
	r := s.Service.Spec.Restart
	return container.RestartPolicy{Name: container.RestartPolicyMode(r.Name), MaximumRetryCount: r.MaxRetries}
}

func resources(spec plan.Spec) container.Resources {
	r := container.Resources{
		Memory: spec.MemoryLimit, MemoryReservation: spec.MemoryRes,
		NanoCPUs: int64(spec.CPUs * 1e9),
	}
	if spec.PidsLimit != 0 {
		r.PidsLimit = &spec.PidsLimit
	}
	for _, d := range spec.Devices {
		r.Devices = append(r.Devices, container.DeviceMapping{
			PathOnHost: d.Host, PathInContainer: d.Container, CgroupPermissions: d.Permissions,
		})
	}
	for _, u := range spec.Ulimits {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	return r
}
