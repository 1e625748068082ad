// Package bench starts and stops labs on a Docker Engine: the world in one
// container on a network of its own, and project directories whose connector
// is attached to it. Labs are independent of each other; many can run at once.
package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
)

// Labels of all that a lab consists of.
const (
	// LabelLab holds the lab's name.
	LabelLab = "io.mqtunnel.lab"
	// LabelOwner names the process that the lab belongs to, on labs that
	// nobody needs once that process has ended.
	LabelOwner = "io.mqtunnel.lab.owner"
)

// Ports of the world's container that are published on loopback.
const (
	publicPort  = "443/tcp"
	controlPort = "8001/tcp"
)

// startTimeout bounds how long a world may take until everything in it listens.
const startTimeout = 30 * time.Second

// Options says which lab to start.
type Options struct {
	Name string // lower-case letters, digits and hyphens
	Root string // the module's work tree; images.FindRoot finds it
	Log  images.Logf
	// Mosquitto is a version that images.Versions lists; "" is the first of them.
	Mosquitto string
	// Cloudflared is the path of a real cloudflared to run instead of the stand-in.
	Cloudflared string
	// Ephemeral labs are removed by Sweep once this process has ended.
	Ephemeral bool
}

// Lab is a lab that runs.
type Lab struct {
	Name    string
	Network string     // the Engine's name of the network that connectors join
	Address netip.Addr // the lab's address there: its name server and its edge
	// PublicPort and ControlPort are on 127.0.0.1: HTTPS of all public
	// hostnames, and the control interface.
	PublicPort, ControlPort uint16
	Control                 *control.Client
	CA                      []byte // in PEM
	// Mosquitto and Cloudflared are image references for projects.
	Mosquitto, Cloudflared string

	engine *client.Client
}

// Engine returns a client of the Engine that the environment names.
func Engine() (*client.Client, error) {
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, fmt.Errorf("find the Docker Engine: %w", err)
	}
	return engine, nil
}

