package probe

import (
	"crypto/x509"
	"net"

	"mqtunnel/internal/secret"
)

// Subprotocol is the WebSocket subprotocol of MQTT (MQTT 5.0, section 6).
const Subprotocol = "mqtt"

// ClientIDPrefix begins every client ID that is made up here, so that a reader
// of the broker's log can tell the probe's own connections.
const ClientIDPrefix = "mqtunnel-probe-"

// Target is a broker and how to get to it. It is not changed by its use and may
// be shared between goroutines.
type Target struct {
	URL       string      // ws://, wss:// or mqtt:// (plain TCP), without user information
	ConnectTo []ConnectTo // the first that matches decides where to connect
	// Headers go along with the WebSocket upgrade. They are secrets since the
	// keys of Cloudflare Access are among them.
	Headers  map[string]secret.Text
	Username string // "" connects without username and password
	Password secret.Text
	ClientID string         // "" makes one up
	RootCAs  *x509.CertPool // nil is the system's
	Resolver *net.Resolver  // nil is the system's
}

// ConnectTo says that what is meant for Host:Port connects to ToHost:ToPort
// instead, while name, certificate and headers stay those of the URL. As with
// curl's --connect-to, an empty Host or Port matches every one and an empty
// ToHost or ToPort leaves that part as it is.
type ConnectTo struct{ Host, Port, ToHost, ToPort string }
