package conformance

import (
	"fmt"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/miekg/dns"
)

// startup is the log of a start and what DNS does to it.
func startup() []behaviour {
	return []behaviour{
		{"a start is logged in order", startOrder},
		{"a token file adds two lines to the start", fileStart},
		{"the pre-checks are a box and lines", prechecks},
		{"DNS can switch the pre-checks off", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.override("TXT cfd-features.argotunnel.com.", `cfd-features.argotunnel.com. 1 IN TXT "{\"skip_prechecks\":true}"`)
			p := s.run(b, newIdentity(t), "TUNNEL_NO_PRECHECKS=false")
			p.expect("Registered tunnel connection")
			if n := p.count("CONNECTIVITY PRE-CHECKS"); n != 0 {
				t.Errorf("%d boxes", n)
			}
		}},
		{"a failing features lookup is an error line and nothing more", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.breakName("TXT cfd-features.argotunnel.com.", dns.RcodeServerFailure)
			p := s.run(b, newIdentity(t))
			p.expect(` ERR Failed to fetch features, default to disable error="lookup cfd-features\.argotunnel\.com on .*: server misbehaving"`, "Registered tunnel connection")
		}},
		{"a failing protocol lookup is a warning", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.breakName("TXT protocol-v2.argotunnel.com.", dns.RcodeNameError)
			p := s.run(b, newIdentity(t))
			p.expect(` WRN Unable to lookup protocol percentage\.`, ` INF Initial protocol http2`, "Registered tunnel connection")
		}},
		{"without the protocol's name a token file starts with http2", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.breakName("TXT protocol-v2.argotunnel.com.", dns.RcodeNameError)
			p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN_FILE=" + tokenFile(t, newIdentity(t)), "TUNNEL_TRANSPORT_PROTOCOL=auto"}})
			p.expect(` INF Initial protocol http2`, "Registered tunnel connection .*protocol=http2")
		}},
		{"a token file takes the protocol from DNS", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.override("TXT protocol-v2.argotunnel.com.", `protocol-v2.argotunnel.com. 1 IN TXT "[{\"protocol\":\"http2\",\"percentage\":100}]"`)
			p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN_FILE=" + tokenFile(t, newIdentity(t)), "TUNNEL_TRANSPORT_PROTOCOL=auto"}})
			p.expect(` INF Initial protocol http2`, "Registered tunnel connection")
		}},
		{"a region without an address ends the run with 1", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.zone.breakName("A region1.v2.argotunnel.com.", dns.RcodeNameError)
			b.zone.breakName("AAAA region1.v2.argotunnel.com.", dns.RcodeNameError)
			p := s.run(b, newIdentity(t))
			if code := p.wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
			p.expect(` ERR Initiating shutdown error="Couldn't resolve SRV record &\{region1\.v2\.argotunnel\.com\. \d+ 1 1\}: lookup region1\.v2\.argotunnel\.com\.? on .*: no such host"`, `^Couldn't resolve SRV record`)
		}},
		{"without SRV records the run ends with 1", noSRV},
		{"auto begins with quic and tells when nothing answers", func(t *testing.T, s subject) {
			t.Helper()
			p := s.run(newBench(t), newIdentity(t), "TUNNEL_TRANSPORT_PROTOCOL=auto")
			p.expect(` INF Initial protocol quic`, ` ERR Failed to dial a quic connection error="failed to dial to edge with quic: timeout: no recent network activity" connIndex=0 event=0 ip=`, ` INF Retrying connection in up to 2s connIndex=0`)
		}},
		{"auto falls back to http2 when quic never answers", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "--ha-connections", "1", "--max-edge-addr-retries", "0", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token(), "TUNNEL_TRANSPORT_PROTOCOL=auto"}})
			p.expect(` WRN If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with .quic. protocol`, `^If you are using private routing`, ` INF Switching to fallback protocol http2`, ` INF Registered tunnel connection .*protocol=http2`)
		}},
		{"an explicit quic never falls back", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "--max-edge-addr-retries", "0", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token(), "TUNNEL_TRANSPORT_PROTOCOL=quic"}})
			eventuallyWithin(t, 2*patience, "two failed dials", func() (bool, string) {
				n := p.count("Failed to dial a quic connection")
				return n >= 2, fmt.Sprint(n)
			})
			if n := p.count("fallback protocol"); n != 0 || len(b.all()) != 0 {
				t.Errorf("%d changes, %d registrations", n, len(b.all()))
			}
		}},
	}
}

func tokenFile(t *testing.T, id identity) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, id.token())
	return path
}

