package registry_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/registry"
)

type token struct {
	A string `json:"a"`
	T string `json:"t"`
	S []byte `json:"s"`
}

func decode(t *testing.T, c control.Credentials) token {
	t.Helper()
	raw, err := base64.StdEncoding.DecodeString(c.Token.Reveal())
	if err != nil {
		t.Fatal(err)
	}
	var out token
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTokensAreOfTheRealFormat(t *testing.T) {
	hex32 := regexp.MustCompile(`^[0-9a-f]{32}$`)
	for _, padded := range []bool{true, false} {
		for range 20 {
			c, err := registry.New().Create(control.TunnelRequest{Padded: &padded})
			if err != nil {
				t.Fatal(err)
			}
			text := c.Token.Reveal()
			if got := strings.HasSuffix(text, "="); got != padded || !strings.HasPrefix(text, "eyJhIjoi") {
				t.Errorf("padded %t: got %s", padded, text)
			}
			tok := decode(t, c)
			if tok.A != c.AccountTag || tok.T != c.TunnelID || len(tok.S) != 32 || !hex32.MatchString(tok.A) {
				t.Errorf("token %+v, credentials %s %s", tok, c.AccountTag, c.TunnelID)
			}
		}
	}
}

func TestATokenIsNotPrintedByAccident(t *testing.T) {
	c, err := registry.New().Create(control.TunnelRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c)} {
		if strings.Contains(text, c.Token.Reveal()) {
			t.Errorf("printed: %s", text)
		}
	}
	data, err := json.Marshal(c)
	if err != nil || !strings.Contains(string(data), c.Token.Reveal()) {
		t.Errorf("the control interface must hand it out: %s, %v", data, err)
	}
}

func TestOnlyTheNewestSecretOfALivingTunnelAuthenticates(t *testing.T) {
	r := registry.New()
	first, err := r.Create(control.TunnelRequest{})
	if err != nil {
		t.Fatal(err)
	}
	old := decode(t, first)
	if err := r.Authenticate(old.A, old.T, old.S); err != nil {
		t.Error(err)
	}
	second, err := r.Rotate(old.T)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Authenticate(old.A, old.T, old.S); !errors.Is(err, registry.ErrInvalidSecret) {
		t.Errorf("old secret: %v", err)
	}
	if err := r.Authenticate(old.A, old.T, decode(t, second).S); err != nil {
		t.Errorf("new secret: %v", err)
	}
	if err := r.Authenticate("somebody else", old.T, decode(t, second).S); !errors.Is(err, registry.ErrTunnelNotFound) {
		t.Errorf("other account: %v", err)
	}
	if err := r.Delete(old.T); err != nil {
		t.Fatal(err)
	}
	if err := r.Authenticate(old.A, old.T, decode(t, second).S); !errors.Is(err, registry.ErrTunnelNotFound) {
		t.Errorf("deleted: %v", err)
	}
}

func TestConfigurationsCountUpFromZeroAndCanBeHeldBack(t *testing.T) {
	r := registry.New()
	c, err := r.Create(control.TunnelRequest{})
	if err != nil {
		t.Fatal(err)
	}
	id := c.TunnelID
	if version, _, ok := r.Config(id); ok || version != -1 {
		t.Errorf("fresh tunnel without hostnames: version %d, %t", version, ok)
	}
	for want := range 3 {
		version, err := r.Configure(id, control.TunnelConfig{Ingress: []control.Rule{{Hostname: "a.example.com", Service: "http://x"}, {Service: "http_status:404"}}})
		if err != nil || version != want {
			t.Errorf("version %d, %v, want %d", version, err, want)
		}
	}
	if got, ok := r.Route("A.Example.com."); !ok || got != id {
		t.Errorf("the hostname leads to %q", got)
	}
	if err := r.SetTunnel(id, control.Faults{NoConfig: true}); err != nil {
		t.Fatal(err)
	}
	if _, _, ok := r.Config(id); ok {
		t.Error("pushed although a fault holds it back")
	}
}

func TestATunnelsFaultsGoBeforeTheWorlds(t *testing.T) {
	r := registry.New()
	c, err := r.Create(control.TunnelRequest{Hostnames: []control.Rule{{Hostname: "a.example.com", Service: "http://x"}}})
	if err != nil {
		t.Fatal(err)
	}
	world := control.Faults{PublicStatus: 500, RegisterError: "world", RegisterDelay: control.Duration(time.Second)}
	own := control.Faults{PublicStatus: 403}
	if err := errors.Join(r.SetWorld(world), r.SetTunnel(c.TunnelID, own)); err != nil {
		t.Fatal(err)
	}
	if got := r.HostFaults("a.example.com"); got.PublicStatus != 403 || got.RegisterError != "world" || got.RegisterDelay != world.RegisterDelay {
		t.Errorf("got %+v", got)
	}
	if got := r.HostFaults("b.example.com"); got.PublicStatus != 500 {
		t.Errorf("other hostname: %+v", got)
	}
	r.Clear()
	if got := r.HostFaults("a.example.com"); got.PublicStatus != 0 || got.RegisterError != "" {
		t.Errorf("cleared: %+v", got)
	}
}
