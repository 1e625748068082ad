package edge

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"mqtunnel/internal/lab/control"
)

// handshakeTimeout is how long a connector may take for the TLS handshake.
const handshakeTimeout = 15 * time.Second

// quicProtocol is the ALPN name of the tunnel protocol over QUIC.
const quicProtocol = "argotunnel"

// point is one address of the edge: a TCP and a UDP port.
type point struct {
	edge     *Edge
	address  netip.AddrPort
	region   int
	location string

	udp      *net.UDPConn
	quic     *quic.Transport
	listener *quic.Listener

	mu     sync.Mutex
	tcp    *net.TCPListener
	serve  func(*net.TCPListener) // nil until start
	closed bool
	silent bool // a filter drops what comes in over UDP
	drops  bool // a filter drops what comes in for the TCP listener
	held   map[net.Conn]struct{}
}

// faults returns the faults of the world as far as they concern this region.
func (p *point) faults() control.Faults {
	f := p.edge.registry.World()
	if f.Region != 0 && f.Region != p.region {
		f.Accept, f.ConnectionDelay, f.UDP = "", 0, ""
	}
	return f
}

func (p *point) listen(ctx context.Context) error {
	p.held = map[net.Conn]struct{}{}
	if err := p.listenTCP(ctx); err != nil {
		return err
	}
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(p.address))
	if err != nil {
		return errors.Join(err, p.tcp.Close())
	}
	p.udp = udp
	p.quic = &quic.Transport{Conn: udp}
	p.listener, err = p.quic.Listen(p.tlsConfig(quicProtocol), &quic.Config{
		EnableDatagrams:      true,
		HandshakeIdleTimeout: 5 * time.Second,
		MaxIdleTimeout:       5 * time.Second,
		KeepAlivePeriod:      time.Second,
	})
	if err != nil {
		return errors.Join(err, udp.Close(), p.tcp.Close())
	}
	return nil
}

func (p *point) listenTCP(ctx context.Context) error {
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // its sockets take no packet filter
	l, err := lc.Listen(ctx, "tcp", p.address.String())
	if err != nil {
		return err
	}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return errors.Join(fmt.Errorf("listen on %s: not TCP", p.address), l.Close())
	}
	p.tcp = tcp
	p.drops = false
	return nil
}

// tlsConfig presents the certificate that the faults of the moment ask for.
func (p *point) tlsConfig(protocols ...string) *tls.Config {
	return p.edge.authority.Config(func(name string) string {
		p.edge.registry.Count(func(c *control.Counters) { c.ServerNames[name]++ })
		return p.edge.registry.World().Certificate
	}, protocols...)
}

func (p *point) start(ctx context.Context) {
	p.mu.Lock()
	p.serve = func(tcp *net.TCPListener) { p.edge.tasks.Go(func() { p.acceptTCP(ctx, tcp) }) }
	if p.tcp != nil {
		p.serve(p.tcp)
	}
	p.mu.Unlock()
	p.edge.tasks.Go(func() { p.acceptQUIC(ctx) })
}

// apply makes the point follow the faults of the moment.
func (p *point) apply(ctx context.Context) error {
	f := p.faults()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if f.Accept != control.AcceptStall {
		p.letGo()
	}
	var errs []error
	if silent := f.UDP == control.UDPSilent; silent != p.silent {
		errs = append(errs, dropPackets(p.udp, silent))
		p.silent = silent
	}
	if f.Accept == control.AcceptRefuse {
		if p.tcp != nil {
			errs = append(errs, p.tcp.Close())
			p.tcp = nil
		}
		return errors.Join(errs...)
	}
	if p.tcp == nil {
		if err := p.listenTCP(ctx); err != nil {
			return errors.Join(append(errs, fmt.Errorf("listen at the edge again: %w", err))...)
		}
		if p.serve != nil {
			p.serve(p.tcp)
		}
	}
	if drops := f.Accept == control.AcceptDrop; drops != p.drops {
		errs = append(errs, dropPackets(p.tcp, drops))
		p.drops = drops
	}
	return errors.Join(errs...)
}

// letGo closes the connections that a stall holds.
func (p *point) letGo() {
	for c := range p.held {
		_ = c.Close() // nothing was ever written to it
	}
	clear(p.held)
}

func (p *point) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	p.letGo()
	var errs []error
	if p.tcp != nil {
		errs = append(errs, p.tcp.Close())
	}
	errs = append(errs, p.listener.Close(), p.quic.Close(), p.udp.Close())
	return errors.Join(errs...)
}

func (p *point) acceptTCP(ctx context.Context, tcp *net.TCPListener) {
	for {
		conn, err := tcp.Accept()
		if err != nil {
			return // closed by apply or close
		}
		p.edge.registry.Count(func(c *control.Counters) { c.TCPConnections++ })
		p.edge.tasks.Go(func() { p.handshake(ctx, conn) })
	}
}

func (p *point) handshake(ctx context.Context, conn net.Conn) {
	f := p.faults()
	if f.Accept == control.AcceptStall {
		p.hold(conn)
		return
	}
	secure := tls.Server(conn, p.tlsConfig())
	defer func() { _ = secure.Close() }() // usually closed already
	if pause(ctx, time.Duration(f.ConnectionDelay)) != nil {
		return
	}
	limited, cancel := context.WithTimeout(ctx, handshakeTimeout)
	err := secure.HandshakeContext(limited)
	cancel()
	if err != nil {
		p.edge.registry.Count(func(c *control.Counters) { c.TLSFailures++ })
		p.edge.log.Info("handshake failed", "location", p.location, "remote", conn.RemoteAddr().String(), "error", err)
		return
	}
	p.edge.registry.Count(func(c *control.Counters) { c.TLSHandshakes++ })
	if err := p.edge.serveHTTP2(ctx, p, secure); err != nil {
		p.edge.log.Debug("connection ended", "location", p.location, "remote", conn.RemoteAddr().String(), "error", err)
	}
}

// hold keeps a connection open that nobody will ever answer.
func (p *point) hold(conn net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.faultsCleared() {
		_ = conn.Close() // nothing was ever written to it
		return
	}
	p.held[conn] = struct{}{}
}

func (p *point) faultsCleared() bool { return p.faults().Accept != control.AcceptStall }
