package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// CreateNetwork creates a network with the given labels. One of that name that
// already belongs to the project and key of the labels is taken as it is.
func (c *Client) CreateNetwork(ctx context.Context, n plan.Network, labels map[string]string) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	o := network.CreateOptions{
		Driver: n.Driver, Internal: n.Internal, Options: n.DriverOpts, Labels: merged(n.Labels, labels),
	}
	if n.IPv6 {
		o.EnableIPv6 = &n.IPv6
	}
	if len(n.Subnets) > 0 {
		o.IPAM = &network.IPAM{}
		for _, subnet := range n.Subnets {
			o.IPAM.Config = append(o.IPAM.Config, network.IPAMConfig{Subnet: subnet})
		}
	}
	_, err = docker.NetworkCreate(ctx, n.Name, o)
	switch {
	case err == nil:
		return nil
	case !IsConflict(err):
		return fmt.Errorf("create network %s: %w", n.Name, clean(err))
	}
	existing, err := docker.NetworkInspect(ctx, n.Name, network.InspectOptions{})
	if err != nil {
		return fmt.Errorf("inspect network %s: %w", n.Name, clean(err))
	}
	return ours("network", n.Name, plan.LabelNetwork, existing.Labels, labels)
}

// ours refuses what exists under a name that the project wants and is somebody
// else's.
func ours(kind, name, key string, have, want map[string]string) error {
	if have[plan.LabelProject] == want[plan.LabelProject] && have[key] == want[key] {
		return nil
	}
	owner := "was made outside Compose"
	if project := have[plan.LabelProject]; project != "" {
		owner = "belongs to Compose project " + project
	}
	return remedy.Errorf(remedy.Input,
		fmt.Sprintf("choose another COMPOSE_PROJECT_NAME, or remove it if nothing needs it: docker %s rm %s", kind, name),
		"%s %s exists already and %s", kind, name, owner)
}

// merged joins labels; those of the second win.
func merged(a, b map[string]string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, a)
	maps.Copy(all, b)
	return all
}

// RemoveNetwork removes a network by ID or name. That it is gone already is no
// error; one that is in use is, and the error names the containers.
func (c *Client) RemoveNetwork(ctx context.Context, id string) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	// An endpoint may outlive its container by a moment.
	const attempts = 5
	for i := range attempts {
		if i > 0 {
			if err := wait(ctx, 100*time.Millisecond); err != nil {
				return err
			}
		}
		err = docker.NetworkRemove(ctx, id)
		if err == nil || IsNotFound(err) {
			return nil
		}
		n, ierr := docker.NetworkInspect(ctx, id, network.InspectOptions{})
		if IsNotFound(ierr) {
			return nil
		}
		if ierr == nil && len(n.Containers) > 0 {
			return fmt.Errorf("remove network %s: %w", n.Name, inUse(networkUsers(n), err))
		}
	}
	return fmt.Errorf("remove network %s: %w", short(id), clean(err))
}

func networkUsers(n network.Inspect) []string {
	var names []string
	for _, ep := range n.Containers {
		names = append(names, ep.Name)
	}
	return names
}

// inUse words the Engine's refusal with the names of those in the way.
func inUse(names []string, err error) error {
	slices.Sort(names)
	noun := "container "
	if len(names) > 1 {
		noun = "containers "
	}
	return &callError{text: "still in use by " + noun + strings.Join(names, ", "), err: err}
}

// CreateVolume creates a named volume with the given labels. One of that name
// that exists already stays as it is, with its data.
func (c *Client) CreateVolume(ctx context.Context, v plan.Volume, labels map[string]string) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	_, err = docker.VolumeCreate(ctx, volume.CreateOptions{
		Name: v.Name, Driver: v.Driver, DriverOpts: v.DriverOpts, Labels: merged(v.Labels, labels),
	})
	if err != nil {
		return fmt.Errorf("create volume %s: %w", v.Name, clean(err))
	}
	return nil
}

// RemoveVolume deletes a volume and its data. That it is gone already is no
// error; one that a container mounts is, and the error names the containers.
func (c *Client) RemoveVolume(ctx context.Context, name string) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	err = docker.VolumeRemove(ctx, name, false)
	switch {
	case err == nil || IsNotFound(err):
		return nil
	case !IsConflict(err):
		return fmt.Errorf("remove volume %s: %w", name, clean(err))
	}
	users, lerr := docker.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("volume", name)),
	})
	if lerr != nil || len(users) == 0 {
		return fmt.Errorf("remove volume %s: %w", name, clean(err))
	}
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = summary(u).Name
	}
	return fmt.Errorf("remove volume %s: %w", name, inUse(names, err))
}

// wait pauses for d or until the context ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
