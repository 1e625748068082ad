//go:build !linux

package proof

import (
	"context"
	"errors"
)

// inHostileSetups is for the lab's own platform, Linux, alone.
func (b *Bench) inHostileSetups(context.Context) (string, error) {
	return "", errors.New("make hostile set-ups: only on Linux")
}
