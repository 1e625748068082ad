package engine

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// Observe takes one snapshot of a project. Calls run in parallel, and what one
// list proves is not asked for again: where the project's containers hold all
// names and volumes of the query, and their tags have not moved, two calls are
// all. A volume that such a container mounts under Compose's own name then
// counts as the project's, and an image has only its ID and digests.
func (c *Client) Observe(ctx context.Context, q plan.Query) (plan.Observed, error) {
	if _, err := c.api(ctx); err != nil {
		return plan.Observed{}, err
	}
	var o plan.Observed
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) { o.Containers, err = c.projectContainers(gctx, q.Project); return err })
	g.Go(func() (err error) { o.Networks, err = c.networks(gctx, q); return err })
	if err := g.Wait(); err != nil {
		return plan.Observed{}, err
	}
	if err := c.fill(ctx, q, &o); err != nil {
		return plan.Observed{}, err
	}
	return o, nil
}

// fill adds what the project's containers do not prove by themselves.
func (c *Client) fill(ctx context.Context, q plan.Query, o *plan.Observed) error {
	g, ctx := errgroup.WithContext(ctx)
	if names := namesNotHeld(q.Names, o.Containers); len(names) > 0 {
		g.Go(func() (err error) { o.Foreign, err = c.foreign(ctx, names, o.Containers); return err })
	}
	if mounted, all := mountedVolumes(q, o.Containers); all {
		o.Volumes = mounted
	} else {
		g.Go(func() (err error) { o.Volumes, err = c.volumes(ctx, q); return err })
	}
	refs := slices.Clone(q.Images)
	slices.Sort(refs)
	refs = slices.Compact(refs)
	images := make([]plan.Image, len(refs))
	found := make([]bool, len(refs))
	for i, ref := range refs {
		if images[i], found[i] = imageInUse(ref, o.Containers); !found[i] {
			g.Go(func() (err error) { images[i], found[i], err = c.Image(ctx, ref, ""); return err })
		}
	}
	if err := g.Wait(); err != nil {
		return err
	}
	o.Images = map[string]plan.Image{}
	for i, ref := range refs {
		if found[i] {
			o.Images[ref] = images[i]
		}
	}
	return nil
}

// All lists every container on the Engine, whoever made it, in every state.
func (c *Client) All(ctx context.Context) ([]plan.Container, error) {
	return c.list(ctx, "list containers")
}

// Managed lists every container on the Engine that mqtunnel made, of all
// projects. Their labels tell project, role and tunnel.
func (c *Client) Managed(ctx context.Context) ([]plan.Container, error) {
	return c.list(ctx, "list containers of mqtunnel", filters.Arg("label", plan.LabelRole))
}

// Probes lists the probe containers that exist, running or not, of all projects.
func (c *Client) Probes(ctx context.Context) ([]plan.Container, error) {
	return c.list(ctx, "list probes", filters.Arg("label", plan.LabelProbe))
}

// projectContainers lists the project's containers. One that the Engine is making at
// this moment, for a command that was stopped, is waited for: it is listed before it
// is there for any other call, and before its networks are known (seen on 20.10).
func (c *Client) projectContainers(ctx context.Context, project string) ([]plan.Container, error) {
	until := time.Now().Add(underWay)
	for {
		list, err := c.list(ctx, "list containers of project "+project, filters.Arg("label", plan.LabelProject+"="+project))
		if err != nil {
			return nil, err
		}
		list = slices.DeleteFunc(list, func(ct plan.Container) bool { return ct.Labels[plan.LabelOneoff] == "True" })
		made, err := c.made(ctx, list)
		if err != nil || made || time.Now().After(until) {
			return list, err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// made reports whether all containers are there for other calls than a list.
func (c *Client) made(ctx context.Context, list []plan.Container) (bool, error) {
	for _, ct := range list {
		if ct.State != plan.StateCreated {
			continue
		}
		if _, err := c.Inspect(ctx, ct.ID); IsNotFound(err) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	return true, nil
}

// foreign lists containers that hold one of the names and are not among the
// project's own.
func (c *Client) foreign(ctx context.Context, names []string, own []plan.Container) ([]plan.Container, error) {
	args := make([]filters.KeyValuePair, len(names))
	for i, name := range names {
		// The Engine takes the filter as a regular expression, anywhere in the name.
		args[i] = filters.Arg("name", "^/?"+regexp.QuoteMeta(name)+"$")
	}
	list, err := c.list(ctx, "list containers by name", args...)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(ct plan.Container) bool {
		return !slices.Contains(names, ct.Name) ||
			slices.ContainsFunc(own, func(o plan.Container) bool { return o.ID == ct.ID })
	}), nil
}

// list lists containers in every state.
func (c *Client) list(ctx context.Context, what string, args ...filters.KeyValuePair) ([]plan.Container, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	all, err := docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(args...)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, clean(err))
	}
	list := make([]plan.Container, len(all))
	for i, s := range all {
		list[i] = summary(s)
	}
	return list, nil
}

// networks lists the project's networks and those of the wanted names, in one
// call for both: the Engine's filters cannot be joined by "or".
func (c *Client) networks(ctx context.Context, q plan.Query) ([]plan.ObservedNetwork, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	all, err := docker.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list networks: %w", clean(err))
	}
	var list []plan.ObservedNetwork
	for _, n := range all {
		if n.Labels[plan.LabelProject] == q.Project || slices.Contains(q.Networks, n.Name) {
			list = append(list, plan.ObservedNetwork{ID: n.ID, Name: n.Name, Labels: n.Labels})
		}
	}
	return list, nil
}

