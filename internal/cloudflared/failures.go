package cloudflared

import "slices"

// Beginnings of messages and errors that several rows share.
const (
	dialEdge   = "Unable to establish connection with Cloudflare edge"
	serveError = "Serve tunnel error"
	dialQUIC   = "Failed to dial a quic connection"
	toOrigin   = "Unable to reach the origin service. The service may be down or it may not be responding to traffic from cloudflared: "
	expired    = "x509: certificate has expired or is not yet valid: "
)

// Remedies that several rows share.
const (
	hintNewToken = "copy the token again from the tunnel's page in the dashboard and type: mqtunnel token set, then mqtunnel up"
	hintDNS      = "see that containers can resolve names: dns in /etc/docker/daemon.json or in compose.override.yaml, " +
		"and port 53 or TCP 853 to 1.1.1.1 open"
	hintHTTP2    = "allow outgoing UDP 7844, or set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up"
	hintTCP      = "allow outgoing TCP 7844 in the firewall or router, or try another network"
	hintNetwork  = "see that this host reaches the internet; with IPv6 that leads nowhere, set TUNNEL_EDGE_IP_VERSION=4 in .env"
	hintBypass   = "exempt region1.v2.argotunnel.com and region2.v2.argotunnel.com, port 7844, from inspection"
	hintSetting  = "correct the TUNNEL_… settings in .env and type: mqtunnel up"
	hintService  = "in the dashboard set the service of the public hostname to Type HTTP, URL mosquitto:9001"
	hintBroker   = "see mqtunnel status and mqtunnel logs mosquitto"
	hintRecreate = "type: mqtunnel up"
)

// failureTable lists what `up` and `doctor` explain; the first row that matches
// counts. Sources: cloudflared's code and its issues on GitHub.
func failureTable() []failure {
	return slices.Concat(startFailures(), refusals(), edgeFailures(), originFailures())
}

// startFailures end the process.
func startFailures() []failure {
	return []failure{
		{
			plain: true, message: "Provided Tunnel token is not valid.", id: CauseTokenInvalid,
			sentence: "the connector was given something that is no tunnel token", hint: hintNewToken,
		},
		{
			plain: true, message: `"cloudflared tunnel run" requires the ID or name of the tunnel`, id: CauseTokenMissing,
			sentence: "no tunnel token reached the connector, or its image is older than 2025.4.0", hint: hintRecreate,
		},
		{
			plain: true, message: "Failed to read token file:", id: CauseTokenFile,
			sentence: "the connector cannot read its token file", hint: hintRecreate,
		},
		{
			plain: true, message: "Incorrect Usage", id: CauseUsage,
			sentence: "the connector's image does not know one of its options", hint: "set CLOUDFLARED_IMAGE to a newer version in .env",
		},
		{
			plain: true, message: `"cloudflared tunnel run" accepts only one argument`, id: CauseUsage,
			sentence: "the connector was started with stray arguments", hint: hintRecreate,
		},
		{
			message: "Couldn't start tunnel", id: CauseSetting,
			sentence: "the connector refuses one of its settings", hint: hintSetting,
		},
		{
			message: "Error opening metrics server listener", id: CauseMetrics,
			sentence: "the connector's metrics address is in use or not its own",
			hint:     "see that compose.override.yaml puts nothing else into the connector's network",
		},
	}
}

