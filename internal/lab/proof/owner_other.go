//go:build !unix

package proof

import "io/fs"

// asRoot is about root, whom only Unix has.
func asRoot() bool { return false }

// ownerOf is about owners with numbers, which only Unix has.
func ownerOf(fs.FileInfo) int { return -1 }
