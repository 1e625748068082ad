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

	"golang.org/x/net/idna"
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
	Hostname string // lower-case ASCII; "" and "*" match every name, "*.example.com" every name below
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
		rule := Rule{Hostname: asciiName(row.Hostname), Service: row.Service}
		if row.Path != nil {
			rule.Path = *row.Path
		}
		rule.AccessRequired = row.handled() || row.Origin.Access.Required || w.Origin.Access.Required
		in.Rules = append(in.Rules, rule)
	}
	return in
}

// asciiName returns the form in which cloudflared compares a rule's hostname with
// that of a request, see its ingress/ingress.go. What is no name stays as it is, but
// for its letter case.
func asciiName(hostname string) string {
	if ascii, err := idna.Lookup.ToASCII(hostname); err == nil {
		return ascii
	}
	return strings.ToLower(hostname)
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
	if i := in.route(hostname, path); i >= 0 {
		return in.Rules[i], true
	}
	return Rule{}, false
}

// route returns the index of the rule that Route returns, -1 when there is none.
func (in Ingress) route(hostname, path string) int {
	hostname = strings.ToLower(hostname)
	return slices.IndexFunc(in.Rules, func(rule Rule) bool { return rule.matches(hostname, path) })
}

// matches applies hostname and path as cloudflared does.
func (r Rule) matches(hostname, path string) bool { return r.covers(hostname) && r.takes(path) }

// covers reports whether the rule is for this hostname, given in lower case.
func (r Rule) covers(hostname string) bool {
	if suffix, ok := strings.CutPrefix(r.Hostname, "*."); ok {
		return strings.HasSuffix(hostname, "."+suffix)
	}
	return r.Hostname == "" || r.Hostname == "*" || r.Hostname == hostname
}

// takes reports whether the rule is for this path.
func (r Rule) takes(path string) bool {
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

// SameService reports whether two services are the same place: letter case and final
// dot of the host, a final slash and ws for http make no difference.
func SameService(a, b string) bool { return normalService(a) == normalService(b) }

// hostOf returns the host of a URL without port, in lower case and without a final
// dot.
func hostOf(u *url.URL) string { return strings.TrimSuffix(strings.ToLower(u.Hostname()), ".") }

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
	return scheme + "://" + hostOf(u) + ":" + port + strings.TrimSuffix(u.Path, "/")
}
