package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// Checks that a look came to.
func ok() probe.Check { return probe.Check{Done: true, OK: true} }

func not(stage probe.Stage, class probe.Class) probe.Check {
	return probe.Check{Done: true, Error: &probe.Error{Stage: stage, Class: class, Subject: "there", Detail: "so it is"}}
}

func unnamed(class probe.Class) probe.Check     { return not(probe.StageDNS, class) }
func unreachable(class probe.Class) probe.Check { return not(probe.StageTCP, class) }

// region is one that is open but for what change does.
func region(name, address string, change func(*probe.Region)) probe.Region {
	r := probe.Region{
		Name: name, Addresses: []string{address}, Lookup: ok(), TCP: ok(), TLS: ok(), UDP: ok(),
		Certificate: &probe.Certificate{Issuer: "CN=Somebody", Names: []string{"*.cftunnel.com"}},
	}
	if change != nil {
		change(&r)
	}
	return r
}

// edge is a look at the way out of which both regions are changed alike.
func edge(change func(*probe.Region)) *probe.Edge {
	return &probe.Edge{Any: ok(), Service: ok(), Regions: []probe.Region{
		region("region1", "198.41.192.7", change), region("region2", "198.41.200.13", change),
	}}
}

func unresolvedEdge(class probe.Class) *probe.Edge {
	e := edge(func(r *probe.Region) { *r = probe.Region{Name: r.Name, Lookup: unnamed(class)} })
	e.Any, e.Service, e.ServiceTLS = unnamed(class), unnamed(class), unreachable(probe.ClassTCPTimeout)
	return e
}

const logTime = "2026-08-20T10:37:18Z "

// Lines of a connector that does not come through, and what they are read as.
const (
	lineStarting = logTime + "INF Starting tunnel tunnelID=11111111-2222-4333-8444-555555555555"
	lineQUIC     = logTime + "INF Initial protocol quic"
	lineFallback = logTime + "INF Switching to fallback protocol http2"
	lineUDP      = logTime + `ERR Failed to dial a quic connection error="failed to dial to edge with quic: timeout: no recent network activity" connIndex=0 event=0 ip=198.41.192.7`
	lineTCP      = logTime + `ERR Unable to establish connection with Cloudflare edge error="dial tcp 198.41.192.7:7844: i/o timeout" connIndex=0 event=0 ip=198.41.192.7`
	lineNoRoute  = logTime + `ERR Unable to establish connection with Cloudflare edge error="dial tcp 198.41.192.7:7844: connect: network is unreachable" connIndex=0 event=0 ip=198.41.192.7`
	lineForeign  = logTime + `ERR Unable to establish connection with Cloudflare edge error="TLS handshake with edge error: tls: failed to verify certificate: x509: certificate signed by unknown authority" connIndex=0 event=0 ip=198.41.192.7`
	lineExpired  = logTime + `ERR Unable to establish connection with Cloudflare edge error="TLS handshake with edge error: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020 is before 2026" connIndex=0 event=0 ip=198.41.192.7`
	lineDNS      = logTime + `ERR edge discovery: error looking up Cloudflare edge IPs: the DNS query failed`
	lineFamily   = logTime + `ERR Initiating shutdown error="there are no free edge addresses left to resolve to"`
	lineSecret   = logTime + `ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0 event=0 ip=198.41.192.7`
	lineSilent   = logTime + `ERR Register tunnel error from server side error="context deadline exceeded" connIndex=0 event=0 ip=198.41.192.7`
	lineLost2    = logTime + "WRN Connection terminated connIndex=2 event=0 ip=198.41.200.13"
)

// What a connector said ten seconds before it was asked.
const (
	lineLate   = "2026-08-20T10:59:50Z "
	lineTried  = `WRN Connection terminated error="failed to dial to edge with quic: timeout: no recent network activity" connIndex=2`
	lineStands = "INF Registered tunnel connection connIndex=2 connection=x event=0 ip=198.41.200.13 location=fra08 protocol=quic"
)

// out is a running connector, seen from inside.
type out struct {
	edge        *probe.Edge
	err         error
	connections int
	protocol    string
	log         []string
	age         time.Duration // since the start, an hour when zero
	gone        bool          // the beginning of the log is
}

