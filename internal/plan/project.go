// Package plan decides what has to be done so that what runs becomes what was
// asked for. It is pure: it reads values, returns a plan, and touches nothing.
package plan

import (
	"io/fs"
	"time"

	"mqtunnel/internal/secret"
)

// Project is what should exist on the Engine: the rendered Compose project with
// the user's override merged in.
type Project struct {
	Name        string   // normalised Compose project name
	Dir         string   // absolute project directory
	ConfigFiles []string // absolute Compose files, in merge order
	Networks    []Network
	Volumes     []Volume
	Services    []Service // in start order
}

// Network is a network that services join. An external one must exist already
// and is never created or removed.
type Network struct {
	Key        string // key in the Compose file, e.g. "default"
	Name       string // name on the Engine, e.g. "mqtunnel_default"
	External   bool
	Driver     string // "" is the Engine's default
	DriverOpts map[string]string
	Internal   bool
	IPv6       bool
	Subnets    []string // CIDR; empty leaves the choice to the Engine
	Labels     map[string]string
	Hash       string // Compose's config hash
}

// Volume is a named volume. An external one must exist already and is never
// created or removed.
type Volume struct {
	Key        string
	Name       string
	External   bool
	Driver     string
	DriverOpts map[string]string
	Labels     map[string]string
	Hash       string
}

// Service is one container that should run.
type Service struct {
	Name          string // key in the Compose file, also its alias on every network
	ContainerName string // name on the Engine
	Image         string // image reference
	Platform      string // "linux/arm64", or "" for the Engine's own
	Hash          string // Compose's config hash
	Spec          Spec
	Files         []File // put into the container before it starts
}

// Spec is what a container is created with. Nil Entrypoint and Command mean the
// image's own. All lists are in the order of the Compose file, Env is sorted.
type Spec struct {
	Entrypoint  []string
	Command     []string
	Env         []string // KEY=VALUE
	Labels      map[string]string
	User        string
	WorkingDir  string
	Hostname    string
	StopSignal  string
	StopGrace   *time.Duration // nil is the Engine's default of 10 s
	Init        *bool
	TTY         bool
	Privileged  bool
	ReadOnly    bool
	CapAdd      []string
	CapDrop     []string
	SecurityOpt []string
	GroupAdd    []string
	Sysctls     map[string]string
	Ulimits     []Ulimit
	Restart     Restart
	Health      *Health
	Mounts      []Mount
	Tmpfs       map[string]string // path -> options
	Devices     []Device
	Ports       []Port
	Expose      []string   // "9001/tcp"
	NetworkMode string     // "host", "none", or "" when Networks decide
	Networks    []Endpoint // in the order of connection; the first is given at create
	DNS         []string
	DNSSearch   []string
	DNSOpt      []string
	ExtraHosts  []string // "host:address"
	Logging     *Logging
	MemoryLimit int64 // bytes, 0 is none
	MemoryRes   int64 // bytes, 0 is none
	CPUs        float64
	PidsLimit   int64 // 0 is none
	ShmSize     int64 // bytes, 0 is the Engine's default
	OOMScoreAdj int
}

// Ulimit is one resource limit of the container's processes.
type Ulimit struct {
	Name       string
	Soft, Hard int64
}

// Restart is the Engine's restart policy: "no", "always", "unless-stopped" or
// "on-failure" with a number of retries.
type Restart struct {
	Name       string
	MaxRetries int
}

// Health is a health check. StartInterval is dropped where the Engine's API is
// older than 1.44.
type Health struct {
	Test                                          []string // ["CMD", …], ["CMD-SHELL", …] or ["NONE"]
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

// MountType tells what is mounted.
type MountType string

// The kinds of mount.
const (
	MountVolume MountType = "volume"
	MountBind   MountType = "bind"
	MountTmpfs  MountType = "tmpfs"
)

// Mount is a volume, a bind mount or a tmpfs.
type Mount struct {
	Type       MountType
	Source     string // volume name on the Engine or absolute host path
	Target     string
	ReadOnly   bool
	CreateHost bool   // bind: make a missing source directory
	SELinux    string // bind: "z", "Z" or ""
	Options    []string
	TmpfsSize  int64 // bytes
	TmpfsMode  fs.FileMode
}

// Device is a host device in the container.
type Device struct{ Host, Container, Permissions string }

// Port is a published port.
type Port struct {
	HostIP    string // "" is every address
	HostPort  string // "" lets the Engine choose
	Container uint16
	Protocol  string // "tcp" or "udp"
}

// Endpoint is the attachment to one network.
type Endpoint struct {
	Network string   // name on the Engine
	Aliases []string // besides the names of container and service
	IPv4    string   // fixed address, or ""
}

// Logging is the log driver of a container.
type Logging struct {
	Driver  string
	Options map[string]string
}

// File is put into a container's writable layer before it starts. Its content
// is a secret by type, since the token and the password file are among them.
type File struct {
	Path     string // absolute, inside the container
	UID, GID int
	Mode     fs.FileMode
	Content  secret.Text
}
