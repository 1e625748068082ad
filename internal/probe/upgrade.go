package probe

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Bounds on what a server may send.
const (
	bodyExcerpt    = 300
	locationMax    = 200
	headerMax      = 64 << 10
	websocketLimit = 1 << 20
)

// edgeCode finds Cloudflare's error number in the body of its error answers,
// which are "error code: 1033" for programs and a page for browsers.
var edgeCode = regexp.MustCompile(`(?i)\berror(?:\s+code)?:?\s+(1\d{3})\b`)

var errReused = errors.New("the connection was used already")

// heard is a connection that knows whether the other side ever said anything.
type heard struct {
	net.Conn
	anything atomic.Bool
}

// Read notes that something came.
func (h *heard) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	if n > 0 {
		h.anything.Store(true)
	}
	return n, err
}

// upgrade turns a connection into a WebSocket that carries MQTT. What it
// returns lives as long as ctx.
func (a *attempt) upgrade(ctx context.Context, plain net.Conn) (net.Conn, error) {
	conn := &heard{Conn: plain}
	transport := over(conn)
	defer transport.CloseIdleConnections()
	header := http.Header{"User-Agent": {"mqtunnel"}}
	for name, value := range a.target.Headers {
		header.Set(name, value.Reveal()) // goes to the server that it is meant for
	}
	ws, answer, err := websocket.Dial(ctx, a.url.String(), &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport:     transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader:   header,
		Subprotocols: []string{Subprotocol},
	})
	if answer != nil {
		a.result.Ray = excerpt(answer.Header.Get("Cf-Ray"), locationMax)
		a.result.ServerTime, _ = http.ParseTime(answer.Header.Get("Date")) // zero when there is none
	}
	if err != nil {
		return nil, a.upgradeError(ctx, answer, err, conn.anything.Load())
	}
	if ws.Subprotocol() != Subprotocol {
		refused := a.answerError(ClassSubprotocol, nil, answer)
		return nil, errors.Join(refused, ws.CloseNow())
	}
	a.passed(StageUpgrade)
	carried := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	ws.SetReadLimit(websocketLimit) // NetConn lifts the limit, so it comes after
	return &stream{Conn: carried, below: plain}, nil
}

// over returns a transport whose one connection is conn.
func over(conn net.Conn) *http.Transport {
	var used atomic.Bool
	dial := func(context.Context, string, string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errReused
		}
		return conn, nil
	}
	return &http.Transport{
		DialContext: dial, DialTLSContext: dial, DisableCompression: true, MaxResponseHeaderBytes: headerMax,
	}
}

// stream is the byte stream inside a WebSocket.
type stream struct {
	net.Conn
	below net.Conn
}

// Close says goodbye, and does not wait for a server that does not: the library
// would for ten seconds.
func (s *stream) Close() error {
	return errors.Join(s.below.SetDeadline(time.Now().Add(leaveGrace)), s.Conn.Close())
}

func (a *attempt) upgradeError(ctx context.Context, answer *http.Response, err error, anything bool) *Error {
	if answer == nil {
		if e := a.ended(ctx, StageUpgrade, ClassUpgradeTimeout); e != nil {
			return e
		}
		if anything && !isClosed(err) {
			return a.fail(StageUpgrade, ClassNotHTTP, err)
		}
		return a.fail(StageUpgrade, ClassClosed, err)
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		class := ClassUpgradeInvalid
		if got := answer.Header.Get("Sec-WebSocket-Protocol"); got != "" && !strings.EqualFold(got, Subprotocol) {
			class = ClassSubprotocol
		}
		return a.answerError(class, err, answer)
	}
	e := a.answerError("", nil, answer)
	body, _ := io.ReadAll(answer.Body) // at most 1024 bytes, already read
	e.Body = excerpt(strings.TrimSpace(string(body)), bodyExcerpt)
	if found := edgeCode.FindSubmatch(body); found != nil {
		e.EdgeCode, _ = strconv.Atoi(string(found[1])) // four digits
	}
	e.Class = classOfStatus(e.Status, e.EdgeCode, e.Location)
	return e
}

// answerError makes an error that holds the facts of an HTTP answer.
func (a *attempt) answerError(class Class, cause error, answer *http.Response) *Error {
	e := a.fail(StageUpgrade, class, cause)
	e.Status = answer.StatusCode
	e.Server = excerpt(answer.Header.Get("Server"), locationMax)
	e.Ray = a.result.Ray
	if to, err := answer.Location(); err == nil {
		// The query of an Access login holds a signed token.
		e.Location = excerpt((&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String(), locationMax)
	}
	return e
}

// isAccessLogin reports whether a redirect leads to a login of Cloudflare Access.
func isAccessLogin(location string) bool {
	u, err := url.Parse(location)
	if err != nil {
		return false
	}
	return strings.HasSuffix(u.Hostname(), ".cloudflareaccess.com") || strings.HasPrefix(u.Path, "/cdn-cgi/access/")
}

// excerpt cuts outside text to a length, between two characters.
func excerpt(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