// volumes is networks for volumes.
func (c *Client) volumes(ctx context.Context, q plan.Query) ([]plan.ObservedVolume, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return nil, err
	}
	all, err := docker.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", clean(err))
	}
	var list []plan.ObservedVolume
	for _, v := range all.Volumes {
		if v.Labels[plan.LabelProject] == q.Project || slices.Contains(q.Volumes, v.Name) {
			list = append(list, plan.ObservedVolume{Name: v.Name, Labels: v.Labels})
		}
	}
	return list, nil
}

func namesNotHeld(names []string, own []plan.Container) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		return slices.ContainsFunc(own, func(c plan.Container) bool { return c.Name == name })
	})
}

// mountedVolumes returns the wanted volumes if the project's containers mount
// all of them under the names that Compose gives, and there is one at all.
func mountedVolumes(q plan.Query, own []plan.Container) ([]plan.ObservedVolume, bool) {
	var list []plan.ObservedVolume
	for _, name := range q.Volumes {
		key, composed := strings.CutPrefix(name, q.Project+"_")
		mounted := slices.ContainsFunc(own, func(c plan.Container) bool { return slices.Contains(c.Volumes, name) })
		if !composed || !mounted {
			return nil, false
		}
		list = append(list, plan.ObservedVolume{
			Name:   name,
			Labels: map[string]string{plan.LabelProject: q.Project, plan.LabelVolume: key},
		})
	}
	return list, len(list) > 0
}

// imageInUse returns what a container of the project tells about an image: the
// list shows the reference only as long as it still names the container's image.
func imageInUse(ref string, own []plan.Container) (plan.Image, bool) {
	var img plan.Image
	for _, c := range own {
		label := c.Labels[plan.LabelImage]
		if c.Image != ref || label == "" {
			continue
		}
		if img.ID == "" {
			img = plan.Image{ID: c.ImageID, Label: label, Digests: []string{c.ImageID}}
		}
		if !slices.Contains(img.Digests, label) {
			img.Digests = append(img.Digests, label)
		}
	}
	return img, img.ID != ""
}

// summary translates one entry of the container list.
func summary(s container.Summary) plan.Container {
	c := plan.Container{
		ID: s.ID, Labels: s.Labels, State: plan.State(s.State), Status: s.Status, Health: healthOf(s.Status),
		Image: s.Image, ImageID: s.ImageID, Program: firstWord(s.Command), Created: time.Unix(s.Created, 0), Networks: map[string]string{},
	}
	// A legacy link adds a name with a second slash; the container's own has one.
	for _, name := range s.Names {
		if name = strings.TrimPrefix(name, "/"); !strings.Contains(name, "/") {
			c.Name = name
			break
		}
	}
	if s.NetworkSettings != nil {
		for name, ep := range s.NetworkSettings.Networks {
			c.Networks[name] = ep.NetworkID
		}
	}
	c.Volumes = volumeNames(s.Mounts)
	for _, p := range s.Ports {
		if p.PublicPort != 0 {
			c.Ports = append(c.Ports, plan.Port{
				HostIP: p.IP, HostPort: fmt.Sprint(p.PublicPort), Container: p.PrivatePort, Protocol: p.Type,
			})
		}
	}
	return c
}

func firstWord(command string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(command), " ")
	return word
}

func volumeNames(mounts []container.MountPoint) []string {
	var names []string
	for _, m := range mounts {
		if m.Type == "volume" {
			names = append(names, m.Name)
		}
	}
	return names
}

// healthOf reads the health out of the Engine's status text, which is where the
// list call has it.
func healthOf(status string) plan.HealthState {
	switch {
	case strings.HasSuffix(status, "(healthy)"):
		return plan.HealthHealthy
	case strings.HasSuffix(status, "(unhealthy)"):
		return plan.HealthUnhealthy
	case strings.HasSuffix(status, "(health: starting)"):
		return plan.HealthStarting
	}
	return plan.HealthNone
}
