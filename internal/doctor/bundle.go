package doctor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
)

// BundleFile is one file of a bundle.
type BundleFile struct {
	Name string
	Data []byte
}

// Program is what is known of mqtunnel itself and of the machine it runs on.
type Program struct {
	Version, OS, Arch string
	Kernel            string // release, "" when unknown
}

// Bundle returns what somebody who helps needs to know, as files of text. Everything
// in it is a number, one of a known few words, or a sentence of ours: no name, no
// address, no identifier and no text from outside, be it secret or not.
func Bundle(e *Evidence, d Diagnosis, p Program) []BundleFile {
	files := []BundleFile{
		{"README.txt", []byte(bundleReadme)},
		{"diagnosis.json", bundleJSON(bundleResults(d))},
		{"system.json", bundleJSON(bundleSystem(e, p))},
		{"network.json", bundleJSON(bundleNetwork(e))},
	}
	if s := e.Project.Status; s != nil {
		files = append(
			files,
			BundleFile{"connector-log.txt", bundleLog(e.At, connectorEntries(s.ConnectorLines))},
			BundleFile{"broker-log.txt", bundleLog(e.At, brokerEntries(s.BrokerLines))},
		)
	}
	return files
}

const bundleReadme = `What mqtunnel doctor found, for somebody who helps.

diagnosis.json     every check with its outcome
system.json        versions, containers, settings without their texts
network.json       the dashboard's rules as shapes, and every look at the network
connector-log.txt  known lines of cloudflared's log, without their variable parts
broker-log.txt     known lines of Mosquitto's log, without their variable parts

No name, address, identifier, password or token is in it.
`

// bundleJSON writes an object for people who look at it.
func bundleJSON(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		panic(err) // the types below can all be written
	}
	return b.Bytes()
}

// object is a JSON object, of which the keys are ours.
type object map[string]any

// other stands for a text that is none of those that a bundle may hold.
const other = "other"

// word returns the text if it is one of the known ones; the empty one stays empty.
func word[T ~string](text T, known ...T) string {
	if text == "" || slices.Contains(known, text) {
		return string(text)
	}
	return other
}

// shape returns the part of the text that the pattern finds.
func shape(pattern *regexp.Regexp, text string) string {
	if found := pattern.FindString(text); text == "" || found != "" {
		return found
	}
	return other
}

// What may be told of versions and images.
var (
	versionShape = regexp.MustCompile(`^v?[0-9]{1,4}(\.[0-9]{1,4}){1,3}`)
	imageShape   = regexp.MustCompile(`^(docker\.io/)?((library/)?eclipse-mosquitto|cloudflare/cloudflared):[0-9]{1,4}(\.[0-9]{1,4}){0,2}(-alpine|-openssl|-amd64|-arm64)?$`)
	digestShape  = regexp.MustCompile(`sha256:[0-9a-f]{64}$`)
)

// bundleResult is how one check came out. Its sentence is told only where nothing was
// filled into it.
type bundleResult struct {
	Code     string `json:"code"`
	ID       string `json:"id"`
	Status   Status `json:"status"`
	Title    string `json:"title"`
	Sentence string `json:"sentence,omitempty"`
	Blocker  string `json:"blocker,omitempty"`
}

func bundleResults(d Diagnosis) []bundleResult {
	var list []bundleResult
	for _, r := range d.Results {
		b := bundleResult{Code: r.Code, ID: r.ID, Status: r.Status, Title: r.Title, Blocker: r.Blocker}
		if r.Sentence == r.literal {
			b.Sentence = r.literal
		}
		list = append(list, b)
	}
	return list
}

// systems are the operating systems and machines that images and programs are for.
func systems() []string {
	return []string{"linux", "windows", "darwin", "freebsd", "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x"}
}

func bundleSystem(e *Evidence, p Program) object {
	info := e.Engine.Info
	return object{
		"mqtunnel": object{"version": programVersion(p.Version), "os": word(p.OS, systems()...), "arch": word(p.Arch, systems()...)},
		"kernel":   shape(versionShape, p.Kernel),
		"engine": object{
			"version": shape(versionShape, info.Version), "api": shape(versionShape, info.API),
			"os": word(info.OS, systems()...), "arch": word(info.Arch, systems()...), "local": e.Host.Local,
			"fault":        word(e.Engine.Fault, plan.EngineUnnamed, plan.EngineUnreachable, plan.EngineForbidden, plan.EngineUnfit),
			"startsAtBoot": e.Host.Boot == "",
		},
		"containers": bundleContainers(e),
		"settings":   bundleSettings(e.Files.Settings),
		"files":      bundleFiles(e.Files),
		"plan":       bundlePlan(e.Project.Plan),
	}
}

// developVersion is how a program names itself that is no release.
var developVersion = regexp.MustCompile(`^devel(-[0-9a-f]{1,12})?(\+dirty)?$`)

func programVersion(version string) string {
	if developVersion.MatchString(version) {
		return version
	}
	return shape(versionShape, version)
}

