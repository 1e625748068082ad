package doctor

import (
	"net/netip"
	"net/url"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

func bundleNetwork(e *Evidence) object {
	network := object{
		"hostname": bundleHostname(e.Public.Hostname), "connectTo": e.Public.ConnectTo,
		"dns":   object{"here": bundleAnswers(e.Public.System), "world": bundleAnswers(e.Public.World), "worldFailed": e.Public.WorldErr != nil},
		"trips": bundleTrips(e.Public.Trips), "served": e.Public.Served,
		"inside": bundleInside(e.Inside),
	}
	if s := e.Project.Status; s != nil {
		network["connections"] = len(s.Connections)
		network["protocols"] = bundleProtocols(s)
		network["configuration"] = object{"version": s.Ingress.Version, "unread": s.Ingress.Unread, "rules": bundleRules(e, s.Ingress.Rules)}
		network["database"] = bundleDatabase(s.Database)
	}
	if soak := e.Public.Soak; soak != nil {
		network["soak"] = object{"askedSeconds": int(soak.Asked.Seconds()), "heldSeconds": int(soak.Held.Seconds()), "error": bundleError(soak.Err)}
	}
	return network
}

func bundleProtocols(s *lifecycle.Status) []string {
	var list []string
	for _, c := range s.Connections {
		list = append(list, word(c.Protocol, cloudflared.ProtocolQUIC, cloudflared.ProtocolHTTP2))
	}
	return list
}

func bundleDatabase(r *mosquitto.DatabaseReport) object {
	if r == nil {
		return nil
	}
	return object{
		"state": word(r.State, mosquitto.DatabaseNew, mosquitto.DatabaseOK, mosquitto.DatabaseMissing, mosquitto.DatabaseEmpty,
			mosquitto.DatabaseDamaged, mosquitto.DatabaseShrunk, mosquitto.DatabaseUnknown),
		"bytes": r.Bytes, "retained": r.Retained, "copies": r.Copies, "loss": r.Loss != nil,
	}
}

// bundleRules tells the shape of each rule of the dashboard.
func bundleRules(e *Evidence, rules []cloudflared.Rule) []object {
	list := []object{}
	for _, r := range rules {
		name := "name"
		switch {
		case r.Hostname == "" || r.Hostname == "*":
			name = "any"
		case strings.HasPrefix(r.Hostname, "*."):
			name = "wildcard"
		case r.Hostname == e.Public.Hostname:
			name = "the broker's"
		}
		rule := object{"hostname": name, "path": r.Path != "", "access": r.AccessRequired}
		if u, err := url.Parse(r.Service); err == nil {
			rule["scheme"] = word(u.Scheme, "http", "https", "ws", "wss", "tcp", "ssh", "rdp", "smb", "unix", "unix+tls")
			rule["host"] = bundleHost(u.Hostname())
			rule["port"] = bundlePort(u.Port())
			rule["servicePath"] = u.Path != ""
		}
		if code, ok := strings.CutPrefix(r.Service, "http_status:"); ok {
			rule["scheme"], rule["host"] = "http_status:"+word(code, "404", "503"), ""
		}
		list = append(list, rule)
	}
	return list
}

func bundleHost(host string) string {
	switch _, err := netip.ParseAddr(host); {
	case host == plan.ServiceBroker:
		return host
	case strings.EqualFold(host, "localhost"):
		return "localhost"
	case err == nil:
		return "address"
	}
	return word(host)
}

// bundlePort is 0 where there is none.
func bundlePort(port string) uint16 {
	ap, err := netip.ParseAddrPort("0.0.0.0:" + port)
	if err != nil {
		return 0
	}
	return ap.Port()
}

func bundleAnswers(a *Answers) object {
	if a == nil {
		return nil
	}
	private := 0
	for _, ip := range a.Addresses {
		if ip.IsPrivate() || ip.IsLoopback() {
			private++
		}
	}
	return object{
		"exists": a.Exists, "addresses": len(a.Addresses), "privateAddresses": private,
		"tunnelRecord": strings.HasSuffix(a.CNAME, ".cfargotunnel.com"), "failed": a.Err != nil,
	}
}

func bundleTrips(trips []Trip) []object {
	list := []object{}
	for _, t := range trips {
		list = append(list, object{"error": bundleError(t.Err), "timings": bundleTimings(t.Result)})
	}
	return list
}

// milliseconds rounds a time for a person.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func bundleTimings(r probe.Result) object {
	times := object{"totalMs": milliseconds(r.Total), "messageMs": milliseconds(r.Message)}
	for _, s := range r.Stages {
		times[word(s.Stage, stages()...)] = milliseconds(s.Took)
	}
	return times
}

