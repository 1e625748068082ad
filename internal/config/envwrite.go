package config

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"mqtunnel/internal/projectdir"
)

// envMode is the mode that .env has after every write: it holds the token.
const envMode fs.FileMode = 0o600

// Written tells what a write did.
type Written struct {
	// Changed is false when the file held that text already.
	Changed bool
	// Tightened is the mode that the file had when that let others read or write
	// it, else 0. The file has mode 0600 now.
	Tightened fs.FileMode
}

// ReadEnv reads .env of the directory dir. A file that does not exist reads as
// an empty one. As root in a directory of somebody else, links are refused.
func ReadEnv(dir string) (*EnvFile, error) {
	file, found, err := EnvText(dir)
	if err != nil {
		return nil, err
	}
	if !found {
		return &EnvFile{}, nil
	}
	f, err := ParseEnv(file.Data)
	if err != nil {
		return nil, err
	}
	f.exists, f.mode = true, file.Mode
	return f, nil
}

// EnvText reads .env of the directory dir as it stands there, readable as settings
// or not, and reports whether there is one. The text holds secrets.
func EnvText(dir string) (file projectdir.File, found bool, err error) {
	d, err := projectdir.OpenLinked(dir, EnvName)
	if err != nil {
		return projectdir.File{}, false, err
	}
	defer d.Close() //nolint:errcheck // nothing was written
	file, err = d.Read(EnvName, maxEnvBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return projectdir.File{}, false, nil
	}
	return file, err == nil, err
}

// Write stores the text as .env of the directory dir, with mode 0600, and
// belonging to the directory's owner when it is new. It is atomic and durable:
// whatever happens, the file holds the whole old text or the whole new one. A
// file that somebody else changed since it was read is left alone.
func (f *EnvFile) Write(dir string) (written Written, err error) {
	b := &projectdir.Batch{}
	defer func() { err = errors.Join(err, b.Close()) }()
	if written, err = f.AddTo(b, dir); err != nil {
		return Written{}, err
	}
	if err := b.Commit(); err != nil {
		return Written{}, err
	}
	f.stored, f.exists, f.mode = f.text, true, envMode
	return written, nil
}

// AddTo is Write together with other files. An EnvFile that was added has to be read
// again.
func (f *EnvFile) AddTo(b *projectdir.Batch, dir string) (Written, error) {
	d, err := b.OpenLinked(dir, EnvName)
	if err != nil {
		return Written{}, err
	}
	written := Written{Changed: f.Changed()}
	var was *projectdir.File
	if f.exists {
		was = &projectdir.File{Name: EnvName, Data: []byte(f.stored), Mode: f.mode}
		if f.mode&^envMode != 0 {
			written.Tightened = f.mode
		}
	}
	return written, b.Replace(d, was, projectdir.File{Name: EnvName, Data: []byte(f.text), Mode: envMode})
}

// Changed reports whether the text is another one than that on disk.
func (f *EnvFile) Changed() bool { return !f.exists || f.text != f.stored }

// hiddenValue stands for a value that is not quoted in a message.
const hiddenValue = "the value"

// shown quotes a value for a message, unless it could be a token that was put
// into the wrong line.
func shown(value string) string {
	const maxShown = 80
	if len(value) > maxShown || strings.Contains(value, "eyJ") {
		return hiddenValue
	}
	return fmt.Sprintf("%q", value)
}
