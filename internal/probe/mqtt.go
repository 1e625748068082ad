package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
)

const (
	keepAliveSeconds = 60
	receiveMaximum   = 10 // without it paho makes room for 65535 messages
	clientIDRandom   = 10
	// leaveGrace is how long the broker has to close the connection after
	// DISCONNECT. Closing first shows up as an error in the log of a connector
	// on the way.
	leaveGrace = 300 * time.Millisecond
	// packetTimeout only turns off paho's own, the context has the deadline.
	packetTimeout = time.Hour
)

// Result is how a connection went. After an error it holds the stages that were
// passed.
type Result struct {
	Stages      []Timing      `json:"stages,omitempty"`      // in order, without those that do not apply
	Total       time.Duration `json:"totalNs,omitempty"`     // until the message was back
	Message     time.Duration `json:"messageNs,omitempty"`   // from PUBLISH until the message was back
	Addresses   []string      `json:"addresses,omitempty"`   // the answers of the resolver
	Address     string        `json:"address,omitempty"`     // IP:PORT that was connected
	Certificate *Certificate  `json:"certificate,omitempty"` // of the server
	Ray         string        `json:"ray,omitempty"`         // Cloudflare's ID of the upgrade, its end names the location
	ServerTime  time.Time     `json:"serverTime,omitzero"`   // of the upgrade's Date header
}

// Timing is the time that one stage took.
type Timing struct {
	Stage Stage         `json:"stage"`
	Took  time.Duration `json:"tookNs"`
}

// RoundTrip connects to the target, subscribes to topic, publishes a message of
// random content there and waits until it is back. An error is an *Error. It
// ends with ctx, or after DefaultTimeout when ctx has no deadline.
func RoundTrip(ctx context.Context, target Target, topic string) (Result, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	a, err := newAttempt(target)
	if err != nil {
		return Result{}, err
	}
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	lose := func(cause error) {
		if ctx.Err() == nil { // else it is we who closed
			end(cause)
		}
	}
	session, _, err := a.connect(ctx, lose)
	if err != nil {
		return a.result, err
	}
	defer session.leave()
	if err := a.exchange(alive, session, topic); err != nil {
		return a.result, err
	}
	a.result.Total = time.Since(a.started)
	return a.result, nil
}

// Refused connects to the target without username and password. It returns true
// when the broker refuses that as not authorised, false when it lets the client
// in, and an *Error when it was not asked or answered something else.
func Refused(ctx context.Context, target Target) (bool, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	target.Username = ""
	target.ClientID = "" // one in use would take over its session, where the broker lets us in
	a, err := newAttempt(target)
	if err != nil {
		return false, err
	}
	session, refused, err := a.connect(ctx, func(error) {})
	switch {
	case err == nil:
		session.leave()
		return false, nil
	case refused:
		return true, nil
	default:
		return false, err
	}
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, DefaultTimeout)
}

// session is a connection that the broker accepted.
type session struct {
	client   *paho.Client
	conn     net.Conn
	release  func() bool
	heard    *heard
	messages chan arrival
}

// left is the broker's own end of a connection: its DISCONNECT, or nil when it
// only closed.
type left struct{ packet *paho.Disconnect }

// Error lets left be the cause of a context's end.
func (*left) Error() string { return "the broker closed the connection" }

// arrival is a message that came back.
type arrival struct {
	payload []byte
	at      time.Time
}

// connect goes through all stages up to the CONNACK. refused tells that a broker
// said "not authorised", which is also an error. lose is called with a *left when
// an accepted connection ends.
func (a *attempt) connect(ctx context.Context, lose context.CancelCauseFunc) (s *session, refused bool, err error) {
	raw, err := a.dial(ctx)
	if err != nil {
		return nil, false, err
	}
	release := context.AfterFunc(ctx, func() { _ = raw.Close() }) // a second Close does no harm
	defer func() {
		if err != nil {
			release()
			_ = raw.Close() // the first error counts
		}
	}()
	conn := raw
	if a.url.Scheme == "wss" {
		if conn, err = a.secure(ctx, conn); err != nil {
			return nil, false, err
		}
	}
	if a.url.Scheme != "mqtt" {
		if conn, err = a.upgrade(ctx, conn); err != nil {
			return nil, false, err
		}
	}
	s = newSession(conn, lose)
	s.release = release
	answer, err := s.client.Connect(ctx, a.connectPacket())
	if err != nil {
		e := a.connackError(ctx, answer, err, s.heard.anything.Load())
		return nil, e.Class == ClassNotAuthorised, e
	}
	a.passed(StageConnect)
	return s, false, nil
}

func newSession(conn net.Conn, lose context.CancelCauseFunc) *session {
	s := &session{heard: &heard{Conn: conn}, messages: make(chan arrival, receiveMaximum)}
	// A packet is several writes, and paho writes from several goroutines.
	s.conn = InPackets(&bounded{Conn: s.heard})
	s.client = paho.NewClient(paho.ClientConfig{
		Conn:          s.conn,
		PacketTimeout: packetTimeout,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(received paho.PublishReceived) (bool, error) {
				select {
				case s.messages <- arrival{received.Packet.Payload, time.Now()}:
				default: // a flood on the topic: the rest is not looked at
				}
				return true, nil
			},
		},
		OnServerDisconnect: func(d *paho.Disconnect) { lose(&left{d}) },
		OnClientError:      func(error) { lose(&left{}) },
	})
	return s
}

