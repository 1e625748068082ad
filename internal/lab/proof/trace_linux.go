package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// traced runs a program under ptrace(2), notes every system call with which it changes
// something in its directory, which has to be a real path, and kills it where k says.
// Killed at a change, it has not made that change.
func traced(ctx context.Context, c command, k kill) (t trace, err error) {
	// Only the thread that starts a program may trace it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	r := &tracer{dir: c.dir, kill: k, inside: map[int]bool{}}
	start := time.Now()
	end, err := r.start(c)
	if err != nil {
		return trace{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.process.Kill() }) // it may have ended
	err = r.follow(start)
	stop()
	if r.timer != nil {
		r.timer.Stop()
	}
	err = errors.Join(err, ctx.Err(), end(&r.trace.result), r.process.Release())
	return r.trace, err
}

// tracer is one program at work.
type tracer struct {
	dir     string
	kill    kill
	process *os.Process
	pid     int
	timer   *time.Timer
	free    bool         // it goes on until the timer ends it
	inside  map[int]bool // the threads that are inside of a system call
	trace   trace
}

// start starts the program, stopped, and returns what collects its outputs once it has
// ended.
func (r *tracer) start(c command) (end func(*result) error, err error) {
	in, feed, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), feed.Close())
	}
	errOut, errEnd, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, in.Close(), feed.Close(), out.Close(), outEnd.Close())
	}
	r.process, err = os.StartProcess(c.path, append([]string{c.path}, c.args...), &os.ProcAttr{
		Dir: c.dir, Env: c.environ(), Files: []*os.File{in, outEnd, errEnd}, Sys: &syscall.SysProcAttr{Ptrace: true, Setpgid: true},
	})
	err = errors.Join(err, in.Close(), outEnd.Close(), errEnd.Close())
	if err != nil {
		return nil, errors.Join(err, feed.Close(), out.Close(), errOut.Close())
	}
	r.pid = r.process.Pid
	var streams errgroup.Group
	var text, errText bytes.Buffer
	streams.Go(func() error {
		_, err := io.WriteString(feed, c.stdin)
		if errors.Is(err, syscall.EPIPE) {
			err = nil // it was killed before it had read it
		}
		return errors.Join(err, feed.Close())
	})
	streams.Go(func() error { return drain(&text, out) })
	streams.Go(func() error { return drain(&errText, errOut) })
	return func(result *result) error {
		err := streams.Wait()
		result.out, result.err = text.String(), errText.String()
		return err
	}, nil
}

func drain(to *bytes.Buffer, from *os.File) error {
	_, err := to.ReadFrom(from)
	return errors.Join(err, from.Close())
}

// follow goes from stop to stop until the program has ended.
func (r *tracer) follow(start time.Time) error {
	var status unix.WaitStatus
	if _, err := r.wait(r.pid, &status); err != nil || !status.Stopped() {
		return errors.Join(errors.New("trace a program: it did not stop when it was started"), err, r.process.Kill())
	}
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(r.pid, options); err != nil {
		return errors.Join(fmt.Errorf("trace a program: %w", err), r.process.Kill())
	}
	if err := r.goOn(r.pid, 0); err != nil {
		return err
	}
	known := map[int]bool{r.pid: true}
	for {
		thread, err := r.wait(-r.pid, &status)
		if err != nil {
			return fmt.Errorf("trace a program: %w", err)
		}
		if !status.Stopped() {
			if thread == r.pid {
				r.trace.code, r.trace.killed = status.ExitStatus(), status.Signaled()
				return nil
			}
			continue
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case signal == unix.SIGTRAP|0x80: // a system call
			err = r.call(thread, start)
		case signal == unix.SIGTRAP, signal == unix.SIGSTOP && !known[thread]: // a new thread: from its maker, from itself
		default:
			deliver = int(signal)
		}
		known[thread] = true
		if err := errors.Join(err, r.goOn(thread, deliver)); err != nil {
			return errors.Join(err, r.process.Kill())
		}
	}
}

// wait waits for a thread of the program, which is a process group of its own: this
// thread may have started others.
func (r *tracer) wait(pid int, status *unix.WaitStatus) (int, error) {
	for {
		thread, err := unix.Wait4(pid, status, unix.WALL|unix.WNOTHREAD, nil)
		if !errors.Is(err, unix.EINTR) {
			return thread, err
		}
	}
}

// goOn lets a thread go on to its next stop. One that was killed meanwhile is no error.
func (r *tracer) goOn(thread, signal int) error {
	resume := unix.PtraceSyscall
	if r.free {
		resume = unix.PtraceCont
	}
	if err := resume(thread, signal); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("let a thread go on: %w", err)
	}
	return nil
}

