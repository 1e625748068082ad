package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/render"
)

// look is the moment of the evidence in these tests.
func look() time.Time { return time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC) }

// serviceOf returns the container of a service that has run well for an hour.
func serviceOf(p part, name string) plan.Details {
	return plan.Details{
		Container: plan.Container{
			ID: "id-" + string(p), Name: name, State: plan.StateRunning, Health: plan.HealthHealthy, Image: "cloudflare/cloudflared:2026.8.2",
			Networks: map[string]string{"p_default": "n1"},
			Labels:   map[string]string{plan.LabelService: string(p), plan.LabelProject: "p"},
		},
		StartedAt: look().Add(-time.Hour), FinishedAt: look().Add(-time.Hour), Policy: plan.Restart{Name: "unless-stopped"},
		Rights: specOf(p).Rights(), MemoryLimit: 256 << 20, PidsLimit: 64,
	}
}

// specOf is what a service is made from, as far as it is looked at.
func specOf(p part) plan.Spec {
	return plan.Spec{
		User: map[part]string{thisBroker: "1883:1883", thisConnector: "65532:65532"}[p], CapDrop: []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges:true"}, Restart: plan.Restart{Name: "unless-stopped"},
		MemoryLimit: 256 << 20, PidsLimit: 64, Networks: []plan.Endpoint{{Network: "p_default"}},
	}
}

// healthy is the evidence of a project that works.
func healthy() *scene {
	return &scene{
		broker: serviceOf(thisBroker, "mosquitto"), connector: serviceOf(thisConnector, "cloudflared"),
		e: &Evidence{
			At:   look(),
			Host: HostEvidence{Local: true, Addresses: []netip.Addr{netip.MustParseAddr("192.168.1.5")}},
			Files: FilesEvidence{
				Settings: &config.Settings{Project: "p"},
				Rendered: &render.Rendered{Project: plan.Project{
					Name: "p", Dir: "/srv/p", Networks: []plan.Network{{Key: "default", Name: "p_default"}},
					Services: []plan.Service{
						{Name: plan.ServiceBroker, ContainerName: "mosquitto", Spec: specOf(thisBroker)},
						{Name: plan.ServiceConnector, ContainerName: "cloudflared", Spec: specOf(thisConnector)},
					},
				}},
			},
			Project: ProjectEvidence{
				Name:     "p",
				Observed: &plan.Observed{Networks: []plan.ObservedNetwork{{ID: "n1", Name: "p_default"}}},
				Status: &lifecycle.Status{
					Serving: true, Connections: []cloudflared.Event{{Kind: cloudflared.EventRegistered}},
					Database: &mosquitto.DatabaseReport{State: mosquitto.DatabaseOK},
				},
				Broker: &BrokerLook{DataFree: 50 << 30, DataSize: 100 << 30},
			},
			Inside: InsideEvidence{From: plan.ServiceConnector, Report: &probe.Report{
				RoundTrip:          probe.Check{Done: true, OK: true},
				AnonymousWebSocket: probe.Check{Done: true, OK: true},
				AnonymousPlain:     probe.Check{Done: true, OK: true},
				Ready:              probe.Endpoint{Check: probe.Check{Done: true, OK: true}, Status: 200},
			}},
		},
	}
}

// scene is evidence whose two containers can still be changed.
type scene struct {
	broker, connector plan.Details
	gone              []part
	further           []plan.Container
	e                 *Evidence
}

// evidence puts the containers where the Engine shows them.
func (s *scene) evidence() *Evidence {
	s.e.Project.Status.Details = map[string]plan.Details{}
	s.e.Project.Observed.Containers = s.further
	for p, d := range map[part]plan.Details{thisBroker: s.broker, thisConnector: s.connector} {
		if !slices.Contains(s.gone, p) {
			s.e.Project.Status.Details[string(p)] = d
			s.e.Project.Observed.Containers = append(s.e.Project.Observed.Containers, d.Container)
		}
	}
	return s.e
}

func (s *scene) wanted(p part) *plan.Service {
	services := s.e.Files.Rendered.Project.Services
	return &services[slices.IndexFunc(services, func(svc plan.Service) bool { return svc.Name == string(p) })]
}

// loops makes a container end again and again, a look between two starts.
func loops(d *plan.Details, code int) {
	d.State, d.ExitCode, d.RestartCount, d.FinishedAt = plan.StateRestarting, code, 6, look().Add(-time.Second)
	d.Health = plan.HealthNone
}

// betweenEnds is as loops, a moment after the last start; how the run before ended is
// from the Engine's events.
func betweenEnds(d *plan.Details, code int) {
	loops(d, code)
	d.State, d.Health, d.StartedAt, d.EndTold = plan.StateRunning, plan.HealthStarting, look().Add(-time.Second), true
}

func ends(d *plan.Details, code int) {
	d.State, d.ExitCode, d.FinishedAt = plan.StateExited, code, look().Add(-time.Minute)
}

