package probe_test

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"

	"mqtunnel/internal/probe"
)

// cutting serves MQTT over WebSocket and closes a connection after d, whatever passes.
func cutting(handler http.HandlerFunc, d time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler(hijackWatch{w, d}, r)
	})
}

// hijackWatch closes the connection that it hands over.
type hijackWatch struct {
	http.ResponseWriter
	after time.Duration
}

// Unwrap leads http.ResponseController to the rest.
func (h hijackWatch) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Hijack hands the connection over for a while.
func (h hijackWatch) Hijack() (conn net.Conn, rw *bufio.ReadWriter, err error) {
	conn, rw, err = http.NewResponseController(h.ResponseWriter).Hijack()
	if err == nil {
		time.AfterFunc(h.after, func() { _ = conn.Close() })
	}
	return conn, rw, err
}

func TestAQuietConnectionThatStaysCarriesAMessageAfterwards(t *testing.T) {
	server := serve(t, mqttHandler(newBroker(t, false)))
	const rest = 300 * time.Millisecond
	held, err := probe.Hold(within(t, 10*time.Second), to("ws", server.URL), topic, rest)
	if err != nil || held < rest {
		t.Errorf("held for %v, %v; want %v at least", held, err, rest)
	}
}

func TestAQuietConnectionThatIsLostSaysWhen(t *testing.T) {
	const cut = 300 * time.Millisecond
	server := serve(t, cutting(mqttHandler(newBroker(t, false)), cut))
	held, err := probe.Hold(within(t, 30*time.Second), to("ws", server.URL), topic, 20*time.Second)
	if probe.ClassOf(err) != probe.ClassConnectionLost || held <= 0 || held >= 20*time.Second {
		t.Errorf("held for %v, %v (%s)", held, err, probe.ClassOf(err))
	}
}

func TestAConnectionThatCannotBeMadeIsNotHeld(t *testing.T) {
	server := serve(t, http.NotFoundHandler())
	held, err := probe.Hold(within(t, 10*time.Second), to("ws", server.URL), topic, time.Minute)
	if e, ok := errors.AsType[*probe.Error](err); !ok || e.Class != probe.ClassCatchAll || held != 0 {
		t.Errorf("held for %v, %v", held, err)
	}
}
