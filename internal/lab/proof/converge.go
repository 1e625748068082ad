package proof

import (
	"context"
	"syscall"

	"mqtunnel/internal/lab/engineproxy"
)

// converge stops every command at every call that it makes of the Engine, and wants
// the same command, run again, to come to where an undisturbed one comes to. After a
// call that only reads it is where it was before it.
func converge(ctx context.Context, b *Bench) (figure string, err error) {
	return b.disturbAll(ctx, "converge", []disturbance{
		{name: "killed before", fault: engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Cut}, signal: syscall.SIGKILL},
		{name: "killed after", fault: engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Cut}, signal: syscall.SIGKILL, at: changing},
		{name: "killed during", fault: engineproxy.Fault{Moment: engineproxy.During, Then: engineproxy.Cut}, signal: syscall.SIGKILL, at: changing},
		{name: "refused", fault: engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Fail}, at: evenly(0)},
		{name: "cut off", fault: engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Cut}, at: evenly(1)},
	})
}

// changing are the calls that change something.
func changing(_ int, c engineproxy.Call) bool { return c.Changes() }

// evenly are those that change something at every other place.
func evenly(rest int) func(int, engineproxy.Call) bool {
	return func(n int, c engineproxy.Call) bool { return c.Changes() && n%2 == rest }
}
