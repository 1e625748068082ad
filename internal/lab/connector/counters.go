package connector

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// counters holds the values of /metrics by their name and labels. It is safe for concurrent use.
type counters struct {
	mu     sync.Mutex
	values map[string]int64
}

func newCounters(goVersion string) *counters {
	return &counters{values: map[string]int64{
		fmt.Sprintf("build_info{goversion=%q,revision=\"unknown\",type=\"\",version=%q}", goVersion, Version): 1,
		"cloudflared_config_local_config_pushes":            0,
		"cloudflared_config_local_config_pushes_errors":     0,
		"cloudflared_orchestration_config_version":          0,
		"cloudflared_proxy_connect_streams_errors":          0,
		"cloudflared_tcp_active_sessions":                   0,
		"cloudflared_tcp_total_sessions":                    0,
		"cloudflared_tunnel_concurrent_requests_per_tunnel": 0,
		"cloudflared_tunnel_ha_connections":                 0,
		"cloudflared_tunnel_request_errors":                 0,
		"cloudflared_tunnel_total_requests":                 0,
		"cloudflared_udp_active_sessions":                   0,
		"cloudflared_udp_total_sessions":                    0,
	}}
}

func (c *counters) add(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[name] += n
}

func (c *counters) set(name string, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[name] = n
}

// located records the colo of a connection; the one before it goes to 0.
func (c *counters) located(index uint8, colo string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	prefix := fmt.Sprintf("cloudflared_tunnel_server_locations{connection_id=\"%d\",", index)
	for name := range c.values {
		if strings.HasPrefix(name, prefix) {
			c.values[name] = 0
		}
	}
	c.values[fmt.Sprintf("%sedge_location=%q}", prefix, colo)] = 1
}

// exposition is the Prometheus text form.
func (c *counters) exposition() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var text strings.Builder
	last := ""
	for _, name := range slices.Sorted(maps.Keys(c.values)) {
		if base, _, _ := strings.Cut(name, "{"); base != last {
			last = base
			kind := "counter"
			if strings.HasSuffix(base, "info") || strings.HasSuffix(base, "_version") || strings.Contains(base, "connections") || strings.Contains(base, "concurrent") || strings.Contains(base, "locations") {
				kind = "gauge"
			}
			fmt.Fprintf(&text, "# TYPE %s %s\n", base, kind)
		}
		fmt.Fprintf(&text, "%s %d\n", name, c.values[name])
	}
	return text.String()
}