func (o out) evidence() *Evidence {
	at := time.Date(2026, 8, 20, 11, 0, 0, 0, time.UTC)
	if o.age == 0 {
		o.age = time.Hour
	}
	st := &lifecycle.Status{Begun: map[string]bool{plan.ServiceConnector: !o.gone}}
	for i := range o.connections {
		st.Connections = append(st.Connections, cloudflared.Event{Index: i})
	}
	d := plan.Details{StartedAt: at.Add(-o.age)}
	d.State = plan.StateRunning
	st.Details = map[string]plan.Details{plan.ServiceConnector: d}
	for _, l := range o.log {
		st.ConnectorLines = append(st.ConnectorLines, cloudflared.ParseLine(l))
	}
	if cause, found := cloudflared.Diagnose(st.ConnectorLines); found {
		st.Cause = &cause
	}
	e := &Evidence{At: at}
	e.Project.Status = st
	if o.protocol != "" {
		e.Project.Environment = map[string][]string{plan.ServiceConnector: {"TUNNEL_TRANSPORT_PROTOCOL=" + o.protocol}}
	}
	if e.Inside.Err = o.err; o.err != nil {
		return e
	}
	r := &probe.Report{Edge: o.edge, Resolvers: []string{"127.0.0.11"}, Ready: probe.Endpoint{Check: ok()}, Tunnel: probe.Endpoint{Check: ok()}}
	r.Ready.Body = json.RawMessage(fmt.Sprintf(`{"status":200,"readyConnections":%d,"connectorId":""}`, o.connections))
	var list []string
	for i := range o.connections {
		list = append(list, fmt.Sprintf(`{"isConnected":true,"index":%d,"edgeAddress":"198.41.192.7"}`, i))
	}
	r.Tunnel.Body = json.RawMessage(`{"tunnelID":"11111111-2222-4333-8444-555555555555","connectorID":"11111111-2222-4333-8444-555555555556","connections":[` + strings.Join(list, ",") + `]}`)
	e.Inside.Report = r
	return e
}

// egress applies the checks of the layers egress and origin alone: what is not of
// them holds.
func diagnosed(e *Evidence) Diagnosis { return judge(append(egressChecks(), originChecks()...), e) }

// first is the ID and the sentence of what is found first.
func first(d Diagnosis) string {
	found := d.Findings()
	if len(found) == 0 {
		return ""
	}
	return fmt.Sprintf("%s %s: %s", found[0].Status, found[0].ID, found[0].Sentence)
}