// refusals are the edge's answers to a registration. What follows "Unauthorized:"
// is Cloudflare's text.
func refusals() []failure {
	const gone = "the tunnel of this token does not exist (any more), or belongs to another account"
	const goneHint = "look for the tunnel in the dashboard; make a new one where it is gone, then type: mqtunnel token set"
	return []failure{
		{
			topic: ofEdge, cause: "Unauthorized: Invalid tunnel secret", id: CauseSecret,
			sentence: "Cloudflare refuses the token: it was refreshed since, or is damaged", hint: hintNewToken,
		},
		{topic: ofEdge, cause: "Unauthorized: Failed to get tunnel", id: CauseNoTunnel, sentence: gone, hint: goneHint},
		{topic: ofEdge, cause: "Unauthorized: Record for tunnel not found", id: CauseNoTunnel, sentence: gone, hint: goneHint},
		{topic: ofEdge, cause: "Unauthorized: Account doesn't have tunnel", id: CauseNoTunnel, sentence: gone, hint: goneHint},
		{topic: ofEdge, cause: "Unauthorized: Tunnel not found", id: CauseNoTunnel, sentence: gone, hint: goneHint},
		{
			topic: ofEdge, cause: "Unauthorized:", id: CauseRefused,
			sentence: "Cloudflare refuses the token", hint: hintNewToken,
		},
		{
			// Over QUIC the edge's answer stands nowhere in the log, see
			// cloudflared 2026.8.2 connection/quic_connection.go.
			topic: ofEdge, message: serveError, cause: "control stream encountered a failure while serving", id: CauseRefusedSilently,
			sentence: "Cloudflare's edge takes the connection and then refuses it; over QUIC the log does not say why: most likely the token was refreshed, or its tunnel is gone",
			hint:     hintNewToken + "\nto see the edge's words, set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up",
		},
		{
			topic: ofEdge, message: "Register tunnel error from server side", cause: "context deadline exceeded", id: CauseEdgeSilent,
			sentence: "the edge does not answer the registration", hint: "wait a minute; see https://www.cloudflarestatus.com",
		},
		{
			topic: ofEdge, message: "Register tunnel error from server side", id: CauseRefused,
			sentence: "Cloudflare refuses the connection", hint: "see the line, and https://www.cloudflarestatus.com",
		},
	}
}

// edgeFailures are those on the way to the edge.
func edgeFailures() []failure {
	const dns = "the connector cannot find Cloudflare's edge in the DNS"
	const family = "the DNS gives too few addresses of Cloudflare's edge for this IP version"
	rows := []failure{
		{topic: ofEdge, message: "edge discovery: error looking up Cloudflare edge IPs", id: CauseDNS, sentence: dns, hint: hintDNS},
		{topic: ofEdge, cause: "Could not lookup srv records on ", id: CauseDNS, sentence: dns, hint: hintDNS},
		{topic: ofEdge, cause: "Couldn't resolve SRV record ", id: CauseDNS, sentence: dns, hint: hintDNS},
		{
			topic: ofEdge, cause: "expected at least 2 Cloudflare Regions regions", id: CauseAddressFamily,
			sentence: family, hint: hintDNS,
		},
		{
			topic: ofEdge, cause: "there are no free edge addresses left to resolve to", id: CauseAddressFamily,
			sentence: family, hint: "set TUNNEL_EDGE_IP_VERSION=auto in .env; " + hintDNS,
		},
	}
	for _, message := range []string{dialQUIC, dialEdge, serveError} {
		rows = append(rows, tlsFailures(message)...)
		rows = append(rows, routeFailures(message)...)
	}
	const udp = "nothing comes back on UDP port 7844"
	return append(
		rows,
		failure{topic: ofEdge, message: dialQUIC, cause: "timeout: ", id: CauseUDPBlocked, sentence: udp, hint: hintHTTP2},
		failure{topic: ofEdge, message: dialQUIC, cause: "context deadline exceeded", id: CauseUDPBlocked, sentence: udp, hint: hintHTTP2},
	)
}

// tlsFailures are those of the handshake with the edge.
func tlsFailures(message string) []failure {
	const clock = "the edge's certificate is not valid by the clock of this host"
	const clockHint = "set the clock: timedatectl set-ntp true, then timedatectl status; a Raspberry Pi has none that runs without power"
	const strange = "something on the way answers for Cloudflare's edge with a certificate of its own"
	row := func(cause, end string, id CauseID, sentence, hint string) failure {
		return failure{topic: ofEdge, message: message, cause: cause, end: end, id: id, sentence: sentence, hint: hint}
	}
	const cut = "something on the way ends the TLS handshake with the edge"
	return []failure{
		row(expired, "", CauseClock, clock, clockHint),
		row("x509: ", "", CauseInterception, strange, hintBypass),
		row("tls: first record does not look like a TLS handshake", "", CauseInterception, strange, hintBypass),
		row("EOF", "", CauseReset, cut, hintBypass),
		row("read tcp ", "connection reset by peer", CauseReset, cut, hintBypass),
		row("read tcp ", "i/o timeout", CauseReset, cut, hintBypass),
	}
}

