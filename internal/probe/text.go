package probe

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Words shared by several texts.
const (
	serviceHint = "in the Cloudflare dashboard the public hostname's service must be type HTTP, URL mosquitto:9001"
	clockFormat = "2006-01-02 15:04 MST"
)

// sentence says what is wrong, without what was connected to.
func (e *Error) sentence() string {
	switch e.Stage {
	case StageDNS:
		return e.nameSentence()
	case StageTCP:
		return e.addressSentence()
	case StageTLS:
		return e.tlsSentence()
	case StageUpgrade:
		return e.upgradeSentence()
	case StageConnect, StageSubscribe, StageMessage:
		return e.mqttSentence()
	default:
		return e.otherSentence()
	}
}

func (e *Error) otherSentence() string {
	switch e.Class {
	case ClassCancelled:
		return "given up on request"
	case ClassAnonymousAccepted:
		return "a client without username and password was let in"
	case ClassEndpointStatus:
		return "HTTP " + strconv.Itoa(e.Status) + " instead of an answer"
	case ClassEndpointBody:
		return "the answer is not JSON"
	case ClassEndpointTimeout:
		return "no answer in time"
	default:
		return e.Detail
	}
}

func (e *Error) nameSentence() string {
	switch e.Class {
	case ClassNameUnknown:
		return "the name does not exist in DNS"
	case ClassNameTimeout:
		return "the resolver did not answer in time"
	case ClassNameLookup:
		return "the name could not be looked up: " + e.Detail
	default:
		return e.otherSentence()
	}
}

func (e *Error) addressSentence() string {
	at := e.Address
	if at == "" {
		at = "the address"
	}
	switch e.Class {
	case ClassRefused:
		return at + " refuses the connection: nothing listens there"
	case ClassTCPTimeout:
		return at + " does not answer"
	case ClassUDPTimeout:
		return "nothing comes back from " + at + " over UDP"
	case ClassProhibited:
		return "this host forbids the way to " + at + ": " + e.Detail
	case ClassUnreachable:
		return at + " cannot be reached: " + e.Detail
	default:
		return e.otherSentence()
	}
}

func (e *Error) tlsSentence() string {
	cert := e.Certificate
	if cert == nil {
		cert = &Certificate{}
	}
	switch e.Class {
	case ClassCertExpired:
		return fmt.Sprintf("the certificate expired on %s (the clock here says %s)", clock(cert.NotAfter), clock(e.At))
	case ClassCertNotYet:
		return fmt.Sprintf("the certificate is valid from %s only (the clock here says %s)", clock(cert.NotBefore), clock(e.At))
	case ClassCertAuthority:
		return fmt.Sprintf("the certificate comes from %q, which nobody here trusts", cert.Issuer)
	case ClassCertName:
		return fmt.Sprintf("the certificate is for %s, not for this name", strings.Join(first(cert.Names, 5), ", "))
	case ClassCertOther:
		return "the certificate cannot be verified: " + e.Detail
	case ClassTLSAlert:
		return "the server broke the TLS handshake off: " + e.Detail
	case ClassNotTLS:
		return "the port does not speak TLS"
	case ClassTLSClosed:
		return "the connection was closed during the TLS handshake"
	case ClassTLSTimeout:
		return "the TLS handshake did not finish in time"
	default:
		return e.otherSentence()
	}
}

func (e *Error) upgradeSentence() string {
	switch e.Class {
	case ClassSubprotocol:
		return `the WebSocket upgrade is answered without the subprotocol "mqtt"`
	case ClassUpgradeInvalid:
		return "the answer to the WebSocket upgrade breaks the protocol: " + e.Detail
	case ClassClosed:
		return "the connection was closed without an answer to the WebSocket upgrade"
	case ClassNotHTTP:
		return "the answer to the WebSocket upgrade is not HTTP"
	case ClassUpgradeTimeout:
		return "the WebSocket upgrade was not answered in time"
	default:
		return e.answerSentence()
	}
}

func (e *Error) answerSentence() string {
	if e.Status == 0 {
		return e.otherSentence()
	}
	status := "HTTP " + strconv.Itoa(e.Status)
	if e.EdgeCode != 0 {
		status += " (error " + strconv.Itoa(e.EdgeCode) + ")"
	}
	return status + ": " + e.statusMeaning()
}

func (e *Error) statusMeaning() string {
	switch e.Class {
	case ClassNoConnector:
		return "no connector of this tunnel is connected to Cloudflare"
	case ClassTunnelUnknown:
		return "the DNS record points to a tunnel that does not exist"
	case ClassOriginFailed:
		return "the connector cannot reach the service that the public hostname names"
	case ClassNoIngress:
		return "the tunnel has no public hostname yet"
	case ClassCatchAll:
		return "no public hostname of the tunnel matches this name and path"
	case ClassForbidden:
		return "Cloudflare refuses the request: Access or a firewall rule stands in front"
	case ClassAccessLogin:
		return "Cloudflare Access asks for a login"
	case ClassRedirect:
		return "it redirects to " + e.Location
	case ClassRateLimited:
		return "Cloudflare limits the rate of requests"
	case ClassEdgeOrigin:
		return "Cloudflare did not get an answer from what the DNS record points to"
	case ClassUpgradeRejected:
		return "the WebSocket upgrade is rejected"
	case ClassUpgradeStripped:
		return "a page is served instead of a WebSocket"
	default:
		return "unexpected answer to the WebSocket upgrade"
	}
}

