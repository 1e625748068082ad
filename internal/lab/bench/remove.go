package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"mqtunnel/internal/plan"
)

// Remove removes the containers and networks that carry the lab's name in their
// label, and nothing else. One that is not there is no error; a network that
// running containers of others still use stays, and the error names them.
func Remove(ctx context.Context, engine *client.Client, name string) error {
	mine := filters.NewArgs(filters.Arg("label", LabelLab+"="+name))
	containers, err := engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return fmt.Errorf("list the containers of lab %s: %w", name, err)
	}
	for _, c := range containers {
		if err := removeContainer(ctx, engine, c.ID); err != nil {
			return err
		}
	}
	networks, err := engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	if err != nil {
		return fmt.Errorf("list the networks of lab %s: %w", name, err)
	}
	for _, n := range networks {
		if err := removeNetwork(ctx, engine, n.ID); err != nil {
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return nil
}

// detach takes the lab's own projects off its network, so that the lab can be
// replaced under them; their next mqtunnel up attaches them again.
func detach(ctx context.Context, engine *client.Client, name string) error {
	n, err := engine.NetworkInspect(ctx, object(name), network.InspectOptions{})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look at the network of lab %s: %w", name, err)
	}
	for id := range n.Containers {
		c, err := engine.ContainerInspect(ctx, id)
		if err != nil || !isProject(c.Config.Labels[plan.LabelProject], name) && c.Config.Labels[plan.LabelProject] != "mqtunnel-"+name {
			continue // gone, or somebody else's, which Remove then names
		}
		if err := engine.NetworkDisconnect(ctx, n.ID, id, true); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("take %s off the network of lab %s: %w", c.Name, name, err)
		}
	}
	return nil
}

// errHeld is a network that no container is on and that the Engine does not let go. Engine
// 20.10 can keep an endpoint of a container that is gone, when a call that was to attach
// it was cut off; such a network goes when the Engine is started anew.
var errHeld = errors.New("the Engine holds an endpoint that belongs to no container")

// removeNetwork removes a network. That it is gone already is no error; the error
// of one that is in use names the containers on it, and is errHeld where there are none.
func removeNetwork(ctx context.Context, engine *client.Client, id string) error {
	ctx, cancel := context.WithTimeout(ctx, endpointTimeout)
	defer cancel()
	return eventually(ctx, func() (done bool, err error) {
		err = engine.NetworkRemove(ctx, id)
		if err == nil || errdefs.IsNotFound(err) {
			return true, nil
		}
		n, inspectErr := engine.NetworkInspect(ctx, id, network.InspectOptions{})
		if errdefs.IsNotFound(inspectErr) {
			return true, nil
		}
		if len(n.Containers) == 0 {
			return false, fmt.Errorf("%w: %w", errHeld, err) // an endpoint may outlive its container by a moment
		}
		var names []string
		for _, c := range n.Containers {
			names = append(names, c.Name)
		}
		return true, fmt.Errorf("%w; used by %s", err, strings.Join(names, ", "))
	})
}

// endpointTimeout is how long an endpoint may outlive its container.
const endpointTimeout = 10 * time.Second

// removeContainer removes a container. Where somebody else does so already, which
// the Engine calls a conflict, it returns when the container is gone: only then
// can its network and its volumes be removed.
func removeContainer(ctx context.Context, engine *client.Client, id string) error {
	err := eventually(ctx, func() (done bool, err error) {
		err = engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if errdefs.IsNotFound(err) {
			return true, nil
		}
		return !errdefs.IsConflict(err), err
	})
	if err != nil {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
}

// removalTimeout is how long a removal that somebody else has begun may take.
const removalTimeout = 30 * time.Second

// eventually tries until done, and returns the last error.
func eventually(ctx context.Context, try func() (done bool, err error)) error {
	ctx, cancel := context.WithTimeout(ctx, removalTimeout)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		done, err := try()
		if done {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// RemoveProjects removes the Compose projects that ProjectName names for this
// lab, their data included.
func RemoveProjects(ctx context.Context, engine *client.Client, name string) error {
	containers, err := engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("list the projects of lab %s: %w", name, err)
	}
	for _, c := range containers {
		if isProject(c.Labels[plan.LabelProject], name) || isProject(c.Labels[plan.LabelProbe], name) {
			if err := removeContainer(ctx, engine, c.ID); err != nil {
				return err
			}
		}
	}
	return errors.Join(removeProjectNetworks(ctx, engine, name), removeProjectVolumes(ctx, engine, name))
}

func removeProjectNetworks(ctx context.Context, engine *client.Client, name string) error {
	networks, err := engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the networks of lab %s: %w", name, err)
	}
	for _, n := range networks {
		if !isProject(n.Labels[plan.LabelProject], name) {
			continue
		}
		if err := removeNetwork(ctx, engine, n.ID); err != nil {
			return fmt.Errorf("remove network %s: %w", n.Name, err)
		}
	}
	return nil
}

func removeProjectVolumes(ctx context.Context, engine *client.Client, name string) error {
	volumes, err := engine.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the volumes of lab %s: %w", name, err)
	}
	for _, v := range volumes.Volumes {
		if !isProject(v.Labels[plan.LabelProject], name) {
			continue
		}
		if err := engine.VolumeRemove(ctx, v.Name, false); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// ProjectName returns the Compose project name for a project of the lab. A suffix
// tells several apart; "" is the first. No lab's projects are taken for
// another's, since a lab's name has no underscore.
func ProjectName(lab, suffix string) string {
	if suffix == "" {
		return object(lab)
	}
	return object(lab) + "_" + suffix
}

func isProject(project, lab string) bool {
	return project == object(lab) || strings.HasPrefix(project, object(lab)+"_")
}

// Sweep removes the ephemeral labs and their projects whose process has ended
// without removing them.
func Sweep(ctx context.Context, engine *client.Client) error {
	// A lab's network is made first and removed last.
	networks, err := engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", LabelOwner))})
	if err != nil {
		return fmt.Errorf("list the labs: %w", err)
	}
	for _, n := range networks {
		name := n.Labels[LabelLab]
		if runs, err := ownerRuns(n.Labels[LabelOwner]); err != nil || runs {
			if err != nil {
				return fmt.Errorf("owner of lab %s: %w", name, err)
			}
			continue
		}
		if err := sweep(ctx, engine, name); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes a lab and its projects. A network that the Engine holds stays.
func sweep(ctx context.Context, engine *client.Client, name string) error {
	err := errors.Join(RemoveProjects(ctx, engine, name), Remove(ctx, engine, name))
	if errors.Is(err, errHeld) {
		return nil
	}
	return err
}

// thisProcess names this process by its number and when it was started, in the
// kernel's ticks since boot: a number alone is given away again.
func thisProcess() (string, error) { return process(os.Getpid()) }

func process(pid int) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field is the program's name in parentheses and may hold anything.
	after := string(text)[strings.LastIndexByte(string(text), ')')+1:]
	fields := strings.Fields(after)
	const startTime = 19 // field 22 of proc_pid_stat(5), counted from the third
	if len(fields) <= startTime {
		return "", fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fmt.Sprintf("%d/%s", pid, fields[startTime]), nil
}

func ownerRuns(owner string) (bool, error) {
	number, _, _ := strings.Cut(owner, "/")
	pid, err := strconv.Atoi(number)
	if err != nil {
		return false, err
	}
	now, err := process(pid)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return now == owner, err
}