func (s *scene) brokerLog(lines ...string) {
	var parsed []mosquitto.Line
	for _, l := range lines {
		parsed = append(parsed, mosquitto.ParseLine(l))
	}
	s.e.Project.Status.BrokerLines, s.e.Project.Status.Serving = parsed, slices.ContainsFunc(parsed, mosquitto.Running)
	if f, faulty := mosquitto.FindFault(parsed); faulty {
		s.e.Project.Status.Fault = &f
	}
}

func (s *scene) connectorLog(lines ...string) {
	var parsed []cloudflared.Line
	for _, l := range lines {
		parsed = append(parsed, cloudflared.ParseLine(l))
	}
	s.e.Project.Status.Connections = nil
	if c, found := cloudflared.Diagnose(parsed); found {
		s.e.Project.Status.Cause = &c
	}
}

func (s *scene) publish(ip, port string) {
	p := plan.Port{HostIP: ip, HostPort: port, Container: 1883, Protocol: "tcp"}
	s.wanted(thisBroker).Spec.Ports = []plan.Port{p}
	s.broker.Ports = []plan.Port{p}
}

// restarts gives a container and its service another restart policy.
func (s *scene) restarts(d *plan.Details, policy string) {
	d.Policy.Name = policy
	s.wanted(part(d.Service())).Spec.Restart.Name = policy
}

func (s *scene) trip(class probe.Class) {
	s.e.Inside.Report.RoundTrip = probe.Check{Done: true, Error: &probe.Error{Class: class, Subject: "ws://mosquitto:9001"}}
}

func letIn() probe.Check {
	return probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassAnonymousAccepted}}
}

// Lines of Mosquitto 2.0.22 and 2.1.2 and of cloudflared 2026.8.2.
const (
	unknown20   = `1755597600: Error: Unknown configuration variable "alow_zero".`
	unknown21   = `1755597600: Error: Unknown configuration variable 'alow_zero'`
	badPwfile   = `1755597600: Error: Unable to open pwfile "/mosquitto/config/passwd".`
	badDatabase = `2026-08-20T11:59:00+0000: Error: Couldn't open database.`
	badSave     = `2026-08-20T11:59:00+0000: Error saving in-memory database, unable to open /mosquitto/data/mosquitto.db.new for writing.`
	noSockets   = `1755597600: Error: Websockets support not available.`
	brokerRuns  = `2026-08-20T11:00:00+0000: mosquitto version 2.1.2 running`
	full        = `2026-08-20T11:59:00+0000: Client connection from 172.18.0.9 denied: max_connections exceeded.`

	noToken    = "\"cloudflared tunnel run\" requires the ID or name of the tunnel to run as the last command line argument or in the configuration file."
	badToken   = "Provided Tunnel token is not valid."
	noFile     = "Failed to read token file: open /run/secrets/tunnel_token: permission denied"
	badUsage   = "Incorrect Usage: flag provided but not defined: -tokn"
	badSetting = `2026-08-20T11:59:00Z ERR Couldn't start tunnel error="unknown protocol"`
	noMetrics  = `2026-08-20T11:59:00Z ERR Error opening metrics server listener error="listen tcp 127.0.0.1:20241: bind: address already in use"`
	noDNS      = `2026-08-20T11:59:00Z ERR Initiating shutdown error="Could not lookup srv records on _v2-origintunneld._tcp.argotunnel.com: no such host"`
	refused    = `2026-08-20T11:59:00Z ERR Register tunnel error from server side error="Unauthorized: Invalid tunnel secret" connIndex=0`
)

