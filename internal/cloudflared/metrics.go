package cloudflared

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Ready is the answer of /ready, which has the same form with status 200 and 503.
type Ready struct {
	Ready       bool // at least one connection to the edge is registered
	Connections int
	ConnectorID string // new with every start
}

// ParseReady reads the answer of /ready. It goes by the number of connections;
// the metric ha_connections counts attempts and is no use.
func ParseReady(r io.Reader) (Ready, error) {
	var answer struct {
		Status      int    `json:"status"`
		Connections int    `json:"readyConnections"`
		ConnectorID string `json:"connectorId"`
	}
	if err := readJSON(r, maxAnswerBytes, &answer); err != nil {
		return Ready{}, fmt.Errorf("read cloudflared's readiness: %w", err)
	}
	if answer.Status == 0 || answer.Connections < 0 {
		return Ready{}, errors.New("read cloudflared's readiness: not the answer of /ready")
	}
	return Ready{
		Ready:       answer.Connections > 0,
		Connections: answer.Connections,
		ConnectorID: answer.ConnectorID,
	}, nil
}

// Diag is the answer of /diag/tunnel.
type Diag struct {
	TunnelID    string
	ConnectorID string
	Connections []Connection // those that are connected now
}

// Connection is one connection to the edge.
type Connection struct {
	Index       int    // 0 to 3
	Protocol    string // "quic" or "http2"
	EdgeAddress string
}

// ParseDiag reads the answer of /diag/tunnel. Zero values are left out there:
// no index is 0, no protocol is http2.
func ParseDiag(r io.Reader) (Diag, error) {
	var answer struct {
		TunnelID    string `json:"tunnelID"`
		ConnectorID string `json:"connectorID"`
		Connections []struct {
			IsConnected bool   `json:"isConnected"`
			Protocol    int    `json:"protocol"`
			EdgeAddress string `json:"edgeAddress"`
			Index       int    `json:"index"`
		} `json:"connections"`
	}
	if err := readJSON(r, maxAnswerBytes, &answer); err != nil {
		return Diag{}, fmt.Errorf("read cloudflared's tunnel state: %w", err)
	}
	if _, err := uuid.Parse(answer.TunnelID); err != nil {
		return Diag{}, errors.New("read cloudflared's tunnel state: no tunnel ID in it")
	}
	diag := Diag{TunnelID: answer.TunnelID, ConnectorID: answer.ConnectorID}
	for _, c := range answer.Connections {
		if !c.IsConnected {
			continue
		}
		protocol := ProtocolHTTP2
		if c.Protocol == 1 {
			protocol = ProtocolQUIC
		}
		diag.Connections = append(diag.Connections, Connection{Index: c.Index, Protocol: protocol, EdgeAddress: c.EdgeAddress})
	}
	return diag, nil
}

// The protocols towards the edge.
const (
	ProtocolQUIC  = "quic"
	ProtocolHTTP2 = "http2"
)

// Metrics is what is read of /metrics.
type Metrics struct {
	Version string // of cloudflared, "" when not told
	// ConcurrentRequests is about the number of clients that are connected through
	// the tunnel now: a WebSocket is one request for as long as it is open.
	ConcurrentRequests int
	Requests           int  // served since the start of the process, with Counted
	Counted            bool // Requests is told
}

// ParseMetrics reads the Prometheus text of /metrics. Lines of other metrics are
// skipped, whatever they hold.
func ParseMetrics(r io.Reader) (Metrics, error) {
	const maxLine = 64 << 10
	limited := &io.LimitedReader{R: r, N: maxAnswerBytes + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxLine)
	var m Metrics
	var known bool
	for lines.Scan() {
		line := lines.Text()
		if labels, ok := strings.CutPrefix(line, "build_info{"); ok {
			m.Version, known = label(labels, "version"), true
		}
		if value, ok := strings.CutPrefix(line, "cloudflared_tunnel_concurrent_requests_per_tunnel "); ok {
			number, ok := count(value)
			if !ok {
				return Metrics{}, errors.New("read cloudflared's metrics: concurrent requests are no number")
			}
			m.ConcurrentRequests, known = number, true
		}
		if value, ok := strings.CutPrefix(line, "cloudflared_tunnel_total_requests "); ok {
			m.Requests, m.Counted = count(value)
		}
	}
	if err := lines.Err(); err != nil {
		return Metrics{}, fmt.Errorf("read cloudflared's metrics: %w", err)
	}
	if limited.N <= 0 {
		return Metrics{}, fmt.Errorf("read cloudflared's metrics: more than %d bytes", maxAnswerBytes)
	}
	if !known {
		return Metrics{}, errors.New("read cloudflared's metrics: not those of cloudflared")
	}
	return m, nil
}

// count reads a number of things.
func count(text string) (int, bool) {
	number, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || number < 0 || number > math.MaxInt32 || math.IsNaN(number) {
		return 0, false
	}
	return int(number), true
}

// label returns the value of one label of a metric, whose text begins after {.
func label(labels, name string) string {
	for labels != "" {
		key, rest, ok := strings.Cut(labels, `="`)
		if !ok {
			return ""
		}
		value, after, ok := strings.Cut(rest, `"`)
		if !ok || strings.Contains(value, `\`) {
			return ""
		}
		if strings.TrimLeft(key, ", ") == name {
			return value
		}
		labels = after
	}
	return ""
}
