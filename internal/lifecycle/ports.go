package lifecycle

import (
	"errors"
	"net"
	"syscall"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// CheckHostPorts refuses when something on this host that is no container holds
// a port that the project is about to publish. It is for an Engine on this host,
// and for services whose container does not publish the port already. listen is
// net.Listen.
func CheckHostPorts(p plan.Project, o plan.Observed, listen func(network, address string) (net.Listener, error)) error {
	for _, s := range p.Services {
		c, found := o.Find(s.Name)
		for _, want := range s.Spec.Ports {
			if want.HostPort == "" || want.Protocol == "udp" || found && c.State == plan.StateRunning && publishes(c, want) {
				continue
			}
			l, err := listen("tcp4", net.JoinHostPort(want.HostIP, want.HostPort))
			if errors.Is(err, syscall.EADDRNOTAVAIL) {
				return remedy.Errorf(remedy.Input,
					"give an address of this host, or the port alone for every one of them: MQTT_LAN_LISTEN in .env",
					"port %s cannot be published on %s, which is no address of this host", want.HostPort, want.HostIP)
			}
			if err != nil {
				return remedy.Errorf(remedy.Input,
					"see who holds it: ss -ltnp sport = :"+want.HostPort+"\nor choose another: MQTT_LAN_LISTEN=PORT in .env",
					"port %s cannot be published on this host: %w", want.HostPort, err)
			}
			if err := l.Close(); err != nil {
				return err
			}
		}
	}
	return nil
}
