package proof

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
)

// Names of the services.
const (
	broker    = "mosquitto"
	connector = "cloudflared"
)

// called is what people call a service.
func called(service string) string {
	if service == broker {
		return "broker"
	}
	return "connector"
}

// brokerFaults are those of the broker's container and of the project's network.
func brokerFaults() []fault {
	return slices.Concat(networkFaults(), listenFaults(), configurationFaults(), databaseFaults(), serviceFaults(broker), brokerExits(), openFaults())
}

// onEngine is a fault that calls to the Engine bring about, and up mends.
func onEngine(name, code string, of subject, inject act) fault {
	return fault{
		name: name, code: code, of: []subject{of}, stage: stageEngine, connector: of == ofConnector || of == ofNetwork,
		inject: inject, mend: by((*site).up),
	}
}

// networkFaults are those of the network and of names.
func networkFaults() []fault {
	taken := func(service string, of subject) fault {
		f := onEngine("name of the "+called(service)+" taken", "MQT-B02", of, func(ctx context.Context, s *site) error {
			if err := s.removeContainer(ctx, s.container(service)); err != nil {
				return err
			}
			return s.foreign(ctx, s.container(service), container.Config{})
		})
		f.mend = func(ctx context.Context, s *site) error {
			if err := s.removeContainer(ctx, s.container(service)); err != nil {
				return err
			}
			return s.up(ctx)
		}
		return f
	}
	replaced := onEngine("network replaced", "MQT-B15", ofNetwork, func(ctx context.Context, s *site) error {
		if err := s.removeNetwork(ctx); err != nil {
			return err
		}
		_, err := s.b.Engine.NetworkCreate(ctx, s.network(), network.CreateOptions{Labels: map[string]string{bench.LabelLab: s.lab.Name}})
		return err
	})
	replaced.mend = func(ctx context.Context, s *site) error {
		if err := s.b.Engine.NetworkRemove(ctx, s.network()); err != nil {
			return err
		}
		return s.up(ctx)
	}
	return []fault{
		onEngine("network missing", "MQT-B01", ofNetwork, by((*site).removeNetwork)),
		replaced,
		taken(broker, ofBroker),
		taken(connector, ofConnector),
	}
}

// removeNetwork removes the project's network from under its containers.
func (s *site) removeNetwork(ctx context.Context) error {
	if err := s.leaveNetwork(ctx); err != nil {
		return err
	}
	return s.b.Engine.NetworkRemove(ctx, s.network())
}

// nowhere is an address of no host, for documentation.
const nowhere = "192.0.2.77"

// listenFaults are those of MQTT_LAN_LISTEN, of which up itself refuses to make a
// container.
func listenFaults() []fault {
	lan := func(name, code string, listen func(context.Context, *site) (string, error), mend act) fault {
		return fault{
			name: name, code: code, of: []subject{ofBroker, ofEnv, ofCompose}, stage: stageUp,
			inject: func(ctx context.Context, s *site) error {
				value, err := listen(ctx, s)
				if err != nil {
					return err
				}
				if err := s.set("MQTT_LAN_LISTEN", value); err != nil {
					return err
				}
				if err := s.must(ctx, "render", "--write"); err != nil {
					return err
				}
				r, err := s.byComposeTold(ctx)
				if err == nil && r.code == 0 {
					err = errors.New("docker compose up publishes what cannot be published")
				}
				return err
			},
			mend: mend,
		}
	}
	return []fault{
		lan("LAN address of another host", "MQT-B03", func(ctx context.Context, _ *site) (string, error) {
			port, err := freePort(ctx)
			return nowhere + ":" + port, err
		}, func(ctx context.Context, s *site) error {
			if err := s.set("MQTT_LAN_LISTEN", ""); err != nil {
				return err
			}
			return s.up(ctx)
		}),
		lan("LAN port taken by a program", "MQT-B04", func(ctx context.Context, s *site) (string, error) {
			var lc net.ListenConfig
			l, err := lc.Listen(ctx, "tcp4", "0.0.0.0:0")
			if err != nil {
				return "", err
			}
			s.hold(l)
			_, port, err := net.SplitHostPort(l.Addr().String())
			return port, err
		}, func(ctx context.Context, s *site) error {
			if err := s.release(); err != nil {
				return err
			}
			return s.up(ctx)
		}),
	}
}

