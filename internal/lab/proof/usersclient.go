package proof

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"

	"mqtunnel/internal/probe"
)

// tunnelClient is an MQTT client that stays connected through the tunnel.
type tunnelClient struct {
	mqtt *paho.Client
	conn net.Conn

	once sync.Once
	lost chan struct{} // closed when the connection ended and close was not called
	why  error         // set before lost is closed
}

// connectLimit bounds the connecting of a client.
const connectLimit = 10 * time.Second

// connect connects a client as a user; received gets the payload of every message, and
// is called by one goroutine.
func (p *project) connect(ctx context.Context, user, password string, received func(payload string)) (*tunnelClient, error) {
	conn, err := p.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", user, err)
	}
	c := &tunnelClient{conn: &packetConn{Conn: conn}, lost: make(chan struct{})}
	c.mqtt = paho.NewClient(paho.ClientConfig{
		Conn:          c.conn,
		PacketTimeout: connectLimit,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			received(string(m.Packet.Payload))
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { c.ended(fmt.Errorf("the broker disconnects, reason code %d", d.ReasonCode)) },
		OnClientError:      c.ended,
	})
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_, err = c.mqtt.Connect(ctx, &paho.Connect{
		ClientID: user + strconv.FormatInt(time.Now().UnixNano(), 36), KeepAlive: 60, CleanStart: true,
		UsernameFlag: true, PasswordFlag: true, Username: user, Password: []byte(password),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("user %s: connect: %w", user, err), conn.Close())
	}
	return c, nil
}

// stream opens a WebSocket through the tunnel to the broker.
func (p *project) stream(ctx context.Context) (net.Conn, error) {
	target, err := p.target("", "")
	if err != nil {
		return nil, err
	}
	public := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.lab.PublicPort)))
	dial, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	ws, _, err := websocket.Dial(dial, target.URL, &websocket.DialOptions{ //nolint:bodyclose // of a WebSocket, whose connection it is
		HTTPClient: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: target.RootCAs, MinVersion: tls.VersionTLS12},
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				var d net.Dialer
				return d.DialContext(ctx, network, public)
			},
		}},
		Subprotocols: []string{probe.Subprotocol},
	})
	if err != nil {
		return nil, err
	}
	return websocket.NetConn(ctx, ws, websocket.MessageBinary), nil
}

func (c *tunnelClient) ended(why error) {
	c.once.Do(func() {
		c.why = why
		close(c.lost)
	})
}

// held is an error when the connection was lost.
func (c *tunnelClient) held() error {
	select {
	case <-c.lost:
		return c.why
	default:
		return nil
	}
}

// close ends the connection.
func (c *tunnelClient) close() error {
	c.once.Do(func() {}) // from here on, its end is no loss
	err := c.mqtt.Disconnect(&paho.Disconnect{})
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	<-c.mqtt.Done()
	return err
}

// packetConn sends each packet in one WebSocket message: paho writes it in several
// pieces between Lock and Unlock, which Mosquitto 2.1 takes amiss now and then.
type packetConn struct {
	net.Conn

	mu     sync.Mutex
	packet []byte
	err    error // of the last write, told to the next one
}

// Lock begins a packet.
func (c *packetConn) Lock() { c.mu.Lock() }

// Unlock sends the packet.
func (c *packetConn) Unlock() {
	if len(c.packet) > 0 && c.err == nil {
		_, c.err = c.Conn.Write(c.packet)
	}
	c.packet = c.packet[:0]
	c.mu.Unlock()
}

// Write adds to the packet.
func (c *packetConn) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.packet = append(c.packet, p...)
	return len(p), nil
}
