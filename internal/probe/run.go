package probe

import (
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
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()

	r := Report{Version: Version, Proxy: proxyNames(environ)}
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
	look(true, func() { r.Name, r.Addresses = lookUp(ctx, req.Broker) })
	look(true, func() { r.RoundTrip, r.Result = roundTrip(ctx, webSocket, req.Topic) })
	look(true, func() { r.AnonymousWebSocket = anonymous(ctx, webSocket) })
	look(req.PlainPort != 0, func() { r.AnonymousPlain = anonymous(ctx, plain) })
	look(req.Metrics != "", func() { r.Ready = endpoint(ctx, req.Metrics, "/ready") })
	look(req.Metrics != "", func() { r.Config = endpoint(ctx, req.Metrics, configPath) })
	look(req.Metrics != "", func() { r.Tunnel = endpoint(ctx, req.Metrics, "/diag/tunnel") })
	r.Dials = make([]Dialed, len(req.Dial))
	for i, address := range req.Dial {
		look(true, func() { r.Dials[i] = Dialed{Address: address, Check: connects(ctx, address)} })
	}
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

func lookUp(ctx context.Context, name string) (Check, []string) {
	a := &attempt{subject: name, started: time.Now()}
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		dnsErr, _ := errors.AsType[*net.DNSError](err)
		return outcome(a.started, a.nameError(ctx, dnsErr, err)), nil
	}
	addresses := make([]string, 0, len(found))
	for _, address := range found {
		addresses = append(addresses, address.Unmap().String())
	}
	slices.Sort(addresses)
	return outcome(a.started, nil), slices.Compact(addresses)
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

func (a *attempt) fetch(ctx context.Context) (int, []byte, error) {
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
	most := endpointMax
	if a.url.Path == configPath {
		most = configMax
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, int64(most)+1))
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return answer.StatusCode, nil, a.endpointError(ctx, err)
	}
	// 503 of /ready is an answer: no connection to the edge is registered.
	if answer.StatusCode != http.StatusOK && answer.StatusCode != http.StatusServiceUnavailable {
		e := a.fail(StageEndpoint, ClassEndpointStatus, nil)
		e.Status, e.Body = answer.StatusCode, excerpt(string(body), bodyExcerpt)
		return answer.StatusCode, nil, e
	}
	if a.url.Path == configPath && len(body) <= most {
		// One of a form that is not known is passed on as it is.
		if short, err := cloudflared.CompactConfig(body); err == nil && len(short) <= reportMax/2 {
			return answer.StatusCode, short, nil
		}
	}
	if len(body) > endpointMax || !json.Valid(body) {
		e := a.fail(StageEndpoint, ClassEndpointBody, nil)
		e.Status, e.Body = answer.StatusCode, excerpt(string(body), bodyExcerpt)
		return answer.StatusCode, nil, e
	}
	return answer.StatusCode, body, nil
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
