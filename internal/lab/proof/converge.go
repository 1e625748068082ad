package proof

import (
	"context"
	"syscall"

	"mqtunnel/internal/lab/engineproxy"
)

// converge stops every command at every call that it makes of the Engine, and wants
// the same command, run again, to come to where an undisturbed one comes to.
func converge(ctx context.Context, b *Bench) (figure string, err error) {
	return b.disturbAll(ctx, "converge", []disturbance{
		{name: "killed before", fault: engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Cut}, signal: syscall.SIGKILL},
		{name: "killed after", fault: engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Cut}, signal: syscall.SIGKILL},
		{name: "killed during", fault: engineproxy.Fault{Moment: engineproxy.During, Then: engineproxy.Cut}, signal: syscall.SIGKILL, changes: true},
		{name: "refused", fault: engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Fail}, changes: true},
		{name: "cut off", fault: engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Cut}, changes: true},
	})
}
