package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// Start starts a container. That it runs already is no error. A port that
// another program has is a remedy.Error with code Input.
func (c *Client) Start(ctx context.Context, id string) error {
	err := c.act(ctx, "start", id, func(docker *client.Client) error {
		return docker.ContainerStart(ctx, id, container.StartOptions{})
	})
	if err != nil && portTaken(err.Error()) {
		return &remedy.Error{
			Code: remedy.Input, Err: err,
			Hint: "another program or container has that port: choose another one, or stop what has it (sudo ss -ltnp shows it)",
		}
	}
	return err
}

// portTaken recognises the two ways in which Engines say it; there is no class
// for it in their answers.
func portTaken(text string) bool {
	return strings.Contains(text, "port is already allocated") || strings.Contains(text, "address already in use")
}

// Unpause lets a paused container go on. That it is not paused is no error.
func (c *Client) Unpause(ctx context.Context, id string) error {
	err := c.act(ctx, "unpause", id, func(docker *client.Client) error { return docker.ContainerUnpause(ctx, id) })
	if err == nil || IsNotFound(err) {
		return err
	}
	// Engines differ in how they class this refusal, so its state decides.
	if d, ierr := c.Inspect(ctx, id); ierr == nil && d.State != plan.StatePaused {
		return nil
	}
	return err
}

// Kill sends a signal, "SIGHUP", to a container's main process. A signal that
// was not delivered is an error: IsNotFound when there is no such container,
// IsConflict when it does not run.
func (c *Client) Kill(ctx context.Context, id, signal string) error {
	return c.act(ctx, "send "+signal+" to", id, func(docker *client.Client) error {
		return docker.ContainerKill(ctx, id, signal)
	})
}

// Rename gives a container another name. That it has the name already is no
// error; IsConflict when another one has it.
func (c *Client) Rename(ctx context.Context, id, name string) error {
	err := c.act(ctx, "rename", id, func(docker *client.Client) error { return docker.ContainerRename(ctx, id, name) })
	if cerrdefs.IsInvalidArgument(err) {
		if d, ierr := c.Inspect(ctx, id); ierr == nil && d.Name == name {
			return nil
		}
	}
	return err
}

// Stop sends a container its stop signal and, when it has not ended after the
// grace, kills it. A nil grace is the one that the container was created with.
// That it does not run, or does not exist, is no error.
func (c *Client) Stop(ctx context.Context, id string, grace *time.Duration) error {
	err := c.act(ctx, "stop", id, func(docker *client.Client) error {
		return docker.ContainerStop(ctx, id, stopOptions(grace))
	})
	if IsNotFound(err) {
		return nil
	}
	return err
}

// Restart stops a container, as Stop does, and starts it again. A container that
// does not run is started.
func (c *Client) Restart(ctx context.Context, id string, grace *time.Duration) error {
	return c.act(ctx, "restart", id, func(docker *client.Client) error {
		return docker.ContainerRestart(ctx, id, stopOptions(grace))
	})
}

func stopOptions(grace *time.Duration) container.StopOptions {
	if grace == nil {
		return container.StopOptions{}
	}
	seconds := wholeSeconds(*grace)
	return container.StopOptions{Timeout: &seconds}
}

// removalTimeout is how long a removal that another one has begun may take.
const removalTimeout = 30 * time.Second

// Remove removes a container, running or not, and with volumes its anonymous
// volumes; named ones stay. That it does not exist is no error; where somebody
// else removes it already, Remove waits until it is gone.
func (c *Client) Remove(ctx context.Context, id string, volumes bool) error {
	err := c.act(ctx, "remove", id, func(docker *client.Client) error {
		return docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: volumes})
	})
	switch {
	case IsNotFound(err):
		return nil
	case IsConflict(err):
		return c.awaitRemoval(ctx, id, err)
	}
	return err
}

// awaitRemoval waits until a container is gone; refusal is why it could not be
// removed here.
func (c *Client) awaitRemoval(ctx context.Context, id string, refusal error) error {
	for deadline := time.Now().Add(removalTimeout); time.Now().Before(deadline); {
		_, err := c.Inspect(ctx, id)
		switch {
		case IsNotFound(err):
			return nil
		case err != nil:
			return err
		}
		if err := wait(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return refusal
}

// act makes a call about one container and words its error.
func (c *Client) act(ctx context.Context, verb, id string, call func(*client.Client) error) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	if err := call(docker); err != nil {
		return fmt.Errorf("%s container %s: %w", verb, short(id), clean(err))
	}
	return nil
}
