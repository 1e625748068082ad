package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/go-connections/nat"

	"mqtunnel/internal/plan"
)

// Inspect returns all about one container, by ID or name. The error satisfies
// IsNotFound when there is none. Status is empty: only the list words it.
func (c *Client) Inspect(ctx context.Context, id string) (plan.Details, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return plan.Details{}, err
	}
	r, err := docker.ContainerInspect(ctx, id)
	if err != nil {
		return plan.Details{}, fmt.Errorf("inspect container %s: %w", short(id), clean(err))
	}
	return details(r), nil
}

// details translates an inspect. The Engine leaves no part out of a container
// that exists, but Podman and proxies may.
func details(r container.InspectResponse) plan.Details {
	d := plan.Details{Container: plan.Container{Networks: map[string]string{}, Volumes: volumeNames(r.Mounts)}}
	if r.ContainerJSONBase != nil {
		d.ID, d.Name, d.ImageID = r.ID, strings.TrimPrefix(r.Name, "/"), r.Image
		d.Created = instant(r.Created)
		d.RestartCount = r.RestartCount
		if r.HostConfig != nil {
			confined(&d, *r.HostConfig)
		}
		if r.State != nil {
			state(&d, *r.State)
			d.Failing = failing(r.State.Health, r.Config)
		}
	}
	if r.Config != nil {
		d.Labels, d.Image, d.TTY = r.Config.Labels, r.Config.Image, r.Config.Tty
		d.Arguments, d.Env = slices.Concat(r.Config.Entrypoint, r.Config.Cmd), r.Config.Env
		d.Rights.User = r.Config.User
	}
	if r.NetworkSettings != nil {
		for name, ep := range r.NetworkSettings.Networks {
			d.Networks[name] = ep.NetworkID
		}
		d.Ports = published(r.NetworkSettings.Ports)
	}
	return d
}

// confined takes over what bounds the container.
func confined(d *plan.Details, h container.HostConfig) {
	d.Policy = plan.Restart{Name: string(h.RestartPolicy.Name), MaxRetries: h.RestartPolicy.MaximumRetryCount}
	d.Rights = plan.Rights{
		Privileged: h.Privileged, CapAdd: h.CapAdd, CapDrop: h.CapDrop, SecurityOpt: h.SecurityOpt,
		HostNetwork: h.NetworkMode.IsHost(), HostPID: h.PidMode.IsHost(), HostIPC: h.IpcMode.IsHost(),
	}
	d.MemoryLimit = h.Memory
	if h.PidsLimit != nil {
		d.PidsLimit = max(0, *h.PidsLimit) // -1 is none too
	}
}

func state(d *plan.Details, s container.State) {
	d.State, d.Restarting, d.Pid = plan.State(s.Status), s.Restarting, s.Pid
	d.ExitCode, d.OOMKilled, d.Error = s.ExitCode, s.OOMKilled, s.Error
	d.StartedAt, d.FinishedAt = instant(s.StartedAt), instant(s.FinishedAt)
	if s.Health == nil {
		return
	}
	if s.Health.Status != container.NoHealthcheck {
		d.Health = plan.HealthState(s.Health.Status)
	}
	for _, check := range s.Health.Log {
		d.HealthLog = append(d.HealthLog, strings.TrimSpace(check.Output))
	}
}

// defaultInterval is the Engine's, of a health check that names none.
const defaultInterval = 30 * time.Second

// failing returns about how long a health check has failed without a break: the
// Engine counts the failures, and of their times it keeps the last ones only.
func failing(h *container.Health, c *container.Config) time.Duration {
	if h == nil {
		return 0
	}
	interval := defaultInterval
	if c != nil && c.Healthcheck != nil && c.Healthcheck.Interval > 0 {
		interval = c.Healthcheck.Interval
	}
	return time.Duration(h.FailingStreak) * interval
}

// published lists the ports that are reachable from outside the container.
func published(ports nat.PortMap) []plan.Port {
	var list []plan.Port
	for port, bindings := range ports {
		for _, b := range bindings {
			list = append(list, plan.Port{
				HostIP: b.HostIP, HostPort: b.HostPort, Container: uint16(port.Int()), Protocol: port.Proto(),
			})
		}
	}
	return list
}

// instant reads the Engine's time; its "never" is year 1, which is Go's zero.
func instant(text string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}
	}
	return t
}

// short cuts a container ID to what people see elsewhere; names stay whole.
func short(id string) string {
	if len(id) == 64 && strings.Trim(id, "0123456789abcdef") == "" {
		return id[:12]
	}
	return id
}
