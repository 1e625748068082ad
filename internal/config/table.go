package config

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/distribution/reference"
	"golang.org/x/net/idna"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Setting describes one setting: a row of the settings table.
type Setting struct {
	Key     string
	Default string // "" when there is none
	Doc     string // what it does, one sentence without a full stop
	Example string // a value for .env.sample, "" to show Default
	Secret  bool   // its value is never printed

	apply func(*Settings, string) error // checks a value that is not empty and stores it
}

// Limits of the settings.
const (
	maxSaveInterval = 24 * time.Hour
	minGracePeriod  = time.Second
	// maxGracePeriod is cloudflared's own limit.
	maxGracePeriod = 3 * time.Minute
)

// Table returns all settings, in the order in which they are shown.
func Table() []Setting {
	return []Setting{
		{
			Key: KeyToken, Secret: true,
			Doc:   "The tunnel token; `mqtunnel token set` writes it here",
			apply: func(s *Settings, v string) error { s.Token = secret.New(v); return nil },
		},
		{
			Key: KeyProject, Default: "mqtunnel",
			Doc:   "Name of the Compose project; a second project on one host needs another",
			apply: func(s *Settings, v string) error { s.Project = v; return CheckProject(v) },
		},
		{
			Key: KeyMosquittoImage, Default: "eclipse-mosquitto:2.1.2-alpine",
			Doc:   "Image of the broker, with a version or a digest",
			apply: func(s *Settings, v string) error { s.MosquittoImage = v; return checkImage(v) },
		},
		{
			Key: KeyCloudflaredImage, Default: "cloudflare/cloudflared:2026.8.2",
			Doc:   "Image of the connector, with a version or a digest",
			apply: func(s *Settings, v string) error { s.CloudflaredImage = v; return checkImage(v) },
		},
		{
			Key: KeyHostname, Example: "mqtt.example.com",
			Doc: "Public hostname of the broker; without it, the one that the tunnel publishes is used",
			apply: func(s *Settings, v string) (err error) {
				s.Hostname, err = parseHostname(v)
				return err
			},
		},
		{
			Key: KeyAllowAnonymous, Default: "false",
			Doc: "With `true`, everybody on the internet may read and write everything without a password",
			apply: func(s *Settings, v string) error {
				s.AllowAnonymous = v == "true"
				return oneOf(v, "true", "false")
			},
		},
		{
			Key: KeyLANListen, Example: "1883",
			Doc: "Publishes plain MQTT on the local network: `1883` for all IPv4 addresses of the host, or `ADDRESS:1883`",
			apply: func(s *Settings, v string) (err error) {
				s.LAN, err = parseLANListen(v)
				return err
			},
		},
		{
			Key: KeySaveInterval, Default: "60",
			Doc: "Seconds of retained messages and sessions that a power cut may cost; `0` saves after every change",
			apply: func(s *Settings, v string) (err error) {
				s.SaveInterval, err = parseSeconds(v)
				return err
			},
		},
		{
			Key: KeyProtocol, Default: "auto",
			Doc:   "How the connector reaches the edge: `auto`, `quic` (UDP 7844) or `http2` (TCP 7844)",
			apply: func(s *Settings, v string) error { s.Protocol = v; return oneOf(v, "auto", "quic", "http2") },
		},
		{
			Key: KeyEdgeIPVersion, Default: "auto",
			Doc:   "IP version towards the edge: `auto`, `4` or `6`",
			apply: func(s *Settings, v string) error { s.EdgeIPVersion = v; return oneOf(v, "auto", "4", "6") },
		},
		{
			Key: KeyLogLevel, Default: "info",
			Doc: "What the connector logs: `debug` (with the headers of every request), `info`, `warn`, `error` or `fatal`",
			apply: func(s *Settings, v string) error {
				s.LogLevel = v
				return oneOf(v, "debug", "info", "warn", "error", "fatal")
			},
		},
		{
			Key: KeyGracePeriod, Default: "5s",
			Doc: "How long a stopping connector waits for open connections: `1s` to `3m`",
			apply: func(s *Settings, v string) (err error) {
				s.GracePeriod, err = parseGrace(v)
				return err
			},
		},
		{
			Key: KeyAccessID, Example: "0123456789abcdef0123456789abcdef.access",
			Doc:   "Client ID of a Cloudflare Access service token, where Access guards the hostname",
			apply: func(s *Settings, v string) error { s.AccessID = v; return checkHeader(v) },
		},
		{
			Key: KeyAccessSecret, Secret: true,
			Doc:   "Client secret of that service token",
			apply: func(s *Settings, v string) error { s.AccessSecret = secret.New(v); return checkHeader(v) },
		},
		{
			Key: KeyProbePassword, Secret: true,
			Doc:   "Password of the broker account that mqtunnel tests with; made by the first `mqtunnel up`",
			apply: func(s *Settings, v string) error { s.ProbePassword = secret.New(v); return nil },
		},
	}
}

// wrong makes the error of a value, to be prefixed with its place.
func wrong(hint, format string, args ...any) error {
	return remedy.Errorf(remedy.Input, hint, format, args...)
}