func TestTheWayOutIsJudgedByWhatStopsTheConnector(t *testing.T) {
	udpSilent := func(r *probe.Region) { r.UDP = unreachable(probe.ClassUDPTimeout) }
	tcpDropped := func(r *probe.Region) { r.TCP, r.TLS = unreachable(probe.ClassTCPTimeout), probe.Check{} }
	bothBlocked := func(r *probe.Region) { udpSilent(r); tcpDropped(r) }
	way := func(class probe.Class) func(*probe.Region) {
		return func(r *probe.Region) { r.TCP, r.UDP, r.TLS = unreachable(class), unreachable(class), probe.Check{} }
	}
	cut := func(r *probe.Region) { udpSilent(r); r.TLS = not(probe.StageTLS, probe.ClassTLSClosed) }
	filtered := edge(func(r *probe.Region) {
		if r.Name == "region2" {
			*r = probe.Region{Name: r.Name, Lookup: unnamed(probe.ClassNameUnknown)}
		}
	})
	noSRV := edge(nil)
	noSRV.Service, noSRV.ServiceTLS = unnamed(probe.ClassNameUnknown), unreachable(probe.ClassTCPTimeout)
	overTLS := edge(nil)
	overTLS.Service, overTLS.ServiceTLS = unnamed(probe.ClassNameUnknown), ok()
	offline := unresolvedEdge(probe.ClassNameLookup)
	offline.ServiceTLS = unreachable(probe.ClassUnreachable)
	slow := edge(func(r *probe.Region) { r.Lookup = unnamed(probe.ClassNameTimeout) })
	for name, c := range map[string]struct {
		out
		want string
	}{
		"all is well":            {out{edge: edge(nil), connections: 4}, ""},
		"nobody looked":          {out{err: errors.New("no image"), connections: 4}, ""},
		"just started":           {out{edge: edge(nil), age: 5 * time.Second}, ""},
		"slow DNS":               {out{edge: slow, connections: 4}, ""},
		"UDP blocked, by HTTP/2": {out{edge: edge(udpSilent), connections: 4, log: []string{lineStarting, lineQUIC, lineUDP, lineUDP, lineFallback}}, ""},
		"UDP blocked by now":     {out{edge: edge(udpSilent), connections: 4}, ""},
		"TCP blocked by now":     {out{edge: edge(tcpDropped), connections: 4, protocol: "http2"}, ""},
		"TCP blocked, by QUIC":   {out{edge: edge(tcpDropped), connections: 4}, ""},
		"SRV by DNS over TLS":    {out{edge: overTLS, connections: 4}, ""},

		"no DNS":             {out{edge: unresolvedEdge(probe.ClassNameTimeout), log: []string{lineStarting, lineDNS}}, "failed container-dns: containers cannot resolve any name: their name server does not answer"},
		"no DNS, refusals":   {out{edge: unresolvedEdge(probe.ClassNameLookup)}, "failed container-dns: containers cannot resolve any name: their name server answers with errors"},
		"no DNS, knows none": {out{edge: unresolvedEdge(probe.ClassNameUnknown)}, "failed container-dns: containers cannot resolve any name: their name server says of every name that it does not exist"},
		"no DNS any more":    {out{edge: unresolvedEdge(probe.ClassNameTimeout), connections: 4}, "warning container-dns: containers cannot resolve any name any more, so that the connector could not connect again"},
		"offline":            {out{edge: offline, log: []string{lineStarting, lineDNS}}, "failed edge-route: there is no way from the containers to the internet"},
		"one name filtered":  {out{edge: filtered}, "failed edge-dns: the name server of containers does not have region2, the names of Cloudflare's edge"},
		"black hole": {
			out{edge: edge(func(r *probe.Region) { r.Addresses = []string{"0.0.0.0"}; way(probe.ClassRefused)(r) })},
			"failed edge-dns: the name server of containers does not have region1, region2, the names of Cloudflare's edge",
		},
		"SRV filtered":          {out{edge: noSRV}, "failed edge-dns: the name server of containers does not have _v2-origintunneld._tcp.argotunnel.com, the names of Cloudflare's edge"},
		"SRV filtered later on": {out{edge: noSRV, connections: 4}, "warning edge-dns: the name server of containers does not have _v2-origintunneld._tcp.argotunnel.com any more, so that the connector could not connect again"},
		"DNS, by the log":       {out{err: errors.New("no image"), log: []string{lineStarting, lineDNS}}, "failed edge-dns: the connector cannot find Cloudflare's edge in the DNS"},
		"address family":        {out{edge: edge(nil), log: []string{lineStarting, lineFamily}}, "failed edge-dns: the DNS gives too few addresses of Cloudflare's edge for this IP version"},
		"no route":              {out{edge: edge(way(probe.ClassUnreachable)), log: []string{lineStarting, lineNoRoute}}, "failed edge-route: there is no way from the containers to the internet"},
		"no route, by the log":  {out{err: errors.New("no image"), log: []string{lineStarting, lineNoRoute}}, "failed edge-route: there is no route to Cloudflare's edge"},
		"firewall":              {out{edge: edge(way(probe.ClassProhibited))}, "failed edge-route: a firewall of this host forbids containers the way to Cloudflare's edge"},
		"both ports":            {out{edge: edge(bothBlocked), log: []string{lineStarting, lineQUIC, lineUDP, lineUDP}}, "failed edge-ports: port 7844 to Cloudflare's edge is blocked, UDP and TCP"},
		"UDP":                   {out{edge: edge(udpSilent), log: []string{lineStarting, lineQUIC, lineUDP, lineUDP}}, "failed edge-udp: UDP port 7844 is blocked, while TCP port 7844 is open"},
		"UDP, just started":     {out{edge: edge(udpSilent), protocol: "quic", age: time.Second}, "failed edge-udp: UDP port 7844 is blocked, while TCP port 7844 is open"},
		"UDP, by the log":       {out{err: errors.New("no image"), log: []string{lineStarting, lineQUIC, lineUDP, lineUDP}}, "failed edge-udp: nothing comes back on UDP port 7844"},
		"UDP, HTTP/2 wanted":    {out{edge: edge(udpSilent), protocol: "http2", log: []string{lineStarting, lineSilent}}, "failed registered: the edge does not answer the registration"},
		"TCP":                   {out{edge: edge(tcpDropped), protocol: "http2", log: []string{lineStarting, lineTCP}}, "failed edge-tcp: TCP port 7844 is blocked, while UDP port 7844 is open"},
		"TCP, by QUIC at start": {out{edge: edge(tcpDropped), log: []string{lineStarting, lineQUIC}, age: time.Second}, ""},
		"interception":          {out{edge: edge(nil), protocol: "http2", log: []string{lineStarting, lineForeign}}, "failed edge-tls: something on the way answers for Cloudflare's edge with a certificate of its own"},
		"clock":                 {out{edge: edge(nil), protocol: "http2", log: []string{lineStarting, lineExpired}}, "failed edge-tls: the certificate of Cloudflare's edge is not valid by the clock of this machine"},
		"cut":                   {out{edge: edge(cut)}, "failed edge-tls: something on the way ends the TLS handshake with Cloudflare's edge"},
		"secret":                {out{edge: edge(nil), log: []string{lineStarting, lineSecret}, age: time.Second}, "failed registered: Cloudflare refuses the token: it was refreshed since, or is damaged"},
		"open again":            {out{edge: edge(nil), log: []string{lineStarting, lineQUIC, lineUDP, lineUDP}}, "failed registered: the connector is not connected although the way to Cloudflare's edge is open by now"},
		"no word":               {out{edge: edge(nil), log: []string{lineStarting}}, "failed registered: the connector is not connected to Cloudflare's edge, and its log does not say why"},
		"one of four": {out{edge: edge(func(r *probe.Region) {
			if r.Name == "region2" {
				bothBlocked(r)
			}
		}), connections: 2, log: []string{lineStarting, lineLost2}}, "warning four-connections: only 2 of the 4 connections to Cloudflare's edge stand, and region2 is not reached"},
		"a region that is tried again and again": {out{edge: edge(nil), connections: 2, log: []string{lineStarting, lineLate + lineTried}}, "warning four-connections: only 2 of the 4 connections to Cloudflare's edge stand"},
		"lost a moment ago":                      {out{edge: edge(nil), connections: 3, log: []string{lineStarting, logTime + lineStands, lineLate + lineTried}}, ""},
		"lost, and the log begins later":         {out{edge: edge(nil), connections: 3, gone: true, log: []string{lineLate + lineTried}}, ""},
		"the first of four late":                 {out{edge: edge(nil), connections: 2, log: []string{lineStarting, lineLate + lineStands}}, ""},
		"tried again and again in vain":          {out{edge: edge(nil), log: []string{lineStarting, lineLate + lineTried}}, "failed registered: the connector is not connected to Cloudflare's edge, and its log does not say why"},
		"three so far":                           {out{edge: edge(nil), connections: 3, age: 30 * time.Second}, ""},
	} {
		d := diagnosed(c.evidence())
		if got := first(d); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		for i, r := range d.Findings() {
			if i > 0 {
				t.Errorf("%s: a further finding: %s %s", name, r.ID, r.Sentence)
			}
		}
	}
}

