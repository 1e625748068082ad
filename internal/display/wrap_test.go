package display

import (
	"strings"
	"testing"
)

func TestANumberStaysWithItsUnit(t *testing.T) {
	const text = "the kernel killed it after 30 s with 256 MB of memory (1.5 minutes ago), port 1883 stays"
	for width := 12; width < len(text); width++ {
		for line := range strings.SplitSeq(Wrap(text, width, 0), "\n") {
			last := line[strings.LastIndexByte(line, ' ')+1:]
			if number.MatchString(last) {
				t.Errorf("width %d: %q ends with a number", width, line)
			}
		}
	}
}

func TestACommandToTypeIsNotBroken(t *testing.T) {
	for _, command := range []string{"mqtunnel up --force-recreate", "mqtunnel -C '/srv/my home' -p x user add NAME", "mqtunnel -C ../home token set"} {
		text := "every client is refused; type: " + command + ", and then go on with what you did before"
		for width := 20; width < len(text); width++ {
			if wrapped := Wrap(text, width, 2); !strings.Contains(wrapped, command) {
				t.Errorf("width %d:\n%s", width, wrapped)
			}
		}
	}
}

func TestALongCommandIsOneForTheShell(t *testing.T) {
	const command = `mosquitto_pub -h mqtt.example.com -u phone -P "$MQTT_PASSWORD" -t 'home/a b/c' -m it\ is`
	s := Stream{Width: 40, Terminal: true}
	got := s.Command("  ", command)
	for line := range strings.SplitSeq("  "+got, "\n") {
		if columns(line) > 40 {
			t.Errorf("%d columns: %q", columns(line), line)
		}
	}
	if joined := strings.ReplaceAll(got, " \\\n      ", " "); joined != command {
		t.Errorf("the lines are %q", joined)
	}
	if !strings.Contains(got, "'home/a b/c'") || !strings.Contains(got, `it\ is`) || strings.Count(got, "\n") < 2 {
		t.Errorf("broken at the wrong places:\n%s", got)
	}
	for _, whole := range []Stream{{Width: 40}, {Width: 200, Terminal: true}} {
		if got := whole.Command("  ", command); got != command {
			t.Errorf("%+v: %q", whole, got)
		}
	}
}

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
