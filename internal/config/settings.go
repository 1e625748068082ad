// Package config knows mqtunnel's settings: their names, defaults and checks in
// one table, and the file .env in which they stand, which it reads and edits in
// place. The process environment wins over the file, as in Docker Compose.
package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Keys of the settings, as they stand in .env and in the environment.
const (
	KeyToken            = "CLOUDFLARE_TUNNEL_TOKEN" //nolint:gosec // the name of a setting, not a credential
	KeyProject          = "COMPOSE_PROJECT_NAME"
	KeyMosquittoImage   = "MOSQUITTO_IMAGE"
	KeyCloudflaredImage = "CLOUDFLARED_IMAGE"
	KeyHostname         = "MQTT_HOSTNAME"
	KeyAllowAnonymous   = "MQTT_ALLOW_ANONYMOUS"
	KeyLANListen        = "MQTT_LAN_LISTEN"
	KeySaveInterval     = "MQTT_SAVE_INTERVAL"
	KeyProtocol         = "TUNNEL_TRANSPORT_PROTOCOL"
	KeyEdgeIPVersion    = "TUNNEL_EDGE_IP_VERSION"
	KeyLogLevel         = "TUNNEL_LOGLEVEL"
	KeyGracePeriod      = "TUNNEL_GRACE_PERIOD"
	KeyAccessID         = "CF_ACCESS_CLIENT_ID"
	KeyAccessSecret     = "CF_ACCESS_CLIENT_SECRET"
	KeyProbePassword    = "MQTUNNEL_PROBE_PASSWORD" //nolint:gosec // the name of a setting, not a credential
)

// SourceKind is the kind of place a value comes from.
type SourceKind int

// The places a value comes from. A later one wins.
const (
	FromDefault SourceKind = iota
	FromFile
	FromEnvironment
)

// Source is where the value in use of one setting comes from.
type Source struct {
	Kind SourceKind
	Line int // of .env when Kind is FromFile, counted from 1
}

// String words the source as messages do: "default", ".env line 3" or
// "environment".
func (s Source) String() string {
	switch s.Kind {
	case FromFile:
		return fmt.Sprintf("%s line %d", EnvName, s.Line)
	case FromEnvironment:
		return "environment"
	default:
		return "default"
	}
}

// Entry tells about one setting where its value comes from.
type Entry struct {
	Key    string
	Source Source
	// FileLine is the line of .env that sets the key, 0 when none does.
	FileLine int
	// Overridden is true when .env and the environment both set the key to
	// different values; the environment's is the one in use.
	Overridden bool
}

// LANListen is the address on which plain MQTT is published, the zero value when
// it is not. An Address of 0.0.0.0 is every IPv4 address of the host.
type LANListen struct {
	Address netip.Addr
	Port    uint16
}

// Enabled reports whether plain MQTT is published.
func (l LANListen) Enabled() bool { return l.Port != 0 }

// String is the form that .env takes, "" when nothing is published.
func (l LANListen) String() string {
	switch {
	case !l.Enabled():
		return ""
	case l.Address.IsUnspecified():
		return fmt.Sprint(l.Port)
	default:
		return netip.AddrPortFrom(l.Address, l.Port).String()
	}
}

// Settings are all settings of a project directory, checked and typed. Where
// nothing is set they hold the default.
type Settings struct {
	Dir     string      // the project directory, as given to Load
	EnvMode fs.FileMode // permission bits of .env, 0 when there is no such file

	Token            secret.Text // as it stands there, unchecked: see ParseToken
	Project          string      // a normal Compose project name
	MosquittoImage   string      // an image reference with a tag or digest
	CloudflaredImage string
	Hostname         string // lower case, in its ASCII form; "" when not set
	AllowAnonymous   bool
	LAN              LANListen
	SaveInterval     time.Duration // whole seconds; 0 saves after every change
	Protocol         string        // "auto", "quic" or "http2"
	EdgeIPVersion    string        // "auto", "4" or "6"
	LogLevel         string        // "debug", "info", "warn", "error" or "fatal"
	GracePeriod      time.Duration
	AccessID         string // "" without Cloudflare Access
	AccessSecret     secret.Text
	ProbePassword    secret.Text // zero until it was made

	Entries []Entry // one per setting, in the order of Table
	// Unknown are the lines of .env that look like a setting of ours and are none,
	// such as a misspelt one.
	Unknown []Assignment
	// StrayToken is the line of .env that sets cloudflared's own TUNNEL_TOKEN, which
	// nothing reads, 0 when none does.
	StrayToken int
}

// Entry returns where the value of the setting named key comes from. It returns
// an Entry from the default for a key that is none of ours.
func (s Settings) Entry(key string) Entry {
	for _, e := range s.Entries {
		if e.Key == key {
			return e
		}
	}
	return Entry{Key: key}
}

// IsSet reports whether .env or the environment sets the key to anything but
// the empty text.
func (s Settings) IsSet(key string) bool { return s.Entry(key).Source.Kind != FromDefault }

// Overridden returns the entries of which .env and the environment say
// different things.
func (s Settings) Overridden() []Entry {
	var out []Entry
	for _, e := range s.Entries {
		if e.Overridden {
			out = append(out, e)
		}
	}
	return out
}

