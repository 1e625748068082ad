package conformance

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

func escape(text string) string { return regexp.QuoteMeta(text) }

// site is an origin that tells what it was asked.
func site(t *testing.T) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(tell))
	t.Cleanup(server.Close)
	return server
}

func tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Origin", "yes")
	w.Header().Add("Set-Cookie", "a=1")
	w.Header().Add("Set-Cookie", "b=2")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	w.WriteHeader(http.StatusTeapot)
	_, _ = fmt.Fprintf(w, "%s %s host=%s tag=%s ua=%q conn=%q marker=%q body=%s", r.Method, r.URL, r.Host, r.Header.Get("Cf-Warp-Tag-Id"), r.Header.Get("User-Agent"), r.Header.Get("Connection"), r.Header.Get(kind), body)
}

// requests is how a connector carries what the edge asks.
func requests() []behaviour {
	all := []behaviour{
		{"a request reaches the origin and its answer the edge", httpExchange},
		{"rules match by hostname, wildcard and path, in order", matching},
		{"the origin's name can be replaced in the request", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			origin := site(t)
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"`+origin.URL+`","originRequest":{"httpHostHeader":"inner"}},`+catchAll+`]}`)
			if _, body := fetch(t, l, "a.example.com", "/"); !strings.Contains(body, "host=inner ") {
				t.Error(body)
			}
		}},
		{"a ws service is asked over http", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"`+strings.Replace(site(t).URL, "http", "ws", 1)+`"},`+catchAll+`]}`)
			if code, body := fetch(t, l, "a.example.com", "/"); code != 418 {
				t.Error(code, body)
			}
		}},
		{"a unix socket can be the origin", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			path := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(tell)}}
			server.Start()
			t.Cleanup(server.Close)
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"unix:`+path+`"},`+catchAll+`]}`)
			if code, body := fetch(t, l, "a.example.com", "/"); code != 418 {
				t.Error(code, body)
			}
		}},
		{"a status service answers with nothing else", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			l.push(1, `{"ingress":[{"service":"http_status:451"}]}`)
			resp := l.send(http.MethodGet, "any.example.com", "/", nil, nil)
			defer closing(resp.Body)
			body, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != 451 || len(body) != 0 || len(userHeaders(t, resp)) != 0 {
				t.Errorf("%v %d %q %v", err, resp.StatusCode, body, resp.Header)
			}
		}},
		{"origin requests obey HTTP_PROXY, but for NO_PROXY", func(t *testing.T, s subject) {
			t.Helper()
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Error(w, "proxied "+r.URL.String(), http.StatusForbidden)
			}))
			t.Cleanup(proxy.Close)
			_, l := connected(t, s, "HTTP_PROXY="+proxy.URL, "NO_PROXY=broker.example")
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"http://other.example:9001"},{"hostname":"b.example.com","service":"http://broker.example:9001"},`+catchAll+`]}`)
			if code, body := fetch(t, l, "a.example.com", "/x"); code != 403 || !strings.Contains(body, "proxied http://a.example.com/x") {
				t.Error(code, body)
			}
			if code, _ := fetch(t, l, "b.example.com", "/x"); code != 502 {
				t.Error(code)
			}
		}},
		{"a WebSocket reaches the origin with its subprotocol", webSocket},
		{"an origin may refuse the upgrade", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"`+site(t).URL+`"},`+catchAll+`]}`)
			resp := l.send(http.MethodGet, "a.example.com", "/mqtt", upgrade(), strings.NewReader(""))
			defer closing(resp.Body)
			if resp.StatusCode != 418 {
				t.Errorf("%d", resp.StatusCode)
			}
		}},
		{"a tcp service answers the handshake itself, without the subprotocol", tcpService},
	}
	return append(all, failures()...)
}

// failures is origins that do not answer.
func failures() []behaviour {
	const prefix = `Unable to reach the origin service\. The service may be down or it may not be responding to traffic from cloudflared: `
	var all []behaviour
	for _, c := range []struct{ name, service, cause string }{
		{"a refusing origin", "http://127.0.0.1:1", `dial tcp 127\.0\.0\.1:1: connect: connection refused`},
		{"an origin without an address", "http://mosquitto.example:9001", `dial tcp: lookup mosquitto\.example on 127\.[0-9.]+:53: no such host`},
		{"an origin that hangs up", "http://hangup", `EOF`},
		{"an origin that does not speak HTTP", "http://babble", `net/http: HTTP/1\.x transport connection broken: malformed HTTP response \\"babble\\"`},
		{"an origin that does not speak TLS", "https://plain", `tls: first record does not look like a TLS handshake`},
	} {
		for _, socket := range []bool{false, true} {
			what := "request"
			if socket {
				what = "WebSocket"
			}
			all = append(all, behaviour{c.name + " is a 502 and two lines, " + what, func(t *testing.T, s subject) {
				t.Helper()
				p, l := connected(t, s)
				service := oddOrigin(t, c.service)
				l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"`+service+`"},`+catchAll+`]}`)
				header := http.Header{}
				if socket {
					header = upgrade()
				}
				resp := l.send(http.MethodGet, "a.example.com", "/mqtt", header, nil)
				defer closing(resp.Body)
				body, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != 502 || len(body) != 0 || resp.Header.Get("Cf-Cloudflared-Response-Meta") != `{"src":"cloudflared"}` {
					t.Errorf("%v %d %q %v", err, resp.StatusCode, body, resp.Header)
				}
				p.expect(` ERR  error="`+prefix+c.cause+`" connIndex=0 event=1 ingressRule=0 originService=`+escape(service)+`$`,
					` ERR failed to serve incoming request error="Failed to proxy HTTP: `+prefix+c.cause+`"$`)
				if metrics := p.awaitGet("/metrics", 200); !strings.Contains(metrics, "\ncloudflared_tunnel_request_errors 1\n") || !strings.Contains(metrics, "\ncloudflared_tunnel_total_requests 1\n") {
					t.Error("the counters do not say so")
				}
			}})
		}
	}
	return append(all, behaviour{"a refusing tcp service is a 502 and two lines", func(t *testing.T, s subject) {
		t.Helper()
		p, l := connected(t, s)
		l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"tcp://127.0.0.1:1"},`+catchAll+`]}`)
		resp := l.send(http.MethodGet, "a.example.com", "/mqtt", upgrade(), nil)
		defer closing(resp.Body)
		if resp.StatusCode != 502 {
			t.Errorf("%d", resp.StatusCode)
		}
		p.expect(` ERR  error="dial tcp 127\.0\.0\.1:1: connect: connection refused" connIndex=0 destAddr=tcp://127\.0\.0\.1:1 event=1 ingressRule=0 originService=tcp://127\.0\.0\.1:1$`,
			` ERR failed to serve incoming request error="Failed to proxy HTTP: dial tcp 127\.0\.0\.1:1: connect: connection refused"$`)
	}})
}

