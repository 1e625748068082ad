package projectdir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"mqtunnel/internal/remedy"
)

// ErrChanged is a file that is not any more as it was read.
var ErrChanged = errors.New("the file changed meanwhile")

var (
	errIrregular = errors.New("it is not a regular file")
	errTooLarge  = errors.New("the file is too large")

	// errLink refuses what would make mqtunnel write somewhere else than it says.
	errLink = errors.New("it is a link")
	// errForeignLink refuses what could make root write or show somebody else's file.
	errForeignLink = errors.New("it is a link, which root does not follow in a directory of somebody else")
	// errOutside is a link that leads out of the directory, or has one before it.
	errOutside  = errors.New("a link leads out of the project directory")
	errDangling = errors.New("it is a link to a file that does not exist")
)

// word says what was done to which file and what to do about it where that is
// known. Names of temporary files do not stand in the message.
func word(what string, err error) error {
	wrapped := fmt.Errorf("%s: %w", what, pathless(err))
	hint, code := "", remedy.Input
	switch {
	case errors.Is(err, ErrChanged):
		hint, code = "run the command again", remedy.Failed
	case errors.Is(err, errLink):
		hint = "remove the link; mqtunnel writes the file anew"
	case errors.Is(err, errForeignLink):
		hint = "run the command as the owner of the directory, without sudo"
	case errors.Is(err, errOutside):
		hint = "put the file itself where the link is"
	case errors.Is(err, errDangling):
		hint = "make the file that it leads to, or remove the link"
	case errors.Is(err, errIrregular), errors.Is(err, errTooLarge):
		hint = "move it away"
	case errors.Is(err, syscall.ELOOP):
		hint = "remove the link"
	case errors.Is(err, syscall.ENOTDIR):
		hint = "move away what stands where its directory is to be"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint, code = "make room on the disk, then run the command again", remedy.Failed
	case errors.Is(err, syscall.EROFS):
		hint, code = "mount the file system for writing, then run the command again", remedy.Failed
	case errors.Is(err, syscall.EFBIG):
		hint, code = "raise the limit, which ulimit -f shows, then run the command again", remedy.Failed
	case errors.Is(err, syscall.EPERM):
		hint = "run the command as the owner of the directory; to root, lsattr shows an immutable file, and chattr -i makes it none"
	case errors.Is(err, fs.ErrPermission):
		hint = "run the command as the owner of the directory"
	case errors.Is(err, fs.ErrNotExist):
		hint = "name the project directory with -C"
	default:
		return wrapped
	}
	return &remedy.Error{Code: code, Err: wrapped, Hint: hint}
}

// pathless strips operation and path from an error of package os.
func pathless(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}

// blamed returns errOutside in place of the error of package os for a link on the
// way to the file that leads out of the directory. That one is not exported; it
// is none of the system's, which all have a number.
func (d *Dir) blamed(name string, err error) error {
	if _, ok := errors.AsType[*fs.PathError](err); !ok {
		return err
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	parts := strings.Split(d.real(name), "/")
	for i := range parts {
		if d.isLink(strings.Join(parts[:i+1], "/")) {
			return errOutside
		}
	}
	return err
}
