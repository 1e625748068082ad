package render

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"mqtunnel/internal/remedy"
)

// Modes of what is written.
const (
	// ModePrivate is the mode of files with secrets or password hashes.
	ModePrivate fs.FileMode = 0o600
	// ModePublic is the mode of the others.
	ModePublic fs.FileMode = 0o644

	modeDir fs.FileMode = 0o755
)

// A file is written under a name with newMark in it and then renamed. What a
// killed process left behind is removed by a later write after staleAfter.
const (
	newMark    = ".mqtunnel-new-"
	staleAfter = 10 * time.Minute
)

// Target is a file to write.
type Target struct {
	Name string // relative to the project directory, with slashes
	Data []byte
	Mode fs.FileMode
}

// Write stores the targets in the project directory dir, one after the other,
// each atomically and on the disk before the next begins: whatever happens, each
// file holds its whole old text or its whole new one. A file that has text and
// mode already is not touched. New files and directories belong to the owner of
// dir. A link in the place of a file or leading out of dir is refused.
func Write(dir string, targets ...Target) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open project directory: %w", cause(err))
	}
	defer root.Close() //nolint:errcheck // every file was synced by itself
	info, err := root.Stat(".")
	if err != nil {
		return fmt.Errorf("open project directory: %w", cause(err))
	}
	for _, t := range targets {
		if err := write(root, info, t); err != nil {
			return fileError("write "+t.Name, err)
		}
	}
	return nil
}

// errLink refuses what would make mqtunnel write somewhere else than it says.
var errLink = errors.New("it is a link")

// fileError words an error of the file system without the names of temporary
// files, and says what to do where that is known.
func fileError(what string, err error) error {
	wrapped := fmt.Errorf("%s: %w", what, cause(err))
	switch {
	case errors.Is(err, errLink):
		return &remedy.Error{Code: remedy.Input, Err: wrapped, Hint: "remove the link; mqtunnel writes the file anew"}
	case errors.Is(err, fs.ErrPermission):
		return &remedy.Error{Code: remedy.Input, Err: wrapped, Hint: "run the command as the owner of the directory"}
	default:
		return wrapped
	}
}

func write(root *os.Root, owner fs.FileInfo, t Target) error {
	if err := makeDir(root, owner, path.Dir(t.Name)); err != nil {
		return err
	}
	info, err := root.Lstat(t.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case info.Mode()&fs.ModeSymlink != 0:
		return errLink
	case !info.Mode().IsRegular():
		return errors.New("it is not a regular file")
	case info.Mode().Perm() == t.Mode && holds(root, t):
		return nil
	}
	sweep(root, t.Name)
	name := t.Name + newMark + rand.Text()
	if err := fill(root, owner, name, t); err != nil {
		return errors.Join(err, discard(root, name))
	}
	if err := root.Rename(name, t.Name); err != nil {
		return errors.Join(err, discard(root, name))
	}
	return syncDir(root, path.Dir(t.Name))
}

// holds reports whether the file has the text of t already.
func holds(root *os.Root, t Target) bool {
	file, err := root.Open(t.Name)
	if err != nil {
		return false // then the write says why
	}
	defer file.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(file, int64(len(t.Data))+1))
	return err == nil && bytes.Equal(text, t.Data)
}

// makeDir makes the directory name and its parents, owned as the project directory.
func makeDir(root *os.Root, owner fs.FileInfo, name string) error {
	if name == "." {
		return nil
	}
	if err := makeDir(root, owner, path.Dir(name)); err != nil {
		return err
	}
	err := root.Mkdir(name, modeDir)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(giveTo(dir, owner), dir.Close())
}

// fill makes the file name with owner, mode and text, and syncs it.
func fill(root *os.Root, owner fs.FileInfo, name string, t Target) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, ModePrivate)
	if err != nil {
		return err
	}
	err = giveTo(file, owner)
	if err == nil {
		err = file.Chmod(t.Mode) // whatever the umask was
	}
	if err == nil {
		_, err = file.Write(t.Data)
	}
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}

// discard removes a file that did not become one, if it is there.
func discard(root *os.Root, name string) error {
	if err := root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sweep removes what killed processes left of the file name. What cannot be
// removed is in nobody's way.
func sweep(root *os.Root, name string) {
	entries, err := fs.ReadDir(root.FS(), path.Dir(name))
	if err != nil {
		return
	}
	for _, e := range entries {
		info, err := e.Info()
		if err == nil && strings.HasPrefix(e.Name(), path.Base(name)+newMark) && time.Since(info.ModTime()) > staleAfter {
			_ = root.Remove(path.Join(path.Dir(name), e.Name())) // tried again by the next write
		}
	}
}

// syncDir makes a rename in the directory name durable, where a system can.
func syncDir(root *os.Root, name string) error {
	dir, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(syncOpened(dir), dir.Close())
}

// Existing returns the text of compose.yaml in dir, nil when there is none. A
// link that leads out of dir is an error: what it leads to could be shown.
func Existing(dir string) ([]byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open project directory: %w", cause(err))
	}
	defer root.Close() //nolint:errcheck // nothing was written
	text, err := readBounded(root, FileName)
	if err != nil || text == "" {
		return nil, err
	}
	return []byte(text), nil
}
