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

// account says as whom a client connects.
type account struct {
	user, password string
	id             string            // client ID, "" for one that the broker chooses
	will           *paho.WillMessage // nil for none
}

// connect connects a client; received gets every message, by one goroutine.
func (p *project) connect(ctx context.Context, as account, received func(topic, payload string)) (*tunnelClient, error) {
	conn, err := p.stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("user %s: %w", as.user, err)
	}
	c := &tunnelClient{conn: probe.InPackets(conn), lost: make(chan struct{})}
	c.mqtt = paho.NewClient(paho.ClientConfig{
		Conn:          c.conn,
		PacketTimeout: connectLimit,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(m paho.PublishReceived) (bool, error) {
			received(m.Packet.Topic, string(m.Packet.Payload))
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { c.ended(fmt.Errorf("the broker disconnects, reason code %d", d.ReasonCode)) },
		OnClientError:      c.ended,
	})
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	_, err = c.mqtt.Connect(ctx, &paho.Connect{
		ClientID: as.id, KeepAlive: 60, CleanStart: true, WillMessage: as.will,
		UsernameFlag: true, PasswordFlag: true, Username: as.user, Password: []byte(as.password),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("user %s: connect: %w", as.user, err), conn.Close())
	}
	return c, nil
}

// subscribe asks for the messages of a filter.
func (c *tunnelClient) subscribe(ctx context.Context, filter string) error {
	_, err := c.mqtt.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
	return err
}

// publish sends a message and waits until the broker has it.
func (c *tunnelClient) publish(ctx context.Context, topic, payload string, retain bool) error {
	_, err := c.mqtt.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Retain: retain, Payload: []byte(payload)})
	return err
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
