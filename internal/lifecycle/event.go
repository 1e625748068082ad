package lifecycle

import (
	"time"

	"mqtunnel/internal/plan"
)

// Event is something that happened while work was done. The edge of the program
// shows it; nothing else depends on it.
type Event interface{ event() }

// StepBegan says that a step of the plan is under way.
type StepBegan struct{ Step plan.Step }

// StepDone says that a step of the plan succeeded.
type StepDone struct {
	Step plan.Step
	Took time.Duration
}

// Pulling says how far the pull of an image is.
type Pulling struct{ Progress plan.PullProgress }

// Pulled says that an image is there.
type Pulled struct {
	Ref  string
	Took time.Duration
}

// Stage is a milestone on the way to a message that flows.
type Stage string

// The stages, in the order in which they are reached.
const (
	StageBroker        Stage = "broker"
	StageConnector     Stage = "connector"
	StageEdge          Stage = "edge"
	StageConfiguration Stage = "configuration"
	StageOrigin        Stage = "origin"
	StagePublic        Stage = "public"
)

// StageBegan says what is being waited for.
type StageBegan struct{ Stage Stage }

// StageReached says that a stage was reached, in a few words.
type StageReached struct {
	Stage  Stage
	Detail string
	Took   time.Duration
}

// Waiting says what the stage under way last saw, for a person who waits.
type Waiting struct {
	Stage Stage
	Saw   string
	Hint  string
}

// Notice is something that a person should know and that stops nothing.
type Notice struct {
	Text    string
	Warning bool
}

func (StepBegan) event()    {}
func (StepDone) event()     {}
func (Pulling) event()      {}
func (Pulled) event()       {}
func (StageBegan) event()   {}
func (StageReached) event() {}
func (Waiting) event()      {}
func (Notice) event()       {}
