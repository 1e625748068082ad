package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// process is a program that runs until it is told to end.
type process struct {
	cmd      *exec.Cmd
	out, err bytes.Buffer // to be read once it has ended
	group    *errgroup.Group
	ended    chan struct{}
}

// start starts a program.
func (c command) start(ctx context.Context) (*process, error) {
	p := &process{cmd: c.prepare(ctx), group: &errgroup.Group{}, ended: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.group.Go(func() error {
		defer close(p.ended)
		err := p.cmd.Wait()
		if _, exited := errors.AsType[*exec.ExitError](err); exited {
			err = nil // its exit code is part of the answer
		}
		return err
	})
	return p, nil
}

// runs is an error when the program has ended.
func (p *process) runs() error {
	select {
	case <-p.ended:
		return fmt.Errorf("%s ended by itself: %s", strings.Join(p.cmd.Args, " "), p.err.String())
	default:
		return nil
	}
}

// end sends a signal and waits until the program has ended because of it.
func (p *process) end(ctx context.Context, signal os.Signal) (result, error) {
	if err := p.runs(); err != nil {
		return result{}, err
	}
	if err := p.cmd.Process.Signal(signal); err != nil {
		return result{}, err
	}
	select {
	case <-p.ended:
	case <-time.After(endDelay):
		return result{}, errors.Join(missed("%s goes on %v after %v", strings.Join(p.cmd.Args, " "), endDelay, signal), endGroup(p.cmd))
	case <-ctx.Done():
		return result{}, errors.Join(ctx.Err(), endGroup(p.cmd))
	}
	return result{out: p.out.String(), err: p.err.String(), code: p.cmd.ProcessState.ExitCode()}, p.group.Wait()
}

// use is what a process has of the machine.
type use struct {
	resident int64 // bytes
	files    int   // open file descriptors
}

// use looks it up.
func (p *process) use() (use, error) {
	dir := filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid))
	files, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return use{}, err
	}
	text, err := os.ReadFile(filepath.Join(dir, "statm"))
	if err != nil {
		return use{}, err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return use{}, fmt.Errorf("%s/statm: %q", dir, text)
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return use{resident: pages * int64(os.Getpagesize()), files: len(files)}, err
}

// leftIn lists the processes of a program that are at work in a directory.
func leftIn(program, dir string) ([]string, error) {
	all, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var left []string
	for _, entry := range all {
		if _, err := strconv.Atoi(entry.Name()); err != nil {
			continue
		}
		exe, eerr := os.Readlink(filepath.Join("/proc", entry.Name(), "exe"))
		cwd, cerr := os.Readlink(filepath.Join("/proc", entry.Name(), "cwd"))
		if eerr == nil && cerr == nil && exe == program && cwd == dir {
			left = append(left, entry.Name())
		}
	}
	return left, nil
}
