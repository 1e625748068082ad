// Package projectdir reads and writes the files of a project directory: bounded
// and never through a link out of it, whole or not at all, on the disk when it
// says so, and for the owner of the directory when root does it.
package projectdir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// File is a file as it is, or as it is to be.
type File struct {
	Name string // relative to the directory, with slashes
	Data []byte
	Mode fs.FileMode // permission bits
}

// Dir is an opened project directory. Whatever is exchanged for a link while it
// is open, nothing outside of it is read or written. A Dir is safe for concurrent
// use as far as the files are different ones.
type Dir struct {
	root *os.Root
	info fs.FileInfo
	// linked is the name of a file that is a link in the project directory, and
	// target its name here: see OpenLinked.
	linked, target string
}

// Open opens the directory path.
func Open(path string) (*Dir, error) {
	d, err := open(path)
	if err != nil {
		return nil, word("open project directory", err)
	}
	return d, nil
}

// OpenLinked opens the directory in which the file called name of the directory
// path lies: path itself or, where that file is a symbolic link, the one that the
// link leads to. There the file still goes by name. As root in a directory of
// somebody else a link is refused: it could lead to what only root may see.
func OpenLinked(path, name string) (*Dir, error) {
	d, err := Open(path)
	if err != nil {
		return nil, err
	}
	if !d.isLink(name) {
		return d, nil
	}
	if err := d.root.Close(); err != nil {
		return nil, word("open project directory", err)
	}
	if foreign(d.info) {
		return nil, word("open "+name, errForeignLink)
	}
	_, err = os.Stat(filepath.Join(path, name)) // which tells a loop by its number
	target := ""
	if err == nil {
		target, err = filepath.EvalSymlinks(filepath.Join(path, name))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, word("open "+name, errDangling)
	}
	if err != nil {
		return nil, word("open "+name, err)
	}
	place, target := filepath.Split(target)
	if d, err = open(filepath.Clean(place)); err != nil {
		return nil, word("open "+name, err)
	}
	d.linked, d.target = name, target
	return d, nil
}

func open(path string) (*Dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	info, err := root.Stat(".")
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return &Dir{root: root, info: info}, nil
}

// isLink reports whether name is a symbolic link. What cannot be looked at is none:
// reading or writing it says why.
func (d *Dir) isLink(name string) bool {
	info, err := d.root.Lstat(name)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// Close lets go of the directory. What was written is on the disk before.
func (d *Dir) Close() error {
	if err := d.root.Close(); err != nil {
		return fmt.Errorf("close project directory: %w", err)
	}
	return nil
}

// real returns the name that the file has in the opened directory.
func (d *Dir) real(name string) string {
	if d.linked != "" && name == d.linked {
		return d.target
	}
	return name
}

// Read returns a file of at most limit bytes. A file that does not exist is an
// fs.ErrNotExist; what is no regular file, or larger, is an error. As root in a
// directory of somebody else, a file that has another name and another owner is
// refused: it can be one that only root may see.
func (d *Dir) Read(name string, limit int64) (File, error) {
	f, err := d.read(name, limit)
	if err != nil {
		return File{}, word("read "+name, d.blamed(name, err))
	}
	return f, nil
}

func (d *Dir) read(name string, limit int64) (File, error) {
	file, err := d.root.OpenFile(d.real(name), openFlags, 0)
	if errors.Is(err, syscall.ENXIO) {
		return File{}, errIrregular // a socket
	}
	if err != nil {
		return File{}, err
	}
	defer file.Close() //nolint:errcheck // nothing was written
	info, err := file.Stat()
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, errIrregular
	}
	if foreign(d.info) && hardLinked(info, d.info) {
		return File{}, errForeignLink
	}
	data, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return File{}, err
	}
	if int64(len(data)) > limit {
		return File{}, errTooLarge
	}
	return File{Name: name, Data: data, Mode: info.Mode().Perm()}, nil
}

// List returns the entries of the directory called name, sorted by their names.
// A directory that does not exist is an fs.ErrNotExist.
func (d *Dir) List(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(d.root.FS(), name)
	if err != nil {
		return nil, word("read "+name, d.blamed(name, err))
	}
	return entries, nil
}