func (e *Error) mqttSentence() string {
	said := ""
	if e.ReasonCode != 0 {
		said = fmt.Sprintf(" (0x%02x)", e.ReasonCode)
	}
	if e.Reason != "" {
		said += ": " + strconv.Quote(e.Reason)
	}
	switch e.Class {
	case ClassNotAuthorised:
		return "the broker refuses username or password" + said
	case ClassBrokerBusy:
		return "the broker takes no more clients now" + said
	case ClassConnack:
		return "the broker refuses the connection" + said
	case ClassNotMQTT:
		return "the answer to CONNECT is no CONNACK of MQTT 5"
	case ClassClosedByBroker:
		return "the connection was closed without an answer to CONNECT"
	case ClassNoConnack:
		return "CONNECT was not answered in time"
	case ClassSubscribeDenied:
		return "the account may not subscribe to its topic" + said
	case ClassNoSuback:
		return "SUBSCRIBE was not answered in time"
	case ClassPublishDenied:
		return "the account may not publish to its topic" + said
	case ClassNotReturned:
		return "the published message did not come back in time"
	case ClassConnectionLost:
		return "the connection was lost" + said
	default:
		return e.otherSentence()
	}
}

// Hint says what to do about the error when it was met on the way to the public
// hostname, or "" when there is nothing to add to its sentence.
func (e *Error) Hint() string {
	switch e.Class {
	case ClassNameUnknown:
		return "add the public hostname to the tunnel in the Cloudflare dashboard, which makes its DNS record too; a resolver may remember for some minutes that the name did not exist"
	case ClassNameLookup, ClassNameTimeout:
		return "check the DNS resolver of this machine"
	case ClassRefused, ClassTCPTimeout, ClassUnreachable, ClassProhibited:
		return "check that the name resolves to Cloudflare and that this network lets TCP 443 out"
	case ClassCertExpired, ClassCertNotYet:
		return "check the clock of this machine first"
	case ClassCertAuthority:
		return "TLS is intercepted on the way, by a firewall or virus scanner, or the name does not resolve to Cloudflare"
	case ClassCertName, ClassTLSAlert:
		return "Cloudflare's certificate covers one level below the domain: use a-b.example.com instead of a.b.example.com"
	case ClassNotTLS, ClassTLSClosed, ClassTLSTimeout:
		return "something between here and Cloudflare answers in its place: check firewall and DNS"
	default:
		return e.httpHint()
	}
}

func (e *Error) httpHint() string {
	switch e.Class {
	case ClassNoConnector:
		return "mqtunnel status shows the connector; a hostname of another tunnel gives this answer too"
	case ClassTunnelUnknown:
		return "add the public hostname to this tunnel again in the Cloudflare dashboard, or correct its DNS record"
	case ClassOriginFailed:
		return serviceHint + "; mqtunnel logs cloudflared shows what the connector tried"
	case ClassNoIngress:
		return "add a public hostname to the tunnel in the Cloudflare dashboard: type HTTP, URL mosquitto:9001"
	case ClassCatchAll:
		return "the public hostname must be this name, and its path field empty"
	case ClassForbidden, ClassAccessLogin:
		return "let MQTT clients pass without a login, or set CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET to a service token that may enter"
	case ClassRedirect:
		return "remove the redirect rule for this name in the Cloudflare dashboard"
	case ClassRateLimited:
		return "wait a minute, or exempt this name from the rate limiting rule"
	case ClassEdgeOrigin:
		return "the DNS record of the name must be the tunnel's, not an address"
	case ClassUpgradeStripped:
		return "switch WebSockets on in the Cloudflare dashboard, under Network; a proxy on the way may strip the upgrade too"
	case ClassSubprotocol:
		return serviceHint + " (type TCP gives this answer)"
	case ClassClosed, ClassNotHTTP, ClassUpgradeInvalid, ClassUpgradeRejected, ClassNotMQTT:
		return serviceHint
	default:
		return ""
	}
}

// classOfStatus maps an answer other than 101 to what it means at Cloudflare's
// edge in front of a tunnel.
func classOfStatus(status, edgeCode int, location string) Class {
	switch {
	case status == 530 && edgeCode != 0 && edgeCode != 1033:
		return ClassTunnelUnknown
	case status == 530:
		return ClassNoConnector
	case status == http.StatusBadGateway:
		return ClassOriginFailed
	case status == http.StatusServiceUnavailable:
		return ClassNoIngress
	case status == http.StatusNotFound:
		return ClassCatchAll
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return ClassForbidden
	case status >= 300 && status < 400 && isAccessLogin(location):
		return ClassAccessLogin
	case status >= 300 && status < 400:
		return ClassRedirect
	case status == http.StatusTooManyRequests:
		return ClassRateLimited
	case status == http.StatusGatewayTimeout, status >= 520 && status < 530:
		return ClassEdgeOrigin
	case status == http.StatusBadRequest, status == http.StatusUpgradeRequired:
		return ClassUpgradeRejected
	case status >= 200 && status < 300:
		return ClassUpgradeStripped
	default:
		return ClassStatus
	}
}

func clock(t time.Time) string { return t.UTC().Format(clockFormat) }

func first(list []string, n int) []string {
	if len(list) > n {
		return append(list[:n:n], "…")
	}
	return list
}
