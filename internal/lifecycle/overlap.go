package lifecycle

import (
	"context"
	"time"

	"mqtunnel/internal/plan"
)

// overlapTime is how long a new connector may take to connect before the old one makes
// way all the same. Nobody misses anything meanwhile.
const overlapTime = 15 * time.Second

// awaitConnection waits until a connector tells in its log that it is connected to the
// edge. One that ends, cannot connect whatever happens, or cannot be read is not waited
// for any longer: who changed it wants the new one, and is told later what it lacks.
func awaitConnection(ctx context.Context, a Actor, id string, terminal bool) error {
	wait, cancel := context.WithTimeout(ctx, overlapTime)
	defer cancel()
	facts := newFacts()
	// How it ends does not matter, see above.
	_ = a.Logs(wait, id, plan.LogOptions{Tail: -1, Follow: true, TTY: terminal}, func(l plan.LogLine) error {
		if err := facts.take(LogEntry{Service: plan.ServiceConnector, Line: l}); err != nil {
			return err
		}
		if v := facts.view(); len(v.connections) > 0 || v.caused && definite(v.cause.ID) {
			return errStopped
		}
		return nil
	})
	return ctx.Err()
}
