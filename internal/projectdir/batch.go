package projectdir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
)

// Batch writes files of one or several directories together. They take their places
// in the order in which they were added, and only once all of them are on the disk
// under temporary names: what keeps one of them from being written, such as a full
// disk, leaves all as they were. The zero value is an empty batch. A Batch is not safe
// for concurrent use.
type Batch struct {
	dirs  []*Dir
	files []prepared
	made  []place // directories, those above first
}

// place is a name in a directory.
type place struct {
	dir  *Dir
	name string
}

// prepared is a file that waits to take its place.
type prepared struct {
	place

	shown string      // how messages call it
	fresh string      // its temporary name
	old   fs.FileInfo // of what is in its place, nil for nothing
	text  []byte      // of that, to be put back
	kept  bool        // text is what was there
	taken bool        // the file has taken its place
}

// Open is like the function Open, for a directory that Close closes.
func (b *Batch) Open(dir string) (*Dir, error) {
	d, err := Open(dir)
	if err == nil {
		b.dirs = append(b.dirs, d)
	}
	return d, err
}

// OpenLinked is like the function OpenLinked, for a directory that Close closes.
func (b *Batch) OpenLinked(dir, name string) (*Dir, error) {
	d, err := OpenLinked(dir, name)
	if err == nil {
		b.dirs = append(b.dirs, d)
	}
	return d, err
}

// Close gives up what was not committed, and closes the directories that the batch
// has opened.
func (b *Batch) Close() error {
	err := b.discard()
	for _, d := range b.dirs {
		err = errors.Join(err, d.Close())
	}
	b.dirs = nil
	return err
}

// Add makes f ready to be written as Dir.Write writes it. When that fails, the whole
// batch is given up.
func (b *Batch) Add(d *Dir, f File) error {
	if err := b.add(d, f); err != nil {
		return word("write "+f.Name, also(d.blamed(f.Name, err), b.discard()))
	}
	return nil
}

// Replace is Add for a file that was read before, see Dir.Replace.
func (b *Batch) Replace(d *Dir, was *File, f File) error {
	if err := d.unchanged(was, f.Name); err != nil {
		return word("write "+f.Name, also(d.blamed(f.Name, err), b.discard()))
	}
	return b.Add(d, f)
}

func (b *Batch) add(d *Dir, f File) error {
	p := prepared{place: place{d, d.real(f.Name)}, shown: f.Name}
	f.Name = p.name
	made, err := d.makeDir(path.Dir(f.Name))
	for _, name := range made {
		b.made = append(b.made, place{d, name})
	}
	if err != nil {
		return err
	}
	p.old, err = d.root.Lstat(f.Name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		p.old = nil
	case err != nil:
		return err
	case p.old.Mode()&fs.ModeSymlink != 0:
		return errLink
	case !p.old.Mode().IsRegular():
		return errIrregular
	case foreign(d.info) && hardLinked(p.old, d.info):
		return errForeignLink
	case p.old.Mode().Perm() == f.Mode && d.holds(f):
		d.sweep(f.Name)
		return nil
	}
	d.sweep(f.Name)
	p.fresh = f.Name + newMark + rand.Text()
	b.files = append(b.files, p)
	return d.fill(p.fresh, f, p.old)
}

// Commit lets the files take their places, and returns when they are on the disk. When
// one cannot, all that did are put back.
func (b *Batch) Commit() error {
	for i := range b.files {
		p := &b.files[i]
		if err := p.take(); err != nil {
			for _, done := range slices.Backward(b.files[:i+1]) {
				err = also(err, done.putBack())
			}
			return word("write "+p.shown, also(err, b.discard()))
		}
	}
	b.files, b.made = nil, nil
	return nil
}

// take lets the file take its place.
func (p *prepared) take() error {
	if err := p.keep(); err != nil {
		return err
	}
	if err := p.dir.root.Rename(p.fresh, p.name); err != nil {
		return err
	}
	p.taken = true
	return p.dir.sync(path.Dir(p.name))
}

// keep reads the file that is in the place, so that it can be put back. One that cannot
// be read is replaced all the same.
func (p *prepared) keep() error {
	if p.old == nil {
		return nil
	}
	file, err := p.dir.root.OpenFile(p.name, openFlags, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	now, err := file.Stat()
	if err == nil && !os.SameFile(now, p.old) {
		err = ErrChanged
	}
	if err == nil {
		p.text, err = io.ReadAll(file)
		p.kept = err == nil
	}
	return errors.Join(err, file.Close())
}

// putBack makes the place what it was, if the file has taken it.
func (p *prepared) putBack() error {
	var err error
	switch {
	case !p.taken:
		return nil
	case p.old == nil:
		err = p.dir.root.Remove(p.name)
	case !p.kept:
		err = fs.ErrPermission
	default:
		p.fresh = p.name + newMark + rand.Text()
		err = p.dir.fill(p.fresh, File{Name: p.name, Data: p.text, Mode: p.old.Mode().Perm()}, p.old)
		if err == nil {
			err = p.dir.root.Rename(p.fresh, p.name)
		}
	}
	if err == nil {
		err = p.dir.sync(path.Dir(p.name))
	}
	if err != nil {
		return fmt.Errorf("%s is written already and cannot be put back: %w", p.shown, pathless(err))
	}
	return nil
}

// also adds to an error what went wrong after it.
func also(err, then error) error {
	if then == nil {
		return err
	}
	return fmt.Errorf("%w; %w", pathless(err), then)
}

// discard removes the temporary files and the directories that the batch has made.
func (b *Batch) discard() error {
	var err error
	for _, p := range b.files {
		err = errors.Join(err, p.dir.remove(p.fresh))
	}
	for _, p := range slices.Backward(b.made) {
		_ = p.dir.root.Remove(p.name) // one with something in it stays
	}
	b.files, b.made = nil, nil
	return err
}

// remove removes a temporary file, if it is there.
func (d *Dir) remove(name string) error {
	if _, err := d.root.Lstat(name); errors.Is(err, fs.ErrNotExist) {
		return nil // a file system that cannot be written says so first
	}
	err := d.root.Remove(name)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s stays: %w", name, pathless(err))
}
