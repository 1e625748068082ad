package probe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
)

// Bounds on what is read of a metrics endpoint and passed on as it is, and of the
// configuration, of which only what is needed is passed on. A tunnel may have many
// public hostnames.
const (
	endpointMax = 256 << 10
	configMax   = cloudflared.MaxConfigBytes
	metricsMax  = 4 << 20
)

// configPath is the endpoint that answers with the configuration.
const configPath = "/config"

// Main runs the request in the file at path and writes its report to out, in lines
// for ReportLines. It fails only when there is no valid request or out fails: what
// the probe finds wrong stands in the report.
func Main(ctx context.Context, path string, environ []string, out io.Writer) error {
	data, err := readFile(path)
	if err != nil {
		return err
	}
	req, err := DecodeRequest(data)
	if err != nil {
		return err
	}
	lines, err := Run(ctx, req, environ).encode()
	if err != nil {
		return fmt.Errorf("encode probe report: %w", err)
	}
	if _, err := out.Write(lines); err != nil {
		return fmt.Errorf("write probe report: %w", err)
	}
	return nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read probe request: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(file, requestMax+1))
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read probe request: %w", err)
	}
	return data, nil
}

// Run looks at everything the request asks for, at the same time, and returns
// within MaxDuration. environ is searched for proxy variables.
func Run(ctx context.Context, req Request, environ []string) Report {
	started := time.Now()
	timeout := req.Timeout
	if timeout <= 0 || timeout > MaxTimeout {
		timeout = DefaultTimeout
	}
	whole, cancel := context.WithTimeout(ctx, MaxDuration)
	defer cancel()
	ctx, cancel = context.WithTimeout(whole, timeout)
	defer cancel()

	r := Report{Version: Version, Proxy: proxyNames(environ), Resolvers: resolversOf(resolversPath)}
	webSocket := Target{
		URL:      "ws://" + net.JoinHostPort(req.Broker, strconv.Itoa(req.WebSocketPort)) + "/mqtt",
		Username: req.Username, Password: req.Password,
	}
	plain := Target{URL: "mqtt://" + net.JoinHostPort(req.Broker, strconv.Itoa(req.PlainPort))}

	var group errgroup.Group // every look fills a field of its own
	look := func(asked bool, f func()) {
		if asked {
			group.Go(func() error { f(); return nil })
		}
	}
	look(true, func() { r.Name, r.Addresses, _ = resolve(ctx, net.DefaultResolver, req.Broker) })
	look(true, func() { r.RoundTrip, r.Result = roundTrip(ctx, webSocket, req.Topic) })
	look(true, func() { r.AnonymousWebSocket = anonymous(ctx, webSocket) })
	look(req.PlainPort != 0, func() { r.AnonymousPlain = anonymous(ctx, plain) })
	look(req.Metrics != "", func() { r.Ready = endpoint(ctx, req.Metrics, "/ready") })
	look(req.Metrics != "", func() {
		r.Config = endpoint(ctx, req.Metrics, configPath)
		if req.Others && r.Config.OK {
			r.Others = dialAll(whole, otherServices(r.Config.Body, net.JoinHostPort(req.Broker, strconv.Itoa(req.WebSocketPort))))
		}
	})
	look(req.Metrics != "", func() { r.Tunnel = endpoint(ctx, req.Metrics, "/diag/tunnel") })
	look(req.Metrics != "", func() { r.count(ctx, req.Metrics) })
	look(req.Edge, func() { r.Edge = newEdgeLook().run(whole) })
	_ = group.Wait() // no look returns an error, each stands in the report
	r.Took = time.Since(started)
	return r
}

// outcome makes the Check of a look that began at started.
func outcome(started time.Time, err error) Check {
	c := Check{Done: true, OK: err == nil, Took: time.Since(started)}
	if e, ok := errors.AsType[*Error](err); ok {
		c.Error = e
	} else if err != nil {
		c.Error = &Error{Class: ClassOther, Detail: err.Error(), cause: err}
	}
	return c
}

// connects tries TCP to an address.
func connects(ctx context.Context, address string) Check {
	started := time.Now()
	a, err := newAttempt(Target{URL: "mqtt://" + address})
	if err != nil {
		return outcome(started, err)
	}
	a.subject = address
	conn, err := a.dial(ctx)
	if err == nil {
		_ = conn.Close() // that it could be opened is all that counts
	}
	return outcome(started, err)
}

