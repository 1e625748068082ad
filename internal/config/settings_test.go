package config_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/remedy"
)

var update = flag.Bool("update", false, "write the golden files")

// dirWith makes a project directory with this .env.
func dirWith(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, config.EnvName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDefaultsHoldWhereNothingIsSet(t *testing.T) {
	for name, dir := range map[string]string{"no file": t.TempDir(), "sample": dirWith(t, config.Sample())} {
		s, err := config.Load(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		got := fmt.Sprint(s.Project, s.MosquittoImage, s.CloudflaredImage, s.Hostname, s.AllowAnonymous, s.LAN, s.SaveInterval,
			s.Protocol, s.EdgeIPVersion, s.LogLevel, s.GracePeriod, s.AccessID, s.Token.IsZero(), s.ProbePassword.IsZero())
		want := fmt.Sprint("mqtunnel", "eclipse-mosquitto:2.1.2-alpine", "cloudflare/cloudflared:2026.8.2", "", false, config.LANListen{},
			time.Minute, "auto", "auto", "info", 5*time.Second, "", true, true)
		if got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
		for _, e := range s.Entries {
			if e.Source.Kind != config.FromDefault || e.Overridden {
				t.Errorf("%s: %+v", name, e)
			}
		}
	}
}

func TestTheEnvironmentWinsAndTheDifferenceIsKnown(t *testing.T) {
	dir := dirWith(t, "\n# c\nMQTT_HOSTNAME=file.example.com\nCOMPOSE_PROJECT_NAME=other\nTUNNEL_LOGLEVEL=debug\nMQTT_SAVE_INTERVAL=5\n")
	s, err := config.Load(dir, []string{"MQTT_HOSTNAME=env.example.com", "TUNNEL_LOGLEVEL=debug", "MQTT_SAVE_INTERVAL=", "PATH=/bin", "=odd"})
	if err != nil {
		t.Fatal(err)
	}
	if s.Hostname != "env.example.com" || s.Project != "other" || s.SaveInterval != time.Minute {
		t.Errorf("hostname %q, project %q, interval %s", s.Hostname, s.Project, s.SaveInterval)
	}
	for key, want := range map[string]string{
		config.KeyHostname: "environment", config.KeyProject: ".env line 4", config.KeyLogLevel: "environment",
		config.KeySaveInterval: "default", config.KeyProtocol: "default",
	} {
		if got := s.Entry(key).Source.String(); got != want {
			t.Errorf("%s comes from %s, want %s", key, got, want)
		}
	}
	var overridden []string
	for _, e := range s.Overridden() {
		overridden = append(overridden, e.Key)
	}
	if diff := cmp.Diff([]string{config.KeyHostname, config.KeySaveInterval}, overridden); diff != "" {
		t.Error(diff)
	}
}

func TestAWrongValueIsNamedWithItsPlaceAndTheRemedy(t *testing.T) {
	for line, want := range map[string]struct{ err, hint string }{
		"COMPOSE_PROJECT_NAME=My App":          {"not a project name", "write myapp"},
		"COMPOSE_PROJECT_NAME='---'":           {"not a project name", "mqtunnel"},
		"MOSQUITTO_IMAGE=Eclipse Mosquitto":    {"not an image reference", "NAME:TAG"},
		"MOSQUITTO_IMAGE=eclipse-mosquitto":    {"names no version", "NAME:TAG"},
		"CLOUDFLARED_IMAGE=a/b:latest":         {"names no version", "NAME:TAG"},
		"MQTT_HOSTNAME=https://mqtt.a.com/x":   {"not a hostname", "the hostname alone: mqtt.a.com"},
		"MQTT_HOSTNAME=wss://mqtt.a.com:443":   {"not a hostname", "the hostname alone: mqtt.a.com"},
		"MQTT_HOSTNAME=mqtt.a.com:443":         {"not a hostname", "the hostname alone: mqtt.a.com"},
		"MQTT_HOSTNAME=mqtt":                   {"not a hostname", "mqtt.example.com"},
		"MQTT_HOSTNAME=*.a.com":                {"not a hostname", "mqtt.example.com"},
		"MQTT_HOSTNAME=192.168.1.5":            {"is an address", "mqtt.example.com"},
		"MQTT_HOSTNAME=a_b.example.com":        {"not a hostname", "mqtt.example.com"},
		"MQTT_HOSTNAME=eyJhIjoiMDEyMzQ1Njc4":   {"the value is not a hostname", "mqtt.example.com"},
		"MQTT_HOSTNAME= # mine":                {"begins with #", "line of its own"},
		"MQTT_ALLOW_ANONYMOUS=yes":             {"not known", "true, false"},
		"MQTT_LAN_LISTEN=0":                    {"neither a port", "1883"},
		"MQTT_LAN_LISTEN=65536":                {"neither a port", "1883"},
		"MQTT_LAN_LISTEN=+1883":                {"neither a port", "1883"},
		"MQTT_LAN_LISTEN=[::1]:1883":           {"neither a port", "IPv4"},
		"MQTT_LAN_LISTEN=::1:1883":             {"neither a port", "IPv4"},
		"MQTT_LAN_LISTEN=server:1883":          {"neither a port", "IPv4"},
		"MQTT_LAN_LISTEN=192.168.1.5":          {"neither a port", "IPv4"},
		"MQTT_SAVE_INTERVAL=-1":                {"not a number", "60"},
		"MQTT_SAVE_INTERVAL=1m":                {"not a number", "60"},
		"MQTT_SAVE_INTERVAL=86401":             {"not a number", "60"},
		"TUNNEL_TRANSPORT_PROTOCOL=h2mux":      {"not known", "auto, quic, http2"},
		"TUNNEL_EDGE_IP_VERSION=5":             {"not known", "auto, 4, 6"},
		"TUNNEL_LOGLEVEL=warning":              {"not known", "warn"},
		"TUNNEL_GRACE_PERIOD=30":               {"not a time", "30s"},
		"TUNNEL_GRACE_PERIOD=5":                {"not a time", "write the unit too: 5s"}, // cloudflared ends with 0, without a word
		"TUNNEL_GRACE_PERIOD=-5s":              {"out of range", "1s"},
		"TUNNEL_GRACE_PERIOD=4m":               {"out of range", "3m"},
		"TUNNEL_GRACE_PERIOD=0s":               {"out of range", "1s"},
		"CF_ACCESS_CLIENT_ID=x":                {"without CF_ACCESS_CLIENT_SECRET", "set CF_ACCESS_CLIENT_SECRET"},
		"CF_ACCESS_CLIENT_SECRET=x":            {"without CF_ACCESS_CLIENT_ID", "set CF_ACCESS_CLIENT_ID"},
		"CF_ACCESS_CLIENT_SECRET='sec ret'":    {"no header can carry", "copy it again"},
		"MQTT_HOSTNAME=a.b.c\nMQTT_HOSTNAME=d": {"set twice, first on line 2", "lines 2 and 3"},
	} {
		_, err := config.Load(dirWith(t, "# c\n"+line+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want.err) || !strings.Contains(remedy.HintOf(err), want.hint) ||
			!strings.Contains(err.Error(), ".env") || remedy.CodeOf(err) != remedy.Input {
			t.Errorf("%s: error %v, hint %q", line, err, remedy.HintOf(err))
		}
		if err != nil && (strings.Contains(err.Error(), "eyJ") || strings.Contains(err.Error(), "sec ret")) {
			t.Errorf("%s: the error shows a secret: %v", line, err)
		}
	}
	if _, err := config.Load(t.TempDir(), []string{"MQTT_SAVE_INTERVAL=x"}); err == nil || !strings.HasPrefix(err.Error(), "environment: MQTT_SAVE_INTERVAL: ") {
		t.Errorf("a wrong value in the environment: %v", err)
	}
}

func TestGoodValuesAreTyped(t *testing.T) {
	s, err := config.Load(dirWith(t, "MQTT_HOSTNAME=MQTT.Bücher.example.\nMQTT_LAN_LISTEN=192.168.1.5:1884\nMQTT_ALLOW_ANONYMOUS=true\n"+
		"MQTT_SAVE_INTERVAL=0\nTUNNEL_GRACE_PERIOD=1m30s\nCF_ACCESS_CLIENT_ID=id.access\nCF_ACCESS_CLIENT_SECRET=s\n"+
		"MOSQUITTO_IMAGE=eclipse-mosquitto@sha256:"+strings.Repeat("0a", 32)+"\nMQTUNNEL_PROBE_PASSWORD='it is \"so\" $5'\n"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Hostname != "mqtt.xn--bcher-kva.example" || s.LAN.String() != "192.168.1.5:1884" || !s.LAN.Enabled() || !s.AllowAnonymous ||
		s.SaveInterval != 0 || s.GracePeriod != 90*time.Second || s.AccessID != "id.access" || s.AccessSecret.Reveal() != "s" ||
		s.ProbePassword.Reveal() != `it is "so" $5` {
		t.Errorf("got %+v", s)
	}
	s, err = config.Load(dirWith(t, "MQTT_LAN_LISTEN=1883\n"), nil)
	if err != nil || s.LAN.String() != "1883" || s.LAN.Address.String() != "0.0.0.0" || s.LAN.Port != 1883 {
		t.Errorf("a bare port: %+v, %v", s.LAN, err)
	}
}

func TestTheTokenIsJudgedWhereItStands(t *testing.T) {
	dir := dirWith(t, "\nCLOUDFLARE_TUNNEL_TOKEN=eyJhIjoi\n")
	for name, c := range map[string]struct {
		dir     string
		environ []string
		want    error
		place   string
		hint    string
	}{
		"missing":            {t.TempDir(), nil, cloudflared.ErrTokenEmpty, "CLOUDFLARE_TUNNEL_TOKEN: ", "token set"},
		"under another name": {dirWith(t, "# c\nTUNNEL_TOKEN=x\n"), nil, cloudflared.ErrTokenEmpty, "CLOUDFLARE_TUNNEL_TOKEN: ", ".env line 2 sets TUNNEL_TOKEN"},
		"half":               {dir, nil, cloudflared.ErrTokenCut, ".env:2: CLOUDFLARE_TUNNEL_TOKEN: ", "copy it again"},
		"environment":        {dir, []string{"CLOUDFLARE_TUNNEL_TOKEN=x"}, cloudflared.ErrTokenMissing, "environment: CLOUDFLARE_TUNNEL_TOKEN: ", "dashboard"},
		"empty environment":  {dir, []string{"CLOUDFLARE_TUNNEL_TOKEN="}, cloudflared.ErrTokenEmpty, "CLOUDFLARE_TUNNEL_TOKEN: ", "unset CLOUDFLARE_TUNNEL_TOKEN"},
	} {
		s, err := config.Load(c.dir, c.environ)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.ParseToken()
		if !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), c.place) || !strings.Contains(remedy.HintOf(err), c.hint) {
			t.Errorf("%s: error %v, hint %q", name, err, remedy.HintOf(err))
		}
	}
}

func TestProjectNamesAreNormalisedAsComposeDoes(t *testing.T) {
	for name, want := range map[string]string{"My App": "myapp", "a.b": "ab", "é": "", "_-x-": "x-", "mqtunnel": "mqtunnel"} {
		if got := config.NormalProject(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
	if _, err := (config.Settings{}).WithProject("My App"); remedy.HintOf(err) != "write myapp" || remedy.CodeOf(err) != remedy.Input {
		t.Errorf("error %v, hint %q", err, remedy.HintOf(err))
	}
}

func TestTheSampleFileIsTheTable(t *testing.T) {
	path := filepath.Join("..", "..", ".env.sample")
	if *update {
		if err := os.WriteFile(path, []byte(config.Sample()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(config.Sample(), string(text)); diff != "" {
		t.Errorf("go test ./internal/config -update renews it:\n%s", diff)
	}
	for _, s := range config.Table() {
		if !strings.Contains(config.Markdown(), "| `"+s.Key+"` |") || strings.HasSuffix(s.Doc, ".") || s.Doc == "" {
			t.Errorf("%s: doc %q", s.Key, s.Doc)
		}
	}
}

func TestAMisspeltSettingIsFound(t *testing.T) {
	dir := t.TempDir()
	text := "MQTT_ALOW_ANONYMOUS=true\nMQTT_HOSTNAME=mqtt.example.com\nOTHER=1\nMQTUNNEL_X=1\n"
	if err := os.WriteFile(filepath.Join(dir, config.EnvName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := config.Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []config.Assignment{{Key: "MQTT_ALOW_ANONYMOUS", Line: 1}, {Key: "MQTUNNEL_X", Line: 4}}
	if d := cmp.Diff(want, s.Unknown, cmp.Comparer(func(a, b config.Assignment) bool { return a.Key == b.Key && a.Line == b.Line })); d != "" {
		t.Errorf("unknown settings (-want +got):\n%s", d)
	}
}
