//go:build linux || darwin

package cli

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How long the terminal must be silent before what is left of a paste counts as
// arrived, and before a paste that is not complete counts as all there is.
const (
	settle   = 150 * time.Millisecond
	pasteGap = time.Second
)

// readHidden reads lines from a terminal without echo and passes what has come
// so far to complete, until that says stop, the input ends, or ctx does; input
// that ends at once is context.Canceled. ask is called once the echo is off. What is
// left in the terminal's input then, such as the tail of a pasted command line,
// is thrown away so that the shell does not run it.
func readHidden(ctx context.Context, in *os.File, ask func(), complete func(soFar string) bool) (string, error) {
	fd := int(in.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return "", fmt.Errorf("read terminal settings: %w", err)
	}
	silent := *before
	silent.Lflag &^= unix.ECHO
	silent.Lflag |= unix.ICANON | unix.ISIG
	if err := unix.IoctlSetTermios(fd, setTermios, &silent); err != nil {
		return "", fmt.Errorf("switch the echo off: %w", err)
	}
	defer func() {
		discard(fd)
		// The terminal is given back as it was; there is nobody to tell if not.
		_ = unix.IoctlSetTermios(fd, setTermios, before)
	}()

	ask()
	var text strings.Builder
	lines := bufio.NewReaderSize(in, 64<<10)
	for {
		if lines.Buffered() == 0 {
			if err := readable(ctx, fd); err != nil {
				return "", err
			}
		}
		line, err := lines.ReadString('\n')
		text.WriteString(line)
		if err != nil && text.Len() == 0 {
			return "", context.Canceled
		}
		if err != nil || complete(text.String()) {
			return text.String(), nil
		}
		if lines.Buffered() == 0 {
			if more, err := pending(fd, pasteGap); err != nil || !more {
				return text.String(), err
			}
		}
	}
}

// readable waits until fd has input.
func readable(ctx context.Context, fd int) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		ready, err := pending(fd, 100*time.Millisecond)
		if err != nil || ready {
			return err
		}
	}
}

// pending reports whether fd has input, waiting up to d for it.
func pending(fd int, d time.Duration) (bool, error) {
	set := &unix.FdSet{}
	set.Set(fd)
	tv := unix.NsecToTimeval(d.Nanoseconds())
	n, err := unix.Select(fd+1, set, nil, nil, &tv)
	if err == unix.EINTR {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("wait for input: %w", err)
	}
	return n > 0, nil
}

// discard throws away what is in the terminal's input and what arrives until it
// is silent for a moment.
func discard(fd int) {
	deadline := time.Now().Add(2 * time.Second)
	for time.Now().Before(deadline) {
		if err := flushInput(fd); err != nil {
			return
		}
		if more, err := pending(fd, settle); err != nil || !more {
			return
		}
	}
}