func startOrder(t *testing.T, s subject) {
	t.Helper()
	b, id := newBench(t), newIdentity(t)
	p := s.start(b, launch{args: []string{"--no-autoupdate", "tunnel", "run"}, env: []string{"TUNNEL_TOKEN=" + id.token()}})
	b.waitLinks(1)
	const stamp = `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`
	uuid := `[0-9a-f]{8}-[0-9a-f-]{27}`
	p.expect(
		stamp+` INF Starting tunnel tunnelID=`+id.tunnel.String()+`$`,
		stamp+` INF Version \d+\.\d+\.\d+ \(Checksum [0-9a-f-]+\)$`,
		stamp+` INF GOOS: linux, GOVersion: go[0-9.]+, GoArch: \w+$`,
		stamp+` INF Settings: map\[.*no-autoupdate:true.*\]$`,
		stamp+` INF Environmental variables map\[.*\]$`,
		stamp+` INF Generated Connector ID: `+uuid+`$`,
		stamp+` INF Initial protocol http2$`,
		stamp+` INF ICMP proxy will use \S+ as source for IPv4$`,
		stamp+` INF Starting metrics server on `+regexp.QuoteMeta(p.metrics)+`/metrics$`,
		stamp+` INF Tunnel connection curve preferences: \[.*\] connIndex=0 event=0 ip=127\.[0-9.]+$`,
		stamp+` INF Registered tunnel connection connIndex=0 connection=`+uuid+` event=0 ip=127\.[0-9.]+ location=lab01 protocol=http2$`,
		stamp+` INF Registered tunnel connection connIndex=3 `,
	)
}

func fileStart(t *testing.T, s subject) {
	t.Helper()
	b := newBench(t)
	p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN_FILE=" + tokenFile(t, newIdentity(t))}})
	p.expect(
		` INF Starting tunnel`, ` INF Cannot determine default configuration path\. No file \[config\.yml config\.yaml\] in \[~/\.cloudflared ~/\.cloudflare-warp ~/cloudflare-warp /etc/cloudflared /usr/local/etc/cloudflared\]`, ` INF Version`,
		` INF Generated Connector ID`, ` WRN No ingress rules were defined in provided config \(if any\) nor from the cli, cloudflared will return 503 for all incoming HTTP requests$`, ` INF Initial protocol`, "Registered tunnel connection",
	)
}

func prechecks(t *testing.T, s subject) {
	t.Helper()
	b := newBench(t)
	b.zone.override("A api.cloudflare.com.", "api.cloudflare.com. 1 IN A 127.0.0.1")
	p := s.run(b, newIdentity(t), "TUNNEL_NO_PRECHECKS=false")
	p.expectWithin(2*patience,
		` INF \|\s+CONNECTIVITY PRE-CHECKS\s+\|$`,
		` INF \|  COMPONENT         TARGET                     STATUS  DETAILS\s+\|$`,
		` INF \|  DNS Resolution    region1\.v2\.argotunnel\.com  PASS    DNS Resolved successfully\s+\|$`,
		` INF \|  UDP Connectivity  region1\.v2\.argotunnel\.com  FAIL    QUIC connection failed\s+\|$`,
		` INF \|  TCP Connectivity  region2\.v2\.argotunnel\.com  PASS    HTTP/2 connection successful\s+\|$`,
		` INF \|  Cloudflare API    api\.cloudflare\.com:443     FAIL    API Connection failed\s+\|$`,
		` INF \|  WARNING: Allow outbound QUIC traffic on port 7844 or use HTTP2\.\s+\|$`,
		` INF \|  SUMMARY: Environment ready with degraded transport\. cloudflared will proceed using 'http2'\.\s+\|$`,
		` INF precheck component="DNS Resolution" details="DNS Resolved successfully" run_id=\S+ status=pass target=region1\.v2\.argotunnel\.com$`,
		` INF precheck component="UDP Connectivity" details="QUIC connection failed" run_id=\S+ status=fail target=region2`,
		` INF precheck complete hard_fail=false run_id=\S+ suggested_protocol=http2$`,
	)
}

func noSRV(t *testing.T, s subject) {
	t.Helper()
	b := newBench(t)
	b.zone.breakName("SRV _v2-origintunneld._tcp.argotunnel.com.", dns.RcodeServerFailure)
	p := s.run(b, newIdentity(t))
	// The resolver over TLS that is asked next may take its 15 seconds, three times.
	if code := p.waitWithin(4 * patience); code != 1 {
		t.Errorf("exit %d, want 1", code)
	}
	p.expect(` ERR edge discovery: error looking up Cloudflare edge IPs: the DNS query failed error="lookup _v2-origintunneld\._tcp\.argotunnel\.com on .*: server misbehaving" event=0$`,
		` ERR Please try the following things to diagnose this issue: event=0$`,
		` ERR Initiating shutdown error="Could not lookup srv records on _v2-origintunneld\._tcp\.argotunnel\.com: lookup`, `^Could not lookup srv records on`)
}
