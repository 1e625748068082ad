// Package remedy is the error of which both the cause and what to do about it
// are known, and the exit code that goes with it.
package remedy

import (
	"context"
	"errors"
	"fmt"
)

// Code is the exit code of the process. The README documents each; scripts
// depend on them.
type Code int

// The exit codes, by what the caller has to do next.
const (
	OK          Code = 0   // done, or already so
	Failed      Code = 1   // failed, no class fits
	Usage       Code = 2   // the command line is wrong
	No          Code = 3   // it works, but the answer is no: not ready, not healthy, a fault found
	Input       Code = 4   // the user must supply or correct something
	Engine      Code = 5   // the Docker Engine cannot be reached or is too old
	Interrupted Code = 130 // stopped by a signal
)

// Error is a failure of which the remedy is known. Err says what is wrong and
// where, lower case and without a full stop; Hint says what to type or change,
// and may have several lines. Neither holds a secret.
type Error struct {
	Code Code
	Err  error
	Hint string
}

// Error returns the cause; the hint is printed apart by the edge of the program.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose cause is formatted as by fmt.Errorf, %w included.
func Errorf(code Code, hint, format string, args ...any) *Error {
	return &Error{Code: code, Err: fmt.Errorf(format, args...), Hint: hint}
}

// CodeOf returns the exit code for err: OK for nil, that of the outermost Error
// in its chain, Interrupted for a cancelled context, else Failed.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if errors.Is(err, context.Canceled) {
		return Interrupted
	}
	return Failed
}

// HintOf returns the hint of the outermost Error in the chain of err, or "".
func HintOf(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Hint
	}
	return ""
}