// ParseToken returns the tunnel token decoded strictly. Its error is a
// remedy.Error with the Input code that says where the token stands and what is
// wrong with it; it wraps one of the cloudflared.ErrToken… values.
func (s Settings) ParseToken() (cloudflared.Token, error) {
	token, err := cloudflared.ParseToken(s.Token.Reveal()) // decoding needs the text
	if err == nil {
		return token, nil
	}
	entry := s.Entry(KeyToken)
	hint := remedy.HintOf(err)
	if errors.Is(err, cloudflared.ErrTokenEmpty) {
		hint = "type: mqtunnel token set"
		switch {
		case s.StrayToken > 0:
			hint = fmt.Sprintf("%s line %d sets TUNNEL_TOKEN; rename it to %s, or type: mqtunnel token set", EnvName, s.StrayToken, KeyToken)
		case entry.Overridden:
			hint = fmt.Sprintf("the environment sets %s to nothing, which wins over %s line %d; type: unset %s",
				KeyToken, EnvName, entry.FileLine, KeyToken)
		}
	}
	return cloudflared.Token{}, &remedy.Error{
		Code: remedy.Input,
		Err:  fmt.Errorf("%s: %w", place(KeyToken, entry.Source), err),
		Hint: hint,
	}
}

// WithProject returns the settings with another project name, as the flag -p
// gives it. The name has to be a normal one.
func (s Settings) WithProject(name string) (Settings, error) {
	if err := CheckProject(name); err != nil {
		return Settings{}, remedy.Errorf(remedy.Input, remedy.HintOf(err), "project name: %w", err)
	}
	s.Project = name
	return s, nil
}

// Load reads .env of the project directory dir and environ (KEY=VALUE, as
// os.Environ gives it) into checked settings. No .env is no error. Errors are
// remedy.Errors with the Input code that name file and line and hold no value of
// a secret setting.
func Load(dir string, environ []string) (Settings, error) {
	file, err := ReadEnv(dir)
	if err != nil {
		return Settings{}, err
	}
	return file.Settings(dir, environ)
}

// Settings is Load for a file that was read, edits included.
func (f *EnvFile) Settings(dir string, environ []string) (Settings, error) {
	s := Settings{Dir: dir, EnvMode: f.Mode(), Unknown: unknown(f)}
	if stray := f.assignmentsOf("TUNNEL_TOKEN"); len(stray) > 0 {
		s.StrayToken = stray[0].Line
	}
	env := environment(environ)
	for _, setting := range Table() {
		value, entry, err := resolve(f, env, setting)
		if err != nil {
			return Settings{}, err
		}
		s.Entries = append(s.Entries, entry)
		if value == "" {
			continue
		}
		if err := setting.apply(&s, value); err != nil {
			return Settings{}, &remedy.Error{
				Code: remedy.Input,
				Err:  fmt.Errorf("%s: %w", place(setting.Key, entry.Source), err),
				Hint: remedy.HintOf(err),
			}
		}
	}
	return s, s.checkTogether()
}

// unknown lists the assignments of a file that begin like a setting and are none.
func unknown(file *EnvFile) []Assignment {
	var list []Assignment
	for _, a := range file.Assignments() {
		ours := slices.ContainsFunc([]string{"MQTT_", "MQTUNNEL_", "MOSQUITTO_", "CLOUDFLARED_", "CLOUDFLARE_", "CF_ACCESS_"}, func(p string) bool {
			return strings.HasPrefix(a.Key, p)
		})
		if ours && !slices.ContainsFunc(Table(), func(s Setting) bool { return s.Key == a.Key }) {
			list = append(list, a)
		}
	}
	return list
}

// resolve picks the value of one setting and tells where it comes from. An empty
// value in the environment hides the file's, as in Compose, and means the
// default.
func resolve(file *EnvFile, env map[string]string, setting Setting) (string, Entry, error) {
	entry := Entry{Key: setting.Key}
	assignments := file.assignmentsOf(setting.Key)
	if len(assignments) > 1 {
		first, second := assignments[0].Line, assignments[1].Line
		return "", entry, remedy.Errorf(remedy.Input,
			fmt.Sprintf("keep one of the lines %d and %d", first, second),
			"%s:%d: %s is set twice, first on line %d", EnvName, second, setting.Key, first)
	}
	inFile, ok := file.Lookup(setting.Key)
	if ok {
		entry.FileLine = assignments[0].Line
	}
	fileValue := inFile.Reveal() // settings are parsed from their text
	fromEnv, inEnv := env[setting.Key]
	value := fileValue
	switch {
	case inEnv:
		value = fromEnv
		entry.Overridden = ok && fromEnv != fileValue
		if value != "" {
			entry.Source = Source{Kind: FromEnvironment}
		}
	case value != "":
		entry.Source = Source{Kind: FromFile, Line: entry.FileLine}
	}
	if strings.HasPrefix(value, "#") {
		return "", entry, remedy.Errorf(remedy.Input, "put the comment on a line of its own",
			"%s: the value begins with #", place(setting.Key, entry.Source))
	}
	if value == "" {
		value = setting.Default
	}
	return value, entry, nil
}

// checkTogether checks what no setting can tell alone.
func (s Settings) checkTogether() error {
	missing, present := KeyAccessSecret, KeyAccessID
	if s.AccessID == "" {
		missing, present = present, missing
	}
	if (s.AccessID == "") != s.AccessSecret.IsZero() {
		return remedy.Errorf(remedy.Input,
			"an Access service token has both: set "+missing+" too, or remove "+present,
			"%s: set without %s", place(present, s.Entry(present).Source), missing)
	}
	return nil
}

// place words where a setting stands, as errors begin: ".env:3: KEY" or
// "environment: KEY".
func place(key string, source Source) string {
	switch source.Kind {
	case FromFile:
		return fmt.Sprintf("%s:%d: %s", EnvName, source.Line, key)
	case FromEnvironment:
		return "environment: " + key
	default:
		return key
	}
}

// environment indexes KEY=VALUE pairs; the last of equal keys wins.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, pair := range environ {
		if key, value, ok := strings.Cut(pair, "="); ok {
			env[key] = value
		}
	}
	return env
}
