package cloudflared_test

import (
	"strings"
	"testing"

	"mqtunnel/internal/cloudflared"
)

// published is a configuration with these rules, HOSTNAME[ PATH]=SERVICE each, and the
// catch-all that the dashboard adds.
func published(rules ...string) cloudflared.Ingress {
	in := cloudflared.Ingress{Version: 3}
	for _, r := range rules {
		where, service, _ := strings.Cut(r, "=")
		hostname, path, _ := strings.Cut(where, " ")
		in.Rules = append(in.Rules, cloudflared.Rule{Hostname: hostname, Path: path, Service: service})
	}
	in.Rules = append(in.Rules, cloudflared.Rule{Service: "http_status:404"})
	return in
}

// home is what a tunnel carries besides.
const home = "home.example.com=http://192.168.1.5:8123"

func TestTheRuleThatWasMeantForTheBrokerIsJudged(t *testing.T) {
	const m = "m.example.com="
	for name, c := range map[string]struct {
		rules []string
		want  string
		kind  cloudflared.AdviceKind
		rule  int // the number of the rule that is named
		cause string
		hint  string
	}{
		"right":                             {[]string{m + broker}, "", "", 1, "", ""},
		"right, as ws":                      {[]string{m + "ws://mosquitto:9001"}, "m.example.com", "", 1, "", ""},
		"right, in other letters":           {[]string{m + "http://MOSQUITTO:9001/"}, "M.EXAMPLE.com", "", 1, "", ""},
		"right, with a final dot":           {[]string{m + "http://mosquitto.:9001"}, "", "", 1, "", ""},
		"right, beside others":              {[]string{home, m + broker, "n.example.com=http://localhost:9001"}, "", "", 2, "", ""},
		"right, by a wildcard":              {[]string{home, "*.example.com=" + broker}, "m.example.com", "", 2, "", ""},
		"right, with a path that fits":      {[]string{"m.example.com ^/mqtt=" + broker, m + "http://web"}, "m.example.com", "", 1, "", ""},
		"right, a path for others before":   {[]string{"m.example.com ^/api=http://web", m + broker}, "", "", 2, "", ""},
		"localhost":                         {[]string{m + "http://localhost:9001"}, "", cloudflared.AdviceLocalhost, 1, "localhost", "m.example.com, set Type HTTP, URL mosquitto:9001, Path empty"},
		"localhost, beside others":          {[]string{home, "zigbee2mqtt.example.com=http://zigbee2mqtt:8080", m + "http://localhost:9001"}, "", cloudflared.AdviceLocalhost, 3, "localhost", "m.example.com"},
		"LOCALHOST":                         {[]string{m + "http://LOCALHOST:9001"}, "", cloudflared.AdviceLocalhost, 1, "localhost", "m.example.com"},
		"loopback":                          {[]string{m + "http://127.0.0.1:9001"}, "", cloudflared.AdviceLocalhost, 1, "localhost", "m.example.com"},
		"loopback of IPv6":                  {[]string{m + "http://[::1]:9001"}, "", cloudflared.AdviceLocalhost, 1, "localhost", "m.example.com"},
		"any address":                       {[]string{m + "http://0.0.0.0:9001"}, "", cloudflared.AdviceLocalhost, 1, "localhost", "m.example.com"},
		"address":                           {[]string{m + "http://192.168.1.5:9001"}, "", cloudflared.AdviceAddress, 1, "an address", "m.example.com"},
		"address with another port, wanted": {[]string{m + "http://192.168.1.5:80"}, "m.example.com", cloudflared.AdviceAddress, 1, "an address", "m.example.com"},
		"other host":                        {[]string{m + "http://broker:9001"}, "", cloudflared.AdviceName, 1, "another host", "m.example.com"},
		"container's name":                  {[]string{m + "http://mqtunnel-mosquitto-1:9001"}, "", cloudflared.AdviceName, 1, "another host", "m.example.com"},
		"the host of containers":            {[]string{m + "http://host.docker.internal:9001"}, "", cloudflared.AdviceName, 1, "another host", "m.example.com"},
		"itself":                            {[]string{m + "https://m.example.com"}, "", cloudflared.AdviceName, 1, "another host", "m.example.com"},
		"plain port":                        {[]string{m + "http://mosquitto:1883"}, "", cloudflared.AdvicePort, 1, "wrong port", "m.example.com"},
		"no port":                           {[]string{m + "http://mosquitto"}, "", cloudflared.AdvicePort, 1, "wrong port", "m.example.com"},
		"https":                             {[]string{m + "https://mosquitto:9001"}, "", cloudflared.AdviceTLS, 1, "with TLS", "m.example.com"},
		"wss":                               {[]string{m + "wss://mosquitto:9001"}, "", cloudflared.AdviceTLS, 1, "with TLS", "m.example.com"},
		"tcp":                               {[]string{m + "tcp://mosquitto:1883"}, "", cloudflared.AdviceTCP, 1, "Type TCP", "m.example.com"},
		"status, the only hostname":         {[]string{m + "http_status:503"}, "", cloudflared.AdviceType, 1, "does not lead", "m.example.com"},
		"hello world, by its name":          {[]string{home, "mqtt.example.com=hello_world"}, "", cloudflared.AdviceType, 2, "does not lead", "mqtt.example.com"},
		"ssh":                               {[]string{m + "ssh://mosquitto:22"}, "", cloudflared.AdviceType, 1, "does not lead", "m.example.com"},
		"unix":                              {[]string{m + "unix:/run/mosquitto.sock"}, "", cloudflared.AdviceType, 1, "does not lead", "m.example.com"},
		"empty":                             {[]string{m}, "m.example.com", cloudflared.AdviceType, 1, "does not lead", "m.example.com"},
		"path":                              {[]string{"m.example.com ^/ws$=" + broker}, "", cloudflared.AdvicePath, 1, "only for some paths", "Path empty"},
		"a path that is no expression":      {[]string{"m.example.com (=" + broker}, "m.example.com", cloudflared.AdvicePath, 1, "only for some paths", "Path empty"},
		"behind a wildcard":                 {[]string{"*.example.com=http://web", m + broker}, "", cloudflared.AdviceShadowed, 2, "earlier rule", "move the Public hostname m.example.com above *.example.com"},
		"behind its own name":               {[]string{m + "http://localhost:9001", m + broker}, "m.example.com", cloudflared.AdviceShadowed, 2, "earlier rule", "above m.example.com"},
		"twice, neither right":              {[]string{"m.example.com ^/api=http://web", m + "http://localhost:9001"}, "m.example.com", cloudflared.AdviceLocalhost, 2, "localhost", "m.example.com"},
		"final dot":                         {[]string{"m.example.com.=" + broker}, "m.example.com", cloudflared.AdviceForm, 1, "no request has it", "as m.example.com"},
		"port in the hostname":              {[]string{"m.example.com:443=" + broker}, "", cloudflared.AdviceForm, 1, "no request has it", "a name alone"},
		"a word for a hostname":             {[]string{"mqtt=" + broker}, "", cloudflared.AdviceForm, 1, "no request has it", "a name alone"},
		"control characters":                {[]string{"m\x1b[31m.example.com=http://localhost:9001"}, "", cloudflared.AdviceForm, 1, "no request has it", "a name alone"},
		"wildcard, no name":                 {[]string{"*.example.com=" + broker}, "", cloudflared.AdviceNoName, 1, "only a wildcard", "MQTT_HOSTNAME"},
		"wildcard, wrong":                   {[]string{"*.example.com=http://localhost:9001"}, "m.example.com", cloudflared.AdviceLocalhost, 1, "localhost", "*.example.com"},
		"not wanted":                        {[]string{m + broker}, "n.example.com", cloudflared.AdviceNoHostname, 0, "does not publish n.example.com", "MQTT_HOSTNAME=m.example.com"},
		"not wanted, none right":            {[]string{home}, "n.example.com", cloudflared.AdviceNoHostname, 0, "does not publish n.example.com", "Hostname n.example.com"},
		"wanted, of another service":        {[]string{home, m + broker}, "home.example.com", cloudflared.AdviceNoHostname, 0, "home.example.com leads to something else", "MQTT_HOSTNAME=m.example.com"},
		"wanted, the only one":              {[]string{home}, "home.example.com", cloudflared.AdviceAddress, 1, "an address", "home.example.com"},
		"other services alone":              {[]string{home, "zigbee2mqtt.example.com=http://zigbee2mqtt:8080"}, "", cloudflared.AdviceNoHostname, 0, "no public hostname", "Type HTTP, URL mosquitto:9001"},
		"nothing":                           {nil, "", cloudflared.AdviceNoHostname, 0, "no public hostname", "Type HTTP, URL mosquitto:9001"},
	} {
		t.Run(name, func(t *testing.T) {
			advice, wrong := published(c.rules...).Advise(broker, c.want)
			if wrong != (c.kind != "") || advice.Kind != c.kind || advice.Number != c.rule ||
				!strings.Contains(advice.Cause, c.cause) || !strings.Contains(advice.Hint, c.hint) {
				t.Errorf("got %v %+v\nwant %+v", wrong, advice, c)
			}
			checkAdvice(t, published(c.rules...), c.want)
		})
	}
}

