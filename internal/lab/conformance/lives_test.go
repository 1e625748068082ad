package conformance

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// connections is how a connector loses the edge and finds it again.
func connections() []behaviour {
	return []behaviour{
		{"a lost connection is told and registered again", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			// With one retry the pause after a loss is below 20 seconds.
			p := s.run(b, newIdentity(t), "TUNNEL_RETRIES=1")
			l := b.waitLinks(1)[0]
			p.awaitGet("/ready", 200)
			closing(l.conn)
			// Which of the two is told depends on whether the control stream or the connection is seen to end first.
			const cause = `error="(connection with edge closed|Error shutting down control stream: .*)" `
			p.expect(` (ERR|WRN) Serve tunnel error `+cause+`connIndex=0 event=0 ip=127\.`, ` INF Retrying connection in up to 1s connIndex=0 event=0 ip=127\.`, ` (ERR|WRN) Connection terminated `+cause+`connIndex=0$`)
			if p.count(`connection with edge closed`) > 0 {
				p.expect(` INF Lost connection with the edge connIndex=0$`)
			}
			eventuallyWithin(t, 2*patience, "second registration", func() (bool, string) { return len(b.all()) == 2, fmt.Sprint(len(b.all())) })
			p.awaitGet("/ready", 200)
			if first, second := b.all()[0].reg.ConnectorID, b.all()[1].reg.ConnectorID; first != second {
				t.Errorf("the connector calls itself %s and then %s", first, second)
			}
		}},
		{"one lost connection of several is a warning", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "--ha-connections", "2", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token()}})
			links := b.waitLinks(2)
			p.expect("Registered tunnel connection connIndex=1")
			closing(links[1].conn)
			p.expect(` WRN Serve tunnel error error=".*" connIndex=1`, ` WRN Connection terminated error=".*" connIndex=1$`)
			eventually(t, "one connection", func() (bool, string) {
				_, body := p.get("/ready")
				return strings.Contains(body, `"readyConnections":1`), body
			})
		}},
		{"a refused dial moves on to another address", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.run(b, newIdentity(t), "TUNNEL_EDGE=127.0.0.1:1,127.0.0.2:1,127.0.0.3:1")
			p.expect(` ERR Unable to establish connection with Cloudflare edge error="DialContext error: dial tcp 127\.0\.0\.\d:1: connect: connection refused" connIndex=0 event=0 ip=127\.`,
				` ERR Serve tunnel error error="DialContext error: dial tcp 127\.0\.0\.\d:1: connect: connection refused" connIndex=0 event=0 ip=127\.`,
				` INF Retrying connection in up to 2s connIndex=0`, ` INF Retrying connection in up to 4s connIndex=0`)
			all := regexp.MustCompile(`Retrying connection in up to \ds connIndex=0 event=0 ip=(\S+)`).FindAllStringSubmatch(p.err.String(), -1)
			if all[0][1] == all[1][1] {
				t.Errorf("twice to %s", all[0][1])
			}
		}},
		{"an edge that hangs up in the handshake is told", func(t *testing.T, s subject) {
			t.Helper()
			address := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 1)) }) // then it hangs up
			host, port, _ := net.SplitHostPort(address)
			p := s.run(newBench(t), newIdentity(t), "TUNNEL_EDGE="+address+",127.0.0.2:1,"+host+":"+port)
			p.expect(` ERR Unable to establish connection with Cloudflare edge error="TLS handshake with edge error: (EOF|read tcp .*: connection reset by peer)"`)
		}},
		{"an edge of a foreign authority is refused", func(t *testing.T, s subject) {
			t.Helper()
			b, other := newBench(t), newBench(t)
			p := s.run(b, newIdentity(t), "TUNNEL_CACERT="+other.caFile)
			p.expect(` ERR Unable to establish connection with Cloudflare edge error="TLS handshake with edge error: tls: failed to verify certificate: x509: certificate signed by unknown authority`)
			if len(b.all()) != 0 {
				t.Error("it registered all the same")
			}
		}},
		{"an edge that hangs up before the first registration ends the run with 1", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{silent: true})
			p := s.run(b, newIdentity(t))
			closing(b.waitLinks(1)[0].conn)
			if code := p.wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
		}},
	}
}

// shutdowns is how a connector ends.
func shutdowns() []behaviour {
	return []behaviour{
		{"SIGTERM takes the connections off and ends with 0", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "--ha-connections", "2", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token()}})
			links := b.waitLinks(2)
			p.expect("Registered tunnel connection connIndex=1")
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
			for _, l := range links {
				if l.isUnregistered() == "" {
					t.Errorf("connection %d was not taken off", l.reg.ConnIndex)
				}
			}
			p.expect(` INF Initiating graceful shutdown due to signal terminated \.\.\.$`, ` INF Unregistered tunnel connection connIndex=\d event=0 ip=127\.`,
				` INF Unregistered tunnel connection connIndex=\d`, ` ERR no more connections active and exiting$`, ` INF Tunnel server stopped$`, ` INF Metrics server stopped$`)
			if n := p.count(` ERR Connection terminated connIndex=`); n != 2 {
				t.Errorf("%d terminated, want 2", n)
			}
		}},
		{"SIGINT ends a run like SIGTERM", func(t *testing.T, s subject) {
			t.Helper()
			p, _ := connected(t, s)
			p.signal(syscall.SIGINT)
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
			p.expect(` INF Initiating graceful shutdown due to signal interrupt \.\.\.$`)
		}},
		{"a signal before the first registration ends with 0", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "Unauthorized: no"})
			p := s.run(b, newIdentity(t))
			p.expect("Retrying connection")
			p.signal(syscall.SIGTERM)
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
		}},
		{"an open WebSocket keeps the run, no longer ready, until it ends", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"mqtt.example.com","service":"`+echoSite(t).URL+`"},`+catchAll+`]}`)
			_, w, r := open(t, l)
			say(t, w, "before")
			readFrame(t, r)
			p.signal(syscall.SIGTERM)
			p.expect(`Unregistered tunnel connection`)
			p.awaitGet("/ready", 503)
			say(t, w, "after")
			if got := readFrame(t, r); got != "after" || !p.running() {
				t.Errorf("got %q, running %v", got, p.running())
			}
			closing(w)
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
		}},
		{"after the grace period a run waits for open WebSockets, its metrics gone", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s, "TUNNEL_GRACE_PERIOD=1s")
			l.push(1, `{"ingress":[{"hostname":"mqtt.example.com","service":"`+echoSite(t).URL+`"},`+catchAll+`]}`)
			_, w, r := open(t, l)
			say(t, w, "before")
			readFrame(t, r)
			p.signal(syscall.SIGTERM)
			p.expect(`Metrics server stopped`)
			select {
			case <-p.done:
				t.Errorf("it ended with %d", p.code)
			case <-time.After(2 * time.Second):
			}
			closing(w)
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d, want 0", code)
			}
		}},
		{"a second signal kills", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"mqtt.example.com","service":"`+echoSite(t).URL+`"},`+catchAll+`]}`)
			_, w, r := open(t, l)
			say(t, w, "before")
			readFrame(t, r)
			p.signal(syscall.SIGTERM)
			p.expect(`Unregistered tunnel connection`)
			p.signal(syscall.SIGTERM)
			p.wait()
			if status := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
				t.Errorf("%v", p.cmd.ProcessState)
			}
		}},
	}
}
