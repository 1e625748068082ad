package cli

import "testing"

func TestOnlyTheHealthCheckIsCalledOwn(t *testing.T) {
	const stamp = "2026-08-18T10:00:00+0200: "
	for text, want := range map[string]bool{
		"Client mqtunnel-health [127.0.0.1:555] disconnected: not authorised.":                                                true,
		"Client mqtunnel-health [172.18.0.3:555] disconnected: not authorised.":                                               false,
		"Client x mqtunnel-health [127.0.0.1:5] disconnected: not authorised. [172.18.0.3:555] disconnected: not authorised.": false,
		"Client mqtunnel-health [127.0.0.1:5] disconnected: not authorised. closed its connection.":                           false,
		"New client connected from 127.0.0.1:0 as mqtunnel-health (p4, c1, k60).":                                             false,
	} {
		if got := ownCheck(stamp + text); got != want {
			t.Errorf("%s: %v, want %v", text, got, want)
		}
	}
}
