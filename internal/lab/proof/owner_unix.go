//go:build unix

package proof

import (
	"io/fs"
	"os"
	"syscall"
)

// asRoot reports whether this process may work in the name of everybody.
func asRoot() bool { return os.Geteuid() == 0 }

// ownerOf returns to whom a file belongs.
func ownerOf(info fs.FileInfo) int {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return -1
	}
	return int(stat.Uid)
}
