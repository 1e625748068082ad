package proof

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
)

// mqttFaults are those of messages from outside.
func mqttFaults() []fault {
	quiet := func(name, code string, idle time.Duration) fault {
		f := publicly(name, code, control.Faults{IdleTimeout: control.Duration(idle)})
		f.inject = func(ctx context.Context, s *site) error {
			s.vantage.doctor = []string{"--soak", "3s"}
			return s.public(ctx, control.Faults{IdleTimeout: control.Duration(idle)})
		}
		return f
	}
	busy := publicly("clients come and go", "", control.Faults{})
	busy.inject = by((*site).comeAndGo)
	busy.mend = func(_ context.Context, s *site) error { return s.release() }
	return []fault{
		secondConnector("second connector without a broker", by((*site).connectorElsewhere)),
		secondConnector("second connector with another broker", by((*site).connectorOfAnotherBroker)),
		quiet("quiet connections cut", "MQT-M04", time.Second),
		fine(quiet("quiet connections kept", "", 0)),
		fine(busy),
	}
}

// secondConnector is another connector with the same token; a person stops it.
func secondConnector(name string, inject act) fault {
	return fault{
		name: name, code: "MQT-M01", of: []subject{ofTunnel, ofOthers}, stage: stageEngine, connector: true, inject: inject,
		mend: func(ctx context.Context, s *site) error {
			return s.b.Engine.ContainerStop(ctx, s.elsewhere(), container.StopOptions{})
		},
	}
}

// elsewhere is the name of what belongs to another host: its connector, its network
// and, with a suffix, its broker.
func (s *site) elsewhere() string { return bench.ProjectName(s.lab.Name, "elsewhere") }

// connectorElsewhere runs a second connector, and waits until the edge sends it
// requests.
func (s *site) connectorElsewhere(ctx context.Context) error {
	return s.runElsewhere(ctx, nil)
}

// connectorOfAnotherBroker runs one beside a broker of the same name and other users.
func (s *site) connectorOfAnotherBroker(ctx context.Context) error {
	name := s.elsewhere()
	_, err := s.b.Engine.NetworkCreate(ctx, name, network.CreateOptions{Labels: map[string]string{bench.LabelLab: s.lab.Name}})
	if err != nil {
		return err
	}
	s.hold(closer(func() error { return s.b.Engine.NetworkRemove(context.WithoutCancel(ctx), name) }))
	err = s.foreignOn(ctx, name+"-mosquitto", container.Config{
		Image: s.lab.Mosquitto,
		Entrypoint: []string{"/bin/sh", "-c", "cd /tmp && mosquitto_passwd -b -c passwd somebody else && " +
			"printf 'listener 9001\\nprotocol websockets\\nallow_anonymous false\\npassword_file /tmp/passwd\\n' > other.conf && " +
			"exec mosquitto -c other.conf"},
	}, container.HostConfig{NetworkMode: container.NetworkMode(name)},
		&network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{name: {Aliases: []string{broker}}}})
	if err != nil {
		return err
	}
	if err := s.b.Engine.ContainerStart(ctx, name+"-mosquitto", container.StartOptions{}); err != nil {
		return err
	}
	return s.runElsewhere(ctx, func() error { return s.b.Engine.NetworkConnect(ctx, name, name, nil) })
}

// runElsewhere makes the second connector, does something with it, and runs it.
func (s *site) runElsewhere(ctx context.Context, before func() error) error {
	name := s.elsewhere()
	err := s.foreignOn(ctx, name, container.Config{
		Image: s.lab.Cloudflared, User: "65532:65532", Cmd: []string{"tunnel", "run"},
		Env: []string{"TUNNEL_TOKEN_FILE=/run/secrets/tunnel_token", "TUNNEL_CACERT=/lab/ca.pem", "NO_AUTOUPDATE=true"},
	}, container.HostConfig{NetworkMode: container.NetworkMode(s.lab.Network), DNS: []string{s.lab.Address.String()}}, nil)
	if err != nil {
		return err
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	for path, text := range map[string]string{
		"run/secrets/tunnel_token": s.tunnel.Token.Reveal(), // where a connector takes it from
		"lab/ca.pem":               string(s.lab.CA),
	} {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o400, Uid: 65532, Gid: 65532, Size: int64(len(text))}); err != nil {
			return err
		}
		if _, err := w.Write([]byte(text)); err != nil {
			return err
		}
	}
	err = errors.Join(w.Close(), s.b.Engine.CopyToContainer(ctx, name, "/", &files, container.CopyToContainerOptions{}))
	if err == nil && before != nil {
		err = before()
	}
	if err != nil {
		return err
	}
	if err := s.b.Engine.ContainerStart(ctx, name, container.StartOptions{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, back)
	defer cancel()
	const of = 4 // connections of a connector
	_, err = s.lab.Control.WaitTunnel(ctx, s.tunnel.TunnelID, func(t control.TunnelState) bool { return t.Connections() == 2*of })
	return err
}

// foreignOn makes a container of nobody's until the fault is over.
func (s *site) foreignOn(ctx context.Context, name string, c container.Config, h container.HostConfig, n *network.NetworkingConfig) error {
	c.Labels = map[string]string{bench.LabelLab: s.lab.Name}
	s.hold(closer(func() error {
		if err := s.removeContainer(context.WithoutCancel(ctx), name); !errdefs.IsNotFound(err) {
			return err
		}
		return nil
	}))
	_, err := s.b.Engine.ContainerCreate(ctx, &c, &h, n, nil, name)
	return err
}

// comeAndGo makes clients connect and leave again and again until the fault is over.
func (s *site) comeAndGo(ctx context.Context) error {
	password, err := s.password(ctx)
	if err != nil {
		return err
	}
	if err := s.remember(); err != nil { // a user's password is another one now
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	for i := range 4 {
		group.Go(func() error {
			for ctx.Err() == nil {
				if err := s.roundTrip(ctx, user, password, fmt.Sprintf("x/%d", i)); err != nil && ctx.Err() == nil {
					return missed("a client that comes and goes: %w", err)
				}
			}
			return nil
		})
	}
	s.hold(closer(func() error { cancel(); return group.Wait() }))
	return nil
}