// oddOrigin starts the origin that a service stands for.
func oddOrigin(t *testing.T, service string) string {
	t.Helper()
	switch service {
	case "https://plain":
		return strings.Replace(site(t).URL, "http:", "https:", 1)
	case "http://hangup":
		return "http://" + listen(t, func(c net.Conn) { readHead(c) })
	case "http://babble":
		return "http://" + listen(t, func(c net.Conn) {
			readHead(c)
			_, _ = fmt.Fprint(c, "babble\r\n")
		})
	}
	return service
}

func readHead(c net.Conn) {
	_, _ = http.ReadRequest(bufio.NewReader(c)) // whatever it is
}

// listen serves connections one by one, each until the handler returns.
func listen(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer closing(c)
				_ = c.SetDeadline(time.Now().Add(patience)) // or a hung test never ends
				handle(c)
			})
		}
	})
	t.Cleanup(func() {
		closing(l)
		wg.Wait()
	})
	return l.Addr().String()
}

func fetch(t *testing.T, l *link, host, path string) (int, string) {
	t.Helper()
	resp := l.send(http.MethodGet, host, path, nil, nil)
	defer closing(resp.Body)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func httpExchange(t *testing.T, s subject) {
	t.Helper()
	p, l := connected(t, s)
	origin := site(t)
	l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"`+origin.URL+`"},`+catchAll+`]}`)
	resp := l.send(http.MethodPost, "a.example.com", "/path?q=1", nil, strings.NewReader("hello"))
	defer closing(resp.Body)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`POST /path?q=1 host=a.example.com tag=%s ua="Go-http-client/2.0" conn="keep-alive" marker="" body=hello`, l.reg.ConnectorID)
	if string(body) != want || resp.StatusCode != 418 {
		t.Errorf("%d %s\nwant 418 %s", resp.StatusCode, body, want)
	}
	if got := resp.Header.Get("Cf-Cloudflared-Response-Meta"); got != `{"src":"origin"}` {
		t.Errorf("meta %s", got)
	}
	header := userHeaders(t, resp)
	if header.Get("X-Origin") != "yes" || len(header.Values("Set-Cookie")) != 2 || header.Get("Content-Length") != fmt.Sprint(len(body)) {
		t.Errorf("headers %v", header)
	}
	if resp.Header.Get("X-Origin") != "" || resp.Header.Get("Content-Length") == "" {
		t.Errorf("bare headers %v", resp.Header)
	}
	metrics := p.awaitGet("/metrics", 200)
	for _, want := range []string{`cloudflared_tunnel_total_requests 1`, `cloudflared_tunnel_response_by_code{status_code="418"} 1`, `cloudflared_tunnel_request_errors 0`} {
		if !strings.Contains(metrics, "\n"+want+"\n") {
			t.Errorf("/metrics lacks %s", want)
		}
	}
}

func matching(t *testing.T, s subject) {
	t.Helper()
	_, l := connected(t, s)
	l.push(1, `{"ingress":[
		{"hostname":"a.example.com","path":"^/only","service":"http_status:201"},
		{"hostname":"a.example.com","service":"http_status:202"},
		{"hostname":"*.example.com","service":"http_status:203"},
		{"hostname":"münchen.example","service":"http_status:205"},
		{"path":"\\.css$","service":"http_status:206"},
		{"service":"http_status:404"}]}`)
	for _, c := range []struct {
		host, path string
		want       int
	}{
		{"a.example.com", "/only/this", 201},
		{"a.example.com", "/not/only", 202},
		{"a.example.com:443", "/", 202},
		{"b.example.com", "/", 203},
		{"deep.b.example.com", "/", 203},
		{"example.com", "/", 404},
		{"A.EXAMPLE.COM", "/", 404},
		{"xn--mnchen-3ya.example", "/", 205},
		{"other.test", "/x.css", 206},
		{"other.test", "/x.css?y", 206},
		{"other.test", "/", 404},
	} {
		if got, _ := fetch(t, l, c.host, c.path); got != c.want {
			t.Errorf("%s%s: %d, want %d", c.host, c.path, got, c.want)
		}
	}
}
