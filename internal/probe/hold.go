package probe

import (
	"context"
	"time"
)

// Hold connects to the target and lets the connection rest for d: nothing passes but
// the pings of a keep alive of 60 s. Then a message to topic must come back. It
// returns how long the connection was there before that, and an *Error when it was
// lost or the message did not come back. It ends with ctx, or DefaultTimeout after
// d and what DefaultTimeout allows for connecting.
func Hold(ctx context.Context, target Target, topic string, d time.Duration) (held time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, d+2*DefaultTimeout)
	defer cancel()
	a, err := newAttempt(target)
	if err != nil {
		return 0, err
	}
	alive, end := context.WithCancelCause(ctx)
	defer end(nil)
	lose := func(cause error) {
		if ctx.Err() == nil { // else it is we who closed
			end(cause)
		}
	}
	session, _, err := a.connect(ctx, lose)
	if err != nil {
		return 0, err
	}
	defer session.leave()
	connected := time.Now()
	rest := time.NewTimer(d)
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-alive.Done():
		held = time.Since(connected)
		return held, a.lostError(alive, StageMessage, ClassNotReturned, alive.Err())
	}
	held = time.Since(connected)
	return held, a.exchange(alive, session, topic)
}
