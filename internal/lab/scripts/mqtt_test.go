//go:build linux

package scripts_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"
	"github.com/rogpeppe/go-internal/testscript"

	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// target is how a client reaches the current project's broker through the tunnel.
func (s *script) target(user, password string) (probe.Target, error) {
	route, err := probe.ParseConnectTo(s.lab.ConnectTo(s.current.host))
	if err != nil {
		return probe.Target{}, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.lab.CA)
	return probe.Target{
		URL: "wss://" + s.current.host + "/mqtt", ConnectTo: []probe.ConnectTo{route}, RootCAs: roots,
		Username: user, Password: secret.New(password),
	}, nil
}

// mqtt sends a message through the tunnel and wants it back, or wants the named
// fault: mqtt phone PASSWORD a/topic, ! mqtt not-authorised phone PASSWORD a/topic.
// A URL in front of the user goes there instead of through the tunnel.
func mqtt(ts *testscript.TestScript, s *script, neg bool, args []string) {
	want := probe.Class("")
	if neg && len(args) > 0 {
		want, args = probe.Class(args[0]), args[1:]
	}
	url := ""
	if len(args) > 0 && strings.Contains(args[0], "://") {
		url, args = args[0], args[1:]
	}
	if len(args) != 3 {
		ts.Fatalf("usage: mqtt [URL] USER PASSWORD TOPIC | ! mqtt FAULT [URL] USER PASSWORD TOPIC")
	}
	target, err := s.target(args[0], args[1])
	ts.Check(err)
	if url != "" {
		target.URL = url
	}
	ctx, cancel := context.WithTimeout(s.tb.Context(), 15*time.Second)
	defer cancel()
	_, err = probe.RoundTrip(ctx, target, args[2])
	if probe.ClassOf(err) != want {
		ts.Fatalf("%v: fault %q, want %q", err, probe.ClassOf(err), want)
	}
}

// mqttClient is a client that stays connected.
type mqttClient struct {
	client *paho.Client
	socket *websocket.Conn
	topic  string
	got    chan string
}

// connect connects a client through the tunnel's public side; it lives no longer
// than ctx.
func (s *script) connect(ctx context.Context, user, password, id string) (*mqttClient, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.lab.CA)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", s.lab.PublicPort))
		},
	}
	socket, _, err := websocket.Dial(ctx, "wss://"+s.current.host+"/mqtt", &websocket.DialOptions{
		HTTPClient: &http.Client{Transport: transport}, Subprotocols: []string{probe.Subprotocol},
	})
	if err != nil {
		return nil, err
	}
	conn := websocket.NetConn(s.lasting(), socket, websocket.MessageBinary)
	c := &mqttClient{socket: socket, got: make(chan string, 16)}
	c.client = paho.NewClient(paho.ClientConfig{
		Conn: probe.InPackets(conn),
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(r paho.PublishReceived) (bool, error) {
			c.got <- string(r.Packet.Payload)
			return true, nil
		}},
	})
	_, err = c.client.Connect(ctx, &paho.Connect{
		ClientID: id, CleanStart: true, KeepAlive: 60,
		UsernameFlag: true, Username: user, PasswordFlag: true, Password: []byte(password),
	})
	if err != nil {
		_ = socket.CloseNow() // the first error counts
		return nil, err
	}
	return c, nil
}

// close leaves without goodbye.
func (c *mqttClient) close() {
	_ = c.socket.CloseNow() // the broker may have closed it
	<-c.client.Done()
}

// openClient connects a client that stays: client NAME USER PASSWORD TOPIC.
func openClient(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: client NAME USER PASSWORD TOPIC")
	}
	c, err := s.connect(s.lasting(), args[1], args[2], args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	c.topic = args[3]
	s.clients[args[0]] = c
	_, err = c.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: c.topic, QoS: 1}}})
	ts.Check(err)
}

// alive wants that a client still sends and receives: alive NAME.
func alive(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 1 || s.clients[args[0]] == nil {
		ts.Fatalf("usage: alive NAME")
	}
	c := s.clients[args[0]]
	ctx, cancel := context.WithTimeout(s.tb.Context(), 15*time.Second)
	defer cancel()
	payload := rand.Text()
	_, err := c.client.Publish(ctx, &paho.Publish{Topic: c.topic, QoS: 1, Payload: []byte(payload)})
	ts.Check(err)
	for got := ""; got != payload; { // others publish there too
		select {
		case got = <-c.got:
		case <-ctx.Done():
			ts.Fatalf("the message did not come back")
		}
	}
}

// gone waits until a client is cut off: gone NAME.
func gone(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 1 || s.clients[args[0]] == nil {
		ts.Fatalf("usage: gone NAME")
	}
	select {
	case <-s.clients[args[0]].client.Done():
	case <-time.After(patience):
		ts.Fatalf("client %s is still connected", args[0])
	}
}

// knocking is what knock does in the background.
type knocking struct {
	cancel   context.CancelFunc
	done     chan struct{}
	mu       sync.Mutex
	accepted []string
}

// knock connects one client after the other until it is stopped, each with an
// ID of its own: knock start USER PASSWORD, knock wait NUMBER (accepted ones more),
// knock stop; knock once USER PASSWORD ID, or file:FILE that holds the ID.
func knock(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: knock start USER PASSWORD | wait NUMBER | stop")
	}
	switch args[0] {
	case "start":
		ctx, cancel := context.WithCancel(s.tb.Context())
		k := &knocking{cancel: cancel, done: make(chan struct{})}
		s.knocks = k
		user, password := args[1], args[2]
		go func() {
			defer close(k.done)
			for i := 0; ctx.Err() == nil; i++ {
				k.once(ctx, s, user, password, fmt.Sprintf("knock-%06d", i))
			}
		}()
	case "wait":
		before := s.knocks.count()
		wait(ts, "clients", func() (string, bool) {
			n := s.knocks.count() - before
			return fmt.Sprint(n), n >= number(ts, args[1])
		})
	case "stop":
		s.knocks.stop()
	case "once":
		id := args[3]
		if file, found := strings.CutPrefix(id, "file:"); found {
			id = strings.TrimSpace(ts.ReadFile(file))
		}
		id = strings.ReplaceAll(id, `\u202e`, "\u202e")
		ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
		defer cancel()
		c, err := s.connect(ctx, args[1], args[2], id)
		ts.Check(err)
		c.close()
	}
}

func (k *knocking) once(ctx context.Context, s *script, user, password, id string) {
	try, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	c, err := s.connect(try, user, password, id)
	if err != nil {
		time.Sleep(poll) // the broker or the connector is away
		return
	}
	c.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.accepted = append(k.accepted, id)
}

func (k *knocking) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.accepted)
}

func (k *knocking) stop() {
	k.cancel()
	<-k.done
}

// eachOnce wants a line of every client that knocked and was accepted in a file,
// and exactly one; it waits for the last: each-once FILE.
func eachOnce(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: each-once FILE")
	}
	last := s.knocks.accepted[len(s.knocks.accepted)-1]
	shows(ts, s, false, []string{args[0], " as " + last + " "})
	text := ts.ReadFile(args[0])
	var errs []error
	for _, id := range s.knocks.accepted {
		if n := strings.Count(text, " as "+id+" "); n != 1 {
			errs = append(errs, fmt.Errorf("%s stands there %d times", id, n))
		}
	}
	if err := errors.Join(errs...); err != nil {
		ts.Fatalf("of %d clients:\n%v", len(s.knocks.accepted), err)
	}
	ts.Logf("%d clients, each once", len(s.knocks.accepted))
}
