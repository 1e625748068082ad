package proof

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// confinedFaults are those of what keeps the containers from the host: by hand, of which
// no file knows, or by the override.
func confinedFaults() []fault {
	byHand := func(name, code string, of subject, service string, change func(*container.Config, *container.HostConfig)) fault {
		f := onEngine(name, code, of, func(ctx context.Context, s *site) error { return s.anew(ctx, service, change) })
		f.of, f.mend = []subject{of, ofNetwork}, by((*site).recreated) // it is attached to the same networks
		return f
	}
	updated := func(name, code string, of subject, service string, limits container.Resources) fault {
		f := works(onEngine(name, code, of, func(ctx context.Context, s *site) error {
			_, err := s.b.Engine.ContainerUpdate(ctx, s.container(service), container.UpdateConfig{Resources: limits})
			return err
		}))
		f.mend = by((*site).recreated)
		return f
	}
	loosened := func(name, code string, of subject, lines string) fault {
		return works(overridden(name, code, of, lines, func(context.Context, *site) error { return nil }))
	}
	published := onEngine("broker's port published by hand", "MQT-B21", ofBroker, func(ctx context.Context, s *site) error {
		port, err := freePort(ctx)
		if err != nil {
			return err
		}
		return s.anew(ctx, broker, func(c *container.Config, h *container.HostConfig) {
			const websocket = "9001/tcp"
			c.ExposedPorts = nat.PortSet{websocket: {}}
			h.PortBindings = nat.PortMap{websocket: {{HostIP: "0.0.0.0", HostPort: port}}}
		})
	})
	published.of, published.mend = []subject{ofBroker, ofNetwork}, by((*site).recreated)
	const memory, unlimited = 300 << 20, -1
	pids := int64(unlimited)
	return []fault{
		byHand("broker privileged by hand", "MQT-B21", ofBroker, broker, func(_ *container.Config, h *container.HostConfig) { h.Privileged = true }),
		byHand("connector made anew by hand with a capability", "MQT-C11", ofConnector, connector, func(_ *container.Config, h *container.HostConfig) {
			h.CapAdd, h.CapDrop = []string{"NET_ADMIN"}, nil
		}),
		byHand("connector made anew by hand in the host's processes", "MQT-C11", ofConnector, connector, func(_ *container.Config, h *container.HostConfig) {
			h.PidMode, h.SecurityOpt = "host", nil
		}),
		published,
		updated("broker's memory limit changed by docker update", "MQT-B21", ofBroker, broker, container.Resources{Memory: memory, MemorySwap: 2 * memory}),
		updated("connector's limit of processes lifted by docker update", "MQT-C11", ofConnector, connector, container.Resources{PidsLimit: &pids}),
		loosened("broker with a capability of the override", "MQT-B22", ofBroker, "    cap_add: [NET_RAW]\n"),
		loosened("connector that may gain privileges by the override", "MQT-C12", ofConnector, "    security_opt: !override []\n"),
		loosened("broker without a memory limit by the override", "MQT-B22", ofBroker, "    mem_limit: !reset null\n"),
	}
}

// anew makes a service's container again as somebody does by hand who keeps its labels and
// its files and changes the rest.
func (s *site) anew(ctx context.Context, service string, change func(*container.Config, *container.HostConfig)) error {
	c, err := s.inspect(ctx, service)
	if err != nil {
		return err
	}
	paths := []string{"/mosquitto/config"}
	if service == connector {
		paths = []string{"/run/secrets", "/lab"}
	}
	files, err := s.heldFiles(ctx, c.ID, paths)
	if err != nil {
		return err
	}
	change(c.Config, c.HostConfig)
	networks := c.NetworkSettings.Networks
	first := string(c.HostConfig.NetworkMode)
	if networks[first] == nil {
		return fmt.Errorf("%s is not on its network %s", c.Name, first)
	}
	name := s.container(service)
	if err := s.removeContainer(ctx, name); err != nil {
		return err
	}
	endpoint := func(on string) *network.EndpointSettings {
		return &network.EndpointSettings{Aliases: networks[on].Aliases}
	}
	created, err := s.b.Engine.ContainerCreate(ctx, c.Config, c.HostConfig,
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{first: endpoint(first)}}, nil, name)
	if err != nil {
		return err
	}
	for on := range networks {
		if on != first {
			err = errors.Join(err, s.b.Engine.NetworkConnect(ctx, on, created.ID, endpoint(on)))
		}
	}
	err = errors.Join(err, s.b.Engine.CopyToContainer(ctx, created.ID, "/", files, container.CopyToContainerOptions{}))
	if err != nil {
		return err
	}
	return s.b.Engine.ContainerStart(ctx, created.ID, container.StartOptions{})
}

// heldFiles returns an archive of the files in directories of a container, from its root.
func (s *site) heldFiles(ctx context.Context, id string, directories []string) (io.Reader, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, dir := range directories {
		held, _, err := s.b.Engine.CopyFromContainer(ctx, id, dir)
		if err != nil {
			return nil, err
		}
		err = errors.Join(copyFiles(w, tar.NewReader(held), path.Dir(dir)), held.Close())
		if err != nil {
			return nil, fmt.Errorf("files in %s: %w", dir, err)
		}
	}
	return &archive, w.Close()
}

// copyFiles copies the files of an archive, as files below a directory.
func copyFiles(to *tar.Writer, from *tar.Reader, below string) error {
	for {
		header, err := from.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		header.Name = path.Join(below, header.Name) //nolint:gosec // of a container that the proof has made
		if err := to.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.Copy(to, from); err != nil {
			return err
		}
	}
}
