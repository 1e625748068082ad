package connector

import (
	"math/rand/v2"
	"time"
)

// backoff waits a random time below a bound that doubles up to a cap, for ever. It serves one goroutine.
type backoff struct {
	base    time.Duration
	limit   uint
	retries uint
	fresh   bool // the next bound starts over, since a connection came about
}

// bound is what the log announces; at the cap it is twice the real one, as in cloudflared.
func (b *backoff) bound() time.Duration {
	if b.fresh {
		return time.Second
	}
	return b.base << (b.retries + 1)
}

// next is the time to wait before another attempt.
func (b *backoff) next() time.Duration {
	if b.fresh {
		b.retries, b.fresh = 0, false
	}
	if b.retries < b.limit {
		b.retries++
	}
	return rand.N(b.base << b.retries) //nolint:gosec // spreads load, guards nothing
}

// reset makes the next wait a short one.
func (b *backoff) reset() { b.retries, b.fresh = 0, true }
