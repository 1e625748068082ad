package conformance

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// connected starts a connector and gives its first connection.
func connected(t *testing.T, s subject, env ...string) (*process, *link) {
	t.Helper()
	b := newBench(t)
	p := s.run(b, newIdentity(t), env...)
	l := b.waitLinks(1)[0]
	<-l.registered
	p.expect("Registered tunnel connection")
	return p, l
}

const catchAll = `{"service":"http_status:404"}`

// configurations is what a connector does with what the edge configures.
func configurations() []behaviour {
	bad := func(name, config, complaint string) behaviour {
		return behaviour{name, func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"kept.example.com","service":"http_status:204"},`+catchAll+`]}`)
			answer := l.push(2, config)
			if !strings.HasPrefix(answer, `200 {"lastAppliedVersion":1,"err":{`) {
				t.Errorf("answer %s", answer)
			}
			p.expect(` ERR Failed to deserialize new configuration error=` + complaint + `.* config=.* version=2$`)
			resp := l.send(http.MethodGet, "kept.example.com", "/", nil, nil)
			defer closing(resp.Body)
			if resp.StatusCode != 204 {
				t.Errorf("the rules in force are gone: %d", resp.StatusCode)
			}
			// The version stays free for a good one.
			if got, want := l.push(2, `{"ingress":[`+catchAll+`]}`), `200 {"lastAppliedVersion":2,"err":null}`; got != want {
				t.Errorf("then %s, want %s", got, want)
			}
		}}
	}
	return []behaviour{
		{"before any configuration the answer is 503", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			resp := l.send(http.MethodGet, "any.example.com", "/", nil, nil)
			defer closing(resp.Body)
			if resp.StatusCode != 503 || resp.Header.Get("Cf-Cloudflared-Response-Meta") != `{"src":"origin"}` {
				t.Errorf("%d %v", resp.StatusCode, resp.Header)
			}
			p.expect(` WRN No ingress rules were defined in provided config \(if any\) nor from the cli, cloudflared will return 503 for all incoming HTTP requests$`)
		}},
		{"/config before any configuration is version -1", func(t *testing.T, s subject) {
			t.Helper()
			p, _ := connected(t, s)
			const zero = `{"connectTimeout":0,"tlsTimeout":0,"tcpKeepAlive":0,"noHappyEyeballs":false,"keepAliveTimeout":0,"keepAliveConnections":0,"httpHostHeader":"","originServerName":"","matchSNItoHost":false,"caPool":"","noTLSVerify":false,"disableChunkedEncoding":false,"bastionMode":false,"proxyAddress":"","proxyPort":0,"proxyType":"","ipRules":null,"http2Origin":false,"access":{"teamName":"","audTag":null}}`
			want := `{"version":-1,"config":{"ingress":[{"hostname":"","path":null,"service":"http_status:503","Handlers":null,"originRequest":` + zero + `}],"warp-routing":{},"originRequest":` + defaults + `}}`
			if got := p.awaitGet("/config", 200); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		}},
		{"/config shows the rules in force", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			config := `{"ingress":[{"hostname":"mqtt.example.com","path":"^/mqtt","service":"http://mosquitto:9001","originRequest":{"connectTimeout":5,"noTLSVerify":true}},` + catchAll + `],"warp-routing":{"enabled":false}}`
			if got, want := l.push(7, config), `200 {"lastAppliedVersion":7,"err":null}`; got != want {
				t.Fatalf("%s, want %s", got, want)
			}
			quoted, err := json.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			p.expect(` INF Updated to new configuration config=` + escape(string(quoted)) + ` version=7$`)
			first := strings.NewReplacer(`"connectTimeout":30`, `"connectTimeout":5`, `"noTLSVerify":false`, `"noTLSVerify":true`).Replace(defaults)
			want := `{"version":7,"config":{"ingress":[{"hostname":"mqtt.example.com","path":"^/mqtt","service":"http://mosquitto:9001","Handlers":null,"originRequest":` + first +
				`},{"hostname":"","path":null,"service":"http_status:404","Handlers":null,"originRequest":` + defaults + `}],"warp-routing":{},"originRequest":` + defaults + `}}`
			if got := p.awaitGet("/config", 200); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if metrics := p.awaitGet("/metrics", 200); !strings.Contains(metrics, "\ncloudflared_orchestration_config_version 7\n") {
				t.Error("the metric does not say 7")
			}
		}},
		{"version 0 is taken, and no version twice", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			for _, step := range []struct {
				version int
				want    string
			}{{0, "0"}, {0, "0"}, {3, "3"}, {2, "3"}, {4, "4"}} {
				if got, want := l.push(step.version, `{"ingress":[`+catchAll+`]}`), `200 {"lastAppliedVersion":`+step.want+`,"err":null}`; got != want {
					t.Errorf("push %d: %s, want %s", step.version, got, want)
				}
			}
			p.expect("Updated to new configuration .* version=0$", "Updated to new configuration .* version=3$", "Updated to new configuration .* version=4$")
			if n := p.count("Updated to new configuration"); n != 3 {
				t.Errorf("%d updates, want 3", n)
			}
		}},
		{"an empty list of rules means 503", func(t *testing.T, s subject) {
			t.Helper()
			_, l := connected(t, s)
			if got, want := l.push(1, `{"ingress":[]}`), `200 {"lastAppliedVersion":1,"err":null}`; got != want {
				t.Errorf("%s, want %s", got, want)
			}
			resp := l.send(http.MethodGet, "any.example.com", "/", nil, nil)
			defer closing(resp.Body)
			if resp.StatusCode != 503 {
				t.Errorf("%d", resp.StatusCode)
			}
		}},
		{"a rule that needs Access shows handlers and refuses", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			l.push(1, `{"ingress":[{"hostname":"a.example.com","service":"http_status:200","originRequest":{"access":{"required":true,"teamName":"lab","audTag":["x"]}}},`+catchAll+`]}`)
			if got := p.awaitGet("/config", 200); strings.Contains(got, `"hostname":"a.example.com","path":null,"service":"http_status:200","Handlers":null`) || !strings.Contains(got, `"access":{"required":true,"teamName":"lab","audTag":["x"]}`) {
				t.Errorf("%s", got)
			}
			resp := l.send(http.MethodGet, "a.example.com", "/", nil, nil)
			defer closing(resp.Body)
			if resp.StatusCode != 403 {
				t.Errorf("%d", resp.StatusCode)
			}
			p.expect(` ERR  error="request filtered by middleware handler \(AccessJWTValidator\) due to: no access token in request"`)
		}},
		{"a body that is no configuration is a 502", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			resp := l.send(http.MethodPut, "edge", "/", http.Header{kind: {"update-configuration"}}, strings.NewReader("{"))
			defer closing(resp.Body)
			if resp.StatusCode != 502 {
				t.Errorf("%d", resp.StatusCode)
			}
			p.expect(` ERR failed to serve incoming request`)
		}},
		bad("a service without a host is refused", `{"ingress":[{"hostname":"a.example.com","service":"mosquitto"},`+catchAll+`]}`, `"mosquitto is an invalid address, please make sure it has a scheme and a hostname"`),
		bad("a service with a path is refused", `{"ingress":[{"hostname":"a.example.com","service":"http://mosquitto:9001/mqtt"},`+catchAll+`]}`, `"http://mosquitto:9001/mqtt is an invalid address, ingress rules don't support proxying to a different path on the origin service\.`),
		bad("a hostname with a port is refused", `{"ingress":[{"hostname":"a.example.com:443","service":"http://mosquitto:9001"},`+catchAll+`]}`, `"Hostname cannot contain a port"`),
		bad("a wildcard inside a hostname is refused", `{"ingress":[{"hostname":"a.*.example.com","service":"http://mosquitto:9001"},`+catchAll+`]}`, `"Hostname patterns can have at most one wildcard character`),
		bad("a last rule with a hostname is refused", `{"ingress":[{"hostname":"a.example.com","service":"http://mosquitto:9001"}]}`, `"The last ingress rule must match all URLs \(i\.e\. it should not have a hostname or path filter\)"`),
		bad("a catch-all before the last rule is refused", `{"ingress":[`+catchAll+`,`+catchAll+`]}`, `"Rule #1 is matching the hostname '', but this will match every hostname, meaning the rules which follow it will never be triggered\."`),
		bad("an invalid path expression is refused", `{"ingress":[{"hostname":"a.example.com","path":"(","service":"http://mosquitto:9001"},`+catchAll+`]}`, `"Rule #1 has an invalid regex: error parsing regexp: missing closing \)`),
		bad("an invalid status is refused", `{"ingress":[{"service":"http_status:99"}]}`, `"invalid HTTP status code: 99"`),
		bad("a configuration of another shape is refused", `{"ingress":5}`, `"json: cannot unmarshal number into Go struct field `),
		{"a missing file of origin authorities is refused", func(t *testing.T, s subject) {
			t.Helper()
			p, l := connected(t, s)
			answer := l.push(1, fmt.Sprintf(`{"ingress":[{"hostname":"a.example.com","service":"https://mosquitto:9001","originRequest":{"caPool":%q}},%s]}`, "/nonexistent", catchAll))
			if !strings.HasPrefix(answer, `200 {"lastAppliedVersion":-1,"err":{`) {
				t.Errorf("answer %s", answer)
			}
			p.expect(` ERR Failed to update ingress error=.*/nonexistent.* version=1$`)
		}},
	}
}

const defaults = `{"connectTimeout":30,"tlsTimeout":10,"tcpKeepAlive":30,"noHappyEyeballs":false,"keepAliveTimeout":90,"keepAliveConnections":100,"httpHostHeader":"","originServerName":"","matchSNItoHost":false,"caPool":"","noTLSVerify":false,"disableChunkedEncoding":false,"bastionMode":false,"proxyAddress":"127.0.0.1","proxyPort":0,"proxyType":"","ipRules":null,"http2Origin":false,"access":{"teamName":"","audTag":null}}`
