package proof

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// newMark stands in temporary names between the name of the file and a random part.
const newMark = ".mqtunnel-new-"

// node is what stands under a name in a directory.
type node struct {
	mode  fs.FileMode
	owner int
	text  string // of a regular file, or where a symbolic link leads to
}

func (n node) String() string { return fmt.Sprintf("%v of %d, %d bytes", n.mode, n.owner, len(n.text)) }

// tree is all that a directory holds, by relative path. The directory itself is ".".
type tree map[string]node

// treeOf reads a directory.
func treeOf(dir string) (tree, error) {
	t := tree{}
	return t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		n := node{mode: info.Mode(), owner: ownerOf(info)}
		switch {
		case info.Mode().IsRegular():
			text, err := os.ReadFile(path) //nolint:gosec // the proof's own directory
			if err != nil {
				return err
			}
			n.text = string(text)
		case info.Mode()&fs.ModeSymlink != 0:
			if n.text, err = os.Readlink(path); err != nil {
				return err
			}
		}
		t[filepath.ToSlash(name)] = n
		return nil
	})
}

// plant makes the directory what the tree says, and gives all of it to owner if this
// process may.
func (t tree) plant(dir string, owner int) error {
	for _, name := range slices.Sorted(maps.Keys(t)) { // a directory before what is in it
		n, path := t[name], filepath.Join(dir, name)
		var err error
		switch {
		case n.mode.IsDir():
			err = errors.Join(os.MkdirAll(path, 0o700), os.Chmod(path, n.mode.Perm()))
		case n.mode.IsRegular():
			err = errors.Join(os.WriteFile(path, []byte(n.text), 0o600), os.Chmod(path, n.mode.Perm()))
		}
		if err == nil && asRoot() {
			err = os.Lchown(path, owner, owner)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// random is what is another one each time that a file is written: hashes, revisions,
// the probe's password, and the checksum over these.
var random = regexp.MustCompile(`\$7\$\$?1000\$\$?[A-Za-z0-9+/]{16}\$\$?[A-Za-z0-9+/]{86}==\n|` +
	`io\.mqtunnel\.revision: "?[A-Z2-7]{12}"?\n|MQTUNNEL_PROBE_PASSWORD=[A-Za-z0-9-]{27}\n|# checksum: [0-9a-f]{32}\n`)

// alike returns the text with a word for whatever is random in it and not in the text
// of before.
func alike(text, before string) string {
	return random.ReplaceAllStringFunc(text, func(found string) string {
		if strings.Contains(before, found) {
			return found
		}
		return "(new)\n"
	})
}

// same reports whether two nodes are the same but for what is random in both and was
// not there before.
func (n node) same(other, before node) bool {
	return n.mode == other.mode && n.owner == other.owner && alike(n.text, before.text) == alike(other.text, before.text)
}

// difference names what is not the same in two trees, "" for nothing. What is random
// and was not there before counts as the same.
func (t tree) difference(other, before tree) string {
	var list []string
	for name, n := range t {
		if o, there := other[name]; !there {
			list = append(list, fmt.Sprintf("%s is not there", name))
		} else if !o.same(n, before[name]) {
			list = append(list, fmt.Sprintf("%s is another one (%v, not %v)", name, o, n))
		}
	}
	for name := range other {
		if _, there := t[name]; !there {
			list = append(list, name+" is too many")
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// torn names what in the tree is neither as before nor as after, "" for nothing. A file
// under a temporary name may be left, for its owner alone.
func (t tree) torn(before, after tree) string {
	var list []string
	for name, n := range t {
		base, _, temporary := strings.Cut(name, newMark)
		b, inBefore := before[name]
		a, inAfter := after[name]
		switch {
		case temporary:
			ours := after[base].mode.Type() == n.mode.Type() && (n.mode.IsDir() || n.mode.Perm()&0o177 == 0)
			if _, known := after[base]; !known || !ours {
				list = append(list, fmt.Sprintf("%s is left (%v)", name, n))
			}
		case inBefore && n == b, inAfter && n.same(a, b):
		default:
			list = append(list, fmt.Sprintf("%s is neither the old one nor the new one (%v)", name, n))
		}
	}
	for name := range before {
		_, there := t[name]
		if _, stays := after[name]; stays && !there {
			list = append(list, name+" is gone")
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}
