//go:build !unix

package projectdir

import (
	"io/fs"
	"os"
)

// openFlags open a file for reading.
const openFlags = os.O_RDONLY

// foreign is about root, whom only Unix has.
func foreign(fs.FileInfo) bool { return false }

// ofRoot is about root, whom only Unix has.
func ofRoot(fs.FileInfo) bool { return false }

// hardLinked is about root, whom only Unix has.
func hardLinked(_, _ fs.FileInfo) bool { return false }

// give leaves the owner to the system.
func give(*os.File, fs.FileInfo) error { return nil }

// syncDir does nothing: a directory cannot be synced here.
func syncDir(*os.File) error { return nil }
