// Package render turns settings into the Compose project on disk, reads the
// project back as Docker Compose would, and says what differs. It alone loads
// Compose files.
package render

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"mqtunnel/compose"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// DefaultProject is the project whose containers are named as the guides say:
// "mosquitto" and "cloudflared". In any other, Compose's own names are used.
const DefaultProject = "mqtunnel"

// noFile is the limit of open files of the broker. libwebsockets of Mosquitto
// 2.0 allocates a table of that size and cannot start under the very high
// limits of some Engines (warmcat/libwebsockets#2449).
const noFile = 16384

// stopMargin is what the connector gets beyond its own grace period before the
// Engine kills it.
const stopMargin = 5 * time.Second

// defaultGrace is the connector's grace period where no setting says otherwise:
// it does not end by itself as long as a client is connected, so a long one
// only delays every stop.
const defaultGrace = 5 * time.Second

// Input is everything that stands in compose.yaml, already checked.
type Input struct {
	Project        string        // normalised Compose project name
	BrokerImage    string        // image reference
	ConnectorImage string        // image reference
	TunnelID       string        // "" when there is no token yet
	TokenChanged   bool          // the token differs from the one that the connector was made with
	LAN            string        // port mapping of plain MQTT as Compose writes it, "" publishes nothing
	Grace          time.Duration // the connector's grace period, 0 is the default of 5 s
	// ConnectorEnv is what is passed through to cloudflared under its own
	// names, such as TUNNEL_TRANSPORT_PROTOCOL. Secrets have no place in it.
	ConnectorEnv map[string]string

	Conf        string // mosquitto.conf, the user's conf.d appended
	StartScript string // what starts the broker
	Passwd      string // password file, hashes only
	ACL         string // ACL file

	// Previous is the compose.yaml that exists, nil when there is none: its
	// revisions are kept as long as what they cover is the same.
	Previous []byte
	// NewRevision makes a new random revision.
	NewRevision func() string
}

// Compose returns compose.yaml for in. The same input and the same revisions
// give the same bytes. It errs when a text is one that Compose would not put
// into the container, such as an empty password file.
func Compose(in Input) ([]byte, error) {
	text, _, err := composed(in)
	return text, err
}

// Texts that stand in for the users' files in a project that is only loaded.
const (
	passwdStandIn = "# the password file stands here\n"
	aclStandIn    = "# the ACL file stands here\n"
)

// composed returns compose.yaml, and the same with stand-ins for the users: the parser
// of YAML goes through the text again and again, and many users make it long.
func composed(in Input) (text, withoutUsers []byte, err error) {
	if err := in.check(); err != nil {
		return nil, nil, err
	}
	source, err := compose.Files.ReadFile(compose.ProjectTemplate)
	if err != nil {
		return nil, nil, fmt.Errorf("read template: %w", err)
	}
	t, err := template.New(compose.ProjectTemplate).
		Funcs(template.FuncMap{"quote": quote, "literal": literal}).
		Option("missingkey=error").
		Parse(string(source))
	if err != nil {
		return nil, nil, fmt.Errorf("parse template: %w", err)
	}
	v := newView(in)
	var full, light bytes.Buffer
	full.Grow(2 * (len(in.Passwd) + len(in.ACL)))
	err = t.Execute(&full, v)
	v.Passwd, v.ACL = passwdStandIn, aclStandIn
	if err := errors.Join(err, t.Execute(&light, v)); err != nil {
		return nil, nil, fmt.Errorf("render compose.yaml: %w", err)
	}
	return seal(full.Bytes()), light.Bytes(), nil
}

// withUsers puts the users' files where their stand-ins are.
func withUsers(p plan.Project, in Input) plan.Project {
	for _, s := range p.Services {
		for i, f := range s.Files {
			switch {
			case f.Content.Equal(secret.New(passwdStandIn)):
				s.Files[i].Content = secret.New(lines(in.Passwd))
			case f.Content.Equal(secret.New(aclStandIn)):
				s.Files[i].Content = secret.New(lines(in.ACL))
			}
		}
	}
	return p
}

// check refuses what the template cannot say.
func (in Input) check() error {
	for _, f := range []struct{ name, text string }{
		{"project name", in.Project},
		{"broker image", in.BrokerImage},
		{"connector image", in.ConnectorImage},
		{"mosquitto.conf", in.Conf},
		{"start script", in.StartScript},
		// Compose puts no empty file into a container, and the broker would not start.
		{"password file", in.Passwd},
		{"ACL file", in.ACL},
	} {
		if strings.TrimSpace(f.text) == "" {
			return fmt.Errorf("render compose.yaml: the %s is empty", f.name)
		}
	}
	if in.NewRevision == nil {
		return errors.New("render compose.yaml: no source of revisions")
	}
	return nil
}

// variable is one environment variable of the connector.
type variable struct{ Name, Value string }

// view is what the template sees.
type view struct {
	Input
	Checksum           string
	FixedNames         bool
	NoFile             int
	GracePeriod        string
	ConnectorStopGrace string
	ConnectorEnv       []variable
	BrokerRevision     string
	ConnectorRevision  string
}

func newView(in Input) view {
	grace := in.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	v := view{
		Input:              in,
		Checksum:           unsealed,
		FixedNames:         in.Project == DefaultProject,
		NoFile:             noFile,
		GracePeriod:        grace.String(),
		ConnectorStopGrace: (grace + stopMargin).String(),
	}
	for _, name := range slices.Sorted(maps.Keys(in.ConnectorEnv)) {
		if value := in.ConnectorEnv[name]; value != "" {
			v.ConnectorEnv = append(v.ConnectorEnv, variable{name, value})
		}
	}
	v.BrokerRevision, v.ConnectorRevision = revisions(in)
	return v
}
