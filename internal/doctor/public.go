package doctor

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/probe"
)

// Numbers of round trips: at first, so that several connectors of a tunnel are met,
// and once more where the first ones leave a question open.
const (
	firstTrips   = 4
	furtherTrips = 8
	// furtherTimeout bounds each of the further ones.
	furtherTimeout = 4 * time.Second
	// tripsTimeout is more than both take, so that none is cut short by it.
	tripsTimeout = publicTimeout + furtherTimeout + time.Second
	// servedTimeout bounds the reading of the log after them.
	servedTimeout = 2 * time.Second
)

// publicHostname returns the hostname that clients are to use, as far as it is
// known: the one that was set, the first that leads to the broker, or the one that
// was meant to. The look from inside counts only where neither settings nor log
// tell.
func publicHostname(s Sources, e *Evidence) string {
	if set := e.Files.Settings; set != nil && set.Hostname != "" {
		return set.Hostname
	}
	if status := e.Project.Status; status != nil && status.Ingress.Received() {
		if name := ingressHostname(status.Ingress, s.Service); name != "" {
			return name
		}
	}
	if report := e.Inside.Report; report != nil {
		if in, err := cloudflared.ParseConfig(bytes.NewReader(report.Config.Body)); err == nil {
			return ingressHostname(in, s.Service)
		}
	}
	return ""
}

// ingressHostname returns the hostname that leads to the service, or else the one of
// the rule that should.
func ingressHostname(in cloudflared.Ingress, service string) string {
	if names := in.PublicHostnames(service); len(names) > 0 {
		return names[0]
	}
	if advice, wrong := in.Advise(service, ""); wrong && cloudflared.IsHostname(advice.Hostname) {
		return advice.Hostname
	}
	return ""
}

// gatherPublic looks at the public hostname as a client outside does.
func gatherPublic(ctx context.Context, s Sources, e *Evidence) {
	p := &e.Public
	p.Hostname = publicHostname(s, e)
	if p.Hostname == "" {
		return
	}
	target := s.Public
	target.URL = lifecycle.PublicURL(p.Hostname)
	host, _, _ := target.Dials(p.Hostname, "443")
	p.ConnectTo = host != p.Hostname

	var g errgroup.Group // every look fills a part of its own
	look := func(asked bool, timeout time.Duration, f func(context.Context)) {
		if !asked {
			return
		}
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			f(ctx)
			return nil
		})
	}
	look(!p.ConnectTo, dnsTimeout, func(ctx context.Context) { p.System = askHere(ctx, s, p.Hostname) })
	look(s.DoH, dnsTimeout, func(ctx context.Context) { p.World, p.WorldErr = askWorld(ctx, target, p.Hostname) })
	look(true, tripsTimeout, func(ctx context.Context) { p.Trips = roundTrips(ctx, target) })
	look(s.Soak > 0, s.Soak+2*probe.DefaultTimeout, func(ctx context.Context) {
		held, err := probe.Hold(ctx, target, probeTopic(), s.Soak)
		p.Soak = &Soak{Asked: s.Soak, Held: held, Err: publicError(err)}
	})
	_ = g.Wait() // no look returns an error, each stands in the evidence
	if p.System != nil && p.System.Err != nil && ctx.Err() != nil {
		p.System = nil // given up, which tells nothing of the resolver
	}
}

// probeTopic returns a topic that mqtunnel's own account may use and nobody knows.
func probeTopic() string { return strings.TrimSuffix(mosquitto.ProbeTopics, "#") + rand.Text() }

// publicError returns the error of a connection, nil for none.
func publicError(err error) *probe.Error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*probe.Error](err); ok {
		return e
	}
	return &probe.Error{Class: probe.ClassOther, Detail: err.Error()}
}

// roundTrips sends messages through the public hostname, and more of them when the
// first ones differ or may have met a connector that is not ours.
func roundTrips(ctx context.Context, target probe.Target) []Trip {
	trips := atOnce(ctx, target, firstTrips, publicTimeout)
	if ctx.Err() == nil && openQuestion(trips) {
		trips = append(trips, atOnce(ctx, target, furtherTrips, furtherTimeout)...)
	}
	return trips
}

// openQuestion reports whether further round trips may come out otherwise.
func openQuestion(trips []Trip) bool {
	failed := 0
	for _, t := range trips {
		switch {
		case t.Err == nil:
			continue
		case t.Err.Class == probe.ClassOriginFailed, t.Err.Class == probe.ClassNotAuthorised, t.Err.Class == probe.ClassNoConnector:
			return true
		}
		failed++
	}
	return failed > 0 && failed < len(trips)
}

