package display

import (
	"strings"
	"testing"
)

func TestNoWrappedLineIsLongerThanTheTerminal(t *testing.T) {
	const text = "set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up, or allow outgoing UDP 7844 in the firewall or router of this network"
	for _, width := range []int{20, 40, 80} {
		wrapped := Wrap(text, width, 6)
		for i, line := range strings.Split(wrapped, "\n") {
			if columns(line) > width && strings.Contains(strings.TrimSpace(line), " ") {
				t.Errorf("width %d: %q has %d columns", width, line, columns(line))
			}
			if i > 0 && !strings.HasPrefix(line, "      ") {
				t.Errorf("width %d: %q is not indented", width, line)
			}
		}
		if got := strings.Join(strings.Fields(wrapped), " "); got != text {
			t.Errorf("width %d: words differ: %q", width, got)
		}
	}
	if got := Wrap("short", 80, 6); got != "short" {
		t.Errorf("Wrap(short) = %q", got)
	}
	if s := (Stream{Width: 20}); s.Fit("error: ", text) != text {
		t.Error("text that no person reads on a terminal is wrapped")
	}
}
