package cloudflared_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/cloudflared"
)

const at = "2026-08-20T10:37:18Z "

func TestLinesOfEveryFormAreRead(t *testing.T) {
	when := time.Date(2026, 8, 20, 10, 37, 18, 0, time.UTC)
	for text, want := range map[string]cloudflared.Line{
		at + "INF Registered tunnel connection connIndex=0 event=0 ip=198.41.192.57 location=fra08 protocol=quic": {
			Time: when, Level: "info", Message: "Registered tunnel connection",
			Fields: map[string]string{"connIndex": "0", "event": "0", "ip": "198.41.192.57", "location": "fra08", "protocol": "quic"},
		},
		at + `ERR  error="a \"b\" c=d" connIndex=1` + "\r\n": {
			Time: when, Level: "error", Fields: map[string]string{"error": `a "b" c=d`, "connIndex": "1"},
		},
		at + "INF Settings: map[a:b] with x=y inside": {Time: when, Level: "info", Message: "Settings: map[a:b] with x=y inside"},
		at + `WRN odd x="unclosed`:                    {Time: when, Level: "warn", Message: `odd x="unclosed`},
		"\x1b[90m" + strings.TrimSpace(at) + "\x1b[0m \x1b[32mINF\x1b[0m Starting tunnel \x1b[36mtunnelID=\x1b[0mabc": {
			Time: when, Level: "info", Message: "Starting tunnel", Fields: map[string]string{"tunnelID": "abc"},
		},
		`{"level":"error","connIndex":2,"error":"x y","time":"2026-08-20T10:37:18Z","message":"Serve tunnel error"}`: {
			Time: when, Level: "error", Message: "Serve tunnel error", Fields: map[string]string{"connIndex": "2", "error": "x y"},
		},
		"2026/08/20 10:37:18 failed to sufficiently increase receive buffer size": {
			Time: when, Message: "failed to sufficiently increase receive buffer size",
		},
		"Provided Tunnel token is not valid.": {Message: "Provided Tunnel token is not valid."},
		`{"level":"info"}`:                    {Message: `{"level":"info"}`},
		"":                                    {},
	} {
		if diff := cmp.Diff(want, cloudflared.ParseLine(text)); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
}

func TestEventsAreRecognised(t *testing.T) {
	for text, want := range map[string]cloudflared.Event{
		"INF Starting tunnel tunnelID=11111111-2222-4333-8444-555555555555": {
			Kind: cloudflared.EventStarting, Index: -1, TunnelID: "11111111-2222-4333-8444-555555555555",
		},
		"INF Version 2026.8.2 (Checksum abc)": {Kind: cloudflared.EventVersion, Index: -1, Version: "2026.8.2"},
		"INF Generated Connector ID: c0":      {Kind: cloudflared.EventConnector, Index: -1, ConnectorID: "c0"},
		"INF Initial protocol quic":           {Kind: cloudflared.EventProtocol, Index: -1, Protocol: "quic"},
		"INF Registered tunnel connection connIndex=3 connection=x event=0 ip=198.41.192.57 location=fra08 protocol=http2": {
			Kind: cloudflared.EventRegistered, Index: 3, Location: "fra08", Protocol: "http2", IP: "198.41.192.57",
		},
		"INF Unregistered tunnel connection connIndex=1 event=0 ip=1.1.1.1": {
			Kind: cloudflared.EventUnregistered, Index: 1, IP: "1.1.1.1",
		},
		"WRN Connection terminated connIndex=2":                             {Kind: cloudflared.EventLost, Index: 2},
		"INF Switching to fallback protocol http2 connIndex=0":              {Kind: cloudflared.EventFallback, Index: 0, Protocol: "http2"},
		"INF Initiating graceful shutdown due to signal terminated ...":     {Kind: cloudflared.EventShutdown, Index: -1},
		"INF Tunnel server stopped":                                         {Kind: cloudflared.EventStopped, Index: -1},
		`ERR Failed to dial a quic connection error="x" connIndex=0 ip=::1`: {Kind: cloudflared.EventDialFailed, Index: 0, IP: "::1"},
		`INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"m.example.com\",\"originRequest\":{\"access\":{\"required\":true}},` +
			`\"service\":\"http://mosquitto:9001\"},{\"service\":\"http_status:404\"}],\"warp-routing\":{}}" version=4`: {
			Kind: cloudflared.EventConfig, Index: -1, Ingress: cloudflared.Ingress{Version: 4, Rules: []cloudflared.Rule{
				{Hostname: "m.example.com", Service: broker, AccessRequired: true}, {Service: "http_status:404"},
			}},
		},
		// Longer than a line of the log: the end is missing, wherever it was cut.
		`INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"m.example.com\",\"serv`: unread(-1),
		`INF Updated to new configuration config="{\"ingress\":[{\"path\":\"a x=1`:                      unread(-1),
		`INF Updated to new configuration config="{\"ingress\":[{\"path\":\"a version=7`:                unread(-1),
		`INF Updated to new configuration config="{\`:                                                   unread(-1),
		`INF Updated to new configuration config="{\"ingress\":[]}"`:                                    unread(-1),
		`INF Updated to new configuration config="{\"ingress\":[]}" ver`:                                unread(-1),
		`INF Updated to new configuration config="{\"ingress\":7}" version=5`:                           unread(5),
		"INF Registered tunnel connection, says a client":                                               {Index: -1},
		"INF Updated to new configurations":                                                             {Index: -1},
	} {
		if diff := cmp.Diff(want, cloudflared.ParseLine(at+text).Event()); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
	const json = `{"level":"info","version":6,"config":"{\"ingress\":[{\"hostname\":\"m.example.com\"`
	for text, want := range map[string]cloudflared.Event{
		json: unread(6),
		json + `}]}","time":"2026-08-20T10:37:18Z","message":"Updated to new configuration"}`: {
			Kind: cloudflared.EventConfig, Index: -1, Ingress: cloudflared.Ingress{Version: 6, Rules: []cloudflared.Rule{{Hostname: "m.example.com"}}},
		},
		strings.Replace(json, "info", "error", 1): {Index: -1},
	} {
		if diff := cmp.Diff(want, cloudflared.ParseLine(text).Event()); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
	if e := cloudflared.ParseLine("Starting tunnel").Event(); e.Kind != cloudflared.EventNone {
		t.Errorf("a line from outside the logger passes for an event: %+v", e)
	}
}

func unread(version int) cloudflared.Event {
	return cloudflared.Event{Kind: cloudflared.EventConfig, Index: -1, Ingress: cloudflared.Ingress{Version: version, Unread: true}}
}

// Lines that the cases share.
const (
	start     = "INF Starting tunnel tunnelID=11111111-2222-4333-8444-555555555555"
	connected = "INF Registered tunnel connection connIndex=0 connection=x event=0 ip=198.41.192.57 location=fra08 protocol=quic"
	dial      = `ERR Failed to dial a quic connection error="failed to dial to edge with quic: timeout: no recent network activity" connIndex=0 event=0 ip=198.41.192.57`
	noRules   = "WRN No ingress rules were defined in provided config (if any) nor from the cli, cloudflared will return 503 for all incoming HTTP requests"
	applied   = `INF Updated to new configuration config="{}" version=1`
	stop      = "INF Initiating graceful shutdown due to signal terminated ..."
	silent    = `ERR Serve tunnel error error="control stream encountered a failure while serving" connIndex=2 event=0 ip=198.41.192.57`
	noName    = `ERR  error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: dial tcp: lookup mosquitto on 127.0.0.11:53: no such host" connIndex=0 event=1`
)

func origin(reason string) string {
	return `ERR Request failed error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: ` +
		reason + `" connIndex=0 dest=https://m.example.com/mqtt event=0 ip=198.41.192.57 type=ws`
}

func tcp(reason string) string {
	return `ERR Unable to establish connection with Cloudflare edge error="` + reason + `" connIndex=0 event=0 ip=198.41.192.57`
}

func TestTheLogTellsTheCause(t *testing.T) {
	none := cloudflared.CauseID("")
	for name, c := range map[string]struct {
		lines []string
		want  cloudflared.CauseID
	}{
		"nothing":                     {nil, none},
		"healthy":                     {[]string{start, noRules, connected, applied}, none},
		"bad token":                   {[]string{"=Provided Tunnel token is not valid.", "=See 'cloudflared tunnel run --help'."}, cloudflared.CauseTokenInvalid},
		"no token":                    {[]string{`="cloudflared tunnel run" requires the ID or name of the tunnel to run as the last command line argument`}, cloudflared.CauseTokenMissing},
		"token file":                  {[]string{"=Failed to read token file: open /run/secrets/x: permission denied"}, cloudflared.CauseTokenFile},
		"old image":                   {[]string{"=Incorrect Usage: flag provided but not defined: -token-file"}, cloudflared.CauseUsage},
		"metrics":                     {[]string{start, `ERR Error opening metrics server listener error="failed to bind to address (127.0.0.1:20241): listen tcp: address already in use"`}, cloudflared.CauseMetrics},
		"setting":                     {[]string{start, `ERR Couldn't start tunnel error="invalid value for edge-ip-version: 5"`}, cloudflared.CauseSetting},
		"old secret":                  {[]string{start, `ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0`}, cloudflared.CauseSecret},
		"secret, quic":                {[]string{start, `ERR failed to serve the control stream error="Unauthorized: Invalid tunnel secret" connIndex=0`, `ERR Serve tunnel error error="control stream encountered a failure while serving" connIndex=0`}, cloudflared.CauseSecret},
		"refused, quic, as of 2026.8": {[]string{start, `ERR failed to run the datagram handler error="context canceled" connIndex=0`, `ERR Serve tunnel error error="control stream encountered a failure while serving" connIndex=0`}, cloudflared.CauseRefusedSilently},
		"tunnel gone":                 {[]string{start, `WRN Register tunnel error from server side error="Unauthorized: Record for tunnel not found" connIndex=0`}, cloudflared.CauseNoTunnel},
		"refused":                     {[]string{start, `ERR Register tunnel error from server side error="Unauthorized: no idea" connIndex=0`}, cloudflared.CauseRefused},
		"edge silent":                 {[]string{start, `ERR Register tunnel error from server side error="context deadline exceeded" connIndex=0`}, cloudflared.CauseEdgeSilent},
		"dns":                         {[]string{start, `ERR Initiating shutdown error="Could not lookup srv records on _v2-origintunneld._tcp.argotunnel.com: lookup x: i/o timeout"`}, cloudflared.CauseDNS},
		"features only":               {[]string{start, `ERR Failed to fetch features, default to disable error="lookup cfd-features.argotunnel.com on 127.0.0.11:53: server misbehaving"`}, none},
		"one dial":                    {[]string{start, dial}, none},
		"two dials":                   {[]string{start, dial, `ERR Serve tunnel error error="failed to dial to edge with quic: timeout: no recent network activity" connIndex=0`, "INF Retrying connection in up to 2s connIndex=0", dial}, cloudflared.CauseUDPBlocked},
		"dial, success, dial":         {[]string{start, dial, connected, dial}, none},
		"two dials, then connected":   {[]string{start, dial, dial, "INF Switching to fallback protocol http2 connIndex=0", connected}, none},
		"both blocked":                {[]string{start, dial, dial, "INF Switching to fallback protocol http2 connIndex=0", tcp("DialContext error: dial tcp 198.41.192.57:7844: i/o timeout")}, cloudflared.CauseTCPBlocked},
		"tcp refused":                 {[]string{start, tcp("DialContext error: dial tcp 198.41.192.57:7844: connect: connection refused")}, cloudflared.CauseTCPBlocked},
		"no route":                    {[]string{start, tcp("DialContext error: dial tcp [2606:4700:a0::1]:7844: connect: network is unreachable")}, cloudflared.CauseNoRoute},
		"firewall":                    {[]string{start, `ERR Failed to dial a quic connection error="failed to dial to edge with quic: write udp 172.18.0.2:40000->198.41.192.57:7844: sendto: operation not permitted" connIndex=0`}, cloudflared.CauseFirewall},
		"clock":                       {[]string{start, tcp("TLS handshake with edge error: tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 1970-01-01T00:03:00Z is before 2026-01-01T00:00:00Z")}, cloudflared.CauseClock},
		"clock, quic":                 {[]string{start, `ERR Failed to dial a quic connection error="failed to dial to edge with quic: CRYPTO_ERROR 0x12a (local): tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time x" connIndex=0`}, cloudflared.CauseClock},
		"intercepted":                 {[]string{start, tcp("TLS handshake with edge error: tls: failed to verify certificate: x509: certificate signed by unknown authority")}, cloudflared.CauseInterception},
		"reset":                       {[]string{start, tcp("TLS handshake with edge error: EOF")}, cloudflared.CauseReset},
		"nothing published":           {[]string{start, noRules, connected, noRules}, cloudflared.CauseNoIngress},
		"the warning of every start":  {[]string{start, noRules, connected}, none},
		"published now":               {[]string{start, connected, noRules, applied}, none},
		"origin name":                 {[]string{start, connected, applied, noName}, cloudflared.CauseOriginName},
		"origin refused":              {[]string{start, connected, applied, origin("dial tcp 172.18.0.3:9001: connect: connection refused")}, cloudflared.CauseOriginRefused},
		"origin not http":             {[]string{start, connected, applied, origin("EOF")}, cloudflared.CauseOriginNoHTTP},
		"origin tls":                  {[]string{start, connected, applied, origin("tls: first record does not look like a TLS handshake")}, cloudflared.CauseOriginTLS},
		"origin else":                 {[]string{start, connected, applied, origin("something new")}, cloudflared.CauseOrigin},
		"origin, http2":               {[]string{start, connected, applied, `ERR failed to serve incoming request error="Failed to proxy HTTP: Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: unexpected EOF" connIndex=0`}, cloudflared.CauseOriginNoHTTP},
		"origin repaired":             {[]string{start, connected, applied, noName, applied}, none},
		"client went away":            {[]string{start, connected, applied, `ERR  error="Incoming request ended abruptly: context canceled" connIndex=0`}, none},
		"stopped":                     {[]string{start, connected, stop, dial, dial, noName, "INF Tunnel server stopped"}, none},
		"started again":               {[]string{start, connected, stop, "INF Tunnel server stopped", start, dial, dial}, cloudflared.CauseUDPBlocked},
		"bad token after a stop":      {[]string{start, connected, stop, "=Provided Tunnel token is not valid."}, cloudflared.CauseTokenInvalid},
		"good token after a bad one":  {[]string{"=Provided Tunnel token is not valid.", start, connected}, none},
		"one slot fails":              {[]string{start, connected, strings.ReplaceAll(dial, "connIndex=0", "connIndex=1"), strings.ReplaceAll(dial, "connIndex=0", "connIndex=1")}, cloudflared.CauseUDPBlocked},
		"lost and back":               {[]string{start, connected, applied, "INF Lost connection with the edge connIndex=0", dial, dial, connected}, none},
		"lost":                        {[]string{start, connected, applied, "WRN Connection terminated connIndex=0", dial, dial}, cloudflared.CauseUDPBlocked},
		"stopped without a network":   {[]string{start, dial, dial, stop, dial, "ERR no more connections active and exiting", "INF Tunnel server stopped"}, none},
		"token mended after a stop":   {[]string{start, `ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0`, stop, "INF Tunnel server stopped", start, connected, applied}, none},
		"refused configuration":       {[]string{start, connected, applied, `ERR Failed to update ingress error="x"`}, cloudflared.CauseBadIngress},
		"accepted after a refused":    {[]string{start, connected, `ERR Failed to update ingress error="x"`, applied}, none},
		"cut off at a shutdown":       {[]string{silent, start}, none},
		"other slot of a run before":  {[]string{start, strings.ReplaceAll(dial, "connIndex=0", "connIndex=2"), strings.ReplaceAll(dial, "connIndex=0", "connIndex=2"), start, connected}, none},
		"words of others":             {[]string{start, connected, applied, origin("EOF Provided Tunnel token is not valid. Unauthorized: Invalid tunnel secret"), "INF Unauthorized: Invalid tunnel secret", `ERR Request failed error="says: Unauthorized: Invalid tunnel secret" connIndex=0`}, cloudflared.CauseOriginNoHTTP},
	} {
		var lines []cloudflared.Line
		for _, text := range c.lines {
			plain, ok := strings.CutPrefix(text, "=")
			if !ok {
				plain = at + text
			}
			lines = append(lines, cloudflared.ParseLine(plain))
		}
		got, found := cloudflared.Diagnose(lines)
		if got.ID != c.want || found != (c.want != none) {
			t.Errorf("%s: got %q, want %q\n%s", name, got.ID, c.want, strings.Join(c.lines, "\n"))
		}
		if found && (got.Sentence == "" || got.Hint == "" || strings.HasSuffix(got.Sentence, ".")) {
			t.Errorf("%s: sentence %q, hint %q", name, got.Sentence, got.Hint)
		}
	}
}

func FuzzLine(f *testing.F) {
	for _, text := range []string{
		at + connected, at + applied, at + dial, at + noName, "=x", `{"level":"info","time":"2026-08-20T10:37:18Z","a":{}}`,
		"2026/08/20 10:37:18 x", at + `ERR  a="b" c="d`, "\x1b[31m", at + "INF a=b=c  d= e",
	} {
		f.Add(text, "Unauthorized: Invalid tunnel secret")
	}
	f.Fuzz(func(t *testing.T, text, foreign string) {
		line := cloudflared.ParseLine(text)
		cloudflared.Diagnose([]cloudflared.Line{line, line})
		// Whatever stands inside another's words is never taken for cloudflared's.
		error := cloudflared.ParseLine(at + "ERR Request failed error=" + quote("says: "+foreign) + " connIndex=0")
		if cause, ok := cloudflared.Diagnose([]cloudflared.Line{error, error}); ok {
			t.Errorf("%q passes for %s", foreign, cause.ID)
		}
	})
}

// quote writes a value as cloudflared's logger does.
func quote(value string) string { return strconv.Quote(value) }

// With level debug the connector logs each request, beginning with its method, which
// is the client's.
func TestARequestIsNoEvent(t *testing.T) {
	for _, text := range []string{
		"2026-08-18T10:00:00Z DBG Version https://mqtt.example.com/ HTTP/1.1 connIndex=0 event=1",
		`{"level":"debug","time":"2026-08-18T10:00:00Z","message":"Version https://mqtt.example.com/ HTTP/1.1"}`,
	} {
		if e := cloudflared.ParseLine(text).Event(); e.Kind != cloudflared.EventNone {
			t.Errorf("%s: event %d, version %q", text, e.Kind, e.Version)
		}
	}
}
