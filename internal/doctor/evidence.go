package doctor

import (
	"io/fs"
	"net/netip"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/render"
)

// Evidence is everything that was looked at, as values. What could not be looked
// at is nil or zero, and the checks on it are skipped.
type Evidence struct {
	At      time.Time // when the look began
	Host    HostEvidence
	Engine  EngineEvidence
	Files   FilesEvidence
	Project ProjectEvidence
	Inside  InsideEvidence
	Public  PublicEvidence
}

// HostEvidence is what was found on this machine.
type HostEvidence struct {
	Local bool // the Engine is reached through a socket of this machine
	// Boot is the systemd unit of the Engine that is not started with the machine,
	// "" when one is or nobody knows.
	Boot       string
	BootOfUser bool // it is a unit of the user's own systemd
	// Addresses are the IPv4 addresses of this machine, with a local Engine only.
	Addresses []netip.Addr
	// PortTaken is true when something that is no container of the project listens
	// where MQTT_LAN_LISTEN says.
	PortTaken bool
}

// EngineEvidence is how the Engine was found.
type EngineEvidence struct {
	Info  plan.EngineInfo // zero when there is a fault
	Fault plan.EngineFault
	Err   error // of Fault, a remedy.Error
}

// Known reports whether the Engine answered and can do the work.
func (e EngineEvidence) Known() bool { return e.Fault == plan.EngineOK && e.Info.API != "" }

// FilesEvidence is the project directory, as far as it could be read. Each part is
// nil when what it is made from could not be read.
type FilesEvidence struct {
	Dir        string
	EnvMissing bool
	EnvErr     error       // .env is there and cannot be opened
	EnvMode    fs.FileMode // permission bits, 0 when it is missing

	LinesErr    error // a line of .env cannot be read
	Dialects    []render.Difference
	SettingsErr error
	Settings    *config.Settings

	UsersErr    error    // password or ACL file
	NewerHashes []string // users whose hash Mosquitto 2.0 does not read
	ConfErr     error    // mosquitto/conf.d, or what the broker makes of it
	Added       bool     // there are directives in mosquitto/conf.d
	OverrideErr error    // compose.override.yaml, or what it makes of the project
	EditedErr   error    // compose.yaml was edited by hand
	GitWarnings []string

	Token    *cloudflared.Token
	TokenErr error // there is one that is none, or there is none
	Rendered *render.Rendered
	// Changes are the lines of compose.yaml that rendering it again would change, with
	// "+" or "-" in front and secrets blanked; or that there is no such file.
	Changes []string
}

// ProjectEvidence is what the Engine has of the project.
type ProjectEvidence struct {
	Name     string
	Observed *plan.Observed    // containers, networks and volumes of the project, and who holds its names
	All      []plan.Container  // every container of the Engine
	Plan     *plan.Plan        // what up would do
	Status   *lifecycle.Status // the two services, their logs and what these tell
	// TokenHeld is whether the connector's container holds the very token of .env;
	// nil when either is unknown.
	TokenHeld *bool
	Broker    *BrokerLook
	// Place is where in mosquitto/conf.d the broker's log points, "" when it points
	// nowhere there.
	Place string
	// Environment holds for each service KEY=VALUE as its container was created
	// with. Values may be secrets.
	Environment map[string][]string
	// Showing lists the names of containers of which arguments or environment hold a
	// tunnel token.
	Showing []string
	// Images holds the reference and platform of each service's image.
	Images map[string]plan.Image
}

// BrokerLook is what a command inside the broker's container saw; it runs as the
// broker's user.
type BrokerLook struct {
	Unreadable []string // paths of the broker's files that its user cannot read
	Unwritable bool     // the data directory cannot be written to
	DataFree   int64    // bytes free in the data directory, -1 when unknown
	DataSize   int64    // bytes of its file system, -1 when unknown
}

// InsideEvidence is a look from the connector's network namespace, or from the
// project's network where the connector does not run.
type InsideEvidence struct {
	Report *probe.Report
	Err    error  // why there is no report
	From   string // the service whose place it was, or "network"
}

// PublicEvidence is what a client outside meets.
type PublicEvidence struct {
	Hostname  string // "" when none is known
	ConnectTo bool   // --connect-to says where to connect, so the local name does not matter
	System    *Answers
	World     *Answers // by DNS-over-HTTPS; nil when it was not asked
	WorldErr  error
	Trips     []Trip // round trips through the public hostname
	Soak      *Soak
	// Served is how many of the trips this connector says to have got and to have had no
	// answer to from the broker, -1 when it was not asked: only where all met that.
	Served int
}

// Answers is what a resolver says of a name.
type Answers struct {
	Exists    bool         // false only for a name that does not exist
	CNAME     string       // where visible, without the final dot
	Addresses []netip.Addr // sorted
	From      string       // the file or resolver that says so, as far as known
	Err       error        // the resolver could not say
}

// Trip is one round trip through the public hostname.
type Trip struct {
	Result probe.Result
	Err    *probe.Error // nil when the message came back
}

// Soak is how a quiet connection through the public hostname fared.
type Soak struct {
	Asked time.Duration
	Held  time.Duration // until it was lost, or all of Asked
	Err   *probe.Error  // nil when it held
}
