package cloudflared

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// maxAnswerBytes bounds what is read of one answer of the metrics server. The
// configuration of a large tunnel has some hundred kilobytes.
const maxAnswerBytes = 4 << 20

// Ingress is the remote configuration: which public hostname leads to which
// service.
type Ingress struct {
	Version int // -1 until the edge has sent one
	Rules   []Rule
}

// Rule is one row of the configuration. The first one that matches counts.
type Rule struct {
	Hostname string // "" and "*" match every name, "*.example.com" every name below
	Path     string // regular expression, "" matches every path
	Service  string // e.g. "http://mosquitto:9001" or "http_status:404"
	// AccessRequired is true when cloudflared itself refuses requests without a
	// login of Cloudflare Access.
	AccessRequired bool
}

// wireConfig is the configuration as /config answers and as the edge sends it.
type wireConfig struct {
	Ingress []struct {
		Hostname string          `json:"hostname"`
		Path     *string         `json:"path"`
		Service  string          `json:"service"`
		Handlers json.RawMessage `json:"Handlers"`
		Origin   wireOrigin      `json:"originRequest"`
	} `json:"ingress"`
	Origin wireOrigin `json:"originRequest"`
}

// wireOrigin is the part of the origin settings that is read.
type wireOrigin struct {
	Access struct {
		Required bool `json:"required"`
	} `json:"access"`
}

// ParseConfig reads the answer of /config.
func ParseConfig(r io.Reader) (Ingress, error) {
	var answer struct {
		Version *int       `json:"version"`
		Config  wireConfig `json:"config"`
	}
	if err := readJSON(r, &answer); err != nil {
		return Ingress{}, fmt.Errorf("read cloudflared's configuration: %w", err)
	}
	if answer.Version == nil {
		return Ingress{}, fmt.Errorf("read cloudflared's configuration: no version in it")
	}
	return answer.Config.ingress(*answer.Version), nil
}

// ParsePushed reads the configuration as the edge sent it, which is how the log
// line "Updated to new configuration" shows it.
func ParsePushed(config string, version int) (Ingress, error) {
	var wire wireConfig
	if err := readJSON(strings.NewReader(config), &wire); err != nil {
		return Ingress{}, fmt.Errorf("read the pushed configuration: %w", err)
	}
	return wire.ingress(version), nil
}

// ingress picks what is used.
func (w wireConfig) ingress(version int) Ingress {
	in := Ingress{Version: version}
	for _, row := range w.Ingress {
		rule := Rule{Hostname: strings.ToLower(row.Hostname), Service: row.Service}
		if row.Path != nil {
			rule.Path = *row.Path
		}
		handlers := bytes.TrimSpace(row.Handlers)
		none := len(handlers) == 0 || bytes.Equal(handlers, []byte("null")) || bytes.Equal(handlers, []byte("[]"))
		rule.AccessRequired = !none || row.Origin.Access.Required || w.Origin.Access.Required
		in.Rules = append(in.Rules, rule)
	}
	return in
}

// readJSON decodes one bounded JSON value. Its errors hold nothing of the input.
func readJSON(r io.Reader, into any) error {
	text, err := io.ReadAll(io.LimitReader(r, maxAnswerBytes+1))
	if err != nil {
		return err
	}
	if len(text) > maxAnswerBytes {
		return fmt.Errorf("more than %d bytes", maxAnswerBytes)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("unexpected JSON: %T", err)
	}
	return nil
}

// Received reports whether a configuration has come from the edge.
func (in Ingress) Received() bool { return in.Version >= 0 }

// Route returns the rule that a request for hostname and path meets, and false
// where none does.
func (in Ingress) Route(hostname, path string) (Rule, bool) {
	for _, rule := range in.Rules {
		if rule.matches(strings.ToLower(hostname), path) {
			return rule, true
		}
	}
	return Rule{}, false
}

// matches applies hostname and path as cloudflared does.
func (r Rule) matches(hostname, path string) bool {
	if suffix, ok := strings.CutPrefix(r.Hostname, "*."); ok {
		if !strings.HasSuffix(hostname, "."+suffix) {
			return false
		}
	} else if r.Hostname != "" && r.Hostname != "*" && r.Hostname != hostname {
		return false
	}
	if r.Path == "" {
		return true
	}
	pattern, err := regexp.Compile(r.Path)
	return err == nil && pattern.MatchString(path)
}

// ClientPath is the path that clients are told to use. Mosquitto answers on any.
const ClientPath = "/mqtt"

