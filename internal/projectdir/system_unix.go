//go:build unix

package projectdir

import (
	"io/fs"
	"os"
	"syscall"
)

// openFlags open a file for reading, and do not wait for the other end of a pipe.
const openFlags = os.O_RDONLY | syscall.O_NONBLOCK

// foreign reports whether root works in a directory of somebody else.
func foreign(dir fs.FileInfo) bool { return os.Geteuid() == 0 && !ofRoot(dir) }

// ofRoot reports whether the file belongs to root.
func ofRoot(file fs.FileInfo) bool {
	stat, ok := file.Sys().(*syscall.Stat_t)
	return ok && stat.Uid == 0
}

// hardLinked reports whether the file has another name and another owner than
// the directory, as a link that somebody made to a file of root has.
func hardLinked(file, dir fs.FileInfo) bool {
	f, fok := file.Sys().(*syscall.Stat_t)
	d, dok := dir.Sys().(*syscall.Stat_t)
	return fok && dok && f.Nlink > 1 && f.Uid != d.Uid
}

// give makes a new file belong to whom like belongs. Only root gives files away;
// others own what they make.
func give(file *os.File, like fs.FileInfo) error {
	stat, ok := like.Sys().(*syscall.Stat_t)
	if os.Geteuid() != 0 || !ok {
		return nil
	}
	return file.Chown(int(stat.Uid), int(stat.Gid))
}

// syncDir makes a rename in the directory durable.
func syncDir(dir *os.File) error { return dir.Sync() }
