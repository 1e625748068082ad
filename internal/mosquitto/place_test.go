package mosquitto_test

import (
	"testing"

	"mqtunnel/internal/mosquitto"
)

func TestAFaultIsFoundInTheUsersOwnFile(t *testing.T) {
	const conf = "listener 1883\n# --- mosquitto/conf.d/10-a.conf\nfine true\n# --- mosquitto/conf.d/20-b.conf\n# mine\nfoo bar\n"
	for text, want := range map[string]string{
		"Error found at /mosquitto/config/mqtunnel.conf:6.":  "mosquitto/conf.d/20-b.conf:2",
		"Error found at /mosquitto/config/mqtunnel.conf:3.":  "mosquitto/conf.d/10-a.conf:1",
		"Error found at /mosquitto/config/mqtunnel.conf:1.":  "",
		"Error found at /mosquitto/config/mqtunnel.conf:99.": "",
		"Error found at /elsewhere:6.":                       "",
	} {
		lines := []mosquitto.Line{mosquitto.ParseLine("2026-01-01T00:00:00+0000: Error: Unknown configuration variable 'foo'"), mosquitto.ParseLine("2026-01-01T00:00:00+0000: " + text)}
		if got := mosquitto.FindPlace(lines, conf); got != want {
			t.Errorf("FindPlace(%q) = %q, want %q", text, got, want)
		}
	}
}
