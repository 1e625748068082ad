// Package world puts the lab together: the edge, its public side, DNS and the
// control interface, as one world in which a connector and its clients find all
// that they look for on the internet.
package world

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/edge"
	"mqtunnel/internal/lab/front"
	"mqtunnel/internal/lab/registry"
	"mqtunnel/internal/lab/resolver"
)

// Options say where a world listens. A port of 0 takes a free one.
type Options struct {
	// Addresses are the edge's: the first half is region 1, the rest region 2.
	Addresses []netip.Addr
	// Public is the address that DNS gives for public hostnames.
	Public netip.Addr
	// Bind is where everything but the edge listens; the zero value is every address.
	Bind netip.Addr
	// Ports of the edge (TCP and UDP), of DNS (UDP and TCP), DNS over TLS, the
	// public side and the control interface.
	EdgePort, DNSPort, DNSOverTLSPort, PublicPort, ControlPort uint16
	// QUICPercentage is what DNS tells connectors that choose their protocol.
	QUICPercentage int
	// Log gets what happens; nil discards it.
	Log *slog.Logger
}

// World is a running lab.
type World struct {
	registry  *registry.Registry
	authority *ca.Authority
	edge      *edge.Edge
	zone      *resolver.Zone
	log       *slog.Logger
	edgePort  uint16

	udp                        net.PacketConn
	tcp, dot, public, controls net.Listener
}

// Open makes a world whose ports all listen. Serve must follow: it closes them.
func Open(ctx context.Context, o Options) (*World, error) {
	if len(o.Addresses) < 2 {
		return nil, errors.New("open the lab: the edge needs an address for each of its two regions")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	authority, err := ca.New()
	if err != nil {
		return nil, fmt.Errorf("open the lab: %w", err)
	}
	reg := registry.New()
	w := &World{registry: reg, authority: authority, edge: edge.New(reg, authority, o.Log), log: o.Log}
	if err := w.listen(ctx, o); err != nil {
		return nil, fmt.Errorf("open the lab: %w", errors.Join(err, w.closeListeners()))
	}
	half := (len(o.Addresses) + 1) / 2
	w.zone = &resolver.Zone{
		Registry: reg, Public: o.Public, EdgePort: w.edgePort, QUICPercentage: o.QUICPercentage,
		Regions: [2][]netip.Addr{o.Addresses[:half], o.Addresses[half:]},
	}
	return w, nil
}

func (w *World) listen(ctx context.Context, o Options) error {
	var lc net.ListenConfig
	var err error
	if w.udp, err = lc.ListenPacket(ctx, "udp", listenAddress(o.Bind, o.DNSPort)); err != nil {
		return fmt.Errorf("listen for DNS: %w", err)
	}
	// The same port for both, also where the system chose it.
	dnsPort := port(w.udp.LocalAddr())
	for _, l := range []struct {
		what     string
		listener *net.Listener
		port     uint16
	}{
		{"DNS over TCP", &w.tcp, dnsPort},
		{"DNS over TLS", &w.dot, o.DNSOverTLSPort},
		{"public requests", &w.public, o.PublicPort},
		{"control", &w.controls, o.ControlPort},
	} {
		if *l.listener, err = lc.Listen(ctx, "tcp", listenAddress(o.Bind, l.port)); err != nil {
			return fmt.Errorf("listen for %s: %w", l.what, err)
		}
	}
	w.edgePort = o.EdgePort
	if w.edgePort == 0 {
		if w.edgePort, err = freePort(ctx, o.Addresses[0]); err != nil {
			return err
		}
	}
	var points []netip.AddrPort
	for _, a := range o.Addresses {
		points = append(points, netip.AddrPortFrom(a, w.edgePort))
	}
	return w.edge.Listen(ctx, points)
}

// freePort returns a TCP port that was free a moment ago, for all addresses of the edge.
func freePort(ctx context.Context, address netip.Addr) (uint16, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", netip.AddrPortFrom(address, 0).String())
	if err != nil {
		return 0, fmt.Errorf("find a port for the edge: %w", err)
	}
	return port(l.Addr()), l.Close()
}

func (w *World) closeListeners() error {
	var errs []error
	if w.udp != nil {
		errs = append(errs, w.udp.Close())
	}
	for _, l := range []net.Listener{w.tcp, w.dot, w.public, w.controls} {
		if l != nil {
			errs = append(errs, l.Close())
		}
	}
	return errors.Join(errs...)
}

// Serve serves until ctx ends and returns when nothing of the world runs any more.
func (w *World) Serve(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.edge.Serve(ctx) })
	group.Go(func() error {
		return w.zone.Serve(ctx, resolver.Listeners{
			UDP: w.udp, TCP: w.tcp, TLS: w.dot,
			TLSConfig: w.authority.Config(func(string) string { return "" }, "dot"),
		})
	})
	public := &front.Front{Registry: w.registry, Edge: w.edge, Log: w.log}
	public.Other = public.Elsewhere(w.zone)
	group.Go(func() error {
		config := w.authority.Config(func(name string) string { return w.registry.HostFaults(name).PublicCertificate }, "h2", "http/1.1")
		return w.serveHTTP(ctx, w.public, public, config)
	})
	group.Go(func() error { return w.serveHTTP(ctx, w.controls, w.controlHandler(), nil) })
	return group.Wait()
}

func (w *World) serveHTTP(ctx context.Context, l net.Listener, handler http.Handler, config *tls.Config) error {
	server := &http.Server{
		Handler: handler, TLSConfig: config, ReadHeaderTimeout: 30 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(w.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // the process or the test is ending
	defer stop()
	var err error
	if config != nil {
		err = server.ServeTLS(l, "", "")
	} else {
		err = server.Serve(l)
	}
	if ctx.Err() != nil && errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve HTTP on %s: %w", l.Addr(), err)
}

// CA returns the certificate of the world's authority in PEM.
func (w *World) CA() []byte { return w.authority.PEM() }

// ControlURL returns the base URL of the control interface, on loopback where it
// listens on every address.
func (w *World) ControlURL() string { return "http://" + reachable(w.controls.Addr()) }

// PublicAddress returns where HTTPS and WebSocket requests go.
func (w *World) PublicAddress() string { return reachable(w.public.Addr()) }

// DNSAddress returns where DNS answers, over UDP and TCP.
func (w *World) DNSAddress() string { return reachable(w.udp.LocalAddr()) }

// DNSOverTLSAddress returns where DNS over TLS answers.
func (w *World) DNSOverTLSAddress() string { return reachable(w.dot.Addr()) }

// EdgePort returns the port of the edge, on each of its addresses.
func (w *World) EdgePort() uint16 { return w.edgePort }

func listenAddress(bind netip.Addr, port uint16) string {
	if !bind.IsValid() {
		return fmt.Sprintf(":%d", port)
	}
	return netip.AddrPortFrom(bind, port).String()
}

func port(address net.Addr) uint16 {
	ap, err := netip.ParseAddrPort(address.String())
	if err != nil {
		return 0 // no TCP or UDP address prints like that
	}
	return ap.Port()
}

func reachable(address net.Addr) string {
	ap, err := netip.ParseAddrPort(address.String())
	if err != nil || !ap.Addr().IsUnspecified() {
		return address.String()
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), ap.Port()).String()
}
