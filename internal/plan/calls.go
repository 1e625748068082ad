package plan

import "time"

// Creation is a container to create: a service under a name with all its
// labels. NetworkMode replaces the service's networks, as "container:<id>" does.
type Creation struct {
	Name        string
	Service     Service
	Labels      map[string]string
	AutoRemove  bool
	NetworkMode string
}

// ExecResult is what a command inside a container came to. Output holds both
// streams, bounded.
type ExecResult struct {
	Code   int
	Output string
}

// LogOptions selects lines of a container's log. Zero times are open ends; a
// negative Tail means all lines.
type LogOptions struct {
	Since, Until time.Time
	Tail         int
	Follow       bool
	TTY          bool
}

// LogLine is one line of a container's log with the Engine's time stamp.
type LogLine struct {
	Time   time.Time
	Stderr bool
	Text   string
}

// EngineEvent is something that happened to a container of the project. Action
// is the Engine's word, e.g. "start", "die" or "health_status: healthy".
type EngineEvent struct {
	Time        time.Time
	Action      string
	ContainerID string
	Service     string
	Attributes  map[string]string
}

// PullProgress is how far the pull of one image is, in bytes and layers.
type PullProgress struct {
	Ref                string
	Done, Total        int64
	Layers, LayersDone int
	Status             string
}

// Query names what an observation looks for: everything of the project, and
// whatever holds one of the names.
type Query struct {
	Project  string
	Names    []string // container names
	Networks []string
	Volumes  []string
	Images   []string // image references to inspect
}

// EngineInfo is what an Engine says about itself. Version and Arch are empty after
// a mere ping.
type EngineInfo struct {
	Endpoint string // as Docker writes it, "unix:///var/run/docker.sock"
	Version  string // "29.1.2"
	API      string // newest API that the Engine speaks, "1.52"
	OS       string // of the containers: "linux"
	Arch     string // of the containers, in Go's words: "arm64"
}

// EngineFault is why there is no Engine to work with.
type EngineFault string

// The faults. EngineOK is none.
const (
	EngineOK          EngineFault = ""
	EngineUnnamed     EngineFault = "unnamed"     // context, address or Docker's own configuration is wrong, or the address is plain TCP
	EngineUnreachable EngineFault = "unreachable" // nothing answers, or not in time
	EngineForbidden   EngineFault = "forbidden"   // its socket may not be opened by this user
	EngineUnfit       EngineFault = "unfit"       // too old, of Windows containers, or no Docker Engine
)