// NormalProject returns name as Compose normalises a project name: lower case,
// only a-z, 0-9, _ and -, and none of the last two in front. It may be empty.
func NormalProject(name string) string {
	keep := func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '_', r == '-':
			return r
		default:
			return -1
		}
	}
	return strings.TrimLeft(strings.Map(keep, strings.ToLower(name)), "_-")
}

// CheckProject refuses a project name that Compose would refuse.
func CheckProject(name string) error {
	normal := NormalProject(name)
	switch {
	case normal == name && name != "":
		return nil
	case normal == "":
		return wrong("use lower-case letters, digits, - and _, for example mqtunnel", "%s is not a project name", shown(name))
	case shown(name) == hiddenValue:
		return wrong("use lower-case letters, digits, - and _, for example mqtunnel", "%s is not a project name", hiddenValue)
	default:
		return wrong("write "+normal, "%s is not a project name", shown(name))
	}
}

// checkImage refuses what is no image reference and what names no version.
func checkImage(value string) error {
	named, err := reference.ParseNormalizedNamed(value)
	if err != nil {
		return wrong("write NAME:TAG, for example eclipse-mosquitto:2.1.2-alpine", "%s is not an image reference", shown(value))
	}
	if _, ok := named.(reference.Digested); ok {
		return nil
	}
	tagged, ok := named.(reference.Tagged)
	if !ok || tagged.Tag() == "latest" {
		return wrong("name a version, so that a restart never changes it: NAME:TAG or NAME@sha256:…",
			"%s names no version", shown(value))
	}
	return nil
}

// parseHostname returns a public hostname in its lower-case ASCII form.
func parseHostname(value string) (string, error) {
	if host, ok := hostOfURL(value); ok {
		return "", wrong("write the hostname alone: "+host, "%s is not a hostname", shown(value))
	}
	const hint = "write a hostname such as mqtt.example.com, the one under Public hostname or Published application in the dashboard"
	if _, err := netip.ParseAddr(value); err == nil {
		return "", wrong(hint, "%s is an address, not a hostname", shown(value))
	}
	ascii, err := idna.Lookup.ToASCII(strings.TrimSuffix(value, "."))
	if err != nil || !cloudflared.IsHostname(ascii) {
		return "", wrong(hint, "%s is not a hostname", shown(value))
	}
	return ascii, nil
}

// hostOfURL finds the hostname in a URL, in HOST:PORT and in HOST/PATH.
func hostOfURL(value string) (string, bool) {
	rest := value
	if _, after, ok := strings.Cut(value, "://"); ok {
		rest = after
	}
	host, _, _ := strings.Cut(rest, "/")
	host, _, _ = strings.Cut(host, ":")
	if host == value || !cloudflared.IsHostname(strings.ToLower(host)) {
		return "", false
	}
	return strings.ToLower(host), true
}

// oneOf refuses a value that is none of the allowed ones.
func oneOf(value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return wrong("write one of: "+strings.Join(allowed, ", "), "%s is not known", shown(value))
}

// parseLANListen reads PORT or ADDRESS:PORT.
func parseLANListen(value string) (LANListen, error) {
	const hint = "write 1883, or ADDRESS:1883 with an IPv4 address of this host"
	host, port := "0.0.0.0", value
	if i := strings.LastIndexByte(value, ':'); i >= 0 {
		host, port = value[:i], value[i+1:]
	}
	number, err := strconv.ParseUint(port, 10, 16)
	isPort := err == nil && number != 0 && decimal.MatchString(port)
	address, err := netip.ParseAddr(host)
	if !isPort || err != nil || !address.Is4() {
		return LANListen{}, wrong(hint, "%s is neither a port nor an IPv4 address with one", shown(value))
	}
	return LANListen{Address: address, Port: uint16(number)}, nil
}

// decimal is a number without a sign.
var decimal = regexp.MustCompile(`^[0-9]+$`)

// parseSeconds reads the save interval.
func parseSeconds(value string) (time.Duration, error) {
	number, err := strconv.Atoi(value)
	limit := int(maxSaveInterval / time.Second)
	if err != nil || !decimal.MatchString(value) || number > limit {
		return 0, wrong("write whole seconds, for example 60", "%s is not a number from 0 to %d", shown(value), limit)
	}
	return time.Duration(number) * time.Second, nil
}

// parseGrace reads the grace period in the form that cloudflared takes.
func parseGrace(value string) (time.Duration, error) {
	hint := "write a time with its unit, for example 5s"
	if decimal.MatchString(value) {
		hint = fmt.Sprintf("write the unit too: %ss", value)
	}
	grace, err := time.ParseDuration(value)
	if err != nil {
		return 0, wrong(hint, "%s is not a time", shown(value))
	}
	if grace < minGracePeriod || grace > maxGracePeriod {
		return 0, wrong("write a time from 1s to 3m", "%s is out of range", shown(value))
	}
	return grace, nil
}

// checkHeader refuses what cannot stand in an HTTP header. It does not show the
// value, which may be a secret.
func checkHeader(value string) error {
	for _, r := range value {
		if r <= ' ' || r > '~' {
			return wrong("copy it again from the Access service token", "it holds a space or a character that no header can carry")
		}
	}
	return nil
}