func bundleInside(in InsideEvidence) object {
	inside := object{"failed": in.Err != nil, "from": word(in.From, plan.ServiceConnector, "network")}
	r := in.Report
	if r == nil {
		return inside
	}
	inside["tookMs"] = milliseconds(r.Took)
	inside["timings"] = bundleTimings(r.Result)
	inside["addresses"], inside["resolvers"], inside["proxies"] = len(r.Addresses), len(r.Resolvers), len(r.Proxy)
	inside["requests"], inside["clients"] = r.Requests, r.Clients
	for key, c := range map[string]probe.Check{
		"name": r.Name, "roundTrip": r.RoundTrip, "anonymousWebSocket": r.AnonymousWebSocket, "anonymousPlain": r.AnonymousPlain,
		"ready": r.Ready.Check, "config": r.Config.Check, "tunnel": r.Tunnel.Check,
	} {
		inside[key] = bundleCheck(c)
	}
	var others []object
	for _, d := range r.Others {
		others = append(others, bundleCheck(d.Check))
	}
	inside["otherServices"] = others
	if r.Edge != nil {
		inside["edge"] = bundleEdge(r.Edge)
	}
	return inside
}

func bundleEdge(e *probe.Edge) object {
	var regions []object
	for _, r := range e.Regions {
		regions = append(regions, object{
			"lookup": bundleCheck(r.Lookup), "addresses": len(r.Addresses), "tcp": bundleCheck(r.TCP),
			"tls": bundleCheck(r.TLS), "udp": bundleCheck(r.UDP), "certificate": r.Certificate != nil,
		})
	}
	return object{"any": bundleCheck(e.Any), "service": bundleCheck(e.Service), "serviceTLS": bundleCheck(e.ServiceTLS), "regions": regions}
}

// bundleCheck is nil for a look that was not taken.
func bundleCheck(c probe.Check) object {
	if !c.Done {
		return nil
	}
	return object{"ok": c.OK, "ms": milliseconds(c.Took), "error": bundleError(c.Error)}
}

func bundleError(err *probe.Error) object {
	if err == nil {
		return nil
	}
	return object{
		"class": word(err.Class, classes()...), "stage": word(err.Stage, stages()...),
		"status": err.Status, "edgeCode": err.EdgeCode, "reasonCode": err.ReasonCode,
	}
}

func stages() []probe.Stage {
	return []probe.Stage{
		probe.StageTarget, probe.StageDNS, probe.StageTCP, probe.StageTLS, probe.StageUpgrade, probe.StageConnect,
		probe.StageSubscribe, probe.StageMessage, probe.StageAnonymous, probe.StageEndpoint,
	}
}

func classes() []probe.Class {
	return []probe.Class{
		probe.ClassTarget, probe.ClassCancelled, probe.ClassNameUnknown, probe.ClassNameLookup, probe.ClassNameTimeout,
		probe.ClassRefused, probe.ClassUnreachable, probe.ClassTCPTimeout, probe.ClassCertExpired, probe.ClassCertNotYet,
		probe.ClassCertAuthority, probe.ClassCertName, probe.ClassCertOther, probe.ClassTLSAlert, probe.ClassNotTLS,
		probe.ClassTLSClosed, probe.ClassTLSTimeout, probe.ClassNoConnector, probe.ClassTunnelUnknown, probe.ClassOriginFailed,
		probe.ClassNoIngress, probe.ClassCatchAll, probe.ClassForbidden, probe.ClassAccessLogin, probe.ClassRedirect,
		probe.ClassRateLimited, probe.ClassEdgeOrigin, probe.ClassUpgradeRejected, probe.ClassUpgradeStripped, probe.ClassStatus,
		probe.ClassUpgradeInvalid, probe.ClassSubprotocol, probe.ClassClosed, probe.ClassNotHTTP, probe.ClassUpgradeTimeout,
		probe.ClassNotAuthorised, probe.ClassBrokerBusy, probe.ClassConnack, probe.ClassNotMQTT, probe.ClassClosedByBroker,
		probe.ClassNoConnack, probe.ClassSubscribeDenied, probe.ClassNoSuback, probe.ClassPublishDenied, probe.ClassNotReturned,
		probe.ClassConnectionLost, probe.ClassAnonymousAccepted, probe.ClassEndpointStatus, probe.ClassEndpointBody, probe.ClassEndpointTimeout,
	}
}
