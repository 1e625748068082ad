package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// madeAt is the time of every file and image: the same inputs give the same
// bytes, whenever they are built.
func madeAt() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// entry is one file, directory or symbolic link of an image.
type entry struct {
	mode     fs.FileMode // type and permission bits, setuid and sticky included
	uid, gid int
	link     string // target of a symbolic link
	data     []byte
}

func (e entry) isLink() bool { return e.mode.Type() == fs.ModeSymlink }

// tree is a root file system in memory: clean paths without a leading slash.
type tree map[string]entry

func (t tree) dir(name string, mode fs.FileMode, owner int) {
	t[name] = entry{mode: fs.ModeDir | mode, uid: owner, gid: owner}
}

func (t tree) file(name string, mode fs.FileMode, data []byte) {
	t[name] = entry{mode: mode, data: data}
}

func (t tree) symlink(name, target string) {
	t[name] = entry{mode: fs.ModeSymlink | 0o777, link: target}
}

// add puts the entries of u into t, over what t has at the same paths.
func (t tree) add(u tree) { maps.Copy(t, u) }

// move puts the files whose names match pattern into dir.
func (t tree) move(pattern, dir string) {
	for name, e := range maps.Clone(t) {
		matches, err := path.Match(pattern, path.Base(name))
		if err == nil && matches && e.mode.IsRegular() {
			delete(t, name)
			t[path.Join(dir, path.Base(name))] = e
		}
	}
}

// resolve follows symbolic links within the tree and returns the path of what
// name stands for and every path on the way to it, the last included.
func (t tree) resolve(name string) (way []string, err error) {
	for range 8 {
		e, found := t[name]
		if !found {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		way = append(way, name)
		if !e.isLink() {
			return way, nil
		}
		if path.IsAbs(e.link) {
			name = merged(e.link)
		} else {
			name = merged(path.Join(path.Dir(name), e.link))
		}
	}
	return nil, fmt.Errorf("%s: too many links", name)
}

// mergeUsr makes the links that Debian's merged /usr has at the top.
func (t tree) mergeUsr() {
	for _, top := range []string{"bin", "sbin", "lib", "lib64"} {
		t.symlink(top, "usr/"+top)
		t.dir("usr/"+top, 0o755, 0)
	}
}

// merged spells a path as Debian's merged /usr has it, without a leading slash.
func merged(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	for _, top := range []string{"bin", "sbin", "lib", "lib64"} {
		if name == top || strings.HasPrefix(name, top+"/") {
			return "usr/" + name
		}
	}
	return name
}

// layer returns the tree as a tar archive. Missing parent directories are made,
// and the bytes depend on nothing but the tree.
func (t tree) layer() ([]byte, error) {
	all := maps.Clone(t)
	for name := range t {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, found := all[dir]; !found {
				all.dir(dir, 0o755, 0)
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		e := all[name]
		h := &tar.Header{
			Name: name, Mode: tarMode(e.mode), Uid: e.uid, Gid: e.gid, ModTime: madeAt(),
			Size: int64(len(e.data)), Typeflag: tar.TypeReg, Linkname: e.link, Format: tar.FormatPAX,
		}
		if e.mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, name+"/"
		} else if e.isLink() {
			h.Typeflag = tar.TypeSymlink
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s to the layer: %w", name, err)
		}
		if _, err := w.Write(e.data); err != nil {
			return nil, fmt.Errorf("write %s to the layer: %w", name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close the layer: %w", err)
	}
	return out.Bytes(), nil
}

// tarMode returns the mode as the kernel has it, which is what tar stores.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// writeTo puts the tree below dir, which must not exist yet. It appears whole
// or not at all.
func (t tree) writeTo(dir string) error {
	tmp, err := os.MkdirTemp(filepath.Dir(dir), ".unpack-")
	if err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // it is gone once it was renamed
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if err := t[name].writeTo(filepath.Join(tmp, filepath.FromSlash(name))); err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("unpack: %w", err)
	}
	return nil
}

func (e entry) writeTo(target string) error {
	if err := os.MkdirAll(filepath.Dir(target), 0o700); err != nil {
		return err
	}
	if e.mode.IsDir() {
		return os.MkdirAll(target, 0o700)
	}
	if e.isLink() {
		return os.Symlink(e.link, target)
	}
	return os.WriteFile(target, e.data, e.mode.Perm())
}

func hexSum(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
