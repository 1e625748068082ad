package plan

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Op is what a step does on the Engine.
type Op string

// The operations. Each is one call of the Engine but CopyFiles, Reload and Await: one
// upload; an upload, a move and a signal; and following a log until the connector is
// connected to the edge.
const (
	CreateNetwork   Op = "create network"
	CreateVolume    Op = "create volume"
	CreateContainer Op = "create container"
	CopyFiles       Op = "copy files"
	Start           Op = "start container"
	Await           Op = "await connection of"
	Unpause         Op = "unpause container"
	Stop            Op = "stop container"
	Remove          Op = "remove container"
	Rename          Op = "rename container"
	Reload          Op = "reload"
	RemoveNetwork   Op = "remove network"
	RemoveVolume    Op = "remove volume"
)

// Step is one operation, its subject, why, and what it waits for.
type Step struct {
	Op      Op
	Subject string // service, network key or volume key
	Why     string
	After   []int // indices of earlier steps that must have succeeded

	ID     string        // the existing container, network or volume; "" when an earlier step makes it
	Made   int           // index of the CreateContainer step that makes it, when ID is ""
	Name   string        // name to create under or to rename to
	Labels []string      // further labels of a created container, key=value
	Delay  time.Duration // wait this long before acting, measured from the start of the run
	Data   bool          // the step deletes data
}

// Plan is a list of steps, each depending on earlier ones only, and what else
// was found.
type Plan struct {
	Steps   []Step
	Orphans []Container // of the project, but of no service of it
}

// Empty reports whether there is nothing to do.
func (p Plan) Empty() bool { return len(p.Steps) == 0 }

// String prints one line a step: its index, what it does to what, why, and the
// steps that it waits for. It is what --dry-run shows and what tests compare.
func (p Plan) String() string {
	var b strings.Builder
	for i, s := range p.Steps {
		fmt.Fprintf(&b, "%d %s %s: %s", i, s.Op, s.Subject, s.Why)
		if s.Op == Rename || s.Op == CreateContainer && s.Name != "" {
			fmt.Fprintf(&b, " as %s", s.Name)
		}
		if s.Delay > 0 {
			fmt.Fprintf(&b, ", %v later", s.Delay)
		}
		if len(s.After) > 0 {
			fmt.Fprintf(&b, " %v", s.After)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// add appends a step and returns its index.
func (p *Plan) add(s Step) int {
	s.After = slices.DeleteFunc(slices.Clone(s.After), func(i int) bool { return i < 0 })
	p.Steps = append(p.Steps, s)
	return len(p.Steps) - 1
}
