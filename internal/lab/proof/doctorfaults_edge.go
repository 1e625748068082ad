package proof

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lab/control"
)

// containerShowing is how the connector was run by hand: with the token for everybody
// to see.
func containerShowing(token string) container.Config {
	return container.Config{Entrypoint: []string{"cloudflared"}, Cmd: []string{"tunnel", "run", "--token", token}}
}

// tokenSet is a person who copies the token from the dashboard.
func (s *site) tokenSet(ctx context.Context) error {
	if err := s.mustTell(ctx, s.tunnel.Token.Reveal(), "token", "set"); err != nil { // what a person pastes
		return err
	}
	return s.up(ctx)
}

// newTunnel makes a tunnel in the dashboard, with a hostname of its own.
func (s *site) newTunnel(ctx context.Context) error {
	s.made++
	host := fmt.Sprintf("mqtt%d.example.com", s.made)
	tunnel, err := s.lab.Control.CreateTunnel(ctx, control.TunnelRequest{
		Name: fmt.Sprint(s.made), Hostnames: []control.Rule{{Hostname: host, Service: "http://mosquitto:9001"}},
	})
	if err == nil {
		s.nowWith(tunnel)
		s.host = host
	}
	return err
}

// nowWith makes another token the one with which all is well.
func (s *site) nowWith(c control.Credentials) {
	// .env is where the product takes it from.
	s.files[".env"] = strings.ReplaceAll(s.files[".env"], s.tunnel.Token.Reveal(), c.Token.Reveal())
	s.tunnel = c
}

// anotherTunnel is a person who makes a tunnel in place of the one that is gone.
func (s *site) anotherTunnel(ctx context.Context) error {
	if err := s.newTunnel(ctx); err != nil {
		return err
	}
	return s.tokenSet(ctx)
}

// refusals is how many registrations the lab refused.
func (s *site) refusals(ctx context.Context) (n int, err error) {
	counters, err := s.lab.Control.Counters(ctx)
	for _, count := range counters.RefusedRegistrations {
		n += count
	}
	return n, err
}

// refused does something at the edge and waits until the connector was refused for it.
func (s *site) refused(ctx context.Context, do func() error) error {
	before, err := s.refusals(ctx)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return eventually(ctx, back, func() error {
		now, err := s.refusals(ctx)
		if err == nil && now < before+2 {
			err = fmt.Errorf("%d registrations refused", now-before)
		}
		return err
	})
}

// rotate refreshes the token in the dashboard.
func (s *site) rotate(ctx context.Context) error {
	return s.refused(ctx, func() error {
		fresh, err := s.lab.Control.Rotate(ctx, s.tunnel.TunnelID)
		if err != nil {
			return err
		}
		s.nowWith(fresh)
		_, err = s.lab.Control.Close(ctx, fresh.TunnelID, control.AllConnections)
		return err
	})
}

// deleteTunnel deletes the tunnel in the dashboard.
func (s *site) deleteTunnel(ctx context.Context) error {
	return s.refused(ctx, func() error { return s.lab.Control.Delete(ctx, s.tunnel.TunnelID) })
}

