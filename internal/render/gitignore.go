package render

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/projectdir"
)

// GitIgnoreName is the file that keeps secrets out of version control.
const GitIgnoreName = ".gitignore"

// private are the files of a project directory that hold secrets or password
// hashes, relative to it.
func private() []string {
	return []string{config.EnvName, FileName, PasswdName, ACLName}
}

// GitIgnore returns the text of a new .gitignore.
func GitIgnore() []byte {
	return []byte("# Secrets and password hashes of mqtunnel.\n/" + strings.Join(private(), "\n/") + "\n" + projectdir.Temporary + "\n")
}

// Exposure is how far git may carry off what the project directory keeps secret.
type Exposure struct {
	// Missing is true when the directory has no .gitignore yet, so that one
	// may be created.
	Missing bool
	// Unlisted are files that the .gitignore which is there does not name. They
	// may be ignored by a rule elsewhere; whether they are is git's to say.
	Unlisted []string
	// Tracked are files that git has in its index: they are in the history,
	// whatever .gitignore says.
	Tracked []string
}

// Warnings are the sentences for a person, without a full stop; none when all is well.
func (e Exposure) Warnings() []string {
	var out []string
	if len(e.Tracked) > 0 {
		names := strings.Join(e.Tracked, " ")
		out = append(out, fmt.Sprintf("git tracks %s: `git rm --cached %s`, and replace the token and the passwords if the repository was ever shared", names, names))
	}
	if len(e.Unlisted) > 0 {
		out = append(out, fmt.Sprintf("%s does not name %s: add the lines /%s", GitIgnoreName,
			strings.Join(e.Unlisted, ", "), strings.Join(e.Unlisted, " /")))
	}
	return out
}

// CheckGit looks at what git sees of dir. It starts no git: as root in somebody
// else's repository that would run what the repository's configuration names.
// Outside a repository only Missing can be true.
func CheckGit(dir string) (Exposure, error) {
	var e Exposure
	text, err := os.ReadFile(filepath.Join(dir, GitIgnoreName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Missing = true
	case err != nil:
		return e, fmt.Errorf("read %s: %w", GitIgnoreName, cause(err))
	}
	root, index, err := repository(dir)
	if err != nil || root == "" {
		return e, err
	}
	if !e.Missing {
		e.Unlisted = unlisted(string(text))
	}
	tracked, err := indexed(index)
	if err != nil {
		return e, err
	}
	for _, name := range private() {
		path, err := filepath.Rel(root, filepath.Join(dir, name))
		if err == nil && slices.Contains(tracked, filepath.ToSlash(path)) {
			e.Tracked = append(e.Tracked, name)
		}
	}
	return e, nil
}

// unlisted returns the private files that no line of a .gitignore names. Only
// plain names and the patterns "*" and ".env*" are understood.
func unlisted(text string) []string {
	var out []string
	for _, name := range private() {
		named := false
		for line := range strings.Lines(text) {
			pattern := strings.TrimPrefix(strings.TrimSpace(line), "/")
			matched, err := filepath.Match(pattern, name)
			covers := err == nil && matched || pattern == "*" || strings.HasPrefix(name, strings.TrimSuffix(pattern, "/")+"/")
			named = named || pattern != "" && covers
		}
		if !named {
			out = append(out, name)
		}
	}
	return out
}

// repository finds the working tree around dir and its index, or "" outside one.
func repository(dir string) (root, index string, err error) {
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", "", fmt.Errorf("find git repository: %w", err)
	}
	if resolved, err := filepath.EvalSymlinks(dir); err == nil {
		dir = resolved
	}
	for root = dir; ; root = filepath.Dir(root) {
		git := filepath.Join(root, ".git")
		info, err := os.Stat(git)
		switch {
		case err == nil && info.IsDir():
			return root, filepath.Join(git, "index"), nil
		case err == nil:
			// A worktree or submodule: the file names the directory.
			text, err := os.ReadFile(git)
			if err != nil {
				return "", "", fmt.Errorf("read .git: %w", cause(err))
			}
			place := strings.TrimSpace(strings.TrimPrefix(string(text), "gitdir:"))
			if !filepath.IsAbs(place) {
				place = filepath.Join(root, place)
			}
			return root, filepath.Join(place, "index"), nil
		case root == filepath.Dir(root):
			return "", "", nil
		}
	}
}

// Sizes within an index of git, versions 2 and 3 (gitformat-index).
const (
	indexHeader  = 12
	indexFlags   = 60 // where an entry's flags are
	indexName    = 62 // where its name begins, unless it is extended
	indexAlign   = 8
	extendedFlag = 0x4000
	maxIndex     = 256 << 20
)

// indexed lists the paths in a git index. No index, one of an unknown version
// and one that ends early give what could be read: it is a warning that hangs
// on it.
func indexed(path string) ([]string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() > maxIndex {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read git index: %w", cause(err))
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read git index: %w", cause(err))
	}
	return indexPaths(data), nil
}

// indexPaths reads the entries of a git index of version 2 or 3.
func indexPaths(data []byte) []string {
	if len(data) < indexHeader || string(data[:4]) != "DIRC" {
		return nil
	}
	if version := binary.BigEndian.Uint32(data[4:]); version != 2 && version != 3 {
		return nil
	}
	count := binary.BigEndian.Uint32(data[8:])
	data = data[indexHeader:]
	var out []string
	for ; count > 0 && len(data) > indexName+2; count-- {
		start := indexName
		if binary.BigEndian.Uint16(data[indexFlags:])&extendedFlag != 0 {
			start += 2
		}
		end := start + slices.Index(data[start:], 0)
		if end < start {
			break
		}
		out = append(out, string(data[start:end]))
		// One to eight NUL bytes bring the entry to a multiple of eight.
		next := (end/indexAlign + 1) * indexAlign
		if next > len(data) {
			break
		}
		data = data[next:]
	}
	return out
}

// cause strips the path that an error of package os repeats.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}
