package front_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/ca"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/edge"
	"mqtunnel/internal/lab/front"
	"mqtunnel/internal/lab/registry"
)

// public returns the public side of a world in which mqtt.example.com belongs to
// the tunnel id, and no connector runs.
func public(t *testing.T) (f *front.Front, id string) {
	t.Helper()
	authority, err := ca.New()
	if err != nil {
		t.Fatal(err)
	}
	reg, log := registry.New(), slog.New(slog.DiscardHandler)
	tunnel, err := reg.Create(control.TunnelRequest{Hostnames: []control.Rule{{Hostname: "mqtt.example.com", Service: "http://mosquitto:9001"}}})
	if err != nil {
		t.Fatal(err)
	}
	f = &front.Front{Registry: reg, Edge: edge.New(reg, authority, log), Log: log}
	f.Other = f.Elsewhere(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	return f, tunnel.TunnelID
}

func TestAnswersWithoutAConnectorAreCloudflares(t *testing.T) {
	for _, c := range []struct {
		name, host, path string
		faults           control.Faults
		status           int
		body, location   string
	}{
		{"published, no connector", "mqtt.example.com", "/mqtt", control.Faults{}, 530, "error code: 1033", ""},
		{"in other spellings of the host", "MQTT.Example.com.:8443", "/mqtt", control.Faults{}, 530, "error code: 1033", ""},
		{"never published", "other.example.com", "/", control.Faults{}, 530, "error code: 1016", ""},
		{"what cloudflared asks for at its start", "update.argotunnel.com", "/", control.Faults{}, 404, "not found", ""},
		{"DNS-over-HTTPS, by any name", "cloudflare-dns.com", "/dns-query", control.Faults{}, http.StatusTeapot, "", ""},
		{"a status on command", "mqtt.example.com", "/", control.Faults{PublicStatus: 502}, 502, "error code: 502", ""},
		{"with a number of Cloudflare's own", "mqtt.example.com", "/", control.Faults{PublicStatus: 530, PublicCode: 1016}, 530, "error code: 1016", ""},
		{"with a page", "mqtt.example.com", "/", control.Faults{PublicStatus: 200, PublicBody: "<html>log in</html>"}, 200, "<html>log in</html>", ""},
		{"a redirect on command", "mqtt.example.com", "/", control.Faults{PublicRedirect: "https://a.example.com/"}, 302, "", "https://a.example.com/"},
		{
			"an Access login", "mqtt.example.com", "/mqtt?x=1",
			control.Faults{PublicRedirect: control.RedirectAccess},
			302, "",
			"https://lab.cloudflareaccess.com/cdn-cgi/access/login/mqtt.example.com?redirect_url=%2Fmqtt%3Fx%3D1",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, id := public(t)
			if err := f.Registry.SetTunnel(id, c.faults); err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodGet, c.path, nil)
			r.Host = c.host
			w := httptest.NewRecorder()
			f.ServeHTTP(w, r)
			if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("Location") != c.location {
				t.Errorf("%d %q to %q, want %d %q to %q", w.Code, w.Body, w.Header().Get("Location"), c.status, c.body, c.location)
			}
			if w.Header().Get("Server") != "cloudflare" || !strings.HasSuffix(w.Header().Get("Cf-Ray"), "-LAB") {
				t.Errorf("headers %v are not Cloudflare's", w.Header())
			}
		})
	}
}

func TestEveryAnswerIsCounted(t *testing.T) {
	f, id := public(t)
	ask := func(host string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		f.ServeHTTP(httptest.NewRecorder(), r)
	}
	ask("mqtt.example.com")
	ask("mqtt.example.com")
	ask("other.example.com")
	if c := f.Registry.Counters(); c.PublicRequests != 3 || c.PublicStatuses[530] != 3 {
		t.Errorf("the world counts %d requests and %v", c.PublicRequests, c.PublicStatuses)
	}
	state, err := f.Registry.State(id)
	if err != nil || state.Counters.Requests != 2 || state.Counters.Statuses[530] != 2 {
		t.Errorf("the tunnel counts %+v, %v", state.Counters, err)
	}
}

func TestTheClockOfOneTunnelIsWrongAndNoOther(t *testing.T) {
	f, id := public(t)
	if err := f.Registry.SetTunnel(id, control.Faults{ClockSkew: control.Duration(-48 * time.Hour)}); err != nil {
		t.Fatal(err)
	}
	for host, wrong := range map[string]bool{"mqtt.example.com": true, "other.example.com": false} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Host = host
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		at, err := http.ParseTime(w.Header().Get("Date"))
		if err != nil || (time.Since(at) > 24*time.Hour) != wrong {
			t.Errorf("%s: Date %v, %v, want it two days behind: %v", host, at, err, wrong)
		}
	}
}