// configurationFaults are those of what the broker reads when it starts.
func configurationFaults() []fault {
	refused := func(name string, sh shape, line string) fault {
		return fault{
			name: name, code: "MQT-B06", of: []subject{ofBroker, ofConf, ofCompose}, stage: stageUp, shape: sh,
			inject: func(ctx context.Context, s *site) error {
				if err := s.write("mosquitto/conf.d/mine.conf", line+"\n"); err != nil {
					return err
				}
				if err := s.byCompose(ctx); err != nil {
					return err
				}
				return s.loops(ctx, broker)
			},
			mend: func(ctx context.Context, s *site) error {
				if err := os.Remove(filepath.Join(s.dir, "mosquitto/conf.d/mine.conf")); err != nil {
					return err
				}
				return s.up(ctx)
			},
		}
	}
	unreadable := func(name, path string, sh shape) fault {
		f := onEngine(name, "MQT-B07", ofBroker, func(ctx context.Context, s *site) error {
			if err := s.put(ctx, path, 0, "someone:x\n"); err != nil {
				return err
			}
			return s.again(ctx, broker)
		})
		f.shape = sh
		f.mend = by((*site).recreated)
		return f
	}
	old := shape{mosquitto: images.Mosquitto20}
	return []fault{
		refused("directive unknown to 2.1", shape{}, "no_such_directive true"),
		refused("directive unknown to 2.0", old, "no_such_directive true"),
		refused("value senseless to 2.1", shape{}, "max_queued_messages many"),
		refused("value senseless to 2.0", old, "max_packet_size 5"), // of a senseless number 2.0 makes 0
		unreadable("password file unreadable", "/mosquitto/config/passwd", shape{}),
		unreadable("password file unreadable to 2.0", "/mosquitto/config/passwd", old),
		unreadable("acl file unreadable", "/mosquitto/config/acl", shape{}),
		overridden("no WebSocket listener", "MQT-B16", ofBroker, `    entrypoint:
      - /bin/sh
      - -c
      - sed '/^listener 9001/,$$d' /mosquitto/config/mqtunnel.conf > /mosquitto/data/plain.conf && exec /usr/sbin/mosquitto -c /mosquitto/data/plain.conf
`, func(context.Context, *site) error { return nil }),
		overridden("no WebSockets in the image", "MQT-B16", ofBroker, `    entrypoint:
      - /bin/sh
      - -c
      - "echo \"$$(date +%FT%T%z): Error: Websockets support not available.\" >&2; exit 3"
`, looping(broker)),
	}
}

// byCompose runs the project with Docker Compose: up would try first what the broker
// is given, and refuse it.
func (s *site) byCompose(ctx context.Context) error {
	if err := s.must(ctx, "render", "--write"); err != nil {
		return err
	}
	return s.compose(ctx, "up", "-d")
}

// byComposeTold is what Docker Compose says when it runs the project.
func (s *site) byComposeTold(ctx context.Context) (result, error) {
	return s.b.run(ctx, command{dir: s.dir, path: s.b.composeProgram(), args: []string{"up", "-d"}})
}

// recreated is what up --force-recreate mends.
func (s *site) recreated(ctx context.Context) error {
	return s.must(ctx, "up", "--force-recreate", "--timeout", "60s")
}

// looping waits for a container that is started again and again.
func looping(service string) act {
	return func(ctx context.Context, s *site) error { return s.loops(ctx, service) }
}

// again restarts a service's container as docker restart does, and waits until it
// was started more often than that.
func (s *site) again(ctx context.Context, service string) error {
	if err := s.b.Engine.ContainerRestart(ctx, s.container(service), container.StopOptions{}); err != nil {
		return err
	}
	return s.loops(ctx, service)
}