// edgeFaults are those of what Cloudflare answers to a client.
func edgeFaults() []fault {
	answering := func(status int, code string) fault {
		return publicly(fmt.Sprintf("edge answers %d", status), code, control.Faults{PublicStatus: status})
	}
	paged := func(name, code string, status int, body string) fault {
		return publicly(name, code, control.Faults{PublicStatus: status, PublicBody: body})
	}
	presenting := func(name, certificate string) fault {
		f := publicly(name, "MQT-P02", control.Faults{PublicCertificate: certificate})
		inject := f.inject
		f.inject = func(ctx context.Context, s *site) error {
			// By its address alone the lab is not Cloudflare, and it gets no further here.
			s.vantage.doctor = []string{"--connect-to", s.lab.ConnectTo(s.host)}
			return inject(ctx, s)
		}
		return f
	}
	// Just after a start the edge may not know the connector yet.
	later := func(f fault) fault {
		inject := f.inject
		f.inject = func(ctx context.Context, s *site) error {
			return errors.Join(s.since(ctx, connector, known), s.since(ctx, broker, known), inject(ctx, s))
		}
		return f
	}
	const server, upgrade = "MQT-P12", "MQT-P13"
	return slices.Concat(accessFaults(), []fault{
		later(publicly("edge answers 530 with 1033", "MQT-P03", control.Faults{PublicStatus: 530, PublicCode: 1033})),
		publicly("edge answers 530 with 1016", "MQT-P04", control.Faults{PublicStatus: 530, PublicCode: 1016}),
		answering(502, "MQT-P05"),
		answering(503, "MQT-P06"),
		answering(404, "MQT-P07"),
		answering(403, "MQT-P08"),
		publicly("edge redirects", "MQT-P10", control.Faults{PublicRedirect: "https://www.example.com/"}), //nolint:gosec // nothing secret
		answering(429, "MQT-P11"),
		answering(504, server),
		answering(520, server),
		answering(521, server),
		answering(522, server),
		answering(523, server),
		answering(524, server),
		answering(525, server),
		answering(526, server),
		answering(200, upgrade),
		answering(400, upgrade),
		answering(426, upgrade),
		answering(418, "MQT-P14"),
		paged("edge answers with a page", upgrade, 200, "<!DOCTYPE html><title>Sign in</title><form action=/login>"),
		publicly("WebSockets stripped", upgrade, control.Faults{StripUpgrade: true}),
		presenting("public certificate expired", control.CertificateExpired),
		presenting("public certificate not valid yet", control.CertificateNotYetValid),
		presenting("public certificate foreign", control.CertificateForeign),
		filteredHTTPS("TCP 443 closed", "REJECT", "--reject-with", "tcp-reset"),
		filteredHTTPS("TCP 443 filtered", "DROP"),
		secondLevel(),
		withoutAnyNetwork(),
		browsed(),
	})
}

// known is after how long the edge knows a connector everywhere.
const known = 31 * time.Second

// accessFaults are those of an Access policy in front of the hostname.
func accessFaults() []fault {
	const id, secret = "0123456789abcdef.access", "fedcba9876543210"
	keys := func(s *site, secret string) error {
		return errors.Join(s.set(config.KeyAccessID, id), s.set(config.KeyAccessSecret, secret))
	}
	f := control.Faults{PublicRedirect: control.RedirectAccess, AccessClientID: id, AccessClientSecret: secret}
	guarded := func(name, own string) fault {
		return fault{
			name: name, code: "MQT-P09", of: []subject{ofTunnel, ofEnv}, stage: stageEngine,
			inject: func(ctx context.Context, s *site) error {
				if own != "" {
					if err := keys(s, own); err != nil {
						return err
					}
				}
				return s.public(ctx, f)
			},
			mend: func(_ context.Context, s *site) error { return keys(s, secret) },
		}
	}
	page := publicly("Access answers with its page", "MQT-P09", control.Faults{
		PublicStatus: 200, PublicBody: `<form action="https://team.cloudflareaccess.com/cdn-cgi/access/login">`,
	})
	return []fault{
		guarded("Access without keys", ""),
		guarded("Access with wrong keys", "0000000000000000"),
		fine(guarded("Access with its keys", secret)),
		page,
	}
}

// filteredHTTPS is a firewall before TCP port 443.
func filteredHTTPS(name string, target ...string) fault {
	rule := func(ctx context.Context, s *site, change string) error {
		return s.firewall(ctx, s.lab.Network, append([]string{change, "INPUT", "-p", "tcp", "--dport", "443", "-j"}, target...)...)
	}
	return fault{
		name: name, code: "MQT-P01", of: []subject{ofTunnel}, stage: stageEngine,
		inject: func(ctx context.Context, s *site) error {
			s.hold(closer(func() error { return s.firewall(context.WithoutCancel(ctx), s.lab.Network, "-F", "INPUT") }))
			return rule(ctx, s, "-A")
		},
		mend: func(ctx context.Context, s *site) error { return rule(ctx, s, "-D") },
	}
}

// firewall changes the rules of a container's network namespace.
func (s *site) firewall(ctx context.Context, name string, rule ...string) error {
	return s.inNamespace(ctx, name, append([]string{"iptables"}, rule...)...)
}

