package probe

import (
	"strconv"
	"strings"
)

// Findings says what of the report is wrong, the cause before its consequences.
// It is empty when messages flow as expected.
func (r Report) Findings(want Expect) []Finding {
	var found []Finding
	add := func(check string, e *Error, own, hint string) {
		found = append(found, Finding{Check: check, Class: e.Class, Text: own + ": " + e.sentence(), Own: own, Hint: hint})
	}
	if origin, wrong := r.Origin(); wrong {
		found = append(found, origin)
	}
	for _, c := range []struct {
		field, over string
		check       Check
	}{
		{"anonymousWebSocket", "over WebSocket", r.AnonymousWebSocket},
		{"anonymousPlain", "on the plain MQTT port", r.AnonymousPlain},
	} {
		e := c.check.Error
		switch {
		case e == nil || c.check.OK:
		case e.Class == ClassAnonymousAccepted && !want.Anonymous:
			own := "the broker lets clients in without username and password " + c.over
			found = append(found, Finding{Check: c.field, Class: e.Class, Text: own, Own: own, Hint: "nothing should be on the internet like this: mqtunnel up renders the broker's configuration again; MQTT_ALLOW_ANONYMOUS=true in .env keeps it on purpose"})
		case e.Class == ClassAnonymousAccepted:
		case r.RoundTrip.OK:
			add(c.field, e, "the broker could not be asked "+c.over+" whether it refuses clients without username", "")
		}
	}
	if e := r.Ready.Error; e != nil && !r.Ready.OK {
		add("ready", e, "the connector's metrics server gives no answer",
			"it starts some seconds after the connector, later when DNS is slow; mqtunnel logs cloudflared shows how far it came")
	}
	return found
}

// Origin says what keeps the probe's messages from the broker, from the
// connector's point of view; wrong is false when nothing was seen to.
func (r Report) Origin() (f Finding, wrong bool) {
	e := r.RoundTrip.Error
	f.Check = "roundTrip"
	if !r.RoundTrip.Done {
		f.Check, e = "name", r.Name.Error
	}
	if r.RoundTrip.OK || e == nil {
		return Finding{}, false
	}
	f.Class = e.Class
	f.Own, f.Hint = r.originText(e)
	switch {
	case e.Class == ClassNotAuthorised:
		f.Text = f.Own
	case e.Status != 0:
		// What the status would mean at Cloudflare's edge does not matter here.
		f.Text = f.Own + ": HTTP " + strconv.Itoa(e.Status)
	default:
		f.Text = f.Own + ": " + e.sentence()
	}
	return f, true
}

// originText says what is wrong in our words, and what to do.
func (r Report) originText(e *Error) (text, hint string) {
	switch e.Class {
	case ClassNameUnknown, ClassNameLookup, ClassNameTimeout:
		return "the connector does not find the broker's name",
			"the broker is not running, or is not on the connector's network: mqtunnel up"
	case ClassRefused:
		return "the broker does not listen where the connector looks",
			"the broker is still starting, or has no WebSocket listener: mqtunnel logs mosquitto"
	case ClassTCPTimeout, ClassUnreachable, ClassProhibited:
		return "the connector gets no connection to the broker",
			"the two are on different networks, or a firewall of this host filters between containers" + r.severalAddresses()
	case ClassUpgradeTimeout, ClassClosed, ClassClosedByBroker, ClassNoConnack:
		if r.AnonymousPlain.OK {
			return "the broker answers on its plain MQTT port but takes no WebSocket clients",
				"its WebSocket listener is full or stuck: mqtunnel restart mosquitto"
		}
		return "the broker does not answer a WebSocket client",
			"mqtunnel logs mosquitto shows whether it started, and what it says of its listeners"
	case ClassNotHTTP, ClassUpgradeRejected, ClassUpgradeInvalid, ClassSubprotocol, ClassStatus, ClassNotMQTT, ClassUpgradeStripped,
		ClassOriginFailed, ClassNoIngress, ClassCatchAll, ClassForbidden, ClassRedirect:
		return "what answers at " + e.Subject + " is not the broker's WebSocket listener",
			"another service has the broker's name on this network, or the listener is not \"protocol websockets\"" + r.severalAddresses()
	case ClassNotAuthorised:
		return "the broker refuses the probe's own account",
			"its password file is older than .env, or unreadable: mqtunnel up renders it again; mqtunnel logs mosquitto"
	case ClassSubscribeDenied, ClassPublishDenied, ClassNotReturned:
		return "the broker accepts the probe's account but not its topic",
			"the ACL file is not the rendered one: mqtunnel up renders it again; mqtunnel logs mosquitto"
	default:
		return "no message gets through the broker", "mqtunnel logs mosquitto"
	}
}

// severalAddresses points out that more than one container answers to the name.
func (r Report) severalAddresses() string {
	if len(r.Addresses) < 2 {
		return ""
	}
	return "; the broker's name has several addresses: " + strings.Join(first(r.Addresses, 4), ", ")
}