// Start makes the images that are missing, starts a lab and waits until
// everything in it listens. One of the same name that runs from the same image
// is taken as it is; any other is replaced.
func Start(ctx context.Context, engine *client.Client, o Options) (*Lab, error) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`).MatchString(o.Name) {
		return nil, fmt.Errorf("lab %q: a name has lower-case letters, digits and hyphens, 40 at most", o.Name)
	}
	lab, world, err := ensureImages(ctx, engine, o)
	if err != nil {
		return nil, err
	}
	old, err := engine.ContainerInspect(ctx, lab.Network)
	if err == nil && old.Image == world && old.State.Running && old.Config.Labels[LabelLab] == o.Name {
		return lab, lab.attach(ctx)
	}
	if err := errors.Join(detach(ctx, engine, o.Name), Remove(ctx, engine, o.Name)); err != nil {
		return nil, err
	}
	if err := lab.create(ctx, world, o); err != nil {
		return nil, errors.Join(err, Remove(context.WithoutCancel(ctx), engine, o.Name))
	}
	if err := lab.attach(ctx); err != nil {
		return nil, errors.Join(err, Remove(context.WithoutCancel(ctx), engine, o.Name))
	}
	return lab, nil
}

// Attach returns the lab of that name that runs already. It knows no images.
func Attach(ctx context.Context, engine *client.Client, name string) (*Lab, error) {
	lab := &Lab{Name: name, Network: object(name), engine: engine}
	if err := lab.attach(ctx); err != nil {
		return nil, err
	}
	return lab, nil
}

// object is what the world's container and the lab's network are called.
func object(name string) string { return "mqtunnel-lab-" + name }

// ensureImages returns the lab with its image references, and the ID of the world's image.
func ensureImages(ctx context.Context, engine *client.Client, o Options) (*Lab, string, error) {
	store, err := images.Open(ctx, engine, o.Root, o.Log)
	if err != nil {
		return nil, "", err
	}
	world, err := store.World(ctx)
	if err != nil {
		return nil, "", err
	}
	version := o.Mosquitto
	if version == "" {
		version = images.Versions()[0]
	}
	broker, err := store.Mosquitto(ctx, version)
	if err != nil {
		return nil, "", err
	}
	var connector images.Image
	if o.Cloudflared == "" {
		connector, err = store.StandIn(ctx)
	} else {
		connector, err = store.Real(ctx, o.Cloudflared)
	}
	if err != nil {
		return nil, "", err
	}
	return &Lab{
		Name: o.Name, Network: object(o.Name), engine: engine, Mosquitto: broker.Ref, Cloudflared: connector.Ref,
	}, world.ID, nil
}

// create makes the network and starts the world on it.
func (l *Lab) create(ctx context.Context, world string, o Options) error {
	labels := map[string]string{LabelLab: l.Name}
	if o.Ephemeral {
		owner, err := thisProcess()
		if err != nil {
			return err
		}
		labels[LabelOwner] = owner
	}
	if _, err := l.engine.NetworkCreate(ctx, l.Network, network.CreateOptions{Driver: "bridge", Labels: labels}); err != nil {
		return fmt.Errorf("create network %s: %w", l.Network, err)
	}
	anyPort := []nat.PortBinding{{HostIP: "127.0.0.1"}}
	_, err := l.engine.ContainerCreate(ctx,
		&container.Config{
			Image: world, Hostname: "lab", Labels: labels,
			ExposedPorts: nat.PortSet{publicPort: {}, controlPort: {}},
		},
		&container.HostConfig{
			CapDrop: []string{"ALL"},
			// For the edge's further addresses, and for files of root in the image.
			CapAdd:       []string{"NET_ADMIN"},
			SecurityOpt:  []string{"no-new-privileges:true"},
			NetworkMode:  container.NetworkMode(l.Network),
			PortBindings: nat.PortMap{publicPort: anyPort, controlPort: anyPort},
		}, nil, nil, l.Network)
	if err != nil {
		return fmt.Errorf("create container %s: %w", l.Network, err)
	}
	if err := l.engine.ContainerStart(ctx, l.Network, container.StartOptions{}); err != nil {
		return fmt.Errorf("start container %s: %w", l.Network, err)
	}
	return nil
}

// attach learns addresses and ports from the Engine and waits until the world is healthy.
func (l *Lab) attach(ctx context.Context) error {
	c, err := l.engine.ContainerInspect(ctx, l.Network)
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("no lab %s runs", l.Name)
	}
	if err != nil {
		return fmt.Errorf("inspect container %s: %w", l.Network, err)
	}
	on := c.NetworkSettings.Networks[l.Network]
	if !c.State.Running || on == nil {
		return l.withLog(ctx, fmt.Errorf("lab %s is %s, exit code %d", l.Name, c.State.Status, c.State.ExitCode))
	}
	if l.Address, err = netip.ParseAddr(on.IPAddress); err != nil {
		return fmt.Errorf("address of container %s: %w", l.Network, err)
	}
	if l.PublicPort, err = published(c, publicPort); err != nil {
		return err
	}
	if l.ControlPort, err = published(c, controlPort); err != nil {
		return err
	}
	l.Control = control.NewClient(l.ControlURL())
	if err := l.waitHealthy(ctx); err != nil {
		return l.withLog(ctx, err)
	}
	if l.CA, err = l.Control.CA(ctx); err != nil {
		return fmt.Errorf("read the lab's CA: %w", err)
	}
	return nil
}

func published(c container.InspectResponse, port nat.Port) (uint16, error) {
	bindings := c.NetworkSettings.Ports[port]
	if len(bindings) == 0 {
		return 0, fmt.Errorf("port %s of container %s is not published", port, c.Name)
	}
	n, err := strconv.ParseUint(bindings[0].HostPort, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("port %s of container %s: %w", port, c.Name, err)
	}
	return uint16(n), nil
}

// waitHealthy ends early when the world's process has ended.
func (l *Lab) waitHealthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := l.Control.Healthy(ctx)
		if last == nil {
			return nil
		}
		c, err := l.engine.ContainerInspect(ctx, l.Network)
		if err == nil && !c.State.Running {
			return fmt.Errorf("lab %s is %s, exit code %d", l.Name, c.State.Status, c.State.ExitCode)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for lab %s: %w (last: %w)", l.Name, ctx.Err(), last)
		case <-tick.C:
		}
	}
}

// ControlURL returns where the control interface answers.
func (l *Lab) ControlURL() string { return fmt.Sprintf("http://127.0.0.1:%d", l.ControlPort) }

// ConnectTo returns the value of --connect-to that leads to the lab instead of
// Cloudflare for a public hostname.
func (l *Lab) ConnectTo(hostname string) string {
	return fmt.Sprintf("%s:443:127.0.0.1:%d", hostname, l.PublicPort)
}

// Log returns the last lines that the world logged.
func (l *Lab) Log(ctx context.Context) (string, error) {
	stream, err := l.engine.ContainerLogs(ctx, l.Network, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: "200"})
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", l.Network, err)
	}
	var out bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &out, stream)
	return out.String(), errors.Join(err, stream.Close())
}

// withLog adds what the world logged to err.
func (l *Lab) withLog(ctx context.Context, err error) error {
	text, logErr := l.Log(context.WithoutCancel(ctx))
	if logErr != nil {
		return errors.Join(err, logErr)
	}
	return fmt.Errorf("%w; its log:\n%s", err, text)
}

// Stop removes the lab.
func (l *Lab) Stop(ctx context.Context) error { return Remove(ctx, l.engine, l.Name) }
