package doctor

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

var (
	errNoFiles   = errors.New("the project's files cannot be read")
	errNoProject = errors.New("what the Engine has of the project is not known")
)

// gatherInside looks from inside the project's network.
func gatherInside(ctx context.Context, s Sources, engine Engine, e *Evidence) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	report, from, err := inside(ctx, s, engine, e)
	if e.Inside.Err = err; err == nil {
		e.Inside.Report, e.Inside.From = &report, string(from)
	}
}

func inside(ctx context.Context, s Sources, engine Engine, e *Evidence) (probe.Report, lifecycle.Place, error) {
	switch {
	case e.Files.Settings == nil || e.Files.Rendered == nil:
		return probe.Report{}, "", errNoFiles
	case e.Project.Observed == nil:
		return probe.Report{}, "", errNoProject
	}
	view, err := s.View(ctx, engine, *e.Files.Settings, e.Files.Rendered.Project)
	if err != nil {
		return probe.Report{}, "", err
	}
	view.Request.Edge, view.Request.Others = true, true
	// The namespace of one that ends again and again would end under the look.
	if c, found := e.Project.Observed.Find(plan.ServiceConnector); found && !e.failing(thisConnector) {
		view.Connector = c.ID
	}
	report, from, err := lifecycle.Look(ctx, engine, view)
	if errors.Is(err, lifecycle.ErrRestarted) {
		view.Connector = "" // it ends again and again
		report, from, err = lifecycle.Look(ctx, engine, view)
	}
	return report, from, err
}

// unlooked is the outcome of a check for which somebody would have had to look from
// inside.
func unlooked(e *Evidence) Outcome {
	o := unseen("nobody looked from inside the network")
	if e.Inside.Err != nil {
		o = o.seen(e.Inside.Err.Error())
	}
	return o
}

// wayOut returns what a look from inside saw of the way to the edge, nil when
// nobody looked.
func wayOut(e *Evidence) *probe.Edge {
	if e.Inside.Report == nil {
		return nil
	}
	return e.Inside.Report.Edge
}

// tried returns the regions of which an address was tried.
func tried(edge *probe.Edge) []probe.Region {
	if edge == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(edge.Regions), func(r probe.Region) bool { return !r.TCP.Done && !r.UDP.Done })
}

// all and some tell of how many regions a claim holds; all is false where none was
// tried.
func all(regions []probe.Region, holds func(probe.Region) bool) bool {
	return len(regions) > 0 && !slices.ContainsFunc(regions, func(r probe.Region) bool { return !holds(r) })
}

func some(regions []probe.Region, holds func(probe.Region) bool) bool {
	return slices.ContainsFunc(regions, holds)
}

func noTCP(r probe.Region) bool { return !r.TCP.OK }
func noUDP(r probe.Region) bool { return !r.UDP.OK }

// words returns what the checks say that went wrong, one line each.
func words(checks ...probe.Check) []string {
	var lines []string
	for _, c := range checks {
		if c.Error != nil && !c.OK {
			lines = append(lines, c.Error.Error())
		}
	}
	return lines
}

// connected returns how many connections to the edge the connector has: by its own
// answer, else by its log. known is false where neither tells.
func connected(e *Evidence) (n int, known bool) {
	if r := e.Inside.Report; r != nil && r.Ready.OK {
		if ready, err := cloudflared.ParseReady(bytes.NewReader(r.Ready.Body)); err == nil {
			return ready.Connections, true
		}
	}
	if !e.running(thisConnector) {
		return 0, false
	}
	st := e.Project.Status
	return len(st.Connections), len(st.Connections) > 0 || st.Begun[plan.ServiceConnector]
}

// isConnected reports whether the connector has a connection to the edge.
func isConnected(e *Evidence) bool {
	n, _ := connected(e)
	return n > 0
}

// wantedProtocol is the protocol to the edge that the connector's container was made
// with, else the one of the settings: "auto", "quic" or "http2".
func wantedProtocol(e *Evidence) string {
	for _, pair := range e.Project.Environment[plan.ServiceConnector] {
		if value, found := strings.CutPrefix(pair, config.KeyProtocol+"="); found && value != "" {
			return value
		}
	}
	if e.Files.Settings != nil && e.Files.Settings.Protocol != "" {
		return e.Files.Settings.Protocol
	}
	return "auto"
}

// triedProtocol is the protocol that the connector tries now: "quic", "http2", or ""
// where its log does not tell.
func triedProtocol(e *Evidence) string {
	wanted := wantedProtocol(e)
	if wanted != "auto" {
		return wanted
	}
	protocol := ""
	for _, l := range connectorLines(e) {
		switch event := l.Event(); event.Kind {
		case cloudflared.EventStarting:
			protocol = ""
		case cloudflared.EventProtocol, cloudflared.EventFallback:
			protocol = event.Protocol
		default:
		}
	}
	return protocol
}

func connectorLines(e *Evidence) []cloudflared.Line {
	if e.Project.Status == nil {
		return nil
	}
	return e.Project.Status.ConnectorLines
}
