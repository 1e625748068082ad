package projectdir

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// Temporary is the pattern of the names under which files are written.
const Temporary = "*" + newMark + "*"

// modeDir is the mode of directories that are made on the way to a file.
const modeDir fs.FileMode = 0o755

// A file is written under a name with newMark in it and then renamed. What a
// killed process left behind, which may hold a secret, is removed by a later
// write after staleAfter.
const (
	newMark    = ".mqtunnel-new-"
	staleAfter = 10 * time.Minute
	modeNew    = fs.FileMode(0o600)
)

// Write stores f, atomically and on the disk when it returns: whatever happens,
// the file holds its whole old text or its whole new one. A file that has text and
// mode already is not touched. Missing directories are made. Under root a file
// stays whose it was; a new one, or one of root's, becomes the directory's
// owner's. A link in the place of the file or leading out of the directory is
// refused.
func (d *Dir) Write(f File) error {
	b := &Batch{}
	if err := b.Add(d, f); err != nil {
		return err
	}
	return b.Commit()
}

// Replace is Write for a file that was read before: it refuses with ErrChanged
// when the file does not hold the text of was any more or, for a nil was, when it
// exists.
func (d *Dir) Replace(was *File, f File) error {
	b := &Batch{}
	if err := b.Replace(d, was, f); err != nil {
		return err
	}
	return b.Commit()
}

// unchanged returns ErrChanged unless the file is as it was.
func (d *Dir) unchanged(was *File, name string) error {
	if was == nil {
		_, err := d.root.Lstat(d.real(name))
		if err == nil {
			return ErrChanged
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	now, err := d.read(name, int64(len(was.Data)))
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, errTooLarge)
	if gone || err == nil && !bytes.Equal(now.Data, was.Data) {
		return ErrChanged
	}
	return err
}

// holds reports whether the file has the text of f already.
func (d *Dir) holds(f File) bool {
	now, err := d.read(f.Name, int64(len(f.Data)))
	return err == nil && bytes.Equal(now.Data, f.Data)
}

// makeDir makes the directory name and those above it for the owner of the project
// directory, and returns which it made.
func (d *Dir) makeDir(name string) (made []string, err error) {
	above := path.Dir(name)
	if above == name { // "." or, which is refused when the file is opened, "/"
		return nil, nil
	}
	if made, err = d.makeDir(above); err != nil {
		return made, err
	}
	if _, err := d.root.Stat(name); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return made, err
	}
	d.sweep(name)
	// It has its owner when it gets its name.
	fresh := name + newMark + rand.Text()
	if err := d.root.Mkdir(fresh, modeDir); err != nil {
		return made, err
	}
	err = d.own(fresh)
	if err == nil {
		err = d.root.Rename(fresh, name)
	}
	if err != nil {
		return made, also(err, d.remove(fresh))
	}
	return append(made, name), d.sync(above)
}

// own makes a new directory the owner's of the project directory.
func (d *Dir) own(name string) error {
	dir, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(give(dir, d.info), dir.Close())
}

// fill makes the file name with owner, mode and text of f, which takes the place
// of old, and syncs it.
func (d *Dir) fill(name string, f File, old fs.FileInfo) error {
	file, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, modeNew)
	if err != nil {
		return err
	}
	owner := d.info
	if old != nil && !ofRoot(old) {
		owner = old
	}
	err = give(file, owner)
	if err == nil {
		err = file.Chmod(f.Mode) // whatever the umask was
	}
	if err == nil {
		_, err = file.Write(f.Data)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// sweep removes what killed processes left of the file name. What cannot be
// removed is in nobody's way.
func (d *Dir) sweep(name string) {
	place, base := path.Split(name)
	entries, err := fs.ReadDir(d.root.FS(), path.Clean(place))
	if err != nil {
		return
	}
	for _, e := range entries {
		if !e.Type().IsRegular() && !e.IsDir() || !strings.HasPrefix(e.Name(), base+newMark) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > staleAfter {
			_ = d.root.Remove(place + e.Name()) // tried again by the next write
		}
	}
}

// sync makes what happened in the directory name durable, where a system can.
func (d *Dir) sync(name string) error {
	dir, err := d.root.Open(name)
	if err == nil {
		err = errors.Join(syncDir(dir), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("sync the directory: %w", pathless(err))
	}
	return nil
}
