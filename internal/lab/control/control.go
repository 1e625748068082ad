// Package control is the lab's control interface: what a test or a person can
// ask of a running lab over HTTP, and a client for it. The interface has no
// authentication and hands out tunnel tokens; it is for loopback and for the
// lab's own network.
package control

import (
	"encoding/json"
	"fmt"
	"time"

	"mqtunnel/internal/secret"
)

// Rule is one ingress rule as Cloudflare's configuration has it. The last rule
// of a configuration has neither Hostname nor Path.
type Rule struct {
	Hostname      string         `json:"hostname,omitempty"`
	Path          string         `json:"path,omitempty"`
	Service       string         `json:"service"`
	OriginRequest map[string]any `json:"originRequest,omitempty"`
}

// TunnelRequest asks for a fresh tunnel. Its configuration has the given
// hostnames and ends in http_status:404; without hostnames nothing is pushed,
// as with a tunnel for which the dashboard holds no public hostname.
type TunnelRequest struct {
	Name      string `json:"name"`
	Hostnames []Rule `json:"hostnames"`
	// Padded says whether the token ends in "=". Nil leaves it to the lab.
	Padded *bool `json:"padded,omitempty"`
}

// Credentials are what creating a tunnel or rotating its secret returns.
type Credentials struct {
	Token      secret.Text
	TunnelID   string
	AccountTag string
}

type credentialsJSON struct {
	Token      string `json:"token"`
	TunnelID   string `json:"tunnelID"`
	AccountTag string `json:"accountTag"`
}

// MarshalJSON writes the token in clear: this answer is how a token leaves the lab.
func (c Credentials) MarshalJSON() ([]byte, error) {
	return json.Marshal(credentialsJSON{c.Token.Reveal(), c.TunnelID, c.AccountTag})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (c *Credentials) UnmarshalJSON(data []byte) error {
	var j credentialsJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return fmt.Errorf("decode credentials: %w", err)
	}
	*c = Credentials{Token: secret.New(j.Token), TunnelID: j.TunnelID, AccountTag: j.AccountTag}
	return nil
}

// TunnelConfig replaces the configuration of a tunnel. None means that nothing
// is pushed to connectors that register from now on.
type TunnelConfig struct {
	Ingress []Rule `json:"ingress,omitempty"`
	None    bool   `json:"none,omitempty"`
}

// PushResult says what a change of the configuration came to.
type PushResult struct {
	Version int `json:"version"`
	// Applied counts the connections whose connector runs this version now.
	Applied int `json:"applied"`
	// Refused holds the errors that connectors answered with.
	Refused []string `json:"refused,omitempty"`
}

// CloseResult counts the connections that a close request ended.
type CloseResult struct {
	Closed int `json:"closed"`
}

// TunnelState is what the edge knows of one tunnel.
type TunnelState struct {
	Name       string      `json:"name"`
	TunnelID   string      `json:"tunnelID"`
	AccountTag string      `json:"accountTag"`
	Hostnames  []string    `json:"hostnames"`
	Connectors []Connector `json:"connectors"`
	// ConfigVersion is the version pushed last; -1 when there is none.
	ConfigVersion int            `json:"configVersion"`
	Counters      TunnelCounters `json:"counters"`
}

// Connections counts the registered connections of all connectors.
func (t TunnelState) Connections() int {
	n := 0
	for _, c := range t.Connectors {
		n += len(c.Connections)
	}
	return n
}

// Connector is one process that has registered connections.
type Connector struct {
	ConnectorID string       `json:"connectorID"`
	Version     string       `json:"version"`
	Arch        string       `json:"arch"`
	Features    []string     `json:"features"`
	Connections []Connection `json:"connections"`
}

// Connection is one registered connection. Draining ones have unregistered and
// only finish the requests that they carry.
type Connection struct {
	Index    int       `json:"index"`
	Location string    `json:"location"`
	Protocol string    `json:"protocol"`
	Remote   string    `json:"remote"`
	Since    time.Time `json:"since"`
	Draining bool      `json:"draining"`
	// InFlight counts the requests and WebSockets that it carries now.
	InFlight int `json:"inFlight"`
	// ConfigVersion is the version that the connector acknowledged on this
	// connection; -1 for none.
	ConfigVersion int `json:"configVersion"`
}

// Duration is a time.Duration that reads and writes as "1.5s".
type Duration time.Duration

// MarshalText writes the form that time.ParseDuration reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads the form of time.ParseDuration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*d = Duration(v)
	return nil
}
