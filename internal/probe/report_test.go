package probe_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/probe"
)

// written runs the probe as its container does and returns what it wrote.
func written(t *testing.T, req probe.Request) string {
	t.Helper()
	content, err := req.Encode()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(path, []byte(content.Reveal()), probe.RequestMode); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := probe.Main(t.Context(), path, nil, &out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// read puts the report together again, as its reader does. The rest is what came
// after the end of the report.
func read(t *testing.T, text string) (report probe.Report, rest string) {
	t.Helper()
	var lines probe.ReportLines
	for text != "" {
		line, after, _ := strings.Cut(text, "\n")
		text = after
		if lines.Add(line) {
			break
		}
	}
	report, err := lines.Decode()
	if err != nil {
		t.Fatal(err)
	}
	return report, text
}

// settings are those of a rule, as cloudflared writes them out.
const settings = `{"connectTimeout":30,"tlsTimeout":10,"tcpKeepAlive":30,"noHappyEyeballs":false,"keepAliveTimeout":90,"keepAliveConnections":100,` +
	`"httpHostHeader":"","originServerName":"","matchSNItoHost":false,"caPool":"","noTLSVerify":false,"disableChunkedEncoding":false,"bastionMode":false,` +
	`"proxyAddress":"127.0.0.1","proxyPort":0,"proxyType":"","ipRules":null,"http2Origin":false,"access":{"teamName":"","audTag":null}}`

// configOf is an answer of /config with n rules in front of the broker's.
func configOf(n int, hostname string) string {
	var text strings.Builder
	text.WriteString(`{"version":9,"config":{"ingress":[`)
	for i := range n {
		fmt.Fprintf(&text, `{"hostname":"%s-%d.example.com","path":null,"service":"http://10.0.0.%d:8080","Handlers":null,"originRequest":`+settings+`},`, hostname, i, i%250)
	}
	text.WriteString(`{"hostname":"mqtt.example.com","path":"","service":"http://mosquitto:9001","Handlers":null,"originRequest":{"access":{"required":true,"teamName":"t"}}},{"service":"http_status:404"}],"warp-routing":{}}}`)
	return text.String()
}

// answering is a project whose connector answers /config with a text.
func answering(t *testing.T, config string) probe.Request {
	t.Helper()
	req := project(t, false)
	req.Metrics = serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/config" {
			_, _ = io.WriteString(w, config)
			return
		}
		http.NotFound(w, r)
	})).Listener.Addr().String()
	return req
}

func TestALongReportArrivesWhole(t *testing.T) {
	for name, hostname := range map[string]string{
		"plain":               "service",
		"characters of bytes": "größe-日本-𝄞",
	} {
		for _, n := range []int{0, 1, 100, 20_000} {
			config := configOf(n, hostname)
			text := written(t, answering(t, config))
			longest := 0
			for line := range strings.SplitSeq(text, "\n") {
				longest = max(longest, len(line))
				if !utf8.ValidString(line) {
					t.Fatalf("%s, %d rules: a line ends inside a character", name, n)
				}
			}
			if longest > 16<<10 {
				t.Errorf("%s, %d rules: a line of %d bytes, which the Engine cuts", name, n, longest)
			}
			report, rest := read(t, text)
			if rest != "" {
				t.Errorf("%s, %d rules: %d bytes come after the end", name, n, len(rest))
			}
			got, err := cloudflared.ParseConfig(bytes.NewReader(report.Config.Body))
			if err != nil {
				t.Fatalf("%s, %d rules: %v, %+v", name, n, err, report.Config.Error)
			}
			short, err := cloudflared.CompactConfig([]byte(config))
			if err != nil {
				t.Fatal(err)
			}
			want, err := cloudflared.ParseConfig(bytes.NewReader(short))
			if err != nil || len(want.Rules) != n+2 {
				t.Fatalf("%s, %d rules: %d are read, %v", name, n, len(want.Rules), err)
			}
			if got.Version != 9 || !slices.Equal(got.Rules, want.Rules) {
				t.Errorf("%s, %d rules: they arrived as %d others", name, n, len(got.Rules))
			}
			if len(text) > len(config)+16<<10 {
				t.Errorf("%s, %d rules: %d bytes of report for %d of configuration", name, n, len(text), len(config))
			}
		}
	}
}

func TestAConfigurationThatIsNotUnderstoodIsPassedOnWhileItIsShort(t *testing.T) {
	odd := `{"rules":["` + strings.Repeat("x", 200<<10) + `"]}`
	report, _ := read(t, written(t, answering(t, odd)))
	if !report.Config.OK || string(report.Config.Body) != odd {
		t.Errorf("%+v, %d bytes", report.Config.Check, len(report.Config.Body))
	}
	for name, config := range map[string]string{
		"odd and long": `{"rules":["` + strings.Repeat("x", 300<<10) + `"]}`,
		"too long":     configOf(60_000, "service"),
		"no JSON":      `{"version":9,"config":`,
	} {
		report, _ := read(t, written(t, answering(t, config)))
		if report.Config.OK || report.Config.Error == nil || report.Config.Error.Class != probe.ClassEndpointBody {
			t.Errorf("%s: %+v", name, report.Config.Check)
		}
	}
}

func TestAReportThatBreaksOffIsNone(t *testing.T) {
	text := written(t, answering(t, configOf(500, "service")))
	lines := strings.Split(text, "\n")
	var broken probe.ReportLines
	for _, line := range lines[:len(lines)-4] {
		broken.Add(line)
	}
	if report, err := broken.Decode(); err == nil {
		t.Errorf("read as %+v", report.Config.Check)
	}
	var none probe.ReportLines
	if _, err := none.Decode(); err == nil || !none.Empty() {
		t.Error("no line is read as a report")
	}
	var endless probe.ReportLines
	line, n := strings.Repeat(" ", 1<<20), 0
	for !endless.Add(line) && n < 100 {
		n++
	}
	if _, err := endless.Decode(); n > 10 || err == nil {
		t.Errorf("%d lines of 1 MiB are taken, %v", n, err)
	}
}

// FuzzReportLines puts any text through the lines and back.
func FuzzReportLines(f *testing.F) {
	f.Add("service", 3)
	f.Add("größe\u2028𝄞\x00\\\"<>&", 300)
	f.Fuzz(func(t *testing.T, text string, n int) {
		detail := strings.Repeat(strings.ToValidUTF8(text, "?"), max(0, min(n, 1000)))
		if len(detail) > 1<<20 {
			return
		}
		report := probe.Report{Version: probe.Version, Proxy: []string{detail}}
		lines, err := probe.EncodeReport(report)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(report)
		if err != nil {
			t.Fatal(err)
		}
		again, rest := read(t, string(lines))
		got, err := json.Marshal(again)
		if err != nil || rest != "" || !bytes.Equal(got, want) {
			t.Fatalf("%q became %q, %v", want, got, err)
		}
	})
}
