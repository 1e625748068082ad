package connector

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/net/idna"
)

// remoteRule is a rule as the edge sends it.
type remoteRule struct {
	Hostname      string          `json:"hostname"`
	Path          string          `json:"path"`
	Service       string          `json:"service"`
	OriginRequest json.RawMessage `json:"originRequest"`
}

// remoteConfig is a configuration as the edge sends it.
type remoteConfig struct {
	Ingress       []remoteRule    `json:"ingress"`
	OriginRequest json.RawMessage `json:"originRequest"`
	WarpRouting   json.RawMessage `json:"warp-routing"`
}

// access is who may pass a rule.
type access struct {
	Required    bool     `json:"required,omitempty"`
	TeamName    string   `json:"teamName"`
	AudTag      []string `json:"audTag"`
	Environment string   `json:"environment,omitempty"`
}

// originRequest is how a rule speaks to its origin. Times are seconds. The order is that of /config.
type originRequest struct {
	ConnectTimeout         int             `json:"connectTimeout"`
	TLSTimeout             int             `json:"tlsTimeout"`
	TCPKeepAlive           int             `json:"tcpKeepAlive"`
	NoHappyEyeballs        bool            `json:"noHappyEyeballs"`
	KeepAliveTimeout       int             `json:"keepAliveTimeout"`
	KeepAliveConnections   int             `json:"keepAliveConnections"`
	HTTPHostHeader         string          `json:"httpHostHeader"`
	OriginServerName       string          `json:"originServerName"`
	MatchSNIToHost         bool            `json:"matchSNItoHost"`
	CAPool                 string          `json:"caPool"`
	NoTLSVerify            bool            `json:"noTLSVerify"`
	DisableChunkedEncoding bool            `json:"disableChunkedEncoding"`
	BastionMode            bool            `json:"bastionMode"`
	ProxyAddress           string          `json:"proxyAddress"`
	ProxyPort              uint            `json:"proxyPort"`
	ProxyType              string          `json:"proxyType"`
	IPRules                json.RawMessage `json:"ipRules"`
	HTTP2Origin            bool            `json:"http2Origin"`
	Access                 access          `json:"access"`
}

func defaultOriginRequest() originRequest {
	return originRequest{
		ConnectTimeout: 30, TLSTimeout: 10, TCPKeepAlive: 30, KeepAliveTimeout: 90, KeepAliveConnections: 100,
		ProxyAddress: "127.0.0.1",
	}
}

// pathRule is a rule's path expression; its JSON is the text, or null.
type pathRule struct{ *regexp.Regexp }

// MarshalJSON is the expression's text.
func (p pathRule) MarshalJSON() ([]byte, error) {
	if p.Regexp == nil {
		return []byte("null"), nil
	}
	return json.Marshal(p.String())
}

// rule is one rule in force. The order and the name of Handlers are those of /config.
type rule struct {
	Hostname      string        `json:"hostname"`
	Path          pathRule      `json:"path"`
	Service       string        `json:"service"`
	Handlers      []struct{}    `json:"Handlers"`
	OriginRequest originRequest `json:"originRequest"`
	punycode      string
	origin        origin
}

// ingress is the rules in force and what they start from.
type ingress struct {
	rules       []rule
	defaults    originRequest
	warpRouting json.RawMessage
}

// unconfigured is what holds before any configuration came: 503 for everything.
func unconfigured() ingress {
	return ingress{
		rules:       []rule{{Service: "http_status:503", origin: statusOrigin{code: 503, unconfigured: true}}},
		defaults:    defaultOriginRequest(),
		warpRouting: json.RawMessage("{}"),
	}
}

// parseIngress reads a configuration; an error leaves the one in force as it is.
func parseIngress(raw []byte) (ingress, error) {
	var remote remoteConfig
	if err := json.Unmarshal(raw, &remote); err != nil {
		return ingress{}, err
	}
	in := ingress{defaults: defaultOriginRequest(), warpRouting: json.RawMessage("{}")}
	if len(remote.OriginRequest) > 0 {
		if err := json.Unmarshal(remote.OriginRequest, &in.defaults); err != nil {
			return ingress{}, err
		}
	}
	for i, r := range remote.Ingress {
		parsed, err := parseRule(r, i, len(remote.Ingress), in.defaults)
		if err != nil {
			return ingress{}, err
		}
		in.rules = append(in.rules, parsed)
	}
	if len(in.rules) == 0 {
		in.rules = unconfigured().rules
	}
	return in, nil
}

