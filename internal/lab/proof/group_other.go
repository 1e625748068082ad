//go:build !unix

package proof

import (
	"errors"
	"os/exec"
	"syscall"
)

// grouped leaves the program as it is where there are no process groups.
func grouped(*exec.Cmd, int) {}

func endGroup(*exec.Cmd) error { return nil }

// signalGroup has no groups to signal here.
func signalGroup(*exec.Cmd, syscall.Signal) error { return errors.ErrUnsupported }