func TestTheEvidenceNamesWhatIsMissing(t *testing.T) {
	e := out{edge: edge(nil), connections: 2, log: []string{lineStarting, lineLost2}}.evidence()
	r, _ := diagnosed(e).Result("four-connections")
	seen := strings.Join(r.Seen, "\n")
	if want := "connection 2 does not stand, last at 198.41.200.13 in region2\nconnection 3 does not stand"; seen != want {
		t.Errorf("%q, want %q", seen, want)
	}
	e = out{edge: edge(nil), protocol: "http2", log: []string{lineStarting, lineForeign}}.evidence()
	r, _ = diagnosed(e).Result("edge-tls")
	if !strings.Contains(strings.Join(r.Seen, "\n"), `region1 presents a certificate of "CN=Somebody" for *.cftunnel.com`) {
		t.Errorf("%q", r.Seen)
	}
}

func TestACauseOfTheTokenIsTheTokensCheck(t *testing.T) {
	for line, want := range map[string]string{lineSecret: "token-accepted", strings.ReplaceAll(lineSecret, "Invalid tunnel secret", "Tunnel not found"): "tunnel-exists", lineSilent: ""} {
		if got := judgeRegistered(out{edge: edge(nil), log: []string{lineStarting, line}}.evidence()); got.Status != Failed || got.Because != want {
			t.Errorf("%s: %+v, want because %q", line, got, want)
		}
	}
}