func TestEachFaultOfTheContainersIsNamedByTheCheckItBelongsTo(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		want   string // "CODE status: beginning of the sentence" of each finding, separated by |
	}{
		"healthy": {func(*scene) {}, ""},
		"nobody saw anything": {func(s *scene) {
			s.e.Project, s.e.Inside = ProjectEvidence{Observed: &plan.Observed{}, Status: &lifecycle.Status{}}, InsideEvidence{}
			s.gone = []part{thisBroker, thisConnector}
			s.e.Files = FilesEvidence{}
		}, "B05 failed: the project is down|C01 failed: the project is down"},

		// Nothing is wrong while something starts, or just because it once failed.
		"a second after start": {func(s *scene) {
			for _, d := range []*plan.Details{&s.broker, &s.connector} {
				d.StartedAt, d.Health = look().Add(-time.Second), plan.HealthStarting
			}
			s.e.Project.Status.Serving, s.e.Project.Status.Connections = false, nil
			s.e.Inside.Report.Ready = probe.Endpoint{Check: probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassRefused}}}
		}, ""},
		"restarted once": {func(s *scene) {
			s.connector.StartedAt, s.connector.Health, s.connector.RestartCount = look().Add(-time.Second), plan.HealthStarting, 1
			s.e.Project.Status.Connections = nil
		}, ""},
		"ended often, long ago":  {func(s *scene) { s.broker.RestartCount, s.connector.RestartCount = 9, 9 }, ""},
		"published on loopback":  {func(s *scene) { s.publish("127.0.0.1", "1883") }, ""},
		"denied for room, once":  {func(s *scene) { s.brokerLog(brokerRuns, full) }, ""},
		"unhealthy for a minute": {func(s *scene) { s.connector.Health, s.connector.Failing = plan.HealthUnhealthy, 90*time.Second }, ""},
		"metrics moved elsewhere": {func(s *scene) {
			s.e.Project.Environment = map[string][]string{plan.ServiceConnector: {"TUNNEL_METRICS=0.0.0.0:2000"}}
			s.e.Inside.Report.Ready = probe.Endpoint{Check: probe.Check{Done: true, Error: &probe.Error{}}}
		}, ""},
		"large disk, a little used": {func(s *scene) { s.e.Project.Broker.DataFree, s.e.Project.Broker.DataSize = 30<<30, 4<<40 }, ""},

		"network missing": {func(s *scene) {
			s.e.Project.Observed.Networks = nil
			s.broker.Networks, s.connector.Networks = nil, nil
		}, "B01 failed: the project's network p_default does not exist"},
		"outside network missing": {func(s *scene) {
			s.e.Files.Rendered.Project.Networks[0].External = true
			s.e.Project.Observed.Networks = nil
		}, "B01 failed: the network p_default, which compose.override.yaml wants"},
		"network missing, no files": {func(s *scene) { s.e.Files.Rendered = nil; s.e.Project.Observed.Networks = nil }, "B01 failed: the network p_default of "},
		"name taken": {func(s *scene) {
			s.gone = []part{thisConnector}
			s.e.Project.Observed.Foreign = []plan.Container{{Name: "cloudflared", Status: "Up 3 days"}}
		}, "B02 failed: the name cloudflared is taken by container cloudflared, started outside Compose"},
		"name taken, all runs": {func(s *scene) {
			s.broker.Name = "mine"
			s.e.Project.Observed.Foreign = []plan.Container{{Name: "mosquitto"}}
		}, "B02 warning: the name mosquitto is taken|B14 warning: the broker's container was renamed by hand"},
		"address of nobody": {func(s *scene) { s.publish("192.168.9.9", "1883") }, "B03 failed: plain MQTT should be published on 192.168.9.9, which is no address of this host|B19 warning"},
		"address, Engine's word": {func(s *scene) {
			s.broker.State, s.broker.Error = plan.StateCreated, "listen tcp4 10.9.9.9:1883: bind: cannot assign requested address"
		}, "B03 failed: the broker's port cannot be published: the address is none of this host"},
		"port, Engine's word": {func(s *scene) {
			s.broker.State, s.broker.Error = plan.StateCreated, "Bind for 0.0.0.0:1883 failed: port is already allocated"
		}, "B04 failed: the broker's port cannot be published: something else has it"},
		"port of another container": {func(s *scene) {
			s.publish("", "1883")
			s.broker.State, s.broker.Error, s.broker.Ports = plan.StateExited, "Bind for 0.0.0.0:1883 failed: port is already allocated", nil
			s.e.Project.All = []plan.Container{{Name: "old", State: plan.StateRunning, Ports: []plan.Port{{HostPort: "1883", Protocol: "tcp"}}}}
		}, "B04 failed: port 1883 is published by container old"},
		"port of another program": {func(s *scene) {
			s.publish("", "1883")
			s.broker.State, s.broker.Error, s.broker.Ports, s.e.Host.PortTaken = plan.StateCreated, "bind: address already in use", nil, true
		}, "B04 failed: port 1883 cannot be published: another program"},

		"down":              {func(s *scene) { s.gone = []part{thisBroker, thisConnector} }, "B05 failed: the project is down|C01 failed: the project is down"},
		"no broker":         {func(s *scene) { s.gone = []part{thisBroker} }, "B05 failed: the broker has no container"},
		"no connector":      {func(s *scene) { s.gone = []part{thisConnector} }, "C01 failed: the connector has no container"},
		"dead":              {func(s *scene) { s.broker.State = plan.StateDead }, "B05 failed: the broker's container is dead"},
		"never started":     {func(s *scene) { s.broker.State = plan.StateCreated }, "B11 failed: the broker's container was made and never started"},
		"cannot start":      {func(s *scene) { s.connector.State, s.connector.Error = plan.StateCreated, "exec: no such file" }, "C05 failed: the connector's container could not be started"},
		"stopped":           {func(s *scene) { ends(&s.broker, 0) }, "B11 failed: the broker was stopped by hand, and so does not come back by itself, not even after a reboot"},
		"terminated":        {func(s *scene) { ends(&s.connector, 143) }, "C05 failed: the connector was stopped by hand"},
		"killed":            {func(s *scene) { ends(&s.connector, 137) }, "C05 failed: the connector was stopped by hand"},
		"stopped, always":   {func(s *scene) { ends(&s.broker, 0); s.restarts(&s.broker, "always") }, "B11 failed: the broker was stopped by hand, and so does not come back before Docker is restarted"},
		"ended, policy no":  {func(s *scene) { ends(&s.broker, 0); s.restarts(&s.broker, "no") }, `B11 failed: the broker has ended, and its restart policy "no"`},
		"failed, policy no": {func(s *scene) { ends(&s.connector, 1); s.restarts(&s.connector, "no") }, "C07 failed: the connector has ended with exit code 1: it cannot work as it is set up"},
		"paused, broker":    {func(s *scene) { s.broker.State = plan.StatePaused }, "B12 failed: the broker is paused"},
		"paused, connector": {func(s *scene) { s.connector.State = plan.StatePaused }, "C06 failed: the connector is paused"},
		"killed for memory": {func(s *scene) { loops(&s.broker, 137); s.broker.OOMKilled = true }, "B10 failed: the broker ran out of memory"},
		"ended for memory":  {func(s *scene) { ends(&s.connector, 137); s.connector.OOMKilled = true }, "C04 failed: the connector ran out of memory"},

		"directive, 2.0": {func(s *scene) {
			loops(&s.broker, 3)
			s.brokerLog(unknown20)
			s.e.Project.Place = "mosquitto/conf.d/x.conf:2"
		}, "B06 failed: mosquitto/conf.d/x.conf:2: the broker does not know a directive"},
		"directive, 2.1":     {func(s *scene) { loops(&s.broker, 3); s.brokerLog(unknown21) }, "B06 failed: the broker does not know a directive"},
		"directive, stopped": {func(s *scene) { ends(&s.broker, 3); s.brokerLog(unknown21) }, "B06 failed: the broker does not know a directive"},
		"directive, no log":  {func(s *scene) { loops(&s.broker, 3) }, "B06 failed: the broker does not accept its configuration"},
		"password file":      {func(s *scene) { loops(&s.broker, 13); s.brokerLog(badPwfile) }, "B07 failed: the broker cannot read its password file"},
		"password, no log":   {func(s *scene) { loops(&s.broker, 13) }, "B07 failed: the broker does not accept its password or ACL file"},
		"ACL unreadable":     {func(s *scene) { s.e.Project.Broker.Unreadable = []string{mosquitto.ACLPath} }, "B07 failed: the broker cannot read /mosquitto/config/acl"},
		"database, loop":     {func(s *scene) { loops(&s.broker, 1); s.brokerLog(badDatabase) }, "B08 failed: the broker cannot load its database"},
		"database, script": {func(s *scene) {
			loops(&s.broker, 1)
			s.brokerLog("mqtunnel: error: /mosquitto/data/mosquitto.db cannot be read by uid 1883")
		}, "B08 failed: /mosquitto/data/mosquitto.db cannot be read by uid 1883"},
		"database unreadable": {func(s *scene) { s.e.Project.Broker.Unreadable = []string{"/mosquitto/data/mosquitto.db"} }, "B08 failed: the broker cannot read its database, and will overwrite it"},
		"database lost": {func(s *scene) {
			s.e.Project.Status.Database = &mosquitto.DatabaseReport{State: mosquitto.DatabaseShrunk, Retained: 1, Copies: 2, Loss: &mosquitto.DatabaseLoss{Since: look(), Retained: 9}}
		}, "B08 failed: the database lost content before 2026-08-20 12:00 UTC: it held 9 retained messages and holds 1 retained message"},
		"data unwritable": {func(s *scene) { s.e.Project.Broker.Unwritable = true }, "B09 failed: the broker cannot write to its data directory"},
		"disk full":       {func(s *scene) { s.e.Project.Broker.DataFree = 0 }, "B09 failed: the disk with the broker's data is full"},
		"disk scarce":     {func(s *scene) { s.e.Project.Broker.DataFree = 500 << 20 }, "B09 warning: the disk with the broker's data is almost full"},
		"not saved":       {func(s *scene) { s.brokerLog(brokerRuns, badSave) }, "B09 failed: the broker could not save its database the last time"},

		"broker, exit 1":   {func(s *scene) { loops(&s.broker, 1) }, "B13 failed: the broker ends again and again with exit code 1: a listener cannot be opened, or its database"},
		"broker, exit 14":  {func(s *scene) { loops(&s.broker, 14) }, "B13 failed: the broker ends again and again with exit code 14: it cannot write its pid file"},
		"broker, exit 126": {func(s *scene) { loops(&s.broker, 126) }, "B13 failed: the broker ends again and again with exit code 126: its start script"},
		"broker, exit 127": {func(s *scene) { loops(&s.broker, 127) }, "B13 failed: the broker ends again and again with exit code 127: its start script"},
		"broker, exit 132": {func(s *scene) { loops(&s.broker, 132) }, "B13 failed: the broker ends again and again with exit code 132: this processor does not know"},
		"broker, exit 137": {func(s *scene) { loops(&s.broker, 137) }, "B13 failed: the broker ends again and again with exit code 137: it was killed"},
		"broker, exit 139": {func(s *scene) { loops(&s.broker, 139) }, "B13 failed: the broker ends again and again with exit code 139: it crashed"},
		"broker, between ends": {func(s *scene) {
			s.broker.RestartCount, s.broker.Health, s.broker.StartedAt = 3, plan.HealthStarting, look().Add(-time.Second)
		}, "B13 failed: the broker ends again and again"},
		"broker, between ends of 3": {func(s *scene) { betweenEnds(&s.broker, 3) }, "B06 failed: the broker does not accept its configuration"},
		"broker, between ends of 139": {
			func(s *scene) { betweenEnds(&s.broker, 139) }, "B13 failed: the broker ends again and again with exit code 139: it crashed",
		},
		"connector, between ends of 0": {func(s *scene) { betweenEnds(&s.connector, 0) }, "C03 failed: the connector does not know one of its options"},
		"broker, between ends for want of memory": {
			func(s *scene) { betweenEnds(&s.broker, 137); s.broker.OOMKilled = true }, "B10 failed: the broker ran out of memory",
		},
		"stale name": {func(s *scene) { s.broker.Name = "0123456789ab_mosquitto" }, "B14 warning: the broker's container still has the name"},
		"renamed":    {func(s *scene) { s.connector.Name = "tunnel" }, "C08 warning: the connector's container was renamed by hand"},
		"left over": {func(s *scene) {
			s.further = []plan.Container{{Name: "0123456789ab_mosquitto", State: plan.StateExited, Labels: map[string]string{plan.LabelService: plan.ServiceBroker}}}
		}, "B14 warning: a container of the broker is left"},
		"two brokers": {func(s *scene) {
			s.further = []plan.Container{{Name: "mosquitto-2", State: plan.StateRunning, Labels: map[string]string{plan.LabelService: plan.ServiceBroker}}}
		}, "B14 failed: 2 containers run as the broker"},
		"broker disconnected":    {func(s *scene) { s.broker.Networks = map[string]string{} }, "B15 failed: the broker is not on the network p_default"},
		"connector disconnected": {func(s *scene) { s.connector.Networks = map[string]string{"bridge": "b"} }, "C09 failed: the connector is not on the network p_default"},
		"network replaced":       {func(s *scene) { s.e.Project.Observed.Networks[0].ID = "n2" }, "B15 failed: the broker is on a network p_default that was removed|C09 failed: the connector is on a network"},
		"apart, no files": {func(s *scene) {
			s.e.Files.Rendered = nil
			s.connector.Networks = map[string]string{"other": "n3"}
			s.e.Project.Observed.Networks = append(s.e.Project.Observed.Networks, plan.ObservedNetwork{ID: "n3", Name: "other"})
		}, "C09 failed: broker and connector are on no network together"},
		"no start for the network": {func(s *scene) {
			s.broker.State, s.broker.Error = plan.StateExited, "network n1 not found"
			s.e.Project.Observed.Networks[0].ID = "n2"
			s.connector.Networks["p_default"] = "n2"
		}, "B15 failed: the broker is on a network p_default that was removed"},
		"built without WebSockets": {func(s *scene) {
			loops(&s.broker, 3)
			s.brokerLog(noSockets, `Error found at /mosquitto/config/mqtunnel.conf:9.`)
		}, "B16 failed: this build of the broker has no WebSockets"},
		"no WebSocket listener": {func(s *scene) { s.trip(probe.ClassRefused) }, "B16 failed: the broker has no WebSocket listener"},
		"broker full":           {func(s *scene) { s.trip(probe.ClassClosed); s.brokerLog(brokerRuns, full) }, "B17 failed: the broker is full"},
		"listener stuck":        {func(s *scene) { s.trip(probe.ClassUpgradeTimeout) }, "B17 failed: the broker takes no more clients"},
		"neither answers": {func(s *scene) {
			s.trip(probe.ClassRefused)
			s.e.Inside.Report.AnonymousPlain = probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassRefused}}
		}, ""},
		"anonymous": {func(s *scene) { s.e.Inside.Report.AnonymousPlain = letIn() }, "B18 failed: the broker lets clients in without a user"},
		"anonymous as set": {func(s *scene) {
			s.e.Inside.Report.AnonymousWebSocket = letIn()
			s.e.Files.Settings.AllowAnonymous = true
		}, "B18 warning: MQTT_ALLOW_ANONYMOUS=true: everybody who learns the hostname may"},
		"anonymous, on the LAN": {func(s *scene) {
			s.publish("0.0.0.0", "1883")
			s.e.Inside.Report.AnonymousWebSocket = letIn()
			s.e.Files.Settings.AllowAnonymous, s.e.Files.Settings.LAN = true, config.LANListen{Address: netip.IPv4Unspecified(), Port: 1883}
		}, "B18 warning: MQTT_ALLOW_ANONYMOUS=true: everybody who learns the hostname, and everybody on the LAN, may|B19 warning: MQTT_LAN_LISTEN=1883"},
		"anonymous, not in force yet": {func(s *scene) { s.e.Files.Settings.AllowAnonymous = true }, ""},
		"published by override":       {func(s *scene) { s.publish("0.0.0.0", "1884") }, "B19 warning: compose.override.yaml publishes ports"},
		"published beside loopback": {func(s *scene) {
			s.publish("192.168.1.5", "1883")
			s.e.Files.Settings.LAN = config.LANListen{Address: netip.MustParseAddr("127.0.0.1"), Port: 1883}
		}, "B19 warning: compose.override.yaml publishes ports"},
		"no memory cgroup": {func(s *scene) {
			s.broker.MemoryLimit, s.connector.MemoryLimit = 0, 0
		}, "B20 warning: the memory limits are not enforced here"},
		"no pids cgroup": {func(s *scene) { s.broker.PidsLimit, s.connector.PidsLimit = 0, 0 }, ""},
		"host's network": {func(s *scene) { s.wanted(thisBroker).Spec.NetworkMode = "host" }, "B19 warning: compose.override.yaml publishes ports"},

		"privileged by hand":   {func(s *scene) { s.broker.Rights.Privileged = true }, "B21 failed: the broker is privileged, and the files do not say so"},
		"root by hand":         {func(s *scene) { s.connector.Rights.User = "" }, "C11 failed: the connector runs as root, and the files do not say so"},
		"another user by hand": {func(s *scene) { s.connector.Rights.User = "1000" }, "C11 failed: the connector runs as user 1000 in place of 65532:65532, and"},
		"memory by hand":       {func(s *scene) { s.broker.MemoryLimit = 512 << 20 }, "B21 warning: the broker may use 512 MB of memory in place of 256 MB of memory, and"},
		"no memory limit, by hand": {func(s *scene) {
			s.connector.MemoryLimit = 0
		}, "C11 warning: the connector may use all memory in place of 256 MB of memory, and"},
		"no limit of processes, by hand": {func(s *scene) {
			s.broker.PidsLimit = 0
		}, "B21 warning: the broker may run any number of processes in place of 64 processes, and"},
		"restart policy by hand": {func(s *scene) { s.broker.Policy.Name = "no" }, "B21 warning: the broker has the restart policy no in place of unless-stopped, and"},
		"rights and limits by hand": {func(s *scene) {
			s.broker.PidsLimit, s.broker.Rights.CapAdd = 1000, []string{"CAP_NET_ADMIN"}
		}, "B21 failed: the broker has the capability NET_ADMIN, and"},
		"port by hand": {func(s *scene) {
			s.broker.Ports = []plan.Port{{HostIP: "0.0.0.0", HostPort: "9001", Container: 9001, Protocol: "tcp"}}
		}, "B21 failed: the broker publishes port 9001 on every address, port 9001, and"},
		"port by hand beside another": {func(s *scene) {
			s.publish("0.0.0.0", "1883")
			s.broker.Ports = append(s.broker.Ports, plan.Port{HostIP: "::", HostPort: "1884", Container: 1883, Protocol: "tcp"})
		}, "B21 failed: the broker publishes port 1883 on every address, port 1884, and|B19 warning: compose.override.yaml publishes"},
		"ports as the Engine chooses": {func(s *scene) {
			s.wanted(thisBroker).Spec.Ports = []plan.Port{{Container: 1883}, {Container: 9001, HostIP: "::", HostPort: "9001-9009"}}
			s.broker.Ports = []plan.Port{{HostIP: "0.0.0.0", HostPort: "32768", Container: 1883, Protocol: "tcp"}, {HostIP: "::", HostPort: "9002", Container: 9001, Protocol: "tcp"}}
		}, "B19 warning: compose.override.yaml publishes"},
		"host's network by hand": {func(s *scene) {
			s.broker.Rights.HostNetwork, s.broker.Networks = true, map[string]string{"host": "h"}
		}, "B21 failed: the broker uses the network of the host, and"},
		"made from other files": {func(s *scene) {
			s.wanted(thisBroker).Hash, s.broker.Rights.Privileged = "new", true
		}, ""},
		"privileged by the override": {func(s *scene) {
			s.wanted(thisBroker).Spec.Privileged, s.broker.Rights.Privileged = true, true
			s.e.Files.Rendered.Project.ConfigFiles = []string{"/srv/p/compose.yaml", "/srv/p/docker-compose.override.yml"}
		}, "B22 warning: docker-compose.override.yml confines the broker less than mqtunnel does: it is privileged"},
		"capability by the override": {func(s *scene) {
			s.wanted(thisConnector).Spec.CapAdd, s.connector.Rights.CapAdd = []string{"NET_RAW"}, []string{"CAP_NET_RAW"}
		}, "C12 warning: compose.override.yaml confines the connector less than mqtunnel does: it has the capability NET_RAW"},
		"capability of the override, not in force yet": {func(s *scene) { s.wanted(thisConnector).Spec.CapAdd = []string{"NET_RAW"} }, ""},
		"no limits by the override": {func(s *scene) {
			s.wanted(thisBroker).Spec.MemoryLimit, s.broker.MemoryLimit = 0, 0
			s.wanted(thisConnector).Spec.PidsLimit, s.connector.PidsLimit = -1, 0
		}, "B22 warning: compose.override.yaml confines the broker less than mqtunnel does: it has no limit of memory|" +
			"C12 warning: compose.override.yaml confines the connector less than mqtunnel does: it has no limit of processes"},
		"other limits by the override": {func(s *scene) {
			s.wanted(thisBroker).Spec.MemoryLimit, s.broker.MemoryLimit = 512<<20, 512<<20
		}, ""},
		"one by the override, one by hand": {func(s *scene) {
			s.wanted(thisBroker).Spec.CapAdd, s.broker.Rights.CapAdd = []string{"NET_RAW"}, []string{"CAP_NET_RAW", "CAP_SYS_ADMIN"}
		}, "B21 failed: the broker has the capability SYS_ADMIN, and|B22 warning: compose.override.yaml confines the broker less"},

		"old image": {func(s *scene) {
			loops(&s.connector, 255)
			s.connectorLog(noToken)
			s.connector.Image = "cloudflare/cloudflared:2025.2.1"
		}, "C02 failed: the connector's image is too old"},
		"old image, no log": {func(s *scene) {
			loops(&s.connector, 255)
			s.connector.Image = "cloudflare/cloudflared:2024.12.2@sha256:00"
		}, "C02 failed: the connector's image is too old"},
		"image of unknown age": {func(s *scene) {
			loops(&s.connector, 255)
			s.connectorLog(noToken)
			s.connector.Image = "my/cloudflared"
		}, "C02 failed: the connector's image is too old"},
		"new image, no token":  {func(s *scene) { loops(&s.connector, 255); s.connectorLog(noToken) }, "C07 failed: the connector ends again and again with exit code 255: no tunnel token reached"},
		"usage":                {func(s *scene) { loops(&s.connector, 0); s.connectorLog(badUsage) }, "C03 failed: the connector's image does not know one of its options"},
		"exit 0, no log":       {func(s *scene) { loops(&s.connector, 0) }, "C03 failed: the connector does not know one of its options"},
		"setting":              {func(s *scene) { loops(&s.connector, 1); s.connectorLog(badSetting) }, "C03 failed: the connector refuses one of its settings"},
		"token file":           {func(s *scene) { loops(&s.connector, 255); s.connectorLog(noFile) }, "C03 failed: the connector cannot read its token file"},
		"metrics address":      {func(s *scene) { loops(&s.connector, 1); s.connectorLog(noMetrics) }, "C03 failed: the connector's metrics address"},
		"connector, exit 1":    {func(s *scene) { loops(&s.connector, 1) }, "C07 failed: the connector ends again and again with exit code 1: it cannot work"},
		"connector, exit 2":    {func(s *scene) { loops(&s.connector, 2) }, "C07 failed: the connector ends again and again with exit code 2: it crashed (panic)"},
		"connector, exit 137":  {func(s *scene) { loops(&s.connector, 137) }, "C07 failed: the connector ends again and again with exit code 137: it was killed"},
		"connector, exit 255":  {func(s *scene) { loops(&s.connector, 255) }, "C07 failed: the connector ends again and again with exit code 255: it got no token"},
		"connector, bad token": {func(s *scene) { loops(&s.connector, 255); s.connectorLog(badToken) }, "C07 failed: the connector ends again and again with exit code 255: the connector was given something"},
		"connector, no DNS":    {func(s *scene) { loops(&s.connector, 1); s.connectorLog(noDNS) }, "C07 failed: the connector ends again and again with exit code 1: the connector cannot find Cloudflare's edge"},
		"no DNS, between ends": {func(s *scene) {
			s.connector.RestartCount, s.connector.Health, s.connector.StartedAt = 3, plan.HealthStarting, look().Add(-20*time.Second)
			s.connectorLog(noDNS)
		}, "C07 failed: the connector ends again and again: the connector cannot find"},
		"no answer": {func(s *scene) {
			s.e.Inside.Report.Ready = probe.Endpoint{Check: probe.Check{Done: true, Error: &probe.Error{Class: probe.ClassEndpointTimeout}}}
		}, "C10 failed: the connector runs and does not answer"},
		"connected and unhealthy":    {func(s *scene) { s.connector.Health, s.connector.Failing = plan.HealthUnhealthy, 6*time.Minute }, "C10 failed: the connector is connected and unhealthy"},
		"stuck although all is open": {func(s *scene) { stuck(s); s.connectorLog() }, "C10 failed: the connector does not connect, although"},
		"stuck, token refused":       {func(s *scene) { stuck(s); s.connectorLog(refused) }, ""},
	} {
		s := healthy()
		c.change(s)
		d := judge(slices.Concat(brokerChecks(), connectorChecks()), s.evidence())
		var got []string
		for _, r := range d.Findings() {
			got = append(got, fmt.Sprintf("%s %s: %s", strings.TrimPrefix(r.Code, "MQT-"), r.Status, r.Sentence))
			if r.Outcome.Remedy == "" && r.Check.Remedy == "" || strings.HasSuffix(r.Sentence, ".") {
				t.Errorf("%s: finding without remedy, or with a full stop: %q", name, r.Sentence)
			}
		}
		if !beginAlike(got, c.want) {
			t.Errorf("%s: findings\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.ReplaceAll(c.want, "|", "\n"))
		}
	}
}

