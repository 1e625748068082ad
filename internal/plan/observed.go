package plan

import (
	"time"

	"mqtunnel/internal/secret"
)

// Observed is one snapshot of what exists on the Engine: everything that
// carries the project's label, and whatever holds a name that the project wants.
type Observed struct {
	Containers []Container // of the project, one-off containers excluded
	Networks   []ObservedNetwork
	Volumes    []ObservedVolume
	Foreign    []Container      // not of the project, but holding a name that it wants
	Images     map[string]Image // by reference; absent when the Engine has none
}

// State is a container's state as the Engine words it.
type State string

// The states of a container.
const (
	StateCreated    State = "created"
	StateRunning    State = "running"
	StatePaused     State = "paused"
	StateRestarting State = "restarting"
	StateRemoving   State = "removing"
	StateExited     State = "exited"
	StateDead       State = "dead"
)

// HealthState is the result of a container's health check, "" when it has none.
type HealthState string

// The results of a health check.
const (
	HealthNone      HealthState = ""
	HealthStarting  HealthState = "starting"
	HealthHealthy   HealthState = "healthy"
	HealthUnhealthy HealthState = "unhealthy"
)

// Container is a container as one call of the Engine's list shows it.
type Container struct {
	ID       string
	Name     string // without the leading slash
	Labels   map[string]string
	State    State
	Health   HealthState
	Status   string // the Engine's words, e.g. "Exited (1) 5 minutes ago"
	Image    string // as given at create; "sha256:…" once its tag names another image
	ImageID  string
	Networks map[string]string // network name -> network ID
	Volumes  []string          // names of the mounted volumes
	Ports    []Port
	Created  time.Time
	Program  string // first word of what it runs, of a list only

	// Files holds the content of injected files as read from the container, by
	// path. Nil when they were not read.
	Files map[string]secret.Text
}

// Project returns the Compose project that the container belongs to, or "".
func (c Container) Project() string { return c.Labels[LabelProject] }

// Service returns the Compose service that the container belongs to, or "".
func (c Container) Service() string { return c.Labels[LabelService] }

// ObservedNetwork is a network that exists.
type ObservedNetwork struct {
	ID     string
	Name   string
	Labels map[string]string
}

// ObservedVolume is a volume that exists.
type ObservedVolume struct {
	Name   string
	Labels map[string]string
}

// Image is an image that the Engine has. Digests are all values of the Compose
// image label that mean this image: the rule of Compose before 5.4 and the one
// since differ on the containerd store, and both count as the same.
type Image struct {
	ID           string
	Label        string   // the value to write
	Digests      []string // the values to accept, Label included
	OS, Arch     string
	RepoDigests  []string
	ExposedPorts []string
}

// Details is what only an inspect of one container tells.
type Details struct {
	Container
	StartedAt    time.Time
	FinishedAt   time.Time
	ExitCode     int    // of the last run that ended, see EndKnown
	OOMKilled    bool   // likewise
	EndTold      bool   // ExitCode and OOMKilled of a running container are from the Engine's events
	Error        string // the Engine's own words when a start went wrong
	RestartCount int
	Restarting   bool
	Pid          int
	HealthLog    []string      // outputs of the last health checks, oldest first
	Failing      time.Duration // about how long the health check has failed without a break
	TTY          bool
	Policy       Restart
	Rights       Rights
	MemoryLimit  int64 // in force, in bytes; 0 is none, as where the kernel has no memory cgroup
	PidsLimit    int64 // in force; 0 is none, as where the kernel has no pids cgroup

	// Arguments and Env, as KEY=VALUE, are what it was created with. In containers of
	// others they may hold a tunnel token: they are searched and never shown.
	Arguments, Env []string
}

// EndKnown reports whether ExitCode and OOMKilled tell how the last run ended. The
// Engine forgets both when it starts a container again.
func (d Details) EndKnown() bool {
	switch d.State {
	case StateRestarting, StateExited, StateDead:
		return true
	default:
		return d.EndTold
	}
}