// checkAdvice checks what holds for every configuration.
func checkAdvice(t *testing.T, in cloudflared.Ingress, want string) {
	t.Helper()
	advice, wrong := in.Advise(broker, want)
	if want == "" && wrong == (len(in.PublicHostnames(broker)) > 0) {
		t.Errorf("advice %v for %+v", wrong, in)
	}
	if wrong != (advice.Kind != cloudflared.AdviceNone) || wrong && (advice.Cause == "" || advice.Hint == "") {
		t.Errorf("wrong %v: %+v", wrong, advice)
	}
	if shadowed := advice.Kind == cloudflared.AdviceShadowed; shadowed != (advice.Before > 0) || shadowed && advice.Before >= advice.Number {
		t.Errorf("rule %d is behind rule %d: %+v", advice.Number, advice.Before, in)
	}
	if advice.Number > len(in.Rules) || advice.Number > 0 && in.Rules[advice.Number-1] != advice.Rule {
		t.Errorf("rule %d of %+v is %+v", advice.Number, in, advice.Rule)
	}
	if strings.ContainsFunc(advice.Cause+advice.Hint, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("outside text is in our words: %q, %q", advice.Cause, advice.Hint)
	}
}

func TestNoConfigurationIsAdvisedOnAsSuch(t *testing.T) {
	if advice, wrong := (cloudflared.Ingress{Version: -1}).Advise(broker, ""); !wrong || advice.Kind != cloudflared.AdviceNotReceived {
		t.Errorf("before any configuration: %+v", advice)
	}
}