// inNamespace runs a program of the machine in a container's network namespace.
func (s *site) inNamespace(ctx context.Context, name string, args ...string) error {
	c, err := s.b.Engine.ContainerInspect(ctx, name)
	if err != nil {
		return err
	}
	r, err := s.b.run(ctx, command{path: "nsenter", args: append([]string{"--net", "--target", fmt.Sprint(c.State.Pid)}, args...)})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("%s: %s", strings.Join(args, " "), r.err)
	}
	return err
}

// secondLevel is a public hostname of which Cloudflare has no certificate.
func secondLevel() fault {
	f := publicly("hostname of a second level", "MQT-S15", control.Faults{})
	f.connector = true
	f.inject = func(ctx context.Context, s *site) error {
		f := control.Faults{PublicCertificate: control.CertificateFirstLevel}
		return errors.Join(
			s.public(ctx, f),
			s.configure(ctx, control.Rule{Hostname: "mqtt.home.example.com", Service: right}, control.Rule{Service: catchAll}),
		)
	}
	f.mend = func(ctx context.Context, s *site) error { return s.correct(ctx) }
	return f
}

// withoutAnyNetwork is a machine whose line is dead: neither doctor nor the containers
// have a way to anywhere.
func withoutAnyNetwork() fault {
	return fault{
		name: "no network at all", code: "MQT-E03", of: []subject{ofMachine, ofTunnel, ofConnector, ofNetwork}, stage: stageVantage,
		connector: true,
		inject: func(ctx context.Context, s *site) error {
			s.vantage.alone = true
			return errors.Join(s.cutOff(ctx), s.unconnected(ctx))
		},
		mend: func(ctx context.Context, s *site) error {
			s.vantage = s.usual()
			// A container that is started again has its routes again.
			return s.must(ctx, "restart", connector)
		},
	}
}

// cutOff takes from the connector every route but the one to the broker.
func (s *site) cutOff(ctx context.Context) error {
	c, err := s.inspect(ctx, connector)
	if err != nil {
		return err
	}
	on := c.NetworkSettings.Networks[s.lab.Network]
	address, err := netip.ParseAddr(on.IPAddress)
	if err != nil {
		return err
	}
	lab := netip.PrefixFrom(address, on.IPPrefixLen).Masked().String()
	for _, route := range []string{"default", lab} {
		if err := s.inNamespace(ctx, s.container(connector), "ip", "route", "del", route); err != nil {
			return err
		}
	}
	// What stands is lost in some minutes, else.
	_, err = s.lab.Control.Close(ctx, s.tunnel.TunnelID, control.AllConnections)
	return err
}

// unconnected waits until the connector has no connection to the edge, and some time
// more in which it would have one again.
func (s *site) unconnected(ctx context.Context) error {
	gone := time.Time{}
	return eventually(ctx, 2*unconnected, func() error {
		t, err := s.lab.Control.Tunnel(ctx, s.tunnel.TunnelID)
		switch {
		case err != nil:
			return err
		case t.Connections() > 0:
			return fmt.Errorf("%d connections stand", t.Connections())
		case gone.IsZero():
			gone = time.Now()
		}
		if time.Since(gone) < unconnected {
			return errors.New("the connections are gone only just now")
		}
		return nil
	})
}

// browsed is a browser at a public hostname with which all is well.
func browsed() fault {
	f := publicly("a browser at the hostname", "", control.Faults{})
	f.inject = func(ctx context.Context, s *site) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.lab.CA)
		dialer := net.Dialer{}
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, network, net.JoinHostPort("127.0.0.1", fmt.Sprint(s.lab.PublicPort)))
			},
		}}
		for _, path := range []string{"/", "/mqtt", "/favicon.ico"} {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+s.host+path, http.NoBody)
			if err != nil {
				return err
			}
			response, err := client.Do(request)
			if err != nil {
				return err
			}
			if err := response.Body.Close(); err != nil {
				return err
			}
			if response.StatusCode != http.StatusBadGateway {
				return fmt.Errorf("a browser at %s gets %d", path, response.StatusCode)
			}
		}
		return nil
	}
	return fine(f)
}
