package doctor

import "slices"

// Checks lists every check in the order in which one depends on the other: the first
// that fails is the cause.
func Checks() []Check {
	return slices.Concat(
		hostChecks(),
		filesChecks(),
		tokenChecks(),
		brokerChecks(),
		connectorChecks(),
		egressChecks(),
		ingressChecks(),
		originChecks(),
		dnsChecks(),
		edgeChecks(),
		mqttChecks(),
	)
}

func hostChecks() []Check {
	return []Check{
		{
			Code: "MQT-H01", ID: "engine-named", Layer: LayerHost,
			Title:  "the Docker context and the Engine's address make sense",
			Remedy: "correct DOCKER_HOST, or choose a context that docker context ls lists",
			Judge:  judgeEngineNamed,
		},
		{
			Code: "MQT-H02", ID: "engine-running", Layer: LayerHost,
			Title:  "the Docker Engine answers",
			Needs:  []string{"engine-named"},
			Remedy: "start Docker: sudo systemctl start docker",
			Judge:  judgeEngineRunning,
		},
		{
			Code: "MQT-H03", ID: "engine-access", Layer: LayerHost,
			Title:  "this user may use the Docker Engine",
			Needs:  []string{"engine-running"},
			Remedy: "add the user to the group docker, or use sudo",
			Judge:  judgeEngineAccess,
		},
		{
			Code: "MQT-H04", ID: "engine-version", Layer: LayerHost,
			Title:  "the Docker Engine is new enough",
			Needs:  []string{"engine-access"},
			Remedy: "update the Engine to 20.10 or newer: https://docs.docker.com/engine/install/",
			Judge:  judgeEngineVersion,
		},
		{
			Code: "MQT-H05", ID: "platform", Layer: LayerHost,
			Title:  "the images exist for this machine",
			Needs:  []string{"engine-version"},
			Remedy: "run a 64-bit system: there is no cloudflared image for 32-bit ARM",
			Judge:  judgePlatform,
		},
		{
			Code: "MQT-H06", ID: "boot", Layer: LayerHost,
			Title:  "Docker starts with the machine",
			Remedy: "sudo systemctl enable docker",
			Judge:  judgeBoot,
		},
		{
			Code: "MQT-H07", ID: "clock", Layer: LayerHost,
			Title:  "the clock of this machine is right",
			Remedy: "sudo timedatectl set-ntp true",
			Judge:  judgeClock,
		},
	}
}

