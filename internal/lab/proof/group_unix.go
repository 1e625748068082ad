//go:build unix

package proof

import (
	"errors"
	"os/exec"
	"syscall"
)

// grouped makes the program the head of a process group. When its context ends the
// whole group is asked to end, so that nothing goes on that a program has started
// while the proof cleans up. It runs as a user, 0 for the one of this process.
func grouped(cmd *exec.Cmd, user int) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if user != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(user), Gid: uint32(user)}
	}
	cmd.Cancel = func() error { return signalGroup(cmd, syscall.SIGTERM) }
}

// endGroup ends what is left of the group.
func endGroup(cmd *exec.Cmd) error { return signalGroup(cmd, syscall.SIGKILL) }

func signalGroup(cmd *exec.Cmd, signal syscall.Signal) error {
	if cmd.Process == nil {
		return nil
	}
	err := syscall.Kill(-cmd.Process.Pid, signal)
	if errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}
