package doctor

import "strings"

// Explain tells about the check with this code, in any letter case, what it looks at,
// why it fails in practice and how to mend that; false for a code of no check.
func Explain(code string) (string, bool) {
	text, known := explanations()[strings.ToUpper(code)]
	return text, known
}

// explanations holds a few sentences for each code.
func explanations() map[string]string {
	return map[string]string{
		// This machine and its Engine.
		"MQT-H01": "Docker is found as the docker command finds it: by --context, DOCKER_HOST, DOCKER_CONTEXT, then the context that docker context use chose. " +
			"A context that was deleted, a misspelt address, or an Engine over plain tcp:// on another machine stops here; the last is refused because the tunnel token would cross the network in clear. " +
			"List what there is with docker context ls, and use ssh:// or TLS for another machine.",
		"MQT-H02": "The Engine is asked for its version. After an update, a full disk or a boot without the service nothing answers on its socket. " +
			"Start it with sudo systemctl start docker, or open Docker Desktop, and see journalctl -u docker when it ends again.",
		"MQT-H03": "The Engine runs, but its socket belongs to root and the group docker, and this user is in neither. " +
			"Type sudo usermod -aG docker followed by your user name, then log out and in: a group counts only from the next login. Whoever is in that group is as powerful as root on this machine.",
		"MQT-H04": "The Engine's API has to be new enough for what mqtunnel does; Engine 20.10 is the oldest that is tried. " +
			"Packages of old distributions and NAS systems stay behind. Install the Engine from docs.docker.com, which keeps images and volumes.",
		"MQT-H05": "Both images have to exist for this machine's processor. Cloudflare publishes cloudflared for 64-bit Intel and ARM only, so a Raspberry Pi with a 32-bit system cannot run it although its processor could. " +
			"Install the 64-bit system, or run the project on another machine.",
		"MQT-H06": "The containers come back by themselves after a power cut, but only when Docker itself starts with the machine. The systemd unit of Docker is looked at for that. " +
			"Type sudo systemctl enable docker once.",
		"MQT-H07": "The time of this machine is compared with the time that Cloudflare's answers and certificates tell. With a clock that is days off every certificate looks expired or not yet valid, and the connector cannot connect. " +
			"A Raspberry Pi has no clock of its own and needs the network to learn the time: switch NTP on with sudo timedatectl set-ntp true.",

		// The project directory.
		"MQT-F01": "The settings and the tunnel token stand in .env in the project directory. It is missing in a new directory, in the wrong one, or it belongs to root after a command with sudo. " +
			"Go to the right directory or name it with -C, give the file back with chown, or begin with mqtunnel token set.",
		"MQT-F02": "The file .env holds the tunnel token, and whoever reads that can serve your hostname in your place. Editors and copies tend to leave it readable for every user of the machine. " +
			"chmod 600 .env closes it; doctor --fix does that too.",
		"MQT-F03": "Each line of .env has to be KEY=value, a comment or empty. An open quote, a lost equals sign or a command pasted whole makes the line unreadable, and Docker Compose would stop there too. " +
			"The finding names the line by its number and never shows it, since it may hold a secret.",
		"MQT-F04": "mqtunnel and Docker Compose both read .env, and they must read the same. A dollar sign, a quote inside the value or a byte-order mark means one thing to one and another to the other, so a token or password would silently change. " +
			"Put the value into single quotes: both take that literally.",
		"MQT-F05": "Each setting is checked before it is used: ports and addresses, image names, durations, the hostname. The finding names the key, the line and what is allowed. " +
			"Correct the value in .env and type mqtunnel up.",
		"MQT-F06": "A variable in the environment wins over the same key in .env, as with Docker Compose. One that was exported long ago in a shell profile makes changes in .env look as if they were ignored. " +
			"Unset the variable, or take the line out of .env.",
		"MQT-F07": "Keys in .env that look like a setting and are none have no effect. Most are misspelt, such as MQTT_HOST in place of MQTT_HOSTNAME. Correct the name; the README lists all settings.",
		"MQT-F08": "The users stand in mosquitto/passwd as hashes, and what each may do stands in mosquitto/acl. A line edited by hand, such as a password in clear, stops the broker, which refuses a file that it cannot read. " +
			"Set the password again with mqtunnel user passwd, or correct the line that is named.",
		"MQT-F09": "Files in mosquitto/conf.d are added to the broker's configuration. What would undo mqtunnel's own part is refused: opening the broker to everybody, another password file, a second listener on its ports. " +
			"Take that line out; what it is for usually has a setting in .env.",
		"MQT-F10": "compose.override.yaml is merged into the project as Docker Compose would do it. A key that does not exist or cannot be carried out is named with its line rather than dropped. " +
			"Correct that key; Compose itself shows the merged project with docker compose config.",
		"MQT-F11": "compose.yaml is written by mqtunnel and read by Docker Compose, and it says what should run. Once it was edited by hand it is not overwritten, so changed settings no longer reach the containers. " +
			"Move what was added to compose.override.yaml, then type mqtunnel render --force.",
		"MQT-F12": "A project directory under git must not commit .env or the users' files: a secret in the history stays there after it was deleted. Add them to .gitignore and take them out with git rm --cached. " +
			"When the token was pushed somewhere, refresh it in the dashboard and type mqtunnel token set.",
		"MQT-F13": "Each container carries the directory that it was made from. When the project of this name runs from another directory, changing it from here would replace what somebody set up there. " +
			"Go to that directory, give this one another COMPOSE_PROJECT_NAME, or take the project over with mqtunnel up --adopt.",
		"MQT-F14": "What runs is compared with what the files say now. After a change in .env, in the users or in conf.d the containers keep the old values until they are made again. " +
			"mqtunnel up does that, and changes only what differs.",

		// The token.
		"MQT-T01": "The connector needs the tunnel token from the Cloudflare dashboard, where the tunnel's page shows it inside an install command. It is missing in a new project, or when the key in .env is misspelt. " +
			"Type mqtunnel token set and paste that whole command; the token is found in it.",
		"MQT-T02": "A tunnel token is base64 of the account, the tunnel and a secret, and begins with eyJ. An API token, the tunnel's ID or half of the text is a common paste, and cloudflared only says that the token is not valid. " +
			"Copy it again from the tunnel's page and type mqtunnel token set.",
		"MQT-T03": "The token names its tunnel, and so does the running connector. They differ after .env was changed and nothing was started again, for cloudflared reads its token only at its start. " +
			"mqtunnel up makes the connector anew.",
		"MQT-T04": "A token in a command line or in an environment variable stands in docker inspect, and in the list of processes for every user of the machine. Containers that were set up by hand usually have it there. " +
			"Remove that container. Then refresh the token in the dashboard and type mqtunnel token set, since the old one may have been read.",
		"MQT-T05": "A tunnel may have several connectors, and Cloudflare sends each request to any of them. A second project with the same token is then reached by half of the clients, with another broker, other users and other messages. " +
			"Stop that project, or give it a tunnel of its own.",
		"MQT-T06": "Cloudflare refuses the connector although the token has the right form. The usual reason is that the token was refreshed in the dashboard: connections that stand go on, and the next start fails. " +
			"Copy the token of today from the tunnel's page and type mqtunnel token set, then mqtunnel up.",
		"MQT-T07": "The token is whole, and Cloudflare does not know its tunnel: it was deleted, or belongs to another account. Look for it in the dashboard under Networks. " +
			"Where it is gone make a new one, with the public hostname, then type mqtunnel token set.",

		// The broker's container.
		"MQT-B01": "Broker and connector meet on a network of the project. docker network prune removes it while the containers are stopped, and then neither can start. mqtunnel up makes it again and connects both.",
		"MQT-B02": "A name belongs to one container of the whole Engine. The default project wants mosquitto and cloudflared, and a container that was started by hand often has one of them. " +
			"Remove or rename that one after a look at what it is for; mqtunnel never touches it. Another COMPOSE_PROJECT_NAME gives other names.",
		"MQT-B03": "MQTT_LAN_LISTEN may name one address of this host on which plain MQTT is published. When the router gives the host another address, Docker cannot bind the old one and the broker does not start. " +
			"Write the port alone, such as 1883, or reserve the address in the router.",
		"MQT-B04": "Only one program can listen on a port. A Mosquitto of the system, or the broker of Home Assistant's add-on, usually has 1883 already. " +
			"Stop that one with sudo systemctl disable --now mosquitto, or choose another port in MQTT_LAN_LISTEN.",
		"MQT-B05": "The project's broker has no container. It was removed by hand, by a clean-up of the Engine, or never made. mqtunnel up makes it; retained messages are in a volume, which outlives containers.",
		"MQT-B06": "Mosquitto ends at once when it does not know a line of its configuration, and the Engine starts it again and again. Most often the line is in a file of mosquitto/conf.d, or one version of Mosquitto knows it and the other does not. " +
			"The finding shows file and line; correct it and type mqtunnel up, which tries a changed configuration before it replaces the old one.",
		"MQT-B07": "The password and ACL files lie inside the broker's container and belong to the broker's user. Copied in by hand or from a backup they belong to root, and Mosquitto then refuses to start. " +
			"mqtunnel up --force-recreate puts them there again, rightly owned.",
		"MQT-B08": "The broker keeps retained messages and sessions in one database file. A power cut can damage it, and some versions of Mosquitto go on with an empty one without a word. " +
			"Copies are kept beside it from each start, so compare their sizes before anything is overwritten.",
		"MQT-B09": "The broker saves its database at intervals and at its end. It cannot when the disk is full, when it is read-only as a worn SD card becomes, or when the directory belongs to another user. " +
			"Everything still works until the next restart, and then the last messages are lost. Make room with docker system df and docker image prune.",
		"MQT-B10": "The kernel ended the broker because it had used more memory than it may. Large retained messages and long queues for clients that are away add up. " +
			"Raise mem_limit of mosquitto in compose.override.yaml, or let clients that never come back use clean sessions.",
		"MQT-B11": "The broker's container exists and does not run. One that was stopped by hand stays stopped over restarts of the machine, because the Engine respects that. mqtunnel up starts it.",
		"MQT-B12": "A paused container holds its connections and answers nothing, so clients hang instead of failing. Backup tools pause containers and sometimes forget them. mqtunnel up lets it go on.",
		"MQT-B13": "The broker ends and the Engine starts it again, over and over. The exit code and the last lines of its log tell why; a cause that is known has a finding of its own. Read mqtunnel logs mosquitto.",
		"MQT-B14": "Docker Compose gives a container another name for a moment while it replaces it. An update that was interrupted leaves the name behind, and the next one stumbles over it. mqtunnel up puts it right.",
		"MQT-B15": "The broker runs but is not on the project's network, or is on an older one of the same name. The connector then cannot find it and every client gets 502. mqtunnel up connects it again.",
		"MQT-B16": "Cloudflare carries MQTT only inside WebSocket, so the broker needs its listener on 9001. It is missing where an image was built without WebSockets, or where the container runs with a configuration that is not mqtunnel's. " +
			"Use an official eclipse-mosquitto image and type mqtunnel up.",
		"MQT-B17": "The broker takes a limited number of connections at once. Connections that were opened and never logged in count too, so a flood or a client in a tight loop can fill them, while the plain port still answers. " +
			"mqtunnel restart mosquitto drops them; then find the client that reconnects all the time in mqtunnel logs mosquitto.",
		"MQT-B18": "The public hostname is known to anybody who looks, so a broker without users is open to the internet: everybody may read and write all topics. The check tries to connect without a user name. " +
			"Take MQTT_ALLOW_ANONYMOUS out of .env, add users with mqtunnel user add, and type mqtunnel up.",
		"MQT-B19": "MQTT_LAN_LISTEN publishes the plain port for devices at home that do not speak WebSocket. Passwords cross the LAN in clear there, and Docker opens the port past a firewall of the host such as ufw. " +
			"That is fine where it is meant; else take the setting out and type mqtunnel up.",
		"MQT-B20": "Both containers have a limit of memory, so that a flood of messages cannot take this machine down. The Engine leaves it out where the kernel has no memory cgroup, as on a Raspberry Pi by default. " +
			"Add cgroup_enable=memory cgroup_memory=1 to the one line in /boot/firmware/cmdline.txt, reboot, and type mqtunnel up --force-recreate.",
		"MQT-B21": "The broker's container is compared with what the files make of it: rights, user, published ports, limits and restart policy. docker update, docker run and tools such as Portainer change it and leave the files and the labels as they are, so mqtunnel up and Docker Compose see nothing to do. " +
			"mqtunnel up --force-recreate makes it anew as the files say. What is meant to stay belongs into compose.override.yaml.",
		"MQT-B22": "mqtunnel runs the broker without root, without any capability, without a way to new privileges, and with limits of memory and processes: it faces the internet. An override file may take some of that away, and whoever breaks into the broker then has it. " +
			"Keep only what something needs, and type mqtunnel up. Another limit than mqtunnel's is no finding, only none at all.",

		// The connector's container.
		"MQT-C01": "The project's connector has no container, so Cloudflare has nothing to send requests to and clients get error 1033. It was removed by hand or never made. mqtunnel up makes it.",
		"MQT-C02": "The connector takes its token from a file, so that it stands in no command line and no environment. cloudflared can do that since 2025.4.0; an older one says that it needs the ID or name of a tunnel, and ends. " +
			"Set CLOUDFLARED_IMAGE to a newer version, or take the line out of .env.",
		"MQT-C03": "The settings that begin with TUNNEL_ are passed on to cloudflared, which ends when it does not accept one. A protocol or IP version that it does not know is the usual case. Correct it in .env and type mqtunnel up.",
		"MQT-C04": "The kernel ended the connector because it had used more memory than it may. That comes with very many clients, or on a machine that has little memory at all. Raise mem_limit of cloudflared in compose.override.yaml.",
		"MQT-C05": "The connector's container exists and does not run. One that was stopped by hand stays stopped over restarts of the machine. mqtunnel up starts it.",
		"MQT-C06": "A paused connector keeps its place at Cloudflare for a moment and answers nothing, so clients hang. Somebody or a backup tool paused it. mqtunnel up lets it go on.",
		"MQT-C07": "The connector ends and the Engine starts it again, over and over, which docker compose up reports as success. Its exit code tells where to look: 255 means that it could not use its token, 1 that its settings or the DNS failed, 0 that it did not know an option. " +
			"Read mqtunnel logs cloudflared.",
		"MQT-C08": "An update that was interrupted leaves the connector under a temporary name. It works, and the next change stumbles over the name. mqtunnel up puts it right.",
		"MQT-C09": "The connector runs but is not on the project's network, or is on an older one of the same name. It then knows no host called mosquitto, and every client gets 502. mqtunnel up connects it again.",
		"MQT-C10": "cloudflared tells its state on a metrics port that only its own container can reach, and its health check asks there. A process that runs and does not answer hangs, which happens after the network was away for long. " +
			"mqtunnel restart cloudflared mends it.",
		"MQT-C11": "The connector's container is compared with what the files make of it: rights, user, published ports, limits and restart policy. What docker update, docker run or Portainer changed there stands in no file, and mqtunnel up and mqtunnel restart leave it so. " +
			"mqtunnel up --force-recreate makes it anew as the files say; clients have to connect again.",
		"MQT-C12": "The connector needs no root, no capability and no way to new privileges, for it only dials out. Whatever an override file gives it, those who control the Cloudflare account and whoever breaks into it have as well. " +
			"Keep only what something needs, and type mqtunnel up. Another limit of memory or processes than mqtunnel's is no finding, only none at all.",

		// The way to the edge.
		"MQT-E01": "Containers ask Docker's resolver, which passes on to the resolver of the host. A VPN, systemd-resolved on a loopback address or a Pi-hole in a container that is down breaks that, while the host itself resolves names well. " +
			"Set dns in /etc/docker/daemon.json, or for the two services in compose.override.yaml.",
		"MQT-E02": "The connector finds Cloudflare's edge by an SRV record and two names under argotunnel.com. DNS filters and some routers answer ordinary names and drop these. " +
			"cloudflared then tries 1.1.1.1 over TCP 853, and ends when that is closed as well. Let the filter pass argotunnel.com, or give the containers another resolver.",
		"MQT-E03": "The names of the edge resolve, and no packet leaves for their addresses. A host without a default route, a firewall that does not forward for containers, or IPv6 addresses on a network without IPv6 look so. " +
			"Try a ping from a container; set TUNNEL_EDGE_IP_VERSION=4 where only IPv6 is at fault.",
		"MQT-E04": "The connector needs outgoing port 7844, over UDP for QUIC or over TCP for HTTP/2. Company networks, guest networks and some providers close both; port 443 does not help, and HTTP proxies are not used for it. " +
			"Have one of the two opened, or use another network such as a phone's to see that nothing else is wrong.",
		"MQT-E05": "UDP 7844 is closed, so QUIC cannot connect. Left alone cloudflared tries QUIC for two to four minutes at each start before it falls back to HTTP/2, and never when QUIC is demanded. " +
			"Set TUNNEL_TRANSPORT_PROTOCOL=http2 in .env and type mqtunnel up; for MQTT it is as good.",
		"MQT-E06": "TCP 7844 is closed, so HTTP/2 cannot connect. It matters where TUNNEL_TRANSPORT_PROTOCOL=http2 is set, and as the way out when QUIC fails. Set it to quic, or have TCP 7844 opened.",
		"MQT-E07": "The connector verifies that it speaks with Cloudflare. A firewall or virus scanner that opens TLS puts its own certificate there, which cloudflared refuses, rightly. " +
			"Exempt region1.v2.argotunnel.com and region2.v2.argotunnel.com on port 7844 from inspection.",
		"MQT-E08": "The connector registers up to four connections at Cloudflare's edge, and without one of them clients get error 1033. The log says why it was refused or lost; where ports, DNS and token are good, it is often Cloudflare itself. " +
			"After a long outage cloudflared may wait some minutes between attempts; mqtunnel restart cloudflared shortens that.",
		"MQT-E09": "Four connections go to two regions of Cloudflare, so that one can fail. With fewer it works until that one does. A firewall that lets only some addresses through is the usual reason: allow port 7844 to both regions.",

		// The tunnel's configuration.
		"MQT-S01": "Which hostname leads to which service is set in the Cloudflare dashboard and sent to the connector. A tunnel without any has no configuration, and the connector answers every request with 503. " +
			"Add a Public hostname or Published application at the tunnel, Type HTTP, URL mosquitto:9001.",
		"MQT-S02": "The connector checks the configuration that the dashboard sends and refuses all of it for one bad row. It keeps the one before, and after its next start it has none. " +
			"A path behind the service's port is the usual mistake: the dashboard takes http://mosquitto:9001/mqtt, and cloudflared does not. Correct the row that the line names.",
		"MQT-S03": "One public hostname of the tunnel has to lead to the broker, and it is the name that MQTT clients are given. A tunnel often carries other names, such as that of Home Assistant, and those are not judged. " +
			"Add one in the dashboard with Type HTTP, URL mosquitto:9001 and an empty Path. Where the name is there and MQTT_HOSTNAME in .env says another one, correct that.",
		"MQT-S04": "Inside a container localhost is that container. The guides say localhost because they run cloudflared on the host; here it looks for a broker inside the connector and clients get 502, while the dashboard says healthy. " +
			"Set the service to Type HTTP, URL mosquitto:9001, which is the broker's name on the project's network.",
		"MQT-S05": "An address in the service's URL reaches the broker only as long as it is the broker's. A container gets another one when it is made anew, and the LAN address of the host does not lead to port 9001, which is not published. " +
			"Use the name: Type HTTP, URL mosquitto:9001.",
		"MQT-S06": "On the project's network the broker is called mosquitto, whatever the container's name. Names of containers, host.docker.internal, or the public hostname itself do not lead there or not for long; the last makes requests run in a circle. " +
			"Set the service to Type HTTP, URL mosquitto:9001.",
		"MQT-S07": "The broker speaks WebSocket on 9001 and plain MQTT on 1883, and Cloudflare can only use the first. With 1883 the broker's log shows protocol errors and clients get 502; without a port it is 80, where nothing listens. " +
			"Set the service to Type HTTP, URL mosquitto:9001.",
		"MQT-S08": "TLS for clients ends at Cloudflare, and the tunnel is encrypted by itself. The broker speaks no TLS inside, so Type HTTPS fails at the handshake, with or without No TLS Verify. Choose Type HTTP and URL mosquitto:9001; clients still use wss.",
		"MQT-S09": "With Type TCP cloudflared answers the WebSocket itself and does not confirm the subprotocol mqtt, so clients give up although every log looks clean. TCP is for cloudflared access on the other side, not for MQTT clients. " +
			"Choose Type HTTP and URL mosquitto:9001.",
		"MQT-S10": "The service is something to which a client's request cannot be passed on: a fixed HTTP status, cloudflared's test page, SSH, RDP or a socket file. Choose Type HTTP and URL mosquitto:9001.",
		"MQT-S11": "The Path of a public hostname is a regular expression that says for which requests the rule counts. MQTT clients ask for /mqtt, / or whatever they are set to, and all others meet 404. " +
			"The broker takes any path, so leave the field empty.",
		"MQT-S12": "The first rule that matches counts. A wildcard such as *.example.com, or an older row with the same name, that stands above the broker's takes its requests. Move the broker's row up, or delete the other.",
		"MQT-S13": "The last rule has to take whatever no other takes, and the dashboard adds it by itself. Through the API or Terraform it is easily left out, and the connector then refuses the whole configuration. " +
			"Save the public hostname in the dashboard, or end the list with the service http_status:404 without hostname and path.",
		"MQT-S14": "With Protect with Access the connector itself asks each request for a login of Cloudflare Access. MQTT clients have none unless they can send the two headers of a service token, so they get 403. " +
			"Switch it off at the public hostname; the broker's users and passwords keep strangers out.",
		"MQT-S15": "Cloudflare's free certificate covers the domain and one level below it: mqtt.example.com, and not mqtt.home.example.com. The handshake then fails before any HTTP. " +
			"Use a name such as mqtt-home.example.com, or buy an Advanced Certificate for the deeper level.",
		"MQT-S16": "A tunnel's configuration goes to all its connectors, and Cloudflare sends each request to any of them. Where another connector elsewhere serves the other hostnames with the same token, requests for them arrive here as well and get 502, and MQTT requests arrive there: it works sometimes. " +
			"Give the broker a tunnel of its own, or correct the service that is out of reach.",

		// The broker as the connector sees it.
		"MQT-O01": "The connector finds the broker by the name mosquitto, which Docker's resolver knows on the project's network. It does not when one of the two is on another network, or when the broker does not run. mqtunnel up puts both where they belong.",
		"MQT-O02": "Docker passes the proxies of ~/.docker/config.json into every container, and cloudflared uses them for the way to the broker. The proxy does not know mosquitto, and its error looks like an answer of the broker. " +
			"mqtunnel sets NO_PROXY for the broker: mqtunnel up makes the containers anew with it.",
		"MQT-O03": "The name resolves, and the broker's port does not take a connection from the connector. A firewall on the host that filters between containers does that, or a broker that listens on its own loopback address. " +
			"Look at the rules for Docker's bridges, and at listener lines in mosquitto/conf.d.",
		"MQT-O04": "The port takes connections, and the request to become a WebSocket with the subprotocol mqtt is not answered with 101. Something else than Mosquitto listens there, or the broker hangs. mqtunnel restart mosquitto, then its log.",
		"MQT-O05": "mqtunnel tests with an account of its own, whose password is in .env and whose hash is in the broker. They differ after one of them was put back from a backup or edited. mqtunnel up --force-recreate writes both anew.",
		"MQT-O06": "mqtunnel's account may use one topic of its own and nothing else. When the ACL file was changed by hand, it logs in and is not allowed to subscribe or publish. mqtunnel up --force-recreate writes the rule again.",
		"MQT-O07": "A message is published inside the network and has to come back. When login and rights are good and it does not, the broker is overloaded, out of memory or has lost its connection in the middle. Read mqtunnel logs mosquitto.",

		// The public hostname.
		"MQT-D01": "Clients find the public hostname by the DNS, and the dashboard makes its record when the hostname is added. The record is missing when it was deleted, or when the domain's name servers are not Cloudflare's yet. " +
			"Delete and add the public hostname again in the dashboard; a new record takes a minute, and some resolvers remember for an hour that there was none.",
		"MQT-D02": "The record of the public hostname has to be a CNAME to the tunnel's ID under cfargotunnel.com. An older A record, or the record of a tunnel that was replaced, sends clients elsewhere, and the dashboard does not overwrite it. " +
			"Delete the record in the dashboard under DNS, then save the public hostname again.",
		"MQT-D03": "A tunnel works only through Cloudflare's proxy, the orange cloud of the DNS record. A grey one makes clients ask for addresses that answer nobody. Switch the record to proxied; it counts within minutes.",
		"MQT-D04": "The resolver of this network and that of the world give different answers for the public hostname. A rewrite in a Pi-hole, a router or /etc/hosts sends clients at home to a LAN address, where nothing listens on 443. " +
			"Remove the rewrite, or let it lead to a name of its own.",

		// Cloudflare's edge.
		"MQT-P01": "Clients reach Cloudflare on TCP 443, and from here no connection came about. A firewall that allows few addresses, a captive portal or a network that is down does that. Try another network to see whether only this one is affected.",
		"MQT-P02": "The certificate that answers for the public hostname is checked as a client checks it. Where it is of another name or authority, something stands between: a firewall or virus scanner that opens TLS, or a DNS answer that leads elsewhere. " +
			"A domain that came to Cloudflare today has its certificate within a day at the latest.",
		"MQT-P03": "Cloudflare answers 530 with error 1033: the name leads to a tunnel that has no connector at this moment. When the connector here is connected, the name leads to another tunnel. " +
			"Compare the tunnel's ID in the DNS record with that of the token, which mqtunnel token show tells.",
		"MQT-P04": "Cloudflare answers 530 with error 1016: the DNS record leads to a tunnel that does not exist. The tunnel was deleted and made anew, and the record is still the old one's. " +
			"Delete the record in the dashboard under DNS, then save the public hostname again.",
		"MQT-P05": "Cloudflare answers 502: the request came to a connector that got no answer from the service. A browser always sees 502 here, also when all is well, because Mosquitto closes connections that are no WebSocket; the check therefore asks as an MQTT client does. " +
			"The connector's log names the address that it tried.",
		"MQT-P06": "The answer is 503: the connector that took the request has no configuration. It comes for a moment after a start, and stays when the tunnel publishes nothing. Save the public hostname again in the dashboard, which sends the configuration anew.",
		"MQT-P07": "The answer is 404: the request met the catch-all rule, so no rule has this hostname and path. The name is spelt otherwise in the dashboard, its Path is not empty, or the name belongs to another tunnel. Correct the public hostname.",
		"MQT-P08": "Cloudflare answers 403: a rule of the domain takes clients for bots or attackers. Super Bot Fight Mode, country rules and firewall rules are meant for browsers, and MQTT clients fail their tests. " +
			"Look under Security, Events, for the rule, and exempt the hostname from it.",
		"MQT-P09": "Cloudflare sends the client to a login page of Cloudflare Access, which an MQTT client cannot fill in. Either take the Access application away, for the broker has its own users, or make a service token for it. " +
			"With that CF_ACCESS_CLIENT_ID and CF_ACCESS_CLIENT_SECRET in .env let doctor through; each client has to send the same two headers.",
		"MQT-P10": "The request is answered with a redirect, which MQTT clients do not follow. A redirect or page rule for the whole domain, often from the bare name to www, covers the public hostname too. Exempt the hostname in the dashboard under Rules.",
		"MQT-P11": "Cloudflare answers 429: more requests came from one address than a rate limiting rule allows. Clients that reconnect in a tight loop behind one router add up. Wait a minute, slow the reconnects, or exempt the hostname from the rule.",
		"MQT-P12": "Answers from 520 to 527 and 504 mean that Cloudflare tried an ordinary server for the name and did not get through. The DNS record is then an address in place of the tunnel, or the tunnel's service did not answer in time. Delete the record and save the public hostname again.",
		"MQT-P13": "The request to become a WebSocket came back as an ordinary answer: the upgrade was lost on the way. WebSockets can be switched off for a domain, in the dashboard under Network, and a proxy of this network can strip them too. Switch it on, and try from another network.",
		"MQT-P14": "Cloudflare answered with something that belongs to no known cause; the finding shows the status and the beginning of the text. The number after cf-ray finds the request in the dashboard's events. See cloudflarestatus.com when it comes and goes.",

		// Messages from outside.
		"MQT-M01": "Messages sent through the public hostname have to arrive at this broker. When some come back and others do not, or none was counted here, another connector serves the same tunnel and leads to another broker. " +
			"Find it in the dashboard at the tunnel under Connectors, and stop it or give it a tunnel of its own.",
		"MQT-M02": "The account that is accepted inside the network is refused through the public hostname. The other end is then not this broker, or users were changed a moment ago. mqtunnel logs mosquitto shows whether the login arrived here.",
		"MQT-M03": "A message is published through the public hostname as a client does it, and has to come back. When all before it is good and this fails, the connection is cut or held up on the way. Run doctor again with -v, which shows how far it came, and from another network.",
		"MQT-M04": "A quiet connection is held for as long as --soak says. Proxies end connections on which nothing happens, Cloudflare after about 100 seconds, and Cloudflare's own restarts cut every connection now and then. " +
			"Set the keep alive of clients to 60 s or less, and let them reconnect by themselves.",
	}
}
