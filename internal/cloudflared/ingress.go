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

// MaxConfigBytes is the longest answer of /config that CompactConfig takes.
// cloudflared writes every setting of every rule, some 500 bytes a rule.
const MaxConfigBytes = 16 << 20

// Ingress is the remote configuration: which public hostname leads to which
// service.
type Ingress struct {
	Version int // -1 until the edge has sent one
	Rules   []Rule
	// Unread is true when the edge has sent a configuration that could not be read,
	// such as one too long for a line of the log. No rule is known then, and Version
	// may be that of an older one.
	Unread bool
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
	Ingress []wireRule `json:"ingress"`
	Origin  wireOrigin `json:"originRequest,omitzero"`
}

// wireRule is the part of a row that is read.
type wireRule struct {
	Hostname string          `json:"hostname,omitempty"`
	Path     *string         `json:"path,omitempty"`
	Service  string          `json:"service"`
	Handlers json.RawMessage `json:"Handlers,omitempty"`
	Origin   wireOrigin      `json:"originRequest,omitzero"`
}

// handled reports whether cloudflared has something of its own to say to requests.
func (r wireRule) handled() bool {
	handlers := bytes.TrimSpace(r.Handlers)
	return len(handlers) > 0 && !bytes.Equal(handlers, []byte("null")) && !bytes.Equal(handlers, []byte("[]"))
}

// wireOrigin is the part of the origin settings that is read.
type wireOrigin struct {
	Access wireAccess `json:"access,omitzero"`
}

// wireAccess is the part of the settings of Cloudflare Access that is read.
type wireAccess struct {
	Required bool `json:"required,omitempty"`
}

// wireAnswer is the answer of /config.
type wireAnswer struct {
	Version *int       `json:"version"`
	Config  wireConfig `json:"config"`
}

// ParseConfig reads the answer of /config.
func ParseConfig(r io.Reader) (Ingress, error) {
	answer, err := readAnswer(r, maxAnswerBytes)
	if err != nil {
		return Ingress{}, err
	}
	return answer.Config.ingress(*answer.Version), nil
}

func readAnswer(r io.Reader, most int64) (answer wireAnswer, err error) {
	if err := readJSON(r, most, &answer); err != nil {
		return answer, fmt.Errorf("read cloudflared's configuration: %w", err)
	}
	if answer.Version == nil {
		return answer, fmt.Errorf("read cloudflared's configuration: no version in it")
	}
	return answer, nil
}

// CompactConfig shortens an answer of /config to what ParseConfig reads: the result
// means the same to it.
func CompactConfig(text []byte) ([]byte, error) {
	answer, err := readAnswer(bytes.NewReader(text), MaxConfigBytes)
	if err != nil {
		return nil, err
	}
	for i := range answer.Config.Ingress {
		rule := &answer.Config.Ingress[i]
		if rule.Path != nil && *rule.Path == "" {
			rule.Path = nil
		}
		// What the handlers are makes no difference.
		if rule.handled() {
			rule.Handlers = json.RawMessage("[0]")
		} else {
			rule.Handlers = nil
		}
	}
	var short bytes.Buffer
	encoder := json.NewEncoder(&short)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		return nil, fmt.Errorf("shorten cloudflared's configuration: %w", err)
	}
	return bytes.TrimSpace(short.Bytes()), nil
}

// ParsePushed reads the configuration as the edge sent it, which is how the log
// line "Updated to new configuration" shows it.
func ParsePushed(config string, version int) (Ingress, error) {
	var wire wireConfig
	if err := readJSON(strings.NewReader(config), maxAnswerBytes, &wire); err != nil {
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
		rule.AccessRequired = row.handled() || row.Origin.Access.Required || w.Origin.Access.Required
		in.Rules = append(in.Rules, rule)
	}
	return in
}

// readJSON decodes one bounded JSON value. Its errors hold nothing of the input.
func readJSON(r io.Reader, most int64, into any) error {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > most {
		return fmt.Errorf("more than %d bytes", most)
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("unexpected JSON: %T", err)
	}
	return nil
}

// Received reports whether a configuration has come from the edge and is known.
func (in Ingress) Received() bool { return in.Version >= 0 && !in.Unread }

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
	// A configuration may have thousands of rules: for each name only those are
	// looked at that may concern it.
	own := make(map[string][]int, len(in.Rules))
	var many []int // without a name, or with a wildcard
	for i, rule := range in.Rules {
		if rule.Hostname == "" || strings.HasPrefix(rule.Hostname, "*") {
			many = append(many, i)
		} else {
			own[rule.Hostname] = append(own[rule.Hostname], i)
		}
	}
	var names []string
	for i, rule := range in.Rules {
		if mine := own[rule.Hostname]; len(mine) == 0 || mine[0] != i || !IsHostname(rule.Hostname) {
			continue // told already, or no name
		}
		candidates := slices.Concat(own[rule.Hostname], many)
		slices.Sort(candidates)
		first := slices.IndexFunc(candidates, func(i int) bool { return in.Rules[i].matches(rule.Hostname, ClientPath) })
		if first >= 0 && SameService(in.Rules[candidates[first]].Service, service) {
			names = append(names, rule.Hostname)
		}
	}
	return names
}

// hostnameForm is a DNS name as clients can be told it: labels of letters, digits,
// hyphens and underscores.
var hostnameForm = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)+$`)

// maxHostname is the length of the longest DNS name in its text form (RFC 1035).
const maxHostname = 253

// IsHostname reports whether name is a DNS name of two labels at least, in lower-case
// ASCII, and nothing else: no wildcard, address, port or path.
func IsHostname(name string) bool { return len(name) <= maxHostname && hostnameForm.MatchString(name) }

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
	if in.Unread {
		return Advice{
			Cause: "the connector's log does not show the whole configuration that Cloudflare sent",
			Hint:  "look from inside: mqtunnel status --live",
		}, true
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
