package conformance

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// registrations is what a connector says to the edge, and what it does with a no.
func registrations() []behaviour {
	return []behaviour{
		{"a registration carries credentials, identity and features", registrationFields},
		{"four connections go to four addresses", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token()}})
			seen := map[string]uint8{}
			var order []uint8
			for _, l := range b.waitLinks(4) {
				seen[l.address] = l.reg.ConnIndex
				order = append(order, l.reg.ConnIndex)
				if l.reg.ConnectorID != b.all()[0].reg.ConnectorID {
					t.Error("two connector IDs")
				}
			}
			if len(seen) != 4 || !slices.Equal(order, []uint8{0, 1, 2, 3}) {
				t.Errorf("addresses %v, order %v", seen, order)
			}
			p.expect("Registered tunnel connection connIndex=0", "Registered tunnel connection connIndex=1", "Registered tunnel connection connIndex=2", "Registered tunnel connection connIndex=3")
		}},
		{"static edges need no name", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token(), "TUNNEL_EDGE=" + b.edges()}})
			b.waitLinks(4)
			p.expect("Registered tunnel connection connIndex=3")
		}},
		{"fewer addresses than connections are told", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			two := strings.Join(strings.Split(b.edges(), ",")[:2], ",")
			p := s.start(b, launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token(), "TUNNEL_EDGE=" + two}})
			p.expect(` INF You requested 4 HA connections but I can give you at most 2\.`, "Registered tunnel connection connIndex=1")
		}},
		{"ready, diag and metrics follow the connections", metricsEndpoints},
		{"Unauthorized is tried again for ever", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "Unauthorized: Invalid tunnel secret"})
			p := s.run(b, newIdentity(t), "TUNNEL_RETRIES=1")
			b.waitLinks(2)
			p.expect(` ERR failed to serve incoming request error="Unauthorized: Invalid tunnel secret"`,
				` ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0 event=0 ip=127\.`,
				` INF Retrying connection in up to 2s connIndex=0 event=0 ip=127\.`,
				` ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret"`)
			if !p.running() {
				t.Error("it ended")
			}
			b.verdict.Store(&verdict{})
			p.awaitGet("/ready", 200)
		}},
		{"another refusal of the first registration ends the run with 1", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "tunnel limit reached"})
			p := s.run(b, newIdentity(t))
			if code := p.wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
			p.expect(` ERR Register tunnel error from server side error="tunnel limit reached"`, ` INF Retrying connection in up to 2s`,
				` ERR initial tunnel connection failed error="tunnel limit reached"`, ` ERR Initiating shutdown error="tunnel limit reached"`, `^tunnel limit reached$`)
		}},
		{"a refusal that may be retried ends the first registration all the same", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "try later", retry: true})
			p := s.run(b, newIdentity(t))
			if code := p.wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
		}},
		{"after a refusal the connector waits for the edge to hang up", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "Unauthorized: Tunnel not found", keepTCP: true})
			p := s.run(b, newIdentity(t))
			p.expect(` ERR failed to serve incoming request error="Unauthorized: Tunnel not found"`)
			select {
			case <-p.done:
				t.Errorf("it ended with %d", p.code)
			case <-time.After(time.Second):
			}
			if n := p.count("Register tunnel error from server side"); n != 0 {
				t.Errorf("%d ends before the edge hung up", n)
			}
			closing(b.all()[0].conn)
			p.expect(`Register tunnel error from server side`)
		}},
		{"a duplicate connection moves on to another address", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{cause: "EDUPCONN"})
			p := s.run(b, newIdentity(t))
			first := b.waitLinks(1)[0].address
			b.verdict.Store(&verdict{})
			if second := b.waitLinks(2)[1].address; second == first {
				t.Errorf("%s twice", first)
			}
			p.expect(` ERR Unable to establish connection\. error="already connected to this server, trying another address"`, `Registered tunnel connection`)
		}},
		{"an edge that does not answer the registration ends the run with 1", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{silent: true})
			p := s.start(b, launch{args: []string{"tunnel", "--rpc-timeout", "1s", "run"}, env: []string{"TUNNEL_TOKEN=" + newIdentity(t).token()}})
			p.expect(` ERR failed to serve incoming request error="context deadline exceeded"`)
			closing(b.all()[0].conn)
			if code := p.wait(); code != 1 {
				t.Errorf("exit %d, want 1", code)
			}
		}},
		{"a locally managed tunnel reports its configuration", func(t *testing.T, s subject) {
			t.Helper()
			b := newBench(t)
			b.verdict.Store(&verdict{local: true})
			s.run(b, newIdentity(t))
			select {
			case config := <-b.waitLinks(1)[0].localConfig:
				if !bytes.Contains(config, []byte(`"service":"http_status:503"`)) {
					t.Errorf("%s", config)
				}
			case <-t.Context().Done():
			}
		}},
	}
}