func (a *attempt) connectPacket() *paho.Connect {
	maximum, size := uint16(receiveMaximum), uint32(packetMax)
	id := a.target.ClientID
	if id == "" {
		id = ClientIDPrefix + rand.Text()[:clientIDRandom]
	}
	packet := &paho.Connect{
		ClientID:   id,
		KeepAlive:  keepAliveSeconds,
		CleanStart: true,
		Properties: &paho.ConnectProperties{
			ReceiveMaximum: &maximum, MaximumPacketSize: &size, RequestProblemInfo: true,
		},
	}
	if a.target.Username != "" {
		packet.UsernameFlag, packet.PasswordFlag = true, true
		packet.Username = a.target.Username
		packet.Password = []byte(a.target.Password.Reveal()) // goes to the broker in CONNECT
	}
	return packet
}

func (a *attempt) connackError(ctx context.Context, answer *paho.Connack, err error, anything bool) *Error {
	if answer != nil {
		e := a.fail(StageConnect, classOfConnack(answer.ReasonCode), nil)
		e.ReasonCode = answer.ReasonCode
		if answer.Properties != nil {
			e.Reason = excerpt(answer.Properties.ReasonString, bodyExcerpt)
		}
		return e
	}
	if e := a.ended(ctx, StageConnect, ClassNoConnack); e != nil {
		return e
	}
	if anything {
		return a.fail(StageConnect, ClassNotMQTT, err)
	}
	return a.fail(StageConnect, ClassClosedByBroker, err)
}

func classOfConnack(code byte) Class {
	switch code {
	case packets.ConnackBadUsernameOrPassword, packets.ConnackNotAuthorized, packets.ConnackBadAuthenticationMethod:
		return ClassNotAuthorised
	case packets.ConnackServerUnavailable, packets.ConnackServerBusy, packets.ConnackQuotaExceeded, packets.ConnackConnectionRateExceeded:
		return ClassBrokerBusy
	default:
		return ClassConnack
	}
}

// exchange sends a message to topic and waits for it. ctx also ends with the
// connection: paho goes on waiting when it is lost.
func (a *attempt) exchange(ctx context.Context, s *session, topic string) error {
	answer, err := s.client.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}},
	})
	switch {
	case answer != nil && err != nil:
		e := a.fail(StageSubscribe, ClassSubscribeDenied, nil)
		if len(answer.Reasons) > 0 {
			e.ReasonCode = answer.Reasons[0]
		}
		return e
	case err != nil:
		return a.lostError(ctx, StageSubscribe, ClassNoSuback, err)
	}
	a.passed(StageSubscribe)

	sent := time.Now()
	payload := []byte("mqtunnel " + rand.Text())
	receipt, err := s.client.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload})
	switch {
	case receipt != nil && err != nil:
		e := a.fail(StageMessage, ClassPublishDenied, nil)
		e.ReasonCode = receipt.ReasonCode
		return e
	case err != nil:
		return a.lostError(ctx, StageMessage, ClassNotReturned, err)
	}
	for {
		select {
		case got := <-s.messages:
			if !bytes.Equal(got.payload, payload) {
				continue // of another probe
			}
			a.result.Message = got.at.Sub(sent)
			a.passed(StageMessage)
			return nil
		case <-ctx.Done():
			return a.lostError(ctx, StageMessage, ClassNotReturned, ctx.Err())
		}
	}
}

// lostError tells an answer that did not come in time from a connection that
// went away before.
func (a *attempt) lostError(ctx context.Context, stage Stage, timeout Class, err error) *Error {
	// paho hands the broker's DISCONNECT over only after it has closed.
	handover := time.NewTimer(leaveGrace)
	defer handover.Stop()
	select {
	case <-handover.C:
	case <-ctx.Done():
	}
	gone, ok := errors.AsType[*left](context.Cause(ctx))
	if !ok {
		if e := a.ended(ctx, stage, timeout); e != nil {
			return e
		}
		return a.fail(stage, ClassConnectionLost, err)
	}
	e := a.fail(stage, ClassConnectionLost, err)
	if gone.packet != nil {
		e.ReasonCode = gone.packet.ReasonCode
		if gone.packet.Properties != nil {
			e.Reason = excerpt(gone.packet.Properties.ReasonString, bodyExcerpt)
		}
	}
	return e
}

// leave says goodbye and waits until every goroutine of the connection is done.
func (s *session) leave() {
	defer s.release()
	if _, err := (&paho.Disconnect{}).Packet().WriteTo(s.conn); err == nil {
		grace := time.NewTimer(leaveGrace)
		defer grace.Stop()
		select {
		case <-s.client.Done():
		case <-grace.C:
		}
	}
	_ = s.conn.Close() // the client sees it and ends
	<-s.client.Done()
}
