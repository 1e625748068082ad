package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

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
		if err := engine.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove network %s: %w%s", n.Name, err, users(ctx, engine, n.ID))
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

// users names the containers on a network, for an error.
func users(ctx context.Context, engine *client.Client, id string) string {
	n, err := engine.NetworkInspect(ctx, id, network.InspectOptions{})
	if err != nil || len(n.Containers) == 0 {
		return ""
	}
	var names []string
	for _, c := range n.Containers {
		names = append(names, c.Name)
	}
	return "; used by " + strings.Join(names, ", ")
}

func removeContainer(ctx context.Context, engine *client.Client, id string) error {
	err := engine.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	// A conflict says that somebody else removes it already.
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) {
		return fmt.Errorf("remove container %s: %w", id, err)
	}
	return nil
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
		if err := engine.NetworkRemove(ctx, n.ID); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove network %s: %w%s", n.Name, err, users(ctx, engine, n.ID))
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
		if err := errors.Join(RemoveProjects(ctx, engine, name), Remove(ctx, engine, name)); err != nil {
			return err
		}
	}
	return nil
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