// put puts a file into the broker's container as a user's of that number.
func (s *site) put(ctx context.Context, path string, uid int, text string) error {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: filepath.Base(path), Mode: 0o600, Uid: uid, Gid: uid, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err := w.Write([]byte(text))
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return s.b.Engine.CopyToContainer(ctx, s.container(broker), filepath.Dir(path), &archive, container.CopyToContainerOptions{})
}

// overridden is a fault that further lines of a service in the override file bring
// about; a person takes them out again and runs up.
func overridden(name, code string, of subject, lines string, wait act) fault {
	return fault{
		name: name, code: code, of: []subject{of, ofOverride, ofCompose}, stage: stageUp, connector: of == ofConnector,
		inject: func(ctx context.Context, s *site) error {
			forBroker, forConnector := lines, ""
			if of == ofConnector {
				forBroker, forConnector = "", strings.ReplaceAll(lines, "{broker}", s.lab.Mosquitto)
			}
			if err := s.override(forBroker, forConnector, ""); err != nil {
				return err
			}
			if err := s.byCompose(ctx); err != nil {
				return err
			}
			return wait(ctx, s)
		},
		mend: func(ctx context.Context, s *site) error {
			if err := s.override("", "", ""); err != nil {
				return err
			}
			return s.up(ctx)
		},
	}
}

// serviceFaults are those that a container of either service can have.
func serviceFaults(service string) []fault {
	of := ofBroker
	code := func(ofBroker, _ string) string { return ofBroker }
	if service == connector {
		of = ofConnector
		code = func(_, ofConnector string) string { return ofConnector }
	}
	on := func(what, c string, do func(context.Context, *site, string) error) fault {
		return onEngine(called(service)+" "+what, c, of, func(ctx context.Context, s *site) error { return do(ctx, s, s.container(service)) })
	}
	return []fault{
		on("removed", code("MQT-B05", "MQT-C01"), func(ctx context.Context, s *site, name string) error {
			return s.removeContainer(ctx, name)
		}),
		overridden(called(service)+" out of memory", code("MQT-B10", "MQT-C04"), of, imageOf(service)+`    mem_limit: 8m
    entrypoint: [/bin/sh, -c, "sleep 1; exec tail /dev/zero"]
`, looping(service)),
		on("stopped", code("MQT-B11", "MQT-C05"), func(ctx context.Context, s *site, name string) error {
			return s.b.Engine.ContainerStop(ctx, name, container.StopOptions{})
		}),
		on("killed", code("MQT-B11", "MQT-C05"), func(ctx context.Context, s *site, name string) error {
			if err := s.b.Engine.ContainerKill(ctx, name, "KILL"); err != nil {
				return err
			}
			return s.ended(ctx, service)
		}),
		on("paused", code("MQT-B12", "MQT-C06"), func(ctx context.Context, s *site, name string) error {
			return s.b.Engine.ContainerPause(ctx, name)
		}),
		works(on("renamed", code("MQT-B14", "MQT-C08"), func(ctx context.Context, s *site, name string) error {
			return s.b.Engine.ContainerRename(ctx, name, name+"_old")
		})),
		on("off the network", code("MQT-B15", "MQT-C09"), func(ctx context.Context, s *site, name string) error {
			return s.b.Engine.NetworkDisconnect(ctx, s.network(), name, false)
		}),
	}
}

// works makes a fault one with which messages flow.
func works(f fault) fault {
	f.warns = true
	return f
}

// ended waits until a service's container has ended.
func (s *site) ended(ctx context.Context, service string) error {
	return eventually(ctx, back, func() error {
		c, err := s.inspect(ctx, service)
		if err == nil && c.State.Running {
			err = fmt.Errorf("%s is %s", c.Name, c.State.Status)
		}
		return err
	})
}

