package edge

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropPackets makes the kernel drop everything that arrives at a socket, as a
// firewall that drops does, or stop that. For a TCP listener these are the
// SYNs of new connections; accepted ones are sockets of their own.
func dropPackets(socket syscall.Conn, drop bool) error {
	raw, err := socket.SyscallConn()
	if err != nil {
		return fmt.Errorf("reach socket: %w", err)
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if !drop {
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
			return
		}
		keepNothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
		set = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(keepNothing)), Filter: &keepNothing[0]})
	})
	if err := errors.Join(err, set); err != nil {
		return fmt.Errorf("filter packets: %w", err)
	}
	return nil
}