func filesChecks() []Check {
	return []Check{
		{
			Code: "MQT-F01", ID: "env-file", Layer: LayerFiles,
			Title:  "there is an .env that can be read",
			Remedy: "type: mqtunnel token set",
			Judge:  judgeEnvFile,
		},
		{
			Code: "MQT-F02", ID: "env-private", Layer: LayerFiles,
			Title:  "nobody but its owner can read .env",
			Needs:  []string{"env-file"},
			Remedy: "chmod 600 .env",
			Fix:    true,
			Judge:  judgeEnvPrivate,
		},
		{
			Code: "MQT-F03", ID: "env-lines", Layer: LayerFiles,
			Title:  "every line of .env can be read",
			Needs:  []string{"env-file"},
			Remedy: "correct the line in .env",
			Judge:  judgeEnvLines,
		},
		{
			Code: "MQT-F04", ID: "env-compose", Layer: LayerFiles,
			Title:  "Docker Compose reads .env as mqtunnel does",
			Needs:  []string{"env-lines"},
			Remedy: "put the value into single quotes",
			Judge:  judgeEnvCompose,
		},
		{
			Code: "MQT-F05", ID: "settings", Layer: LayerFiles,
			Title:  "every setting has a value that makes sense",
			Needs:  []string{"env-lines"},
			Remedy: "correct the setting in .env",
			Judge:  judgeSettings,
		},
		{
			Code: "MQT-F06", ID: "environment", Layer: LayerFiles,
			Title:  "the environment and .env say the same",
			Needs:  []string{"env-lines"},
			Remedy: "unset the variable, or take the line out of .env",
			Judge:  judgeEnvironment,
		},
		{
			Code: "MQT-F07", ID: "setting-names", Layer: LayerFiles,
			Title:  "every setting in .env is one that mqtunnel knows",
			Needs:  []string{"env-lines"},
			Remedy: "correct the name in .env; the README lists the settings",
			Judge:  judgeSettingNames,
		},
		{
			Code: "MQT-F08", ID: "users", Layer: LayerFiles,
			Title:  "the files of the users can be read",
			Remedy: "correct the line, or type: mqtunnel user passwd NAME",
			Judge:  judgeUsers,
		},
		{
			Code: "MQT-F09", ID: "conf-d", Layer: LayerFiles,
			Title:  "the files in mosquitto/conf.d are allowed",
			Remedy: "correct the line in mosquitto/conf.d",
			Judge:  judgeConfD,
		},
		{
			Code: "MQT-F10", ID: "override", Layer: LayerFiles,
			Title:  "compose.override.yaml can be used",
			Needs:  []string{"settings", "users", "conf-d"},
			Remedy: "correct compose.override.yaml",
			Judge:  judgeOverride,
		},
		{
			Code: "MQT-F11", ID: "compose-file", Layer: LayerFiles,
			Title:  "compose.yaml is as mqtunnel wrote it",
			Needs:  []string{"override"},
			Remedy: "move what was changed to compose.override.yaml, then type: mqtunnel render --force",
			Judge:  judgeComposeFile,
		},
		{
			Code: "MQT-F12", ID: "git", Layer: LayerFiles,
			Title:  "git does not keep a secret",
			Remedy: "git rm --cached the file, and get a new token",
			Judge:  judgeGit,
		},
		{
			Code: "MQT-F13", ID: "directory", Layer: LayerFiles,
			Title:  "the running project belongs to this directory",
			Needs:  []string{"engine-version"},
			Remedy: "go to that directory, or type: mqtunnel up --adopt",
			Judge:  judgeDirectory,
		},
		{
			Code: "MQT-F14", ID: "in-force", Layer: LayerFiles,
			Title:  "what runs is what the files say",
			Needs:  []string{"directory", "compose-file"},
			Remedy: "type: mqtunnel up",
			Judge:  judgeInForce,
		},
	}
}

func tokenChecks() []Check {
	return []Check{
		{
			Code: "MQT-T01", ID: "token", Layer: LayerToken,
			Title:  "there is a tunnel token",
			Needs:  []string{"env-lines"},
			Remedy: "type: mqtunnel token set",
			Judge:  judgeToken,
		},
		{
			Code: "MQT-T02", ID: "token-form", Layer: LayerToken,
			Title:  "the tunnel token is a whole one",
			Needs:  []string{"token"},
			Remedy: "type: mqtunnel token set",
			Judge:  judgeTokenForm,
		},
		{
			Code: "MQT-T03", ID: "token-tunnel", Layer: LayerToken,
			Title:  "the connector serves the token's tunnel",
			Needs:  []string{"token-form", "engine-version"},
			Remedy: "type: mqtunnel up",
			Judge:  judgeTokenTunnel,
		},
		{
			Code: "MQT-T04", ID: "token-hidden", Layer: LayerToken,
			Title:  "no container shows the token",
			Needs:  []string{"engine-version"},
			Remedy: "remove that container, then refresh the token in the dashboard and type: mqtunnel token set",
			Judge:  judgeTokenHidden,
		},
		{
			Code: "MQT-T05", ID: "tunnel-alone", Layer: LayerToken,
			Title:  "no other project of this Engine serves the tunnel",
			Needs:  []string{"token-form", "engine-version"},
			Remedy: "stop the other project, or use the token of another tunnel",
			Judge:  judgeTunnelAlone,
		},
		{
			Code: "MQT-T06", ID: "token-accepted", Layer: LayerToken,
			Title:  "Cloudflare accepts the token",
			Needs:  []string{"engine-version"},
			Remedy: "copy the token again from the tunnel's page in the dashboard and type: mqtunnel token set, then mqtunnel up",
			Judge:  judgeTokenAccepted,
		},
		{
			Code: "MQT-T07", ID: "tunnel-exists", Layer: LayerToken,
			Title:  "the token's tunnel exists",
			Needs:  []string{"engine-version"},
			Remedy: "make a tunnel in the dashboard and type: mqtunnel token set, then mqtunnel up",
			Judge:  judgeTunnelExists,
		},
	}
}

