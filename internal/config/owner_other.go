//go:build !unix

package config

import (
	"io/fs"
	"os"
)

// foreign is about root, whom only Unix has.
func foreign(fs.FileInfo) bool { return false }

// hardLinked is about root, whom only Unix has.
func hardLinked(_, _ fs.FileInfo) bool { return false }

// own leaves the owner to the system.
func (d *envDir) own(*os.File) error { return nil }

// syncDir does nothing: a directory cannot be synced here.
func syncDir(*os.Root) error { return nil }