// gatherServed finds out whether it was this connector that got no answer from the
// broker, where that is what clients met.
func gatherServed(ctx context.Context, engine Engine, e *Evidence) {
	p := &e.Public
	if e.Project.Observed == nil || e.Project.Status == nil || !p.allFailedAtOrigin() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, servedTimeout)
	defer cancel()
	st, err := lifecycle.Inquire(ctx, engine, lifecycle.Inquiry{Project: e.Project.Name, Observed: *e.Project.Observed})
	if err != nil {
		return
	}
	if lines, known := linesSince(st.ConnectorLines, e.Project.Status.ConnectorLines); known {
		p.Served = min(unanswered(lines), len(p.Trips))
	}
}

// allFailedAtOrigin reports whether the edge answered every client with 502.
func (p *PublicEvidence) allFailedAtOrigin() bool {
	return len(p.Trips) > 0 && !slices.ContainsFunc(p.Trips, func(t Trip) bool {
		return t.Err == nil || t.Err.Class != probe.ClassOriginFailed
	})
}

// linesSince returns the lines of a log that were not there before. known is false
// where the log does not tell.
func linesSince(now, before []cloudflared.Line) (lines []cloudflared.Line, known bool) {
	if len(before) == 0 {
		return nil, false
	}
	last := before[len(before)-1]
	for i, l := range slices.Backward(now) {
		if l.Time.Equal(last.Time) && l.Message == last.Message && maps.Equal(l.Fields, last.Fields) {
			return now[i+1:], true
		}
	}
	return nil, false
}

// unanswered counts the requests of which a connector says that the service ended
// them without an answer. It says so once with the service and without a message.
func unanswered(lines []cloudflared.Line) int {
	n := 0
	for _, l := range lines {
		cause, failed := cloudflared.Diagnose([]cloudflared.Line{l})
		if failed && cause.ID == cloudflared.CauseOriginNoHTTP && l.Message == "" {
			n++
		}
	}
	return n
}

// atOnce makes n round trips at the same time. Those that were given up tell nothing
// and are left out.
func atOnce(ctx context.Context, target probe.Target, n int, timeout time.Duration) []Trip {
	trips := make([]Trip, n)
	var g errgroup.Group // every trip fills an element of its own
	for i := range trips {
		g.Go(func() error {
			own, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			result, err := probe.RoundTrip(own, target, probeTopic())
			trips[i] = Trip{Result: result, Err: publicError(err)}
			return nil
		})
	}
	_ = g.Wait() // no trip returns an error, each stands in the list
	return slices.DeleteFunc(trips, func(t Trip) bool { return t.Err != nil && ctx.Err() != nil })
}

// askHere asks the resolver of this system.
func askHere(ctx context.Context, s Sources, name string) *Answers {
	resolver := s.Public.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	answers := &Answers{From: answeredBy(s.Root, name)}
	found, err := resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		dnsErr, ok := errors.AsType[*net.DNSError](err)
		if !ok || !dnsErr.IsNotFound {
			answers.Err = err
		}
		return answers
	}
	answers.Exists = true
	for _, address := range found {
		answers.Addresses = append(answers.Addresses, address.Unmap())
	}
	slices.SortFunc(answers.Addresses, netip.Addr.Compare)
	answers.Addresses = slices.Compact(answers.Addresses)
	if alias, err := resolver.LookupCNAME(ctx, name); err == nil && plainName(alias) != name {
		answers.CNAME = plainName(alias)
	}
	return answers
}

// answeredBy tells what answers for a name on this system: a line of /etc/hosts, or
// the resolvers of /etc/resolv.conf, or "" where neither is known.
func answeredBy(root, name string) string {
	for i, fields := range systemLines(root, "etc/hosts") {
		if len(fields) > 1 && slices.ContainsFunc(fields[1:], func(f string) bool { return plainName(f) == name }) {
			return "/etc/hosts line " + strconv.Itoa(i+1)
		}
	}
	var servers []string
	for _, fields := range systemLines(root, "etc/resolv.conf") {
		if len(fields) > 1 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	if len(servers) == 0 {
		return ""
	}
	return "resolver " + strings.Join(servers, ", ")
}

// systemLines returns the words of each line of a file, without comments. A file that
// is not there has none.
func systemLines(root, path string) [][]string {
	text, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		return nil
	}
	var lines [][]string
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		lines = append(lines, strings.Fields(line))
	}
	return lines
}