// PublicHostnames returns the hostnames at which a client reaches the service,
// e.g. http://mosquitto:9001, in the order of the configuration. Wildcards are no
// names and are left out.
func (in Ingress) PublicHostnames(service string) []string {
	var names []string
	for _, rule := range in.Rules {
		if !isHostname(rule.Hostname) || slices.Contains(names, rule.Hostname) {
			continue
		}
		if met, ok := in.Route(rule.Hostname, ClientPath); ok && SameService(met.Service, service) {
			names = append(names, rule.Hostname)
		}
	}
	return names
}

// hostnameForm is a DNS name as clients can be told it: labels of letters, digits,
// hyphens and underscores.
var hostnameForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)+$`)

// isHostname reports whether what the edge pushed is a name and nothing else.
func isHostname(name string) bool { return len(name) <= 253 && hostnameForm.MatchString(name) }

// SameService reports whether two services are the same place: letter case of the
// host, a final slash and ws for http make no difference to cloudflared.
func SameService(a, b string) bool { return normalService(a) == normalService(b) }

// normalService writes a service URL in one form, and leaves what is no URL.
func normalService(service string) string {
	u, err := url.Parse(service)
	if err != nil || u.Host == "" {
		return service
	}
	scheme, port := u.Scheme, u.Port()
	switch scheme {
	case "ws":
		scheme = "http"
	case "wss":
		scheme = "https"
	}
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[scheme]
	}
	return scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port + strings.TrimSuffix(u.Path, "/")
}

// Advice says what is wrong with the configuration and what to type instead.
// Hostname and Service are outside text.
type Advice struct {
	Hostname string // of the rule that is wrong, "" when there is none
	Service  string // as it is now
	Cause    string // one sentence without a full stop
	Hint     string
}

// Advise returns what has to change in the dashboard so that a public hostname
// leads to the service, and false when one does already. want is the hostname that
// the user asked for, or "" for any.
func (in Ingress) Advise(service, want string) (Advice, bool) {
	names := in.PublicHostnames(service)
	want = strings.ToLower(want)
	if want == "" && len(names) > 0 || slices.Contains(names, want) {
		return Advice{}, false
	}
	if !in.Received() {
		return Advice{Cause: "no configuration has come from Cloudflare yet", Hint: publish(service, want)}, true
	}
	for _, rule := range in.Rules {
		candidate := rule.Hostname != "" && (want == "" || rule.Hostname == want)
		if !candidate || SameService(rule.Service, service) && rule.Path == "" {
			continue
		}
		return Advice{
			Hostname: rule.Hostname, Service: rule.Service, Cause: miscast(rule, service),
			Hint: "in the dashboard, at the tunnel's Public hostname or Published application " + rule.Hostname + ", set " + typed(service),
		}, true
	}
	cause := "no public hostname leads to the broker"
	if want != "" {
		cause = "the tunnel does not publish " + want
	}
	return Advice{Cause: cause, Hint: publish(service, want)}, true
}

// publish says how a hostname is added.
func publish(service, hostname string) string {
	if hostname == "" {
		hostname = "a name of yours such as mqtt.example.com"
	}
	return "in the dashboard, at the tunnel, add a Public hostname or Published application: Hostname " + hostname + ", " + typed(service)
}

// typed spells a service as the dashboard's form asks for it.
func typed(service string) string {
	scheme, rest, _ := strings.Cut(service, "://")
	return "Type " + strings.ToUpper(scheme) + ", URL " + rest + ", Path empty"
}

// miscast says in a few words what is wrong with a rule that should lead to the
// service.
func miscast(rule Rule, service string) string {
	if SameService(rule.Service, service) {
		return "the public hostname leads to the broker only for some paths"
	}
	got, err := url.Parse(rule.Service)
	want, wantErr := url.Parse(service)
	if err != nil || wantErr != nil || got.Host == "" {
		return "the public hostname does not lead to the broker"
	}
	switch {
	case got.Scheme == "tcp":
		return "the public hostname has Type TCP, which breaks MQTT over WebSocket"
	case got.Hostname() == "localhost" || strings.HasPrefix(got.Hostname(), "127.") || got.Hostname() == "::1":
		return "the public hostname leads to localhost, which is the connector's own container"
	case !strings.EqualFold(got.Hostname(), want.Hostname()):
		return "the public hostname leads to another host"
	case got.Scheme == "https" || got.Scheme == "wss":
		return "the public hostname leads to the broker with TLS, which it does not speak inside"
	case got.Port() != want.Port():
		return "the public hostname leads to the wrong port of the broker"
	default:
		return "the public hostname does not lead to the broker's WebSocket listener"
	}
}