// stuck makes the connector one that has not connected for long on an open network.
func stuck(s *scene) {
	s.connector.Health, s.connector.Failing = plan.HealthUnhealthy, 6*time.Minute
	open := probe.Check{Done: true, OK: true}
	s.e.Inside.Report.Edge = &probe.Edge{Regions: []probe.Region{{TLS: open, UDP: open}}}
}

func beginAlike(got []string, want string) bool {
	if want == "" {
		return len(got) == 0
	}
	return slices.EqualFunc(got, strings.Split(want, "|"), strings.HasPrefix)
}

func TestWhatFollowsFromAnotherFaultGivesWayToIt(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		cause  string
		hidden string
	}{
		"DNS ends the connector": {func(s *scene) { loops(&s.connector, 1); s.connectorLog(noDNS) }, "edge-dns", "connector-steady"},
		"DNS will end it again": {func(s *scene) {
			loops(&s.connector, 0)
			s.connector.State, s.connector.StartedAt = plan.StateRunning, look().Add(-time.Second)
			s.connectorLog()
		}, "edge-dns", "connector-steady"},
		"a bad token ends it":           {func(s *scene) { loops(&s.connector, 255); s.connectorLog(badToken) }, "token-form", "connector-steady"},
		"an old bad token ends it":      {func(s *scene) { loops(&s.connector, 255); s.connectorLog(badToken); s.e.Project.TokenHeld = new(bool) }, "in-force", "connector-steady"},
		"a refused token":               {func(s *scene) { loops(&s.connector, 1); s.connectorLog(refused) }, "token-accepted", "connector-steady"},
		"stopped while DNS was missing": {func(s *scene) { ends(&s.connector, 1); s.connectorLog(noDNS) }, "edge-dns", "connector-started"},
		"no image for this processor":   {func(s *scene) { s.gone = []part{thisConnector} }, "platform", "connector-container"},
	} {
		s := healthy()
		c.change(s)
		// Without the cause the finding stands.
		checks := slices.Concat(brokerChecks(), connectorChecks())
		if r, _ := judge(checks, s.evidence()).Result(c.hidden); r.Status != Failed {
			t.Errorf("%s: without %s: %s is %s, want failed", name, c.cause, c.hidden, r.Status)
		}
		checks = append(checks, Check{ID: c.cause, Judge: func(*Evidence) Outcome { return fault("the cause") }})
		if r, _ := judge(checks, s.evidence()).Result(c.hidden); r.Status != Skipped || r.Blocker != c.cause {
			t.Errorf("%s: with %s: %s is %s by %q, want skipped", name, c.cause, c.hidden, r.Status, r.Blocker)
		}
	}
}

