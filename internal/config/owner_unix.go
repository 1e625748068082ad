//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// foreign reports whether root works in a directory of somebody else.
func foreign(dir fs.FileInfo) bool {
	stat, ok := dir.Sys().(*syscall.Stat_t)
	return os.Geteuid() == 0 && ok && stat.Uid != 0
}

// hardLinked reports whether the file has another name and another owner than
// the directory, as a link that somebody made to a file of root has.
func hardLinked(file, dir fs.FileInfo) bool {
	f, fok := file.Sys().(*syscall.Stat_t)
	d, dok := dir.Sys().(*syscall.Stat_t)
	return fok && dok && f.Nlink > 1 && f.Uid != d.Uid
}

// own gives a new file to whom the old one belongs, and to the directory's owner
// where there is no old one or it is root's. Only root gives files away.
func (d *envDir) own(file *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, ok := d.info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	if info, err := d.Lstat(d.name); err == nil {
		if old, ok := info.Sys().(*syscall.Stat_t); ok && old.Uid != 0 {
			owner = old
		}
	}
	return file.Chown(int(owner.Uid), int(owner.Gid))
}

// syncDir makes a rename in the directory durable.
func syncDir(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing was written through it
	return dir.Sync()
}
