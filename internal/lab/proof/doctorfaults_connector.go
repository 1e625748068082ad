package proof

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// connectorFaults are those of the connector's container.
func connectorFaults() []fault {
	hung := onEngine("connector hangs", "MQT-C10", ofConnector, by((*site).hang))
	hung.mend = func(ctx context.Context, s *site) error {
		// Nothing that is asked to end does so while it is stopped.
		if err := s.signal(ctx, connector, "CONT"); err != nil {
			return err
		}
		return s.must(ctx, "restart", connector)
	}
	misused := func(name, arguments string) fault {
		f := overridden(name, "MQT-C03", ofConnector, "    command: ["+arguments+"]\n", looping(connector))
		f.counted = countedExit
		return f
	}
	return slices.Concat(serviceFaults(connector), connectorExits(), []fault{
		{
			name: "connector without token files", code: "MQT-C02", of: []subject{ofConnector, ofEnv, ofCompose}, stage: stageUp,
			standIn: true, connector: true, inject: by((*site).oldConnector),
			mend: func(ctx context.Context, s *site) error {
				if err := s.set("CLOUDFLARED_IMAGE", s.lab.Cloudflared); err != nil {
					return err
				}
				return s.up(ctx)
			},
		},
		misused("connector refuses a setting", "tunnel, --protocol, carrier-pigeon, run"),
		misused("connector does not know an option", "tunnel, --no-such-option, run"),
		misused("connector cannot read its token file", "tunnel, run, --token-file, /nowhere"),
		hung,
	})
}

// settled is how long a connector runs until it has to answer.
const settled = 65 * time.Second

// connectorExits are misuse, an error, a panic, a program that cannot be run or found,
// a signal, and an error of the command line.
func connectorExits() []fault {
	const steady = "MQT-C07"
	return exits(connector, ofConnector, map[int]string{
		0: "MQT-C03", 1: steady, 2: steady, 126: steady, 127: steady, 139: steady, 255: steady,
	})
}

// oldConnector puts a connector into force that knows no token files.
func (s *site) oldConnector(ctx context.Context) error {
	store, err := s.images(ctx)
	if err != nil {
		return err
	}
	old, err := store.OldStandIn(ctx)
	if err != nil {
		return err
	}
	if err := s.set("CLOUDFLARED_IMAGE", old.Ref); err != nil {
		return err
	}
	if err := s.upBroken(ctx); err != nil {
		return err
	}
	return s.loops(ctx, connector)
}

// hang stops a connector that has had its time to answer, unknown to the Engine.
func (s *site) hang(ctx context.Context) error {
	err := eventually(ctx, 2*settled, func() error {
		c, err := s.inspect(ctx, connector)
		if err != nil {
			return err
		}
		since, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
		if err == nil && time.Since(since) < settled {
			err = fmt.Errorf("%s runs since %v", c.Name, since)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.signal(ctx, connector, "STOP")
}

// signal sends a signal to a service's process from outside, of which the Engine
// knows nothing.
func (s *site) signal(ctx context.Context, service, name string) error {
	c, err := s.inspect(ctx, service)
	if err != nil {
		return err
	}
	r, err := s.b.run(ctx, command{path: "kill", args: []string{"-" + name, fmt.Sprint(c.State.Pid)}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("kill -%s: %s", name, r.err)
	}
	return err
}
