package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"

	"mqtunnel/internal/remedy"
)

// transportError is a call that got no answer: the Engine is not there, or went
// away in the middle. Its text is short on purpose: Docker's client replaces
// causes whose text it knows by one of its own.
type transportError struct{ err error }

func (e *transportError) Error() string { return "no answer from the Engine" }

// Unwrap gives the cause below HTTP.
func (e *transportError) Unwrap() error { return e.err }

// callError is an Engine's answer in words for a person, with Docker's error
// still below it.
type callError struct {
	text string
	err  error
}

func (e *callError) Error() string { return e.text }

// Unwrap gives Docker's error, which knows the class of the answer.
func (e *callError) Unwrap() error { return e.err }

// clean makes an error of Docker's client fit to stand behind "operation
// subject: ": without its prefix, without URLs, without a capital letter. A call
// without answer becomes a remedy.Error with code Engine.
func clean(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if IsUnavailable(err) {
		return &remedy.Error{
			Code: remedy.Engine, Hint: startHint(),
			Err: &callError{text: "the Docker Engine does not answer: " + reason(err), err: err},
		}
	}
	text := err.Error()
	if _, after, ok := strings.Cut(text, "Error response from daemon: "); ok {
		text = after
	}
	text, _, _ = strings.Cut(text, "\n")
	text = strings.TrimSuffix(strings.TrimSpace(text), ".")
	return &callError{text: lowerFirst(text), err: err}
}

// lowerFirst lowers a leading capital, but not that of a name like "OCI".
func lowerFirst(s string) string {
	if len(s) < 2 || s[0] < 'A' || s[0] > 'Z' || (s[1] >= 'A' && s[1] <= 'Z') {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// reason returns the innermost cause of a call without answer, without the
// address, which the caller knows better.
func reason(err error) string {
	if e, ok := errors.AsType[*transportError](err); ok {
		err = e.err
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		err = e.Err
	}
	if e, ok := errors.AsType[*os.SyscallError](err); ok {
		err = e.Err
	}
	text, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return lowerFirst(text)
}

// IsNotFound reports whether the Engine does not have what a call was about.
func IsNotFound(err error) bool { return cerrdefs.IsNotFound(err) }

// IsConflict reports whether the Engine refused a call because of the state of
// what it was about: a name that is taken, a container that is not running.
func IsConflict(err error) bool { return cerrdefs.IsConflict(err) }

// IsUnavailable reports whether the Engine could not be reached or went away in
// the middle of a call.
func IsUnavailable(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if _, ok := errors.AsType[*transportError](err); ok {
		return true
	}
	if _, ok := errors.AsType[*unreachableError](err); ok {
		return true
	}
	return client.IsErrConnectionFailed(err) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
