package connector

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// checked is one row of the connectivity pre-checks.
type checked struct {
	component, target, status, details string
	action                             string // what to do, when it failed
}

const (
	passed      = "pass"
	failed      = "fail"
	skipped     = "skip"
	probeLimit  = 5 * time.Second
	suiteLimit  = 10 * time.Second
	apiAddress  = "api.cloudflare.com:443"
	quicAction  = "Allow outbound QUIC traffic on port 7844 or use HTTP2."
	tcpAction   = "Allow outbound TCP on port 7844."
	apiAction   = "cloudflared will still run, but automatic software updates are unavailable. Ensure port 443 TCP to api.cloudflare.com is open if you want auto-updates."
	dnsAction   = "Ensure your DNS resolver can resolve '%s'. Run: dig A %s @1.1.1.1."
	noDNSDetail = "DNS prerequisite failed"
)

// precheck looks whether the edge can be reached and writes what it found, as a box and as lines. It decides nothing.
func (c *connector) precheck(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, suiteLimit)
	defer cancel()
	rows := c.checkAll(bounded)
	hard, suggested, summary := judge(rows)
	var box []string
	for _, r := range append([]checked{{component: "COMPONENT", target: "TARGET", status: "STATUS", details: "DETAILS"}}, rows...) {
		box = append(box, fmt.Sprintf("%-16s  %-25s  %-6s  %s", r.component, r.target, strings.ToUpper(r.status), r.details))
	}
	for _, r := range rows {
		if r.status == failed {
			weight := "WARNING: "
			if hard && r.component != "Cloudflare API" {
				weight = "ERROR: "
			}
			box = append(box, weight+r.action)
		}
	}
	c.table("CONNECTIVITY PRE-CHECKS", append(box, "", "SUMMARY: "+summary))
	run := uuid.New()
	for _, r := range rows {
		c.log.info("precheck", fields{"run_id": run, "component": r.component, "target": r.target, "status": r.status, "details": r.details})
	}
	about := fields{"run_id": run, "hard_fail": hard}
	if suggested != "" {
		about["suggested_protocol"] = suggested
	}
	c.log.info("precheck complete", about)
}

// judge says whether a failure is a hard one, which protocol is left, and what that means.
func judge(rows []checked) (hard bool, suggested, summary string) {
	bad := map[string]bool{}
	for _, r := range rows {
		if r.status == failed {
			bad[r.component] = true
		}
	}
	hard = bad["DNS Resolution"] || (bad["UDP Connectivity"] && bad["TCP Connectivity"])
	switch {
	case hard:
		return true, "", "Environment has critical failures. cloudflared may not be able to establish a tunnel."
	case bad["UDP Connectivity"]:
		return false, protocolHTTP2, "Environment ready with degraded transport. cloudflared will proceed using 'http2'."
	case bad["TCP Connectivity"]:
		return false, protocolQUIC, "Environment ready with degraded transport. cloudflared will proceed using 'quic'."
	}
	return false, protocolQUIC, "Environment is healthy. cloudflared will use 'quic' as primary protocol."
}

// checkAll runs the checks side by side; their rows stand in a fixed order.
func (c *connector) checkAll(ctx context.Context) []checked {
	regions, err := c.discover(ctx)
	rows := make([]checked, 7)
	var wg sync.WaitGroup
	probe := func(row int, good, bad checked, try func(context.Context) error) {
		wg.Go(func() {
			bounded, cancel := context.WithTimeout(ctx, probeLimit)
			defer cancel()
			rows[row] = good
			if try(bounded) != nil {
				rows[row] = bad
			}
		})
	}
	for i := range 2 {
		target := fmt.Sprintf("region%d.v2.argotunnel.com", i+1)
		if err != nil || len(regions.regions) <= i || len(regions.regions[i]) == 0 {
			details := "No addresses returned"
			if err != nil {
				details = err.Error()
			}
			rows[i] = checked{"DNS Resolution", target, failed, details, fmt.Sprintf(dnsAction, target, target)}
			rows[2+i] = checked{"UDP Connectivity", target, skipped, noDNSDetail, ""}
			rows[4+i] = checked{"TCP Connectivity", target, skipped, noDNSDetail, ""}
			continue
		}
		edge := regions.regions[i][0]
		rows[i] = checked{"DNS Resolution", target, passed, "DNS Resolved successfully", ""}
		probe(2+i, checked{"UDP Connectivity", target, passed, "QUIC connection successful", ""},
			checked{"UDP Connectivity", target, failed, "QUIC connection failed", quicAction},
			func(ctx context.Context) error { return c.probeQUIC(ctx, edge.String()) })
		probe(4+i, checked{"TCP Connectivity", target, passed, "HTTP/2 connection successful", ""},
			checked{"TCP Connectivity", target, failed, "HTTP/2 connection is blocked or unreachable", tcpAction},
			func(ctx context.Context) error { return c.probeTCP(ctx, edge) })
	}
	probe(6, checked{"Cloudflare API", apiAddress, passed, "API is reachable", ""},
		checked{"Cloudflare API", apiAddress, failed, "API Connection failed", apiAction},
		func(ctx context.Context) error { return probeAPI(ctx, apiAddress) })
	wg.Wait()
	return rows
}

// table writes lines in a frame, each as a log line of its own.
func (c *connector) table(title string, lines []string) {
	width := utf8.RuneCountInString(title)
	for _, line := range lines {
		width = max(width, utf8.RuneCountInString(line))
	}
	edge := "+" + strings.Repeat("-", width+4) + "+"
	left := (width + 4 - len(title)) / 2
	c.log.info(edge, nil)
	c.log.info("|"+strings.Repeat(" ", left)+title+strings.Repeat(" ", width+4-left-len(title))+"|", nil)
	c.log.info(edge, nil)
	for _, line := range lines {
		c.log.info(fmt.Sprintf("|  %-*s  |", width, line), nil)
	}
	c.log.info(edge, nil)
}
