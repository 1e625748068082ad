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