func TestNamesInOtherScriptsAreTheirAsciiForm(t *testing.T) {
	in, err := cloudflared.ParsePushed(`{"ingress":[{"hostname":"MQTT.Bücher.example","service":"http://mosquitto:9001"},{"service":"http_status:404"}]}`, 1)
	if err != nil {
		t.Fatal(err)
	}
	if advice, wrong := in.Advise(broker, "mqtt.xn--bcher-kva.example"); wrong {
		t.Errorf("got %+v", advice)
	}
}

func TestARefusedConfigurationStandsUntilOneIsAccepted(t *testing.T) {
	const (
		refused  = `2026-08-20T10:00:00Z ERR Failed to update ingress error="The last ingress rule must match all URLs" version=2`
		accepted = `2026-08-20T10:00:01Z INF Updated to new configuration config="{\"ingress\":[{\"service\":\"http_status:404\"}]}" version=3`
		other    = `2026-08-20T10:00:02Z ERR  error="Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: EOF"`
		starting = `2026-08-20T10:00:03Z INF Starting tunnel tunnelID=11111111-2222-4333-8444-555555555555`
	)
	for name, c := range map[string]struct {
		lines []string
		want  bool
	}{
		"refused":                {[]string{accepted, refused}, true},
		"refused, then others":   {[]string{refused, other}, true},
		"accepted since":         {[]string{refused, accepted}, false},
		"started again":          {[]string{refused, starting}, false},
		"started again, refused": {[]string{refused, starting, refused}, true},
		"nothing":                {nil, false},
	} {
		var lines []cloudflared.Line
		for _, text := range c.lines {
			lines = append(lines, cloudflared.ParseLine(text))
		}
		line, found := cloudflared.Refused(lines)
		if found != c.want || found && !strings.HasPrefix(line.Reason(), "The last") {
			t.Errorf("%s: got %v, %+v", name, found, line)
		}
	}
}

func TestAConfigurationThatCouldNotBeReadIsNoAdviceForTheDashboard(t *testing.T) {
	in := cloudflared.Ingress{Version: 4, Unread: true}
	advice, wrong := in.Advise(broker, "m.example.com")
	if !wrong || in.Received() || strings.Contains(advice.Hint, "dashboard") || !strings.Contains(advice.Hint, "--live") {
		t.Errorf("received %v, %+v", in.Received(), advice)
	}
}
