package config

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mqtunnel/internal/remedy"
)

// envMode is the mode that .env has after every write: it holds the token.
const envMode fs.FileMode = 0o600

// newPrefix begins the names of files that are being written. They are renamed
// when complete; one that a killed process left behind holds the token too, and
// is removed by the next write once it is older than staleAfter.
const (
	newPrefix  = EnvName + ".mqtunnel-"
	staleAfter = 10 * time.Minute
)

// Written tells what a write did.
type Written struct {
	// Changed is false when the file held that text already.
	Changed bool
	// Tightened is the mode that the file had when that let others read or write
	// it, else 0. The file has mode 0600 now.
	Tightened fs.FileMode
}

// envDir is the opened directory in which .env lies.
type envDir struct {
	*os.Root
	name string // of the file in it: .env, or what a link of that name leads to
	info fs.FileInfo
}

// ReadEnv reads .env of the directory dir. A file that does not exist reads as
// an empty one. As root in a directory of somebody else, links are refused.
func ReadEnv(dir string) (*EnvFile, error) {
	d, err := openEnvDir(dir)
	if err != nil {
		return nil, fileError("read", err)
	}
	defer d.Close() //nolint:errcheck // nothing was written
	text, mode, err := d.read()
	if errors.Is(err, fs.ErrNotExist) {
		return &EnvFile{}, nil
	}
	if err != nil {
		return nil, fileError("read", err)
	}
	f, err := ParseEnv(text)
	if err != nil {
		return nil, err
	}
	f.exists, f.mode = true, mode
	return f, nil
}

// Write stores the text as .env of the directory dir, with mode 0600, and
// belonging to the directory's owner when it is new. It is atomic and durable:
// whatever happens, the file holds the whole old text or the whole new one. A
// file that somebody else changed since it was read is left alone.
func (f *EnvFile) Write(dir string) (Written, error) {
	d, err := openEnvDir(dir)
	if err != nil {
		return Written{}, fileError("write", err)
	}
	defer d.Close() //nolint:errcheck // what was written is synced by replace
	written := Written{Changed: !f.exists || f.text != f.stored}
	now, mode, err := d.read()
	switch {
	case errors.Is(err, fs.ErrNotExist) && !f.exists:
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Written{}, fileError("write", err)
	case err != nil || !f.exists || string(now) != f.stored:
		return Written{}, remedy.Errorf(remedy.Failed, "run the command again", "write %s: the file changed meanwhile", EnvName)
	case mode&^envMode != 0:
		written.Tightened = mode
	}
	if written.Changed || mode != envMode {
		if err := d.replace(f.text); err != nil {
			return Written{}, fileError("write", err)
		}
	}
	f.stored, f.exists, f.mode = f.text, true, envMode
	return written, nil
}

// openEnvDir opens the directory that holds .env.
func openEnvDir(dir string) (*envDir, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	name := EnvName
	link, err := os.Lstat(filepath.Join(dir, name))
	if err == nil && link.Mode()&fs.ModeSymlink != 0 {
		if foreign(info) {
			return nil, errLink
		}
		target, err := filepath.EvalSymlinks(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("follow the link: %w", pathless(err))
		}
		dir, name = filepath.Split(target)
		if info, err = os.Stat(dir); err != nil {
			return nil, err
		}
	}
	// From here on the opened directory is used, and a link out of it refused, so
	// that nothing exchanged meanwhile leads elsewhere.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &envDir{Root: root, name: name, info: info}, nil
}

// errLink refuses what could make root write or show somebody else's file.
var errLink = errors.New("it is a link, which root does not follow in a directory of somebody else")

// read returns the text and the permission bits of the file.
func (d *envDir) read() ([]byte, fs.FileMode, error) {
	info, err := d.Lstat(d.name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, errors.New("it is not a regular file")
	}
	file, err := d.Open(d.name)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	if info, err = file.Stat(); err != nil {
		return nil, 0, err
	}
	if foreign(d.info) && hardLinked(info, d.info) {
		return nil, 0, errLink
	}
	text, err := io.ReadAll(io.LimitReader(file, maxEnvBytes+1))
	if err == nil && len(text) > maxEnvBytes {
		err = errors.New("the file is too large")
	}
	return text, info.Mode().Perm(), err
}

// replace puts a new file with the text in the place of the old one.
func (d *envDir) replace(text string) error {
	d.sweep()
	name := newPrefix + rand.Text()
	file, err := d.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, envMode)
	if err != nil {
		return err
	}
	err = d.fill(file, text)
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = d.Rename(name, d.name)
	}
	if err != nil {
		return errors.Join(err, d.Remove(name))
	}
	if err := syncDir(d.Root); err != nil {
		return fmt.Errorf("sync the directory: %w", pathless(err))
	}
	return nil
}

// fill gives the new file its owner, mode and text, and syncs it.
func (d *envDir) fill(file *os.File, text string) error {
	if err := d.own(file); err != nil {
		return err
	}
	if err := file.Chmod(envMode); err != nil { // whatever the umask was
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		return err
	}
	return file.Sync()
}

// sweep removes what killed processes left behind. What cannot be removed is in
// nobody's way.
func (d *envDir) sweep() {
	names, err := fs.Glob(d.FS(), newPrefix+"*")
	if err != nil {
		return
	}
	for _, name := range names {
		info, err := d.Lstat(name)
		if err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > staleAfter {
			_ = d.Remove(name) // tried again by the next write
		}
	}
}

// fileError words an error of the file system without the paths of temporary
// files, and adds what to do.
func fileError(verb string, err error) error {
	wrapped := fmt.Errorf("%s %s: %w", verb, EnvName, pathless(err))
	switch {
	case errors.Is(err, errLink):
		return &remedy.Error{Code: remedy.Input, Err: wrapped, Hint: "run the command as the owner of the directory, without sudo"}
	case errors.Is(err, fs.ErrPermission):
		return &remedy.Error{Code: remedy.Input, Err: wrapped, Hint: "run the command as the owner of the directory"}
	case errors.Is(err, fs.ErrNotExist):
		return &remedy.Error{Code: remedy.Input, Err: wrapped, Hint: "name the project directory with -C"}
	default:
		return wrapped
	}
}

// pathless strips operation and path from an error of package os.
func pathless(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// shown quotes a value for a message, unless it could be a token that was put
// into the wrong line.
func shown(value string) string {
	const maxShown = 80
	if len(value) > maxShown || strings.Contains(value, "eyJ") {
		return "the value"
	}
	return fmt.Sprintf("%q", value)
}
