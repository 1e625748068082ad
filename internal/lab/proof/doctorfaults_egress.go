package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/lab/control"
)

// Shapes of projects that speak one protocol to the edge.
const (
	onlyHTTP2 = "TUNNEL_TRANSPORT_PROTOCOL=http2"
	onlyQUIC  = "TUNNEL_TRANSPORT_PROTOCOL=quic"
)

// unconnected is how long a connector without a connection is until doctor says so
// whatever its log tells.
const unconnected = 22 * time.Second

// egressFaults are those of the way from the connector to the edge. They are met by
// a connector that was started again: open connections outlive most of them.
func egressFaults() []fault {
	http2, quic := shape{settings: onlyHTTP2}, shape{settings: onlyQUIC}
	srv := []string{"_v2-origintunneld._tcp.argotunnel.com"}
	regions := []string{"region1.v2.argotunnel.com", "region2.v2.argotunnel.com"}
	return slices.Concat(
		resolverFaults(),
		[]fault{
			onTheWay("names answered with errors", "MQT-E01", shape{}, control.Faults{DNS: control.DNSServFail}, by((*site).unconnected)),
			onTheWay("names not answered", "MQT-E01", shape{}, control.Faults{DNS: control.DNSSilent}, by((*site).unconnected)),
			onTheWay("every name unknown", "MQT-E01", shape{}, control.Faults{DNS: control.DNSNXDomain}, by((*site).unconnected)),
			onTheWay("SRV record filtered", "MQT-E02", shape{}, control.Faults{DNS: control.DNSNXDomain, DNSNames: srv}, by((*site).unconnected)),
			onTheWay("SRV record not answered", "MQT-E02", shape{}, control.Faults{DNS: control.DNSSilent, DNSNames: srv}, by((*site).unconnected)),
			onTheWay("regions filtered", "MQT-E02", shape{}, control.Faults{DNS: control.DNSNXDomain, DNSNames: regions}, by((*site).unconnected)),
			onTheWay("regions led to nowhere", "MQT-E02", shape{}, control.Faults{DNSAnswer: "0.0.0.0", DNSNames: regions}, by((*site).unconnected)),
			onTheWay("UDP and TCP blocked", "MQT-E04", shape{}, control.Faults{UDP: control.UDPSilent, Accept: control.AcceptDrop}, by((*site).unconnected)),
			onTheWay("UDP blocked and TCP closed", "MQT-E04", http2, control.Faults{UDP: control.UDPSilent, Accept: control.AcceptRefuse}, by((*site).unconnected)),
			onTheWay("UDP blocked", "MQT-E05", quic, control.Faults{UDP: control.UDPSilent}, by((*site).unconnected)),
			onTheWay("UDP blocked, before the fallback", "MQT-E05", shape{}, control.Faults{UDP: control.UDPSilent}, by((*site).unconnected)),
			fine(onTheWay("UDP blocked, after the fallback", "", shape{}, control.Faults{UDP: control.UDPSilent}, by((*site).connected))),
			onTheWay("TCP blocked", "MQT-E06", http2, control.Faults{Accept: control.AcceptDrop}, by((*site).unconnected)),
			onTheWay("TCP closed", "MQT-E06", http2, control.Faults{Accept: control.AcceptRefuse}, by((*site).unconnected)),
			fine(onTheWay("TCP blocked, over quic", "", quic, control.Faults{Accept: control.AcceptDrop}, by((*site).connected))),
			onTheWay("foreign certificate", "MQT-E07", shape{}, control.Faults{Certificate: control.CertificateForeign}, logged("x509: ")),
			onTheWay("foreign certificate, over http2", "MQT-E07", http2, control.Faults{Certificate: control.CertificateForeign}, logged("x509: ")),
			onTheWay("handshake stalled", "MQT-E07", http2, control.Faults{Accept: control.AcceptStall}, by((*site).unconnected)),
			onTheWay("handshake stalled and UDP blocked", "MQT-E07", shape{}, control.Faults{Accept: control.AcceptStall, UDP: control.UDPSilent}, by((*site).unconnected)),
			handshakeReset(),
			onTheWay("clock behind", "MQT-H07", shape{}, control.Faults{Certificate: control.CertificateNotYetValid}, logged("x509: ")),
			onTheWay("clock ahead", "MQT-H07", shape{}, control.Faults{Certificate: control.CertificateExpired}, logged("x509: ")),
			dated("clock behind Cloudflare's", 24*time.Hour),
			dated("clock ahead of Cloudflare's", -24*time.Hour),
			onTheWay("registration not answered", "MQT-E08", http2, control.Faults{RegisterDelay: control.Duration(time.Minute)}, logged("deadline exceeded")),
			onTheWay("edge refuses connections", "MQT-E08", http2, control.Faults{RegisterError: "Too many connections"}, logged("Too many connections")),
			{
				name: "one region blocked", code: "MQT-E09", of: onTheWaySubjects(), stage: stageEngine, warns: true, connector: true,
				inject: func(ctx context.Context, s *site) error {
					f := control.Faults{Region: 1, UDP: control.UDPSilent, Accept: control.AcceptDrop}
					if err := s.throughFaults(ctx, f, by((*site).connected)); err != nil {
						return err
					}
					return s.unchanged(ctx, settled)
				},
				mend: by((*site).wayFree),
			},
		},
	)
}

// dated is a clock that is off by what Cloudflare says, and not so much that the
// connector is lost.
func dated(name string, off time.Duration) fault {
	f := onTheWay(name, "MQT-H07", shape{}, control.Faults{}, nil)
	f.inject = func(ctx context.Context, s *site) error {
		s.hold(closer(func() error { return s.lab.Control.ClearFaults(context.WithoutCancel(ctx)) }))
		return s.lab.Control.SetFaults(ctx, control.Faults{ClockSkew: control.Duration(off)})
	}
	f.mend = func(ctx context.Context, s *site) error { return s.lab.Control.ClearFaults(ctx) }
	return f
}