func parseRule(r remoteRule, index, total int, defaults originRequest) (rule, error) {
	parsed := rule{Hostname: r.Hostname, Service: r.Service, OriginRequest: defaults}
	if len(r.OriginRequest) > 0 {
		if err := json.Unmarshal(r.OriginRequest, &parsed.OriginRequest); err != nil {
			return rule{}, err
		}
	}
	var err error
	if parsed.origin, err = newOrigin(r.Service, parsed.OriginRequest); err != nil {
		return rule{}, err
	}
	parsed.Service = parsed.origin.service()
	if parsed.OriginRequest.Access.Required {
		parsed.Handlers = []struct{}{{}}
	}
	if err := checkHostname(r, index, total); err != nil {
		return rule{}, err
	}
	if ascii, err := idna.Lookup.ToASCII(r.Hostname); err == nil && ascii != r.Hostname {
		parsed.punycode = ascii
	}
	if r.Path != "" {
		expression, err := regexp.Compile(r.Path)
		if err != nil {
			return rule{}, fmt.Errorf("Rule #%d has an invalid regex: %w", index+1, err) //nolint:staticcheck // cloudflared's text
		}
		parsed.Path = pathRule{expression}
	}
	return parsed, nil
}

func checkHostname(r remoteRule, index, total int) error {
	if _, _, err := net.SplitHostPort(r.Hostname); err == nil {
		return errors.New("Hostname cannot contain a port") //nolint:staticcheck // cloudflared's text
	}
	if strings.LastIndex(r.Hostname, "*") > 0 {
		return errors.New(`Hostname patterns can have at most one wildcard character ("*") and it can only be used for subdomains, e.g. "*.example.com"`) //nolint:staticcheck // cloudflared's text
	}
	catchesAll := (r.Hostname == "" || r.Hostname == "*") && r.Path == ""
	last := index == total-1
	if last && !catchesAll {
		return errors.New("The last ingress rule must match all URLs (i.e. it should not have a hostname or path filter)") //nolint:staticcheck // cloudflared's text
	}
	if !last && catchesAll {
		return fmt.Errorf("Rule #%d is matching the hostname '%s', but this will match every hostname, meaning the rules which follow it will never be triggered.", index+1, r.Hostname) //nolint:staticcheck // cloudflared's text
	}
	return nil
}

// newOrigin is the service that a rule names.
func newOrigin(service string, request originRequest) (origin, error) {
	if path, ok := strings.CutPrefix(service, "unix:"); ok {
		return newHTTPOrigin(&url.URL{Scheme: "http", Host: "localhost:8080"}, path, service, request), nil
	}
	if path, ok := strings.CutPrefix(service, "unix+tls:"); ok {
		return newHTTPOrigin(&url.URL{Scheme: "https", Host: "localhost:8080"}, path, service, request), nil
	}
	if text, ok := strings.CutPrefix(service, "http_status:"); ok {
		code, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("invalid HTTP status code: %w", err)
		}
		if code < 100 || code > 999 {
			return nil, fmt.Errorf("invalid HTTP status code: %d", code)
		}
		return statusOrigin{code: code}, nil
	}
	if service == "hello_world" || service == "hello-world" || service == "bastion" || service == "socks-proxy" {
		return unknownOrigin{name: service}, nil
	}
	u, err := url.Parse(service)
	if err != nil {
		return nil, err
	}
	if u.Scheme == "" || u.Hostname() == "" {
		return nil, fmt.Errorf("%s is an invalid address, please make sure it has a scheme and a hostname", service)
	}
	if u.Path != "" {
		return nil, fmt.Errorf("%s is an invalid address, ingress rules don't support proxying to a different path on the origin service. The path will be the same as the eyeball request's path", service)
	}
	switch u.Scheme {
	case "http", "https", "ws", "wss":
		return newHTTPOrigin(u, "", service, request), nil
	}
	return newTCPOrigin(u, request), nil
}

// start readies the origins for requests.
func (in ingress) start() error {
	for _, r := range in.rules {
		if o, ok := r.origin.(*httpOrigin); ok {
			if err := o.start(); err != nil {
				return fmt.Errorf("failed to start origin: Error starting local service %s: %w", r.Service, err)
			}
		}
	}
	return nil
}

// match finds the first rule for a host and a path; the last one takes what is left.
func (in ingress) match(host, path string) (rule, int) {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	for i, r := range in.rules {
		hostFits := r.Hostname == "" || r.Hostname == "*" || fits(r.Hostname, host) || (r.punycode != "" && fits(r.punycode, host))
		if hostFits && (r.Path.Regexp == nil || r.Path.MatchString(path)) {
			return r, i
		}
	}
	last := len(in.rules) - 1
	return in.rules[last], last
}

func fits(pattern, host string) bool {
	if pattern == host {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	return wild && strings.HasPrefix(suffix, ".") && strings.HasSuffix(host, suffix)
}
