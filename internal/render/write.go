package render

import (
	"errors"
	"io/fs"

	"mqtunnel/internal/projectdir"
)

// Modes of what is written.
const (
	// ModePrivate is the mode of files with secrets or password hashes.
	ModePrivate fs.FileMode = 0o600
	// ModePublic is the mode of the others.
	ModePublic fs.FileMode = 0o644
)

// Target is a file to write.
type Target = projectdir.File

// Write stores the targets in the project directory dir together: see
// projectdir.Batch. A file that has text and mode already is not touched. New files
// and directories belong to the owner of dir. A link in the place of a file or
// leading out of dir is refused.
func Write(dir string, targets ...Target) (err error) {
	b := &projectdir.Batch{}
	defer func() { err = errors.Join(err, b.Close()) }()
	d, err := b.Open(dir)
	if err != nil {
		return err
	}
	for _, t := range targets {
		if err := b.Add(d, t); err != nil {
			return err
		}
	}
	return b.Commit()
}

// maxFile bounds what is read of one file, in bytes: a password file of some ten
// thousand users.
const maxFile = 8 << 20

// read returns a file's text, nil when there is none.
func read(d *projectdir.Dir, name string) ([]byte, error) {
	file, err := d.Read(name, maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return file.Data, err
}