// handshakeReset is something on the way that ends connections at the first long
// packet, in which a client greets the edge.
func handshakeReset() fault {
	f := onTheWay("handshake reset", "MQT-E07", shape{settings: onlyHTTP2}, control.Faults{}, by((*site).unconnected))
	inject, free := f.inject, f.mend
	rule := []string{"INPUT", "-p", "tcp", "--dport", "7844", "-m", "length", "--length", "200:65535", "-j", "REJECT", "--reject-with", "tcp-reset"}
	f.inject = func(ctx context.Context, s *site) error {
		s.hold(closer(func() error { return s.firewall(context.WithoutCancel(ctx), s.lab.Network, "-F", "INPUT") }))
		if err := s.firewall(ctx, s.lab.Network, append([]string{"-A"}, rule...)...); err != nil {
			return err
		}
		return inject(ctx, s)
	}
	f.mend = func(ctx context.Context, s *site) error {
		if err := s.firewall(ctx, s.lab.Network, append([]string{"-D"}, rule...)...); err != nil {
			return err
		}
		return free(ctx, s)
	}
	return f
}

// resolverFaults are those of what the project says of name servers.
func resolverFaults() []fault {
	return []fault{{
		name: "name server of the connector wrong", code: "MQT-E01", of: []subject{ofConnector, ofNetwork, ofTunnel, ofOverride, ofCompose},
		stage: stageUp, connector: true,
		inject: func(ctx context.Context, s *site) error {
			address := "- " + s.lab.Address.String() + "\n"
			err := s.edit("compose.override.yaml", func(text string) string { return strings.Replace(text, address, "- "+nowhere+"\n", 1) })
			if err != nil {
				return err
			}
			return s.byCompose(ctx)
		},
		mend: func(ctx context.Context, s *site) error {
			if err := s.override("", "", ""); err != nil {
				return err
			}
			return s.up(ctx)
		},
	}}
}

// onTheWaySubjects are what has to be as it is for a connector to meet a fault of the way.
func onTheWaySubjects() []subject { return []subject{ofTunnel, ofConnector, ofNetwork} }

// onTheWay is a fault of the lab's that a connector meets which was started again;
// wait says when it has.
func onTheWay(name, code string, sh shape, f control.Faults, wait act) fault {
	return fault{
		name: name, code: code, of: onTheWaySubjects(), stage: stageEngine, shape: sh, connector: true,
		inject: func(ctx context.Context, s *site) error {
			return s.throughFaults(ctx, f, wait)
		},
		mend: by((*site).wayFree),
	}
}

// throughFaults makes the lab one with faults and starts the connector again.
func (s *site) throughFaults(ctx context.Context, f control.Faults, wait act) error {
	s.hold(closer(func() error { return s.lab.Control.ClearFaults(context.WithoutCancel(ctx)) }))
	if err := s.lab.Control.SetFaults(ctx, f); err != nil {
		return err
	}
	if err := s.b.Engine.ContainerRestart(ctx, s.container(connector), container.StopOptions{}); err != nil {
		return err
	}
	return wait(ctx, s)
}

// wayFree is a person who opens what was blocked, and does not wait until the
// connector tries again.
func (s *site) wayFree(ctx context.Context) error {
	if err := s.lab.Control.ClearFaults(ctx); err != nil {
		return err
	}
	return s.b.Engine.ContainerRestart(ctx, s.container(connector), container.StopOptions{})
}

// fallback is how long a connector may take to try the other protocol.
const fallback = 3 * time.Minute

// connected waits until the connector has a connection to the edge. It is asked
// itself: an edge that nothing reaches any more still counts those of the run before.
func (s *site) connected(ctx context.Context) error {
	return eventually(ctx, fallback, func() error { return s.says(ctx, connector, "Registered tunnel connection") })
}

// unchanged waits until no connection has been made for so long.
func (s *site) unchanged(ctx context.Context, d time.Duration) error {
	return eventually(ctx, 3*d, func() error {
		r, err := s.b.run(ctx, command{path: "docker", args: []string{"logs", "--since", d.String(), s.container(connector)}})
		if err == nil && strings.Contains(r.all(), "Registered tunnel connection") {
			err = errors.New("a connection was made a moment ago")
		}
		return err
	})
}

// logged waits until the connector says something since it was started.
func logged(words string) act {
	return func(ctx context.Context, s *site) error {
		return eventually(ctx, back, func() error { return s.says(ctx, connector, words) })
	}
}

// says is nil when a service has said something since it was started.
func (s *site) says(ctx context.Context, service, words string) error {
	c, err := s.inspect(ctx, service)
	if err != nil {
		return err
	}
	r, err := s.b.run(ctx, command{path: "docker", args: []string{"logs", "--since", c.State.StartedAt, c.ID}})
	if err == nil && !strings.Contains(r.all(), words) {
		err = fmt.Errorf("%s has not said %q", c.Name, words)
	}
	return err
}

// since waits until a service's container runs for so long, unless it ends again and
// again and never will.
func (s *site) since(ctx context.Context, service string, d time.Duration) error {
	return eventually(ctx, 2*d, func() error {
		c, err := s.inspect(ctx, service)
		if err != nil {
			return err
		}
		if c.RestartCount > 0 {
			return nil
		}
		started, err := time.Parse(time.RFC3339Nano, c.State.StartedAt)
		if err == nil && time.Since(started) < d {
			err = fmt.Errorf("%s runs since %v", c.Name, started)
		}
		return err
	})
}