// imageOf gives the connector the broker's image, which has a shell.
func imageOf(service string) string {
	if service == connector {
		return "    image: {broker}\n    command: []\n"
	}
	return ""
}

// exits are crashes of a service with an exit code each, of which its log says nothing.
func exits(service string, of subject, codes map[int]string) []fault {
	var list []fault
	for _, n := range slices.Sorted(maps.Keys(codes)) {
		f := overridden(fmt.Sprintf("%s exits with %d", called(service), n), codes[n], of,
			imageOf(service)+fmt.Sprintf("    entrypoint: [/bin/sh, -c, \"exit %d\"]\n", n), looping(service))
		f.counted = countedExit
		list = append(list, f)
	}
	return list
}

// brokerExits are an orderly end, the errors of mosquitto, a program that cannot be
// run or found, and signals.
func brokerExits() []fault {
	const steady = "MQT-B13"
	return exits(broker, ofBroker, map[int]string{
		0: steady, 1: steady, 2: steady, 3: "MQT-B06", 13: "MQT-B07", 14: steady, 126: steady, 127: steady, 134: steady, 139: steady,
	})
}

// full is how many clients at most are needed to leave the broker without room.
const full = 2100

// openFaults are those of who gets in.
func openFaults() []fault {
	open := func(name, code string, set act) fault {
		return fault{
			name: name, code: code, of: []subject{ofBroker, ofEnv, ofOverride, ofCompose}, stage: stageUp, warns: true,
			inject: func(ctx context.Context, s *site) error {
				if err := set(ctx, s); err != nil {
					return err
				}
				return s.up(ctx)
			},
			mend: func(ctx context.Context, s *site) error {
				if err := s.corrected(ctx); err != nil {
					return err
				}
				return s.up(ctx)
			},
		}
	}
	room := onEngine("broker full", "MQT-B17", ofBroker, by((*site).crowd))
	room.mend = func(ctx context.Context, s *site) error {
		if err := s.release(); err != nil {
			return err
		}
		return s.must(ctx, "restart", broker)
	}
	return []fault{
		room,
		open("anonymous clients allowed", "MQT-B18", func(_ context.Context, s *site) error {
			return s.set("MQTT_ALLOW_ANONYMOUS", "true")
		}),
		open("port published by a setting", "MQT-B19", func(ctx context.Context, s *site) error {
			port, err := freePort(ctx)
			if err != nil {
				return err
			}
			return s.set("MQTT_LAN_LISTEN", port)
		}),
		open("port published by the override", "MQT-B19", func(ctx context.Context, s *site) error {
			port, err := freePort(ctx)
			if err != nil {
				return err
			}
			return s.override(fmt.Sprintf("    ports:\n      - \"%s:9001\"\n", port), "", "")
		}),
	}
}

// crowd makes clients that never log in, until the broker takes no more.
func (s *site) crowd(ctx context.Context) error {
	c, err := s.inspect(ctx, broker)
	if err != nil {
		return err
	}
	address := net.JoinHostPort(c.NetworkSettings.Networks[s.network()].IPAddress, "9001")
	for range full {
		taken, err := s.idle(ctx, address)
		if err != nil || !taken {
			return err
		}
	}
	return fmt.Errorf("the broker has room for more than %d clients", full)
}

// answerLimit is how long a broker with room may take to answer.
const answerLimit = 5 * time.Second

// idle connects one client that upgrades and then says nothing, and reports whether
// the broker took it.
func (s *site) idle(ctx context.Context, address string) (taken bool, err error) {
	d := net.Dialer{Timeout: answerLimit}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	s.hold(conn)
	const upgrade = "GET /mqtt HTTP/1.1\r\nHost: mosquitto\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
	if err := conn.SetDeadline(time.Now().Add(answerLimit)); err != nil {
		return false, err
	}
	if _, err := conn.Write([]byte(upgrade)); err != nil {
		return false, nil //nolint:nilerr // turned away
	}
	answer := make([]byte, 256)
	n, err := conn.Read(answer)
	return err == nil && bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 101")), nil
}