func registrationFields(t *testing.T, s subject) {
	t.Helper()
	b, id := newBench(t), newIdentity(t)
	p := s.run(b, id)
	got := b.waitLinks(1)[0].reg
	slices.Sort(got.Features)
	local, ok := netip.AddrFromSlice(got.LocalIP)
	if !ok || !local.Unmap().IsLoopback() {
		t.Errorf("local address %v", got.LocalIP)
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+$`).MatchString(got.Version) {
		t.Errorf("version %q", got.Version)
	}
	p.expect("Generated Connector ID: " + got.ConnectorID.String())
	want := registration{
		AccountTag: id.account, Secret: id.secret, TunnelID: id.tunnel, ConnectorID: got.ConnectorID, Version: got.Version, LocalIP: got.LocalIP,
		Arch:     runtime.GOOS + "_" + runtime.GOARCH,
		Features: []string{"allow_remote_config", "management_logs", "serialized_headers", "support_datagram_v2", "support_quic_eof"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func metricsEndpoints(t *testing.T, s subject) {
	t.Helper()
	b, id := newBench(t), newIdentity(t)
	b.verdict.Store(&verdict{cause: "Unauthorized: wait"})
	p := s.run(b, id, "TUNNEL_RETRIES=1")
	b.waitLinks(1)
	connector := b.all()[0].reg.ConnectorID
	if got, want := p.awaitGet("/ready", 503), fmt.Sprintf(`{"status":503,"readyConnections":0,"connectorId":"%s"}`, connector); got != want {
		t.Errorf("/ready %s, want %s", got, want)
	}
	if got := p.awaitGet("/healthcheck", 200); got != "OK\n" {
		t.Errorf("/healthcheck %q", got)
	}
	var state map[string]json.RawMessage
	if err := json.Unmarshal([]byte(p.awaitGet("/diag/tunnel", 200)), &state); err != nil || state["connections"] != nil {
		t.Errorf("/diag/tunnel without connections: %v %s", err, state["connections"])
	}
	b.verdict.Store(&verdict{})
	if got, want := p.awaitGet("/ready", 200), fmt.Sprintf(`{"status":200,"readyConnections":1,"connectorId":"%s"}`, connector); got != want {
		t.Errorf("/ready %s, want %s", got, want)
	}
	links := b.all()
	host, _, _ := strings.Cut(links[len(links)-1].address, ":")
	diag := p.awaitGet("/diag/tunnel", 200)
	// The index 0 and the protocol http2 are left out.
	for _, want := range []string{`"tunnelID":"` + id.tunnel.String() + `"`, `"connectorID":"` + connector.String() + `"`, `"connections":[{"isConnected":true,"edgeAddress":"` + host + `"}]`, `"icmp_sources":[`} {
		if !strings.Contains(diag, want) {
			t.Errorf("/diag/tunnel %s lacks %s", diag, want)
		}
	}
	if got := p.awaitGet("/diag/configuration", 200); !strings.Contains(got, `"uid":"`) || strings.Contains(got, base64.StdEncoding.EncodeToString(id.secret)) {
		t.Errorf("/diag/configuration %s", got)
	}
	if got := p.awaitGet("/quicktunnel", 200); got != `{"hostname":""}` {
		t.Errorf("/quicktunnel %s", got)
	}
	metrics := p.awaitGet("/metrics", 200)
	for _, want := range []string{
		`build_info{goversion="go`, `cloudflared_tunnel_ha_connections 1`, `cloudflared_tunnel_server_locations{connection_id="0",edge_location="lab01"} 1`,
		`cloudflared_tunnel_tunnel_register_success{rpcName="registerConnection"} 1`, `cloudflared_tunnel_tunnel_register_fail{error="server_error",rpcName="registerConnection"} `,
		`cloudflared_orchestration_config_version 0`, `cloudflared_tunnel_total_requests 0`, `cloudflared_tunnel_concurrent_requests_per_tunnel 0`,
		`cloudflared_tunnel_request_errors 0`, `cloudflared_rpc_client_operations{handler="registration",method="register_connection"} `,
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	if code, _ := p.get("/nonsense"); code != 404 {
		t.Errorf("/nonsense: %d", code)
	}
}
