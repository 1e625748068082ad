package cli

import "testing"

func TestTheTagTellsAnOlderBroker(t *testing.T) {
	for image, want := range map[string]bool{
		"eclipse-mosquitto:2.0":                          true,
		"eclipse-mosquitto:2.0.22":                       true,
		"eclipse-mosquitto:2.0.22-openssl":               true,
		"eclipse-mosquitto:2.0-openssl":                  true,
		"eclipse-mosquitto:1.6.15-openssl":               true,
		"registry.example:5000/library/mosquitto:2.0.21": true,
		"eclipse-mosquitto:2.0.22@sha256:ab2a1c7dd3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0": true,
		"eclipse-mosquitto:2.1.2-alpine": false,
		"eclipse-mosquitto:2.10":         false,
		"eclipse-mosquitto:2.00":         false,
		"eclipse-mosquitto@sha256:ab2a1c7dd3a4b5c6d7e8f9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0": false,
		"": false,
	} {
		if got := isOlder(image); got != want {
			t.Errorf("isOlder(%q) = %v, want %v", image, got, want)
		}
	}
}
