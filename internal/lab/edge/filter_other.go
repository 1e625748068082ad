//go:build !linux

package edge

import (
	"errors"
	"syscall"
)

// dropPackets is for the lab's own platform, Linux, alone.
func dropPackets(syscall.Conn, bool) error {
	return errors.New("filter packets: only on Linux")
}