func TestWhatNobodySawIsNeitherGoodNorBad(t *testing.T) {
	for _, r := range judge(slices.Concat(brokerChecks(), connectorChecks()), &Evidence{At: look()}).Results {
		if r.Status == Failed || r.Status == Warned {
			t.Errorf("%s without evidence: %s: %s", r.ID, r.Status, r.Sentence)
		}
	}
}

func TestALineWithATokenIsNoEvidence(t *testing.T) {
	token := "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0IjoiNmZmNDJhZTItNzY1ZC00YWRmLTgxMTItMzFjNTVjMTU1MWVmIiwicyI6Ik1ERXlNelExTmpjNE9XRmlZMlJsWmpBeE1qTTBOVFkzT0RsaFltTmtaV1k9In0="
	if got := withoutToken("Incorrect Usage: --token " + token); strings.Contains(got, token[:20]) {
		t.Errorf("%q", got)
	}
	if got := withoutToken("Incorrect Usage: x"); got != "Incorrect Usage: x" {
		t.Errorf("%q", got)
	}
}

func TestWhatTheBrokersShellPrintsIsRead(t *testing.T) {
	for output, want := range map[string]BrokerLook{
		"disk overlay 103081248 51540624 46258720 53% /mosquitto/data\n":                           {DataSize: 103081248 << 10, DataFree: 46258720 << 10},
		"unreadable /mosquitto/config/passwd\nunwritable\ndisk tmpfs 64 64 0 100% /mosquitto/data": {Unreadable: []string{"/mosquitto/config/passwd"}, Unwritable: true, DataSize: 64 << 10},
		"disk //nas/my share 100 90 10 90% /mosquitto/data":                                        {DataSize: 100 << 10, DataFree: 10 << 10},
		"disk overlay 100 110 -10 100% /mosquitto/data":                                            {DataSize: 100 << 10},
		"sh: df: not found\ndisk \n":                                                               {DataSize: -1, DataFree: -1},
		"":                                                                                         {DataSize: -1, DataFree: -1},
	} {
		if got := parseBrokerLook(output); !slices.Equal(got.Unreadable, want.Unreadable) || got.Unwritable != want.Unwritable || got.DataFree != want.DataFree || got.DataSize != want.DataSize {
			t.Errorf("%q: %+v, want %+v", output, *got, want)
		}
	}
}