// routeFailures are those of the network itself.
func routeFailures(message string) []failure {
	const blocked = "TCP port 7844 to Cloudflare's edge is closed"
	const noRoute = "there is no route to Cloudflare's edge"
	row := func(cause, end string, id CauseID, sentence, hint string) failure {
		return failure{topic: ofEdge, message: message, cause: cause, end: end, id: id, sentence: sentence, hint: hint}
	}
	return []failure{
		row("dial tcp ", "i/o timeout", CauseTCPBlocked, blocked, hintTCP),
		row("dial tcp ", "connection refused", CauseTCPBlocked, blocked, hintTCP),
		row("", "no route to host", CauseNoRoute, noRoute, hintNetwork),
		row("", "network is unreachable", CauseNoRoute, noRoute, hintNetwork),
		row("", "operation not permitted", CauseFirewall, "a firewall of this host forbids the way to the edge",
			"allow outgoing TCP and UDP 7844 on this host"),
	}
}

// originFailures are those behind the tunnel: the configuration and the broker.
func originFailures() []failure {
	row := func(cause, end string, id CauseID, sentence, hint string) failure {
		return failure{topic: ofOrigin, cause: toOrigin + cause, end: end, id: id, sentence: sentence, hint: hint}
	}
	const name = "the connector cannot find the host that the public hostname leads to"
	const refused = "nothing listens where the public hostname leads to"
	const slow = "the service that the public hostname leads to does not answer"
	const noHTTP = "what the public hostname leads to speaks no WebSocket: it is a plain MQTT or a TLS port"
	const encrypted = "the public hostname leads to the broker with TLS, which it does not speak inside"
	return []failure{
		{
			topic: ofIngress, message: "No ingress rules were defined in provided config", id: CauseNoIngress,
			sentence: "the tunnel publishes nothing yet",
			hint:     "in the dashboard, at the tunnel, add a Public hostname or Published application: Type HTTP, URL mosquitto:9001",
		},
		{
			topic: ofIngress, message: "Failed to update ingress", id: CauseBadIngress,
			sentence: "the connector refuses the tunnel's configuration", hint: hintService,
		},
		{
			topic: ofIngress, message: "Failed to deserialize new configuration", id: CauseBadIngress,
			sentence: "the connector refuses the tunnel's configuration", hint: hintService,
		},
		row("dial tcp: lookup ", "", CauseOriginName, name, hintService),
		row("lookup ", "", CauseOriginName, name, hintService),
		row("dial tcp ", "connection refused", CauseOriginRefused, refused, hintService+"; "+hintBroker),
		row("dial tcp ", "i/o timeout", CauseOriginTimeout, slow, hintBroker),
		row("dial tcp ", "no route to host", CauseOriginTimeout, slow, hintBroker),
		row("EOF", "", CauseOriginNoHTTP, noHTTP, hintService),
		row("unexpected EOF", "", CauseOriginNoHTTP, noHTTP, hintService),
		row("read tcp ", "connection reset by peer", CauseOriginNoHTTP, noHTTP, hintService),
		row("net/http: HTTP/1.x transport connection broken: malformed HTTP", "", CauseOriginNoHTTP, noHTTP, hintService),
		row("http: server gave HTTP response to HTTPS client", "", CauseOriginTLS, encrypted, hintService),
		row("tls: ", "", CauseOriginTLS, encrypted, hintService),
		row("x509: ", "", CauseOriginTLS, encrypted, hintService),
		row("remote error: tls: ", "", CauseOriginTLS, encrypted, hintService),
		row("proxyconnect ", "", CauseOriginProxy, "the connector looks for the broker through an HTTP proxy",
			"type: mqtunnel up, which sets NO_PROXY; see proxies in ~/.docker/config.json"),
		row("", "", CauseOrigin, "the connector does not reach the broker", hintBroker),
	}
}