func roundTrip(ctx context.Context, target Target, topic string) (Check, Result) {
	started := time.Now()
	result, err := RoundTrip(ctx, target, topic)
	return outcome(started, err), result
}

func anonymous(ctx context.Context, target Target) Check {
	started := time.Now()
	refused, err := Refused(ctx, target)
	if err == nil && !refused {
		err = &Error{
			Class: ClassAnonymousAccepted, Stage: StageAnonymous, Subject: target.URL,
			At: time.Now().UTC().Truncate(time.Second),
		}
	}
	return outcome(started, err)
}

// endpoint asks the connector's metrics server for one of its JSON answers.
func endpoint(ctx context.Context, address, path string) Endpoint {
	u := &url.URL{Scheme: "http", Host: address, Path: path}
	a := &attempt{url: u, subject: u.String(), started: time.Now()}
	status, body, err := a.fetch(ctx)
	if err != nil {
		return Endpoint{Check: outcome(a.started, err), Status: status}
	}
	return Endpoint{Check: outcome(a.started, nil), Status: status, Body: body}
}

// count reads how many requests the connector has served, and serves now. An
// answer that does not tell them leaves the report as it is.
func (r *Report) count(ctx context.Context, address string) {
	u := &url.URL{Scheme: "http", Host: address, Path: "/metrics"}
	a := &attempt{url: u, subject: u.String(), started: time.Now()}
	_, body, err := a.get(ctx, metricsMax)
	if err != nil {
		return
	}
	if m, err := cloudflared.ParseMetrics(bytes.NewReader(body)); err == nil {
		r.Requests, r.Counted, r.Clients = m.Requests, m.Counted, m.ConcurrentRequests
	}
}

// fetch returns an answer that is JSON, shortened where that is known how.
func (a *attempt) fetch(ctx context.Context) (int, []byte, error) {
	most := endpointMax
	if a.url.Path == configPath {
		most = configMax
	}
	status, body, err := a.get(ctx, most)
	if err != nil {
		return status, nil, err
	}
	if a.url.Path == configPath && len(body) <= most {
		// One of a form that is not known is passed on as it is.
		if short, err := cloudflared.CompactConfig(body); err == nil && len(short) <= reportMax/2 {
			return status, short, nil
		}
	}
	if len(body) > endpointMax || !json.Valid(body) {
		return status, nil, a.endpointFault(ClassEndpointBody, status, body)
	}
	return status, body, nil
}

// get returns an answer, of which most bytes and one more are read.
func (a *attempt) get(ctx context.Context, most int) (int, []byte, error) {
	conn, err := a.dial(ctx)
	if err != nil {
		return 0, nil, err
	}
	release := context.AfterFunc(ctx, func() { _ = conn.Close() }) // a second Close does no harm
	defer release()
	defer func() { _ = conn.Close() }() // the answer is read or lost
	transport := over(conn)
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url.String(), http.NoBody)
	if err != nil {
		return 0, nil, a.fail(StageEndpoint, ClassTarget, err)
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return 0, nil, a.endpointError(ctx, err)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, int64(most)+1))
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return answer.StatusCode, nil, a.endpointError(ctx, err)
	}
	// 503 of /ready is an answer: no connection to the edge is registered.
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusServiceUnavailable {
		return answer.StatusCode, nil, a.endpointFault(ClassEndpointStatus, answer.StatusCode, body)
	}
	return answer.StatusCode, body, nil
}

// endpointFault makes the error of an answer that is of no use.
func (a *attempt) endpointFault(class Class, status int, body []byte) *Error {
	e := a.fail(StageEndpoint, class, nil)
	e.Status, e.Body = status, excerpt(string(body), bodyExcerpt)
	return e
}

func (a *attempt) endpointError(ctx context.Context, err error) *Error {
	if e := a.ended(ctx, StageEndpoint, ClassEndpointTimeout); e != nil {
		return e
	}
	if isClosed(err) {
		return a.fail(StageEndpoint, ClassClosed, err)
	}
	return a.fail(StageEndpoint, ClassNotHTTP, err)
}

// proxyNames returns the names of the proxy variables that are set, whose
// values may hold a password.
func proxyNames(environ []string) []string {
	var names []string
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch strings.ToUpper(name) {
		case "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY":
			if value != "" {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}
