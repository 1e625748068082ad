package proof

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// originFaults are those between the connector and the broker, both of which run.
func originFaults() []fault {
	proxied := overridden("proxy between connector and broker", "MQT-O02", ofConnector, "", func(context.Context, *site) error { return nil })
	proxied.inject = func(ctx context.Context, s *site) error {
		const variables = "    environment:\n      HTTP_PROXY: http://" + nowhere + ":3128\n      NO_PROXY: \"\"\n      no_proxy: \"\"\n"
		err := s.edit("compose.override.yaml", func(text string) string { return strings.Replace(text, "    environment:\n", variables, 1) })
		if err != nil {
			return err
		}
		return s.byCompose(ctx)
	}
	return []fault{
		proxied,
		namesake(),
		filtered(),
		brokerHangs(),
		exchanged("passwd"),
		exchanged("acl"),
		forgotten("account of the probe refused", "MQT-O05", "passwd"),
		forgotten("topic of the probe denied", "MQT-O06", "acl"),
	}
}

// namesake is another container that answers to the broker's name.
func namesake() fault {
	f := onEngine("broker's alias of another container", "MQT-O01", ofNetwork, func(ctx context.Context, s *site) error {
		if err := s.foreign(ctx, s.older(), container.Config{}); err != nil {
			return err
		}
		if err := s.b.Engine.NetworkConnect(ctx, s.network(), s.older(), &network.EndpointSettings{Aliases: []string{broker}}); err != nil {
			return err
		}
		return s.b.Engine.ContainerStart(ctx, s.older(), container.StartOptions{})
	})
	f.of = []subject{ofNetwork, ofOthers, ofBroker}
	f.mend = func(ctx context.Context, s *site) error { return s.removeContainer(ctx, s.older()) }
	return f
}

// filtered is a firewall between containers.
func filtered() fault {
	rule := func(change string) act {
		return func(ctx context.Context, s *site) error {
			return s.firewall(ctx, s.container(broker), change, "INPUT", "-p", "tcp", "--dport", "9001", "-j", "DROP")
		}
	}
	f := onEngine("port of the broker filtered", "MQT-O03", ofBroker, rule("-A"))
	f.mend = rule("-D")
	return f
}

// brokerHangs is a broker that takes connections and says nothing.
func brokerHangs() fault {
	f := onEngine("broker hangs", "MQT-O04", ofBroker, func(ctx context.Context, s *site) error { return s.signal(ctx, broker, "STOP") })
	f.mend = func(ctx context.Context, s *site) error {
		if err := s.signal(ctx, broker, "CONT"); err != nil {
			return err
		}
		return s.must(ctx, "restart", broker)
	}
	return f
}

// exchanged is a file of the broker's that is another one than the project's, and
// that it has read.
func exchanged(file string) fault {
	f := onEngine(file+" of the broker exchanged", "MQT-F14", ofBroker, func(ctx context.Context, s *site) error {
		_, err := s.exchange(ctx, file)
		return err
	})
	f.of = []subject{ofBroker, ofEnv, ofUsers}
	return f
}

// forgotten is a broker that goes by another file than the one it has: nobody told it
// to read that again.
func forgotten(name, code, file string) fault {
	f := onEngine(name, code, ofBroker, func(ctx context.Context, s *site) error {
		right, err := s.exchange(ctx, file)
		if err != nil {
			return err
		}
		return s.put(ctx, "/mosquitto/config/"+file, brokerUser, right)
	})
	f.mend = func(ctx context.Context, s *site) error { return s.must(ctx, "restart", broker) }
	return f
}

// brokerUser is the user whom the broker's process and its files belong to.
const brokerUser = 1883

// exchange makes a file of the broker's one of other users, waits until it has read
// it, and returns what was in it.
func (s *site) exchange(ctx context.Context, file string) (was string, err error) {
	path := "/mosquitto/config/" + file
	password, err := s.password(ctx) // of a user who may only be made now
	if err != nil {
		return "", err
	}
	if was, err = s.b.exec(ctx, s.container(broker), "cat", path); err != nil {
		return "", err
	}
	others := "user other\n"
	if file == "passwd" {
		others = "other" + strings.ReplaceAll(strings.TrimSpace(was), "\n", "\nother") + "\n" // a user a line
	}
	if err := s.put(ctx, path, brokerUser, others); err != nil {
		return "", err
	}
	if _, err := s.b.exec(ctx, s.container(broker), "kill", "-HUP", "1"); err != nil {
		return "", err
	}
	return was, eventually(ctx, back, func() error {
		if s.roundTrip(ctx, user, password, "home/exchanged") == nil {
			return fmt.Errorf("the broker has not read another %s", file)
		}
		return nil
	})
}