func brokerChecks() []Check {
	return []Check{
		{
			Code: "MQT-B01", ID: "network", Layer: LayerBroker,
			Title:  "the project's network exists",
			Needs:  []string{"directory"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeNetwork,
		},
		{
			Code: "MQT-B02", ID: "names-free", Layer: LayerBroker,
			Title:  "no other container has a name of the project",
			Needs:  []string{"directory"},
			Remedy: "remove or rename the other container",
			Judge:  judgeNamesFree,
		},
		{
			Code: "MQT-B03", ID: "lan-address", Layer: LayerBroker,
			Title:  "the address in MQTT_LAN_LISTEN is one of this host",
			Needs:  []string{"directory"},
			Remedy: "correct MQTT_LAN_LISTEN in .env",
			Judge:  judgeLanAddress,
		},
		{
			Code: "MQT-B04", ID: "lan-port", Layer: LayerBroker,
			Title:  "the port in MQTT_LAN_LISTEN is free",
			Needs:  []string{"directory"},
			Remedy: "choose another port in MQTT_LAN_LISTEN, or stop what has this one",
			Judge:  judgeLanPort,
		},
		{
			Code: "MQT-B05", ID: "broker-container", Layer: LayerBroker,
			Title:  "the broker has a container",
			Needs:  []string{"directory"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeBrokerContainer,
		},
		{
			Code: "MQT-B06", ID: "broker-configuration", Layer: LayerBroker,
			Title:  "the broker accepts its configuration",
			Needs:  []string{"broker-container"},
			Remedy: "correct the file in mosquitto/conf.d and type: mqtunnel up",
			Judge:  judgeBrokerConfiguration,
		},
		{
			Code: "MQT-B07", ID: "broker-users", Layer: LayerBroker,
			Title:  "the broker can read its password and ACL files",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up --force-recreate",
			Judge:  judgeBrokerUsers,
		},
		{
			Code: "MQT-B08", ID: "database", Layer: LayerBroker,
			Title:  "the broker has its database",
			Needs:  []string{"broker-container"},
			Remedy: "see the copies in the broker's data volume",
			Judge:  judgeDatabase,
		},
		{
			Code: "MQT-B09", ID: "database-saved", Layer: LayerBroker,
			Title:  "the broker can save its database",
			Needs:  []string{"broker-container"},
			Remedy: "make room on the disk",
			Judge:  judgeDatabaseSaved,
		},
		{
			Code: "MQT-B10", ID: "broker-memory", Layer: LayerBroker,
			Title:  "the broker has enough memory",
			Needs:  []string{"broker-container"},
			Remedy: "raise mem_limit in compose.override.yaml",
			Judge:  judgeBrokerMemory,
		},
		{
			Code: "MQT-B11", ID: "broker-started", Layer: LayerBroker,
			Title:  "the broker's container has not been stopped",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeBrokerStarted,
		},
		{
			Code: "MQT-B12", ID: "broker-unpaused", Layer: LayerBroker,
			Title:  "the broker's container is not paused",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeBrokerUnpaused,
		},
		{
			Code: "MQT-B13", ID: "broker-steady", Layer: LayerBroker,
			Title:  "the broker keeps running",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel logs mosquitto",
			Judge:  judgeBrokerSteady,
		},
		{
			Code: "MQT-B14", ID: "broker-name", Layer: LayerBroker,
			Title:  "the broker's container has its name",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeBrokerName,
		},
		{
			Code: "MQT-B15", ID: "broker-network", Layer: LayerBroker,
			Title:  "the broker is on the project's network",
			Needs:  []string{"broker-container", "network"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeBrokerNetwork,
		},
		{
			Code: "MQT-B16", ID: "broker-websocket", Layer: LayerBroker,
			Title:  "the broker has its WebSocket listener",
			Needs:  []string{"broker-container"},
			Remedy: "use an official eclipse-mosquitto image, and type: mqtunnel up",
			Judge:  judgeBrokerWebsocket,
		},
		{
			Code: "MQT-B17", ID: "broker-room", Layer: LayerBroker,
			Title:  "the broker takes more clients",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel restart mosquitto",
			Judge:  judgeBrokerRoom,
		},
		{
			Code: "MQT-B18", ID: "anonymous", Layer: LayerBroker,
			Title:  "clients without a user are refused",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up",
			Judge:  judgeAnonymous,
		},
		{
			Code: "MQT-B19", ID: "published", Layer: LayerBroker,
			Title:  "no port is published on the LAN",
			Needs:  []string{"broker-container"},
			Remedy: "remove MQTT_LAN_LISTEN from .env where nobody needs it",
			Judge:  judgePublished,
		},
		{
			Code: "MQT-B20", ID: "limits", Layer: LayerBroker,
			Title:  "the kernel enforces the memory limits",
			Needs:  []string{"broker-container"},
			Remedy: "on a Raspberry Pi add cgroup_enable=memory cgroup_memory=1 to /boot/firmware/cmdline.txt, reboot, and type: mqtunnel up --force-recreate",
			Judge:  judgeLimits,
		},
		{
			Code: "MQT-B21", ID: "broker-unchanged", Layer: LayerBroker,
			Title:  "nobody has changed the broker's container by hand",
			Needs:  []string{"broker-container"},
			Remedy: "type: mqtunnel up --force-recreate",
			Judge:  judgeBrokerUnchanged,
		},
		{
			Code: "MQT-B22", ID: "broker-confined", Layer: LayerBroker,
			Title:  "the broker has its limits, and no right that it does not need",
			Needs:  []string{"broker-container"},
			Remedy: "take out of compose.override.yaml what nobody needs, and type: mqtunnel up",
			Judge:  judgeBrokerConfined,
		},
	}
}

func connectorChecks() []Check {
	return []Check{
		{
			Code: "MQT-C01", ID: "connector-container", Layer: LayerConnector,
			Title:  "the connector has a container",
			Needs:  []string{"directory"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeConnectorContainer,
		},
		{
			Code: "MQT-C02", ID: "connector-image", Layer: LayerConnector,
			Title:  "the connector's image can read a token from a file",
			Needs:  []string{"connector-container"},
			Remedy: "set CLOUDFLARED_IMAGE to 2025.4.0 or newer in .env and type: mqtunnel up",
			Judge:  judgeConnectorImage,
		},
		{
			Code: "MQT-C03", ID: "connector-settings", Layer: LayerConnector,
			Title:  "the connector accepts its settings",
			Needs:  []string{"connector-container"},
			Remedy: "correct the TUNNEL_ settings in .env and type: mqtunnel up",
			Judge:  judgeConnectorSettings,
		},
		{
			Code: "MQT-C04", ID: "connector-memory", Layer: LayerConnector,
			Title:  "the connector has enough memory",
			Needs:  []string{"connector-container"},
			Remedy: "raise mem_limit in compose.override.yaml",
			Judge:  judgeConnectorMemory,
		},
		{
			Code: "MQT-C05", ID: "connector-started", Layer: LayerConnector,
			Title:  "the connector's container has not been stopped",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeConnectorStarted,
		},
		{
			Code: "MQT-C06", ID: "connector-unpaused", Layer: LayerConnector,
			Title:  "the connector's container is not paused",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeConnectorUnpaused,
		},
		{
			Code: "MQT-C07", ID: "connector-steady", Layer: LayerConnector,
			Title:  "the connector keeps running",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel logs cloudflared",
			Judge:  judgeConnectorSteady,
		},
		{
			Code: "MQT-C08", ID: "connector-name", Layer: LayerConnector,
			Title:  "the connector's container has its name",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeConnectorName,
		},
		{
			Code: "MQT-C09", ID: "connector-network", Layer: LayerConnector,
			Title:  "the connector is on the project's network",
			Needs:  []string{"connector-container", "network"},
			Remedy: "type: mqtunnel up",
			Fix:    true,
			Judge:  judgeConnectorNetwork,
		},
		{
			Code: "MQT-C10", ID: "connector-answers", Layer: LayerConnector,
			Title:  "the connector answers on its metrics port",
			Needs:  []string{"connector-started", "connector-unpaused", "connector-steady"},
			Remedy: "type: mqtunnel restart cloudflared",
			Fix:    true,
			Judge:  judgeConnectorAnswers,
		},
		{
			Code: "MQT-C11", ID: "connector-unchanged", Layer: LayerConnector,
			Title:  "nobody has changed the connector's container by hand",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel up --force-recreate",
			Judge:  judgeConnectorUnchanged,
		},
		{
			Code: "MQT-C12", ID: "connector-confined", Layer: LayerConnector,
			Title:  "the connector has its limits, and no right that it does not need",
			Needs:  []string{"connector-container"},
			Remedy: "take out of compose.override.yaml what nobody needs, and type: mqtunnel up",
			Judge:  judgeConnectorConfined,
		},
	}
}

func egressChecks() []Check {
	return []Check{
		{
			Code: "MQT-E01", ID: "container-dns", Layer: LayerEgress,
			Title:  "containers can resolve names",
			Needs:  []string{"network"},
			Remedy: "set dns in /etc/docker/daemon.json or in compose.override.yaml",
			Judge:  judgeContainerDns,
		},
		{
			Code: "MQT-E02", ID: "edge-dns", Layer: LayerEgress,
			Title:  "the DNS has the names of Cloudflare's edge",
			Needs:  []string{"container-dns"},
			Remedy: "let the DNS filter pass argotunnel.com, or use another resolver for containers",
			Judge:  judgeEdgeDns,
		},
		{
			Code: "MQT-E03", ID: "edge-route", Layer: LayerEgress,
			Title:  "there is a way from the container to Cloudflare's edge",
			Needs:  []string{"network"},
			Remedy: "see that containers on this host reach the internet",
			Judge:  judgeEdgeRoute,
		},
		{
			Code: "MQT-E04", ID: "edge-ports", Layer: LayerEgress,
			Title:  "UDP or TCP port 7844 is open",
			Needs:  []string{"edge-dns", "edge-route"},
			Remedy: "allow outgoing UDP 7844, or TCP 7844 with TUNNEL_TRANSPORT_PROTOCOL=http2 in .env, in the firewall or router",
			Judge:  judgeEdgePorts,
		},
		{
			Code: "MQT-E05", ID: "edge-udp", Layer: LayerEgress,
			Title:  "UDP port 7844 is open for QUIC",
			Needs:  []string{"edge-ports"},
			Remedy: "set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type: mqtunnel up; or allow outgoing UDP 7844",
			Fix:    true,
			Judge:  judgeEdgeUdp,
		},
		{
			Code: "MQT-E06", ID: "edge-tcp", Layer: LayerEgress,
			Title:  "TCP port 7844 is open for HTTP/2",
			Needs:  []string{"edge-ports"},
			Remedy: "set TUNNEL_TRANSPORT_PROTOCOL=quic in .env and type: mqtunnel up; or allow outgoing TCP 7844",
			Judge:  judgeEdgeTcp,
		},
		{
			Code: "MQT-E07", ID: "edge-tls", Layer: LayerEgress,
			Title:  "nobody intercepts the connector's TLS",
			Needs:  []string{"edge-ports"},
			Remedy: "exempt region1.v2.argotunnel.com and region2.v2.argotunnel.com, port 7844, from inspection",
			Judge:  judgeEdgeTls,
		},
		{
			Code: "MQT-E08", ID: "registered", Layer: LayerEgress,
			Title:  "the connector is connected to Cloudflare's edge",
			Needs:  []string{"connector-started", "connector-unpaused", "connector-steady", "edge-udp", "edge-tcp", "edge-tls"},
			Remedy: "type: mqtunnel logs cloudflared",
			Judge:  judgeRegistered,
		},
		{
			Code: "MQT-E09", ID: "four-connections", Layer: LayerEgress,
			Title:  "all four connections to the edge stand",
			Needs:  []string{"registered"},
			Remedy: "allow outgoing port 7844 to both regions of Cloudflare's edge",
			Judge:  judgeFourConnections,
		},
	}
}

func ingressChecks() []Check {
	return []Check{
		{
			Code: "MQT-S01", ID: "configured", Layer: LayerIngress,
			Title:  "Cloudflare has sent the tunnel's configuration",
			Needs:  []string{"registered"},
			Remedy: "in the dashboard, at the tunnel, add a Public hostname or Published application",
			Judge:  judgeConfigured,
		},
		{
			Code: "MQT-S02", ID: "configuration-accepted", Layer: LayerIngress,
			Title:  "the connector accepts the tunnel's configuration",
			Needs:  []string{"registered"},
			Remedy: "correct the Public hostname in the dashboard",
			Judge:  judgeConfigurationAccepted,
		},
		{
			Code: "MQT-S03", ID: "hostname-published", Layer: LayerIngress,
			Title:  "a public hostname leads to the broker",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard, at the tunnel, add a Public hostname: Type HTTP, URL mosquitto:9001",
			Judge:  judgeHostnamePublished,
		},
		{
			Code: "MQT-S04", ID: "service-localhost", Layer: LayerIngress,
			Title:  "the service is not localhost",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceLocalhost,
		},
		{
			Code: "MQT-S05", ID: "service-address", Layer: LayerIngress,
			Title:  "the service is given by its name, not by an address",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceAddress,
		},
		{
			Code: "MQT-S06", ID: "service-name", Layer: LayerIngress,
			Title:  "the service's host is the broker",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceName,
		},
		{
			Code: "MQT-S07", ID: "service-port", Layer: LayerIngress,
			Title:  "the service's port is the WebSocket listener's",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServicePort,
		},
		{
			Code: "MQT-S08", ID: "service-tls", Layer: LayerIngress,
			Title:  "the service's type is HTTP without TLS",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceTls,
		},
		{
			Code: "MQT-S09", ID: "service-tcp", Layer: LayerIngress,
			Title:  "the service's type is not TCP",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceTcp,
		},
		{
			Code: "MQT-S10", ID: "service-type", Layer: LayerIngress,
			Title:  "the service is one that requests can be passed on to",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard set the service to Type HTTP, URL mosquitto:9001",
			Judge:  judgeServiceType,
		},
		{
			Code: "MQT-S11", ID: "path-empty", Layer: LayerIngress,
			Title:  "the public hostname leads to the broker for every path",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard empty the Path of the Public hostname",
			Judge:  judgePathEmpty,
		},
		{
			Code: "MQT-S12", ID: "rule-first", Layer: LayerIngress,
			Title:  "no earlier rule takes the requests for the public hostname",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard move the broker's Public hostname above the rule that covers it",
			Judge:  judgeRuleFirst,
		},
		{
			Code: "MQT-S13", ID: "catch-all", Layer: LayerIngress,
			Title:  "the last rule is a catch-all",
			Needs:  []string{"configured"},
			Remedy: "save the Public hostname again in the dashboard, which adds the catch-all rule",
			Judge:  judgeCatchAll,
		},
		{
			Code: "MQT-S14", ID: "access-off", Layer: LayerIngress,
			Title:  "the connector does not ask for an Access login itself",
			Needs:  []string{"configured"},
			Remedy: "in the dashboard, at the Public hostname, switch off Protect with Access",
			Judge:  judgeAccessOff,
		},
		{
			Code: "MQT-S15", ID: "hostname-level", Layer: LayerIngress,
			Title:  "Cloudflare's certificate covers the public hostname",
			Needs:  []string{"hostname-published"},
			Remedy: "use a-b.example.com instead of a.b.example.com",
			Judge:  judgeHostnameLevel,
		},
		{
			Code: "MQT-S16", ID: "other-services", Layer: LayerIngress,
			Title:  "the tunnel's other services can be reached from here as well",
			Needs:  []string{"configured"},
			Remedy: "give the broker a tunnel of its own",
			Judge:  judgeOtherServices,
		},
	}
}

func originChecks() []Check {
	return []Check{
		{
			Code: "MQT-O01", ID: "broker-resolves", Layer: LayerOrigin,
			Title:  "the connector finds the broker by its name",
			Needs:  []string{"broker-started", "broker-unpaused", "broker-steady", "broker-network", "connector-network"},
			Remedy: "type: mqtunnel up",
			Judge:  judgeBrokerResolves,
		},
		{
			Code: "MQT-O02", ID: "origin-proxy", Layer: LayerOrigin,
			Title:  "no HTTP proxy stands between connector and broker",
			Needs:  []string{"connector-container"},
			Remedy: "type: mqtunnel up, which sets NO_PROXY; see proxies in ~/.docker/config.json",
			Judge:  judgeOriginProxy,
		},
		{
			Code: "MQT-O03", ID: "broker-reached", Layer: LayerOrigin,
			Title:  "the connector reaches the broker's port",
			Needs:  []string{"broker-resolves", "broker-websocket"},
			Remedy: "see that no firewall of this host filters between containers",
			Judge:  judgeBrokerReached,
		},
		{
			Code: "MQT-O04", ID: "broker-upgrade", Layer: LayerOrigin,
			Title:  "the broker answers a WebSocket client",
			Needs:  []string{"broker-reached", "broker-room"},
			Remedy: "type: mqtunnel restart mosquitto",
			Judge:  judgeBrokerUpgrade,
		},
		{
			Code: "MQT-O05", ID: "probe-login", Layer: LayerOrigin,
			Title:  "the broker accepts mqtunnel's own account",
			Needs:  []string{"broker-upgrade"},
			Remedy: "type: mqtunnel up --force-recreate",
			Judge:  judgeProbeLogin,
		},
		{
			Code: "MQT-O06", ID: "probe-topic", Layer: LayerOrigin,
			Title:  "mqtunnel's own account may use its topic",
			Needs:  []string{"probe-login"},
			Remedy: "type: mqtunnel up --force-recreate",
			Judge:  judgeProbeTopic,
		},
		{
			Code: "MQT-O07", ID: "message-inside", Layer: LayerOrigin,
			Title:  "a message comes back inside the network",
			Needs:  []string{"probe-topic"},
			Remedy: "type: mqtunnel logs mosquitto",
			Judge:  judgeMessageInside,
		},
	}
}

func dnsChecks() []Check {
	return []Check{
		{
			Code: "MQT-D01", ID: "name-exists", Layer: LayerDNS,
			Title:  "the public hostname exists in the DNS",
			Needs:  []string{"hostname-published"},
			Remedy: "delete and add the Public hostname again in the dashboard, which makes its DNS record",
			Judge:  judgeNameExists,
		},
		{
			Code: "MQT-D02", ID: "name-target", Layer: LayerDNS,
			Title:  "the public hostname's DNS record is this tunnel's",
			Needs:  []string{"name-exists"},
			Remedy: "in the dashboard delete the DNS record of the name, then save the Public hostname again",
			Judge:  judgeNameTarget,
		},
		{
			Code: "MQT-D03", ID: "name-proxied", Layer: LayerDNS,
			Title:  "the DNS record goes through Cloudflare",
			Needs:  []string{"name-exists"},
			Remedy: "in the dashboard switch the DNS record to proxied (orange cloud)",
			Judge:  judgeNameProxied,
		},
		{
			Code: "MQT-D04", ID: "name-here", Layer: LayerDNS,
			Title:  "this network resolves the name as the world does",
			Needs:  []string{"name-exists"},
			Remedy: "remove the rewrite of the name from router, Pi-hole or /etc/hosts",
			Judge:  judgeNameHere,
		},
	}
}

func edgeChecks() []Check {
	return []Check{
		{
			Code: "MQT-P01", ID: "edge-reached", Layer: LayerEdge,
			Title:  "Cloudflare answers on port 443",
			Needs:  []string{"name-exists", "name-target", "name-proxied", "name-here"},
			Remedy: "see that this network lets TCP 443 out",
			Judge:  judgeEdgeReached,
		},
		{
			Code: "MQT-P02", ID: "edge-certificate", Layer: LayerEdge,
			Title:  "the certificate of the public hostname is valid",
			Needs:  []string{"edge-reached", "hostname-level"},
			Remedy: "see what answers in Cloudflare's place: firewall, virus scanner, DNS",
			Judge:  judgeEdgeCertificate,
		},
		{
			Code: "MQT-P03", ID: "edge-connector", Layer: LayerEdge,
			Title:  "the edge finds a connector of the tunnel",
			Needs:  []string{"edge-certificate", "registered"},
			Remedy: "see which tunnel the name's DNS record leads to",
			Judge:  judgeEdgeConnector,
		},
		{
			Code: "MQT-P04", ID: "edge-tunnel", Layer: LayerEdge,
			Title:  "the edge knows the tunnel of the public hostname",
			Needs:  []string{"edge-certificate"},
			Remedy: "in the dashboard delete the DNS record of the name, then save the Public hostname again",
			Judge:  judgeEdgeTunnel,
		},
		{
			Code: "MQT-P05", ID: "edge-origin", Layer: LayerEdge,
			Title: "the edge gets an answer from the broker (no 502)",
			Needs: []string{
				"edge-certificate", "service-localhost", "service-address", "service-name", "service-port", "service-tls",
				"service-tcp", "service-type", "path-empty", "rule-first", "message-inside",
			},
			Remedy: "type: mqtunnel logs cloudflared",
			Judge:  judgeEdgeOrigin,
		},
		{
			Code: "MQT-P06", ID: "edge-configured", Layer: LayerEdge,
			Title:  "the tunnel has a configuration at the edge (no 503)",
			Needs:  []string{"edge-certificate", "configured"},
			Remedy: "save the Public hostname again in the dashboard",
			Judge:  judgeEdgeConfigured,
		},
		{
			Code: "MQT-P07", ID: "edge-rule", Layer: LayerEdge,
			Title:  "a rule of the tunnel takes the request (no 404)",
			Needs:  []string{"edge-certificate", "hostname-published", "service-type", "path-empty", "rule-first"},
			Remedy: "the Public hostname must be this name, with an empty Path",
			Judge:  judgeEdgeRule,
		},
		{
			Code: "MQT-P08", ID: "edge-allowed", Layer: LayerEdge,
			Title:  "no firewall rule refuses the request (no 403)",
			Needs:  []string{"edge-certificate", "access-off"},
			Remedy: "exempt the name from WAF and bot rules, in the dashboard under Security",
			Judge:  judgeEdgeAllowed,
		},
		{
			Code: "MQT-P09", ID: "edge-access", Layer: LayerEdge,
			Title:  "Cloudflare Access lets clients in",
			Needs:  []string{"edge-certificate", "access-off"},
			Remedy: "set CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET in .env, or take the Access application away",
			Judge:  judgeEdgeAccess,
		},
		{
			Code: "MQT-P10", ID: "edge-redirect", Layer: LayerEdge,
			Title:  "the request is not redirected",
			Needs:  []string{"edge-certificate"},
			Remedy: "remove the redirect rule for this name in the dashboard",
			Judge:  judgeEdgeRedirect,
		},
		{
			Code: "MQT-P11", ID: "edge-rate", Layer: LayerEdge,
			Title:  "requests are not rate limited (no 429)",
			Needs:  []string{"edge-certificate"},
			Remedy: "wait a minute, or exempt the name from the rate limiting rule",
			Judge:  judgeEdgeRate,
		},
		{
			Code: "MQT-P12", ID: "edge-server", Layer: LayerEdge,
			Title:  "the edge reaches what the DNS record points to (no 52x)",
			Needs:  []string{"edge-certificate"},
			Remedy: "the DNS record of the name must be the tunnel's, not an address",
			Judge:  judgeEdgeServer,
		},
		{
			Code: "MQT-P13", ID: "edge-websocket", Layer: LayerEdge,
			Title: "WebSockets pass",
			Needs: []string{
				"edge-certificate", "service-localhost", "service-address", "service-name", "service-port", "service-tls",
				"service-tcp", "service-type", "path-empty", "rule-first",
			},
			Remedy: "switch WebSockets on in the dashboard, under Network",
			Judge:  judgeEdgeWebsocket,
		},
		{
			Code: "MQT-P14", ID: "edge-answer", Layer: LayerEdge,
			Title:  "the edge answers as expected",
			Needs:  []string{"edge-certificate"},
			Remedy: "see https://www.cloudflarestatus.com",
			Judge:  judgeEdgeAnswer,
		},
	}
}

func mqttChecks() []Check {
	return []Check{
		{
			Code: "MQT-M01", ID: "one-broker", Layer: LayerMQTT,
			Title: "every connector of the tunnel leads to this broker",
			Needs: []string{
				"edge-reached", "service-localhost", "service-address", "service-name", "service-port", "service-tls",
				"service-tcp", "service-type", "path-empty", "rule-first", "message-inside",
			},
			Remedy: "stop the other connector of this tunnel, or give it a tunnel of its own",
			Judge:  judgeOneBroker,
		},
		{
			Code: "MQT-M02", ID: "public-login", Layer: LayerMQTT,
			Title:  "the broker accepts a login from outside",
			Needs:  []string{"edge-certificate", "message-inside"},
			Remedy: "type: mqtunnel logs mosquitto",
			Judge:  judgePublicLogin,
		},
		{
			Code: "MQT-M03", ID: "public-message", Layer: LayerMQTT,
			Title:  "a message comes back through the public hostname",
			Needs:  []string{"edge-certificate", "message-inside"},
			Remedy: "type: mqtunnel logs mosquitto",
			Judge:  judgePublicMessage,
		},
		{
			Code: "MQT-M04", ID: "idle", Layer: LayerMQTT,
			Title:  "a quiet connection stays open",
			Needs:  []string{"public-message"},
			Remedy: "set the keep alive of clients to 60 s or less",
			Judge:  judgeIdle,
		},
	}
}
