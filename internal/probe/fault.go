package probe

import (
	"errors"
	"time"
)

// Stage is how far a connection came, in the order of the constants.
type Stage string

// The stages of a connection to a broker.
const (
	StageTarget    Stage = "target"    // the target itself makes no sense
	StageDNS       Stage = "dns"       // the name is looked up
	StageTCP       Stage = "tcp"       // the address is connected
	StageTLS       Stage = "tls"       // the certificate is verified
	StageUpgrade   Stage = "upgrade"   // HTTP becomes WebSocket
	StageConnect   Stage = "connect"   // CONNECT is answered by CONNACK
	StageSubscribe Stage = "subscribe" // SUBSCRIBE is answered by SUBACK
	StageMessage   Stage = "message"   // a published message comes back
	StageAnonymous Stage = "anonymous" // a client without username is refused
	StageEndpoint  Stage = "endpoint"  // a metrics endpoint answers
)

// Class is what went wrong, fine enough that one cause and one remedy belong to
// it. Classes are compared with ==, see ClassOf.
type Class string

// The classes of a fault, by the stage at which they show.
const (
	ClassTarget    Class = "target"    // not a URL that can be connected to
	ClassCancelled Class = "cancelled" // the caller gave up
	ClassOther     Class = "other"     // none of the below

	ClassNameUnknown Class = "name-unknown" // the name does not exist
	ClassNameLookup  Class = "name-lookup"  // the resolver answered with an error
	ClassNameTimeout Class = "name-timeout" // the resolver did not answer

	ClassRefused     Class = "refused"     // the address answers, nothing listens on the port
	ClassUnreachable Class = "unreachable" // no route to the address
	ClassProhibited  Class = "prohibited"  // this host itself forbids the way
	ClassTCPTimeout  Class = "tcp-timeout" // the address does not answer
	ClassUDPTimeout  Class = "udp-timeout" // nothing comes back

	ClassCertExpired   Class = "certificate-expired"
	ClassCertNotYet    Class = "certificate-not-yet-valid"
	ClassCertAuthority Class = "certificate-authority" // signed by nobody that is trusted
	ClassCertName      Class = "certificate-name"      // of another name
	ClassCertOther     Class = "certificate-other"
	ClassTLSAlert      Class = "tls-alert"  // the server broke the handshake off
	ClassNotTLS        Class = "not-tls"    // the port does not speak TLS
	ClassTLSClosed     Class = "tls-closed" // closed during the handshake
	ClassTLSTimeout    Class = "tls-timeout"

	ClassNoConnector     Class = "http-no-connector"     // 530 with 1033
	ClassTunnelUnknown   Class = "http-tunnel-unknown"   // 530 with 1016
	ClassOriginFailed    Class = "http-origin-failed"    // 502
	ClassNoIngress       Class = "http-no-ingress"       // 503
	ClassCatchAll        Class = "http-catch-all"        // 404
	ClassForbidden       Class = "http-forbidden"        // 401, 403
	ClassAccessLogin     Class = "http-access-login"     // a redirect to an Access login
	ClassRedirect        Class = "http-redirect"         // any other redirect
	ClassRateLimited     Class = "http-rate-limited"     // 429
	ClassEdgeOrigin      Class = "http-edge-origin"      // 504, 52x
	ClassUpgradeRejected Class = "http-upgrade-rejected" // 400, 426
	ClassUpgradeStripped Class = "http-upgrade-stripped" // 200
	ClassStatus          Class = "http-status"           // any other status
	ClassUpgradeInvalid  Class = "upgrade-invalid"       // 101, but not a WebSocket handshake
	ClassSubprotocol     Class = "subprotocol"           // 101 without the subprotocol "mqtt"
	ClassClosed          Class = "closed"                // closed without an HTTP answer
	ClassNotHTTP         Class = "not-http"              // the answer is no HTTP
	ClassUpgradeTimeout  Class = "upgrade-timeout"

	ClassNotAuthorised     Class = "not-authorised"     // CONNACK 0x86, 0x87, 0x8C
	ClassBrokerBusy        Class = "broker-busy"        // CONNACK 0x88, 0x89, 0x97, 0x9F
	ClassConnack           Class = "connack"            // any other CONNACK that refuses
	ClassNotMQTT           Class = "not-mqtt"           // the answer is no CONNACK of MQTT 5
	ClassClosedByBroker    Class = "closed-by-broker"   // closed instead of a CONNACK
	ClassNoConnack         Class = "no-connack"         // in time
	ClassSubscribeDenied   Class = "subscribe-denied"   // SUBACK with a failure
	ClassNoSuback          Class = "no-suback"          // in time
	ClassPublishDenied     Class = "publish-denied"     // PUBACK with a failure
	ClassNotReturned       Class = "not-returned"       // published, and did not come back in time
	ClassConnectionLost    Class = "connection-lost"    // after the CONNACK
	ClassAnonymousAccepted Class = "anonymous-accepted" // by a broker that must not

	ClassEndpointStatus  Class = "endpoint-status"  // a metrics endpoint answered with a status of no use
	ClassEndpointBody    Class = "endpoint-body"    // a metrics endpoint answered with something else than JSON
	ClassEndpointTimeout Class = "endpoint-timeout" // a metrics endpoint did not answer in time
)

// Certificate is what a server's certificate says of itself. It is outside
// text: a printer makes it safe for a terminal.
type Certificate struct {
	Subject   string    `json:"subject"`
	Issuer    string    `json:"issuer"`
	Names     []string  `json:"names,omitempty"`
	NotBefore time.Time `json:"notBefore"`
	NotAfter  time.Time `json:"notAfter"`
}

// Error is why a connection did not get further. It holds no secret; Server,
// Ray, Location, Body, Reason and Detail are outside text, which the printer
// makes safe. An Error is one value in Go and in the probe's report.
type Error struct {
	Class   Class     `json:"class"`
	Stage   Stage     `json:"stage"`
	Subject string    `json:"subject"`           // what was connected to, as a URL
	Address string    `json:"address,omitempty"` // IP:PORT, as far as known
	At      time.Time `json:"at,omitzero"`       // when, by the clock that judged the certificate

	Certificate *Certificate `json:"certificate,omitempty"`

	Status   int    `json:"status,omitempty"`   // HTTP
	EdgeCode int    `json:"edgeCode,omitempty"` // Cloudflare's own error number in the body, e.g. 1033
	Server   string `json:"server,omitempty"`
	Ray      string `json:"ray,omitempty"`
	Location string `json:"location,omitempty"` // without its query
	Body     string `json:"body,omitempty"`     // an excerpt of at most bodyExcerpt bytes

	ReasonCode byte   `json:"reasonCode,omitempty"` // MQTT 5
	Reason     string `json:"reason,omitempty"`     // the broker's own words

	Detail string `json:"detail,omitempty"` // the cause in Go's words

	cause error
}

// Error returns one lower-case sentence: what was connected to and what is wrong.
func (e *Error) Error() string { return e.Subject + ": " + e.sentence() }

// Unwrap returns the cause where it is known on this side of a report.
func (e *Error) Unwrap() error { return e.cause }

// ClassOf returns the class of the Error in the chain of err: "" when err is
// nil, ClassOther when there is none.
func ClassOf(err error) Class {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return ClassOther
}
