//go:build unix

package engine

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// directoryLock is flock(2) on the directory itself.
type directoryLock struct{ dir *os.File }

func openDirectoryLock(dir string) (lock, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, errors.Unwrap(err)
	}
	return directoryLock{dir: f}, nil
}

// tryLock reports errNoDirectoryLock where the file system has no such locks:
// NFS emulates flock by a lock that needs write access.
func (l directoryLock) tryLock() (bool, error) {
	err := unix.Flock(int(l.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, unix.EWOULDBLOCK), errors.Is(err, unix.EINTR):
		return false, nil
	}
	return false, errNoDirectoryLock
}

// unlock lets go by closing the only descriptor of the lock.
func (l directoryLock) unlock() error { return l.dir.Close() }

// holderOf names the process that has the lock of a directory. Linux lists locks
// in /proc/locks by device and inode; elsewhere nothing tells.
func holderOf(dir string) string {
	const unknown = "another process"
	var stat unix.Stat_t
	if err := unix.Stat(dir, &stat); err != nil {
		return unknown
	}
	locks, err := os.ReadFile("/proc/locks")
	if err != nil {
		return unknown
	}
	pid := flockHolder(string(locks), stat.Ino)
	if pid <= 0 {
		return unknown
	}
	command := commandOf(pid)
	if command == "" {
		return fmt.Sprintf("process %d", pid)
	}
	return fmt.Sprintf("%s (pid %d)", command, pid)
}

// flockHolder finds who holds a flock on an inode, 0 if nobody does. The device
// is not compared: for btrfs and overlays the list has another one than stat.
//
//	1: FLOCK  ADVISORY  WRITE 4711 08:01:131081 0 EOF
func flockHolder(locks string, inode uint64) int {
	for l := range strings.Lines(locks) {
		f := strings.Fields(l)
		// A waiting one has "->" in the second field.
		if len(f) < 6 || f[1] != "FLOCK" {
			continue
		}
		i := strings.LastIndexByte(f[5], ':')
		if f[5][i+1:] != strconv.FormatUint(inode, 10) {
			continue
		}
		if pid, err := strconv.Atoi(f[4]); err == nil {
			return pid
		}
	}
	return 0
}

// commandOf returns a process's command line for a person to read, "" when it
// cannot be known: its program without the directory, and its arguments.
func commandOf(pid int) string {
	const limit = 80
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(raw) == 0 {
		return ""
	}
	args := strings.Split(string(bytes.TrimRight(raw, "\x00")), "\x00")
	args[0] = filepath.Base(args[0])
	text := strings.Map(func(r rune) rune {
		if !strconv.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(args, " "))
	if runes := []rune(text); len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return text
}
