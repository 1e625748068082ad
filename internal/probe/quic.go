package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/net/quic"
)

// goodbye is how long the edge has to acknowledge the end of a QUIC connection.
const goodbye = 100 * time.Millisecond

// greetQUIC makes the handshake that the connector makes over UDP, and tries again
// once where nothing comes back. It sends nothing beyond the handshake.
func greetQUIC(ctx context.Context, region string, at netip.AddrPort) (Check, *Certificate) {
	a := newEdgeAttempt(region, at)
	var certificate *Certificate
	var err error
	for range udpTries {
		if certificate, err = a.greetOnce(ctx, at); ClassOf(err) != ClassUDPTimeout || ctx.Err() != nil {
			break
		}
	}
	return outcome(a.started, err), certificate
}

func (a *attempt) greetOnce(ctx context.Context, at netip.AddrPort) (*Certificate, error) {
	ctx, cancel := context.WithTimeout(ctx, udpTimeout)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "udp", at.String())
	if err != nil {
		return nil, a.addressError(ctx, err)
	}
	told, tell := context.WithCancelCause(ctx)
	defer tell(nil)
	endpoint, err := quic.NewEndpoint(&connected{Conn: conn, peer: net.UDPAddrFromAddrPort(at), tell: tell}, nil)
	if err != nil {
		return nil, a.fail(StageTCP, ClassOther, errors.Join(err, conn.Close()))
	}
	config := edgeTLS(edgeNameQUIC)
	config.NextProtos, config.MinVersion = []string{edgeProtocol}, tls.VersionTLS13
	greeted, err := endpoint.Dial(told, "udp", at.String(), &quic.Config{TLSConfig: config})
	leave, left := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
	defer left()
	if err != nil {
		failed := a.greetError(told, err)
		left()                    // nobody is there to say goodbye to
		_ = endpoint.Close(leave) // only says that nobody did
		return nil, failed
	}
	certificate := describe(greeted.ConnectionState().PeerCertificates)
	_ = endpoint.Close(leave) // only says that the edge did not say goodbye
	return certificate, nil
}

// greetError tells what the network says first, then silence, then what the other
// side says.
func (a *attempt) greetError(told context.Context, err error) *Error {
	switch cause := context.Cause(told); {
	case cause == nil:
		return a.fail(StageTLS, ClassTLSAlert, err)
	case errors.Is(cause, context.DeadlineExceeded):
		return a.fail(StageTCP, ClassUDPTimeout, cause)
	case errors.Is(cause, context.Canceled):
		return a.fail(StageTCP, ClassCancelled, cause)
	default:
		return a.addressError(context.WithoutCancel(told), cause)
	}
}

// connected is a UDP socket that is bound to one peer, so that the kernel tells
// what the network answers: no route, a firewall, a closed port. The QUIC library
// takes such errors for lost packets.
type connected struct {
	net.Conn
	peer net.Addr
	tell context.CancelCauseFunc
}

// ReadFrom reads a packet of the peer.
func (c *connected) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	if err != nil && !errors.Is(err, net.ErrClosed) {
		c.tell(err)
	}
	return n, c.peer, err
}

// WriteTo writes a packet to the peer.
func (c *connected) WriteTo(p []byte, _ net.Addr) (int, error) {
	n, err := c.Write(p)
	if err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, syscall.EMSGSIZE) {
		c.tell(err)
	}
	return n, err
}