func bundleContainers(e *Evidence) object {
	services := object{}
	if e.Project.Status == nil {
		return services
	}
	for _, p := range []part{thisBroker, thisConnector} {
		service := object{"exists": false, "image": bundleImage(e.Project.Images[string(p)], e.Files.Settings, p)}
		if d, found := e.details(p); found {
			service["exists"] = true
			service["state"] = word(d.State, plan.StateCreated, plan.StateRunning, plan.StatePaused, plan.StateRestarting, plan.StateRemoving, plan.StateExited, plan.StateDead)
			service["health"] = word(d.Health, plan.HealthStarting, plan.HealthHealthy, plan.HealthUnhealthy)
			service["exitCode"], service["restarts"], service["outOfMemory"] = d.ExitCode, d.RestartCount, d.OOMKilled
			service["restartPolicy"] = word(d.Policy.Name, "no", "always", "unless-stopped", "on-failure")
			service["startedSecondsAgo"] = secondsAgo(e.At, d.StartedAt)
			service["unhealthySeconds"] = int(d.Failing.Seconds())
			service["engineError"] = d.Error != ""
			service["networks"] = len(d.Networks)
		}
		services[string(p)] = service
	}
	for _, s := range e.Project.Status.Services {
		if service, ours := services[s.Service].(object); ours {
			service["version"] = shape(versionShape, s.Version)
		}
	}
	return services
}

// secondsAgo is nil for a time that nobody knows.
func secondsAgo(now, then time.Time) any {
	if then.IsZero() {
		return nil
	}
	return int(now.Sub(then).Seconds())
}

// bundleImage tells an official image by its tag and every image by its digest.
func bundleImage(i plan.Image, s *config.Settings, p part) object {
	image := object{"os": word(i.OS, systems()...), "arch": word(i.Arch, systems()...)}
	if s != nil {
		reference := s.MosquittoImage
		if p == thisConnector {
			reference = s.CloudflaredImage
		}
		image["reference"] = shape(imageShape, reference)
	}
	var digests []string
	for _, d := range i.RepoDigests {
		digests = append(digests, shape(digestShape, d))
	}
	image["digests"] = digests
	return image
}

// bundleSettings tells of each setting where it comes from, and its value where that
// is a number or one of a few words.
func bundleSettings(s *config.Settings) object {
	if s == nil {
		return nil
	}
	lan := "none"
	switch {
	case !s.LAN.Enabled():
	case s.LAN.Address.IsUnspecified():
		lan = "all addresses"
	case s.LAN.Address.IsLoopback():
		lan = "loopback"
	default:
		lan = "one address"
	}
	values := object{
		config.KeyAllowAnonymous: s.AllowAnonymous,
		config.KeyLANListen:      lan,
		config.KeySaveInterval:   int(s.SaveInterval.Seconds()),
		config.KeyGracePeriod:    int(s.GracePeriod.Seconds()),
		config.KeyProtocol:       word(s.Protocol, "auto", "quic", "http2"),
		config.KeyEdgeIPVersion:  word(s.EdgeIPVersion, "auto", "4", "6"),
		config.KeyLogLevel:       word(s.LogLevel, "debug", "info", "warn", "error", "fatal"),
		config.KeyHostname:       bundleHostname(s.Hostname),
	}
	settings := object{}
	for _, known := range config.Table() {
		from := "default"
		switch s.Entry(known.Key).Source.Kind {
		case config.FromFile:
			from = config.EnvName
		case config.FromEnvironment:
			from = "environment"
		case config.FromDefault:
		}
		setting := object{"from": from, "overridden": s.Entry(known.Key).Overridden}
		if v, told := values[known.Key]; told {
			setting["value"] = v
		}
		settings[known.Key] = setting
	}
	return settings
}

// bundleHostname tells how many levels a name has: Cloudflare's free certificate
// covers three.
func bundleHostname(name string) object {
	if name == "" {
		return nil
	}
	levels := strings.Count(name, ".") + 1
	return object{"levels": levels, "belowSecondLevel": levels > 3}
}

func bundleFiles(f FilesEvidence) object {
	files := object{
		"envMissing": f.EnvMissing, "envUnreadable": f.EnvErr != nil, "envMode": fmt.Sprintf("%04o", f.EnvMode.Perm()),
		"linesWrong": f.LinesErr != nil, "dialects": len(f.Dialects), "settingsWrong": f.SettingsErr != nil,
		"usersWrong": f.UsersErr != nil, "confWrong": f.ConfErr != nil, "overrideWrong": f.OverrideErr != nil,
		"edited": f.EditedErr != nil, "gitWarnings": len(f.GitWarnings), "token": f.Token != nil,
	}
	if f.Rendered != nil {
		files["users"] = bytes.Count(f.Rendered.Passwd, []byte("\n"))
		rules := 0
		for line := range bytes.Lines(f.Rendered.ACL) {
			if bytes.HasPrefix(line, []byte("topic ")) || bytes.HasPrefix(line, []byte("pattern ")) {
				rules++
			}
		}
		files["rules"] = rules
	}
	return files
}

// bundlePlan counts what up would do, by operation.
func bundlePlan(p *plan.Plan) map[string]int {
	if p == nil {
		return nil
	}
	count := map[string]int{}
	for _, s := range p.Steps {
		count[word(
			s.Op, plan.CreateNetwork, plan.CreateVolume, plan.CreateContainer, plan.CopyFiles, plan.Start, plan.Unpause, plan.Stop,
			plan.Remove, plan.Rename, plan.Reload, plan.RemoveNetwork, plan.RemoveVolume,
		)]++
	}
	return count
}

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
