package engine

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"

	"mqtunnel/internal/remedy"
)

// lockInterval is how often a lock that another process has is tried again. A
// blocking attempt could not be interrupted.
const lockInterval = 100 * time.Millisecond

// errNoDirectoryLock is a system or file system on which a directory cannot be
// locked, so that a file in it has to serve.
var errNoDirectoryLock = errors.New("directories cannot be locked here")

// Lock takes the lock of a project directory, so that no two commands change the
// project at once. It is gone with the process, however that ends, and leaves no
// file behind (a file .mqtunnel.lock where directories cannot be locked: Windows
// and some network file systems).
//
// When another process has it: without wait the error is a remedy.Error that
// names it; else onWait, if not nil, is told once who has it, and Lock waits
// until it is free or ctx ends. The holder is "mqtunnel up (pid 4711)" where the
// system tells, else "another process".
func Lock(ctx context.Context, dir string, wait bool, onWait func(holder string)) (release func() error, err error) {
	try, err := openDirectoryLock(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	ticker := time.NewTicker(lockInterval)
	defer ticker.Stop()
	for told := false; ; {
		taken, err := try.tryLock()
		switch {
		case errors.Is(err, errNoDirectoryLock):
			if err := try.unlock(); err != nil {
				return nil, fmt.Errorf("lock %s: %w", dir, err)
			}
			try = fileLock{flock.New(filepath.Join(dir, ".mqtunnel.lock"), flock.SetPermissions(0o600))}
			continue
		case err != nil:
			return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), try.unlock())
		case taken:
			return try.unlock, nil
		case !wait:
			err := remedy.Errorf(remedy.Failed, "wait until it has ended, or leave out --no-wait-lock",
				"%s is in use by %s", dir, holderOf(dir))
			return nil, errors.Join(err, try.unlock())
		}
		if !told && onWait != nil {
			onWait(holderOf(dir))
			told = true
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("wait for the lock of %s: %w", dir, ctx.Err()), try.unlock())
		}
	}
}

// lock is one that can be tried; unlock also ends an attempt that was in vain.
type lock interface {
	tryLock() (bool, error)
	unlock() error
}

// fileLock locks a file of its own, which stays: to delete it would let two
// processes lock two files.
type fileLock struct{ file *flock.Flock }

func (l fileLock) tryLock() (bool, error) { return l.file.TryLock() }

func (l fileLock) unlock() error { return l.file.Close() }
