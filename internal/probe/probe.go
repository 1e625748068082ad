// Package probe looks at a broker from where its traffic runs. It has two uses:
// an MQTT round trip to any URL, and the report of the short-lived container
// that stands in the connector's network namespace, where the binary runs as
// "mqtunnel probe PATH".
package probe

import (
	"encoding/json"
	"io/fs"
	"net/netip"
	"time"

	"mqtunnel/internal/secret"
)

// Version is that of Request and Report. Both ends are the same binary, so any
// other is refused.
const Version = 1

// Where the probe's files stand in its container, and whose they are. The
// request holds a password: it is a file of the probe's own user and is given
// neither as argument nor in the environment.
const (
	BinaryPath  = "/mqtunnel/probe"
	RequestPath = "/mqtunnel/request.json"
	Command     = "probe" // the hidden subcommand; its argument is RequestPath
	UID         = 65532
	GID         = 65532

	BinaryMode  fs.FileMode = 0o555
	RequestMode fs.FileMode = 0o400
)

// MaxDuration is the longest that Run takes, whatever does not answer.
const MaxDuration = 10 * time.Second

// Request is what the probe is asked to look at. Zero values of the optional
// fields leave the look at that part out.
type Request struct {
	Broker        string // service name of the broker, e.g. "mosquitto"
	WebSocketPort int    // of its WebSocket listener, e.g. 9001
	PlainPort     int    // optional: of its plain listener, e.g. 1883
	Username      string // the probe's account
	Password      secret.Text
	Topic         string        // the topic that the account may use
	Metrics       string        // optional: HOST:PORT of the connector's metrics server, e.g. "127.0.0.1:20241"
	Edge          bool          // optional: look at the way to Cloudflare's edge
	Others        bool          // optional: try TCP to the services of the configuration, at most MaxDials
	Timeout       time.Duration // of each check, 0 is DefaultTimeout, at most MaxTimeout
}

// Bounds of Request.Timeout. Mosquitto 2.0 takes 200 ms to accept a WebSocket
// connection on an idle machine, so short ones see faults that are not there.
const (
	DefaultTimeout = 6 * time.Second
	MaxTimeout     = 8 * time.Second
)

// MaxDials bounds Report.Others.
const MaxDials = 8

// Dialed is whether TCP got through to an address.
type Dialed struct {
	Check
	Address string `json:"address"` // as asked for
}

// Report is what the probe saw.
type Report struct {
	Version int           `json:"version"`
	Took    time.Duration `json:"tookNs"`

	Name      Check    `json:"name"`      // the broker's name is known to the resolver
	Addresses []string `json:"addresses"` // what it resolves to
	// RoundTrip is a message to the probe's own topic and back over WebSocket.
	RoundTrip Check  `json:"roundTrip"`
	Result    Result `json:"result"` // of RoundTrip, as far as it came
	// The anonymous checks are OK when a CONNECT without username is refused.
	AnonymousWebSocket Check `json:"anonymousWebSocket"`
	AnonymousPlain     Check `json:"anonymousPlain"`

	Ready  Endpoint `json:"ready"`  // /ready
	Config Endpoint `json:"config"` // /config
	Tunnel Endpoint `json:"tunnel"` // /diag/tunnel

	Proxy []string `json:"proxy,omitempty"` // names of the proxy variables that are set

	Resolvers []string `json:"resolvers,omitempty"` // addresses of the name servers in use
	Edge      *Edge    `json:"edge,omitempty"`
	Others    []Dialed `json:"others,omitempty"`   // HOST:PORT of the configuration's services
	Requests  int      `json:"requests,omitempty"` // that the connector has served since it started, with Counted
	Counted   bool     `json:"counted,omitempty"`  // /metrics told them
	Clients   int      `json:"clients,omitempty"`  // requests open now, about the number of clients
}

// Edge is the way from here to Cloudflare's edge, as the connector goes it.
type Edge struct {
	// Any is whether the resolver answers at all, asked for a name other than the edge's.
	Any Check `json:"any"`
	// Service is the lookup of the SRV record that names the regions.
	Service Check `json:"service"`
	// ServiceTLS is the same by DNS-over-TLS to 1.1.1.1, to which the connector falls
	// back; it is done only when Service failed.
	ServiceTLS Check    `json:"serviceTls"`
	Regions    []Region `json:"regions"` // those of the SRV record, else the two usual ones
}

// Region is one region of the edge.
type Region struct {
	Name      string   `json:"name"` // e.g. "region1.v2.argotunnel.com"
	Lookup    Check    `json:"lookup"`
	Addresses []string `json:"addresses,omitempty"`
	TCP       Check    `json:"tcp"` // TCP to port 7844
	TLS       Check    `json:"tls"` // the handshake for HTTP/2; whose certificate it is does not matter
	UDP       Check    `json:"udp"` // the handshake of QUIC on port 7844
	// Certificate is what the edge presented over TCP, or else over QUIC.
	Certificate *Certificate `json:"certificate,omitempty"`

	address netip.Addr // the one that is tried, invalid when there is none
	port    uint16
}

// Check is the outcome of one look. The zero Check was not asked for.
type Check struct {
	Done  bool          `json:"done"` // it was looked at
	OK    bool          `json:"ok"`
	Took  time.Duration `json:"tookNs"`
	Error *Error        `json:"error,omitempty"` // why not OK
}

// Endpoint is one answer of the connector's metrics server. Body is for the
// readers of package cloudflared, which know what it means; 503 with a body is
// an answer too.
type Endpoint struct {
	Check
	Status int             `json:"status,omitempty"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// Finding is one thing that keeps messages from flowing, or keeps others out
// less than it should.
type Finding struct {
	Check string // the field of Report it comes from, e.g. "roundTrip"
	Class Class
	Text  string // one sentence, lower case, no full stop; may quote others
	Own   string // Text without what others said
	Hint  string // what to do, may be empty
}

// Expect is what the project is set to, as far as it decides what is a fault.
type Expect struct {
	Anonymous bool // clients without username are let in on purpose
}
