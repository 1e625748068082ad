//go:build !unix

package render

import (
	"io/fs"
	"os"
)

// giveTo leaves the owner to the system.
func giveTo(*os.File, fs.FileInfo) error { return nil }

// syncOpened does nothing: a directory cannot be synced here.
func syncOpened(*os.File) error { return nil }