// entry is struct ptrace_syscall_info as far as it is about the entry of a call.
type entry struct {
	op   uint8
	_    [3]uint8
	arch uint32
	ip   uint64
	sp   uint64
	nr   uint64
	args [6]uint64
}

// call looks at a thread that enters or leaves a system call, and kills the program if
// it is to be killed there.
func (r *tracer) call(thread int, start time.Time) error {
	r.inside[thread] = !r.inside[thread]
	if !r.inside[thread] {
		return nil
	}
	var e entry
	//nolint:gosec // the kernel fills a struct of that size
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(thread), unsafe.Sizeof(e), uintptr(unsafe.Pointer(&e)), 0, 0)
	if errno == unix.ESRCH {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("look at a system call: %w", errno)
	}
	if e.op != unix.PTRACE_SYSCALL_INFO_ENTRY {
		return fmt.Errorf("look at a system call: thread %d is not at the entry of one", thread)
	}
	name, place := r.changes(e)
	if name == "" {
		return nil
	}
	file, within := strings.CutPrefix(place, r.dir)
	if !within {
		return nil
	}
	file, _, _ = strings.Cut(strings.TrimPrefix(file, "/"), newMark)
	n := len(r.trace.changes)
	if info, err := os.Stat(filepath.Join(r.dir, file)); err == nil && info.IsDir() && n > 0 {
		file = r.trace.changes[n-1].file
	}
	r.trace.changes = append(r.trace.changes, change{call: name, file: file, at: time.Since(start)})
	if n != r.kill.before {
		return nil
	}
	if r.kill.after == 0 {
		return r.process.Kill()
	}
	r.free = true
	r.timer = time.AfterFunc(r.kill.after, func() { _ = r.process.Kill() }) // it may have ended
	return nil
}

// changes returns the name of a call that changes a file and the path of it, "" for any
// other call.
func (r *tracer) changes(e entry) (name, place string) {
	a := e.args
	switch e.nr {
	case unix.SYS_OPENAT:
		if a[2]&(unix.O_CREAT|unix.O_WRONLY|unix.O_RDWR|unix.O_TRUNC) != 0 {
			return "openat", r.path(a[0], a[1])
		}
	case unix.SYS_MKDIRAT:
		return "mkdirat", r.path(a[0], a[1])
	case unix.SYS_UNLINKAT:
		return "unlinkat", r.path(a[0], a[1])
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2:
		return "renameat", r.path(a[2], a[3])
	case unix.SYS_LINKAT:
		return "linkat", r.path(a[2], a[3])
	case unix.SYS_FCHMODAT:
		return "fchmodat", r.path(a[0], a[1])
	case unix.SYS_FCHOWNAT:
		return "fchownat", r.path(a[0], a[1])
	case unix.SYS_WRITE:
		return "write", r.opened(a[0])
	case unix.SYS_PWRITE64:
		return "pwrite64", r.opened(a[0])
	case unix.SYS_FSYNC:
		return "fsync", r.opened(a[0])
	case unix.SYS_FDATASYNC:
		return "fdatasync", r.opened(a[0])
	case unix.SYS_FTRUNCATE:
		return "ftruncate", r.opened(a[0])
	case unix.SYS_FCHMOD:
		return "fchmod", r.opened(a[0])
	case unix.SYS_FCHOWN:
		return "fchown", r.opened(a[0])
	}
	return "", ""
}

// opened returns the path of what the program has open as a descriptor, "" for none.
func (r *tracer) opened(descriptor uint64) string {
	// The descriptors of all threads are the same.
	place, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", r.pid, descriptor))
	if err != nil {
		return ""
	}
	return place
}

// path returns the path that a call means with the descriptor of a directory and a name.
func (r *tracer) path(descriptor, address uint64) string {
	name := r.text(address)
	if filepath.IsAbs(name) {
		return name
	}
	if at := int32(descriptor); at == unix.AT_FDCWD {
		return filepath.Join(r.dir, name)
	}
	return filepath.Join(r.opened(descriptor), name)
}

// text reads a string out of the program's memory, "" if it cannot be read.
func (r *tracer) text(address uint64) string {
	memory, err := os.Open("/proc/" + strconv.Itoa(r.pid) + "/mem")
	if err != nil {
		return ""
	}
	defer memory.Close() //nolint:errcheck // nothing was written
	text := make([]byte, unix.PathMax)
	n, _ := memory.ReadAt(text, int64(address)) // what lies behind the string may not be there
	text, _, found := bytes.Cut(text[:n], []byte{0})
	if !found {
		return ""
	}
	return string(text)
}
