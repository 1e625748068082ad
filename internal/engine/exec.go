package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// maxExecOutput is how much of a command's output is kept; the rest is read and
// thrown away, so that the command does not block.
const maxExecOutput = 64 << 10

// Exec runs a command in a running container and waits for it. The command gets
// stdin as its standard input, or none where that is zero. Output holds both streams
// as they came, at most 64 KiB. When ctx ends the command is left alone.
func (c *Client) Exec(ctx context.Context, id string, cmd []string, stdin secret.Text) (plan.ExecResult, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return plan.ExecResult{}, err
	}
	what := fmt.Sprintf("run %s in container %s", cmd[0], short(id))
	created, err := docker.ContainerExecCreate(ctx, id, container.ExecOptions{
		Cmd: cmd, AttachStdin: !stdin.IsZero(), AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return plan.ExecResult{}, fmt.Errorf("%s: %w", what, clean(err))
	}
	output, err := c.attachExec(ctx, docker, created.ID, stdin)
	if err != nil {
		return plan.ExecResult{}, fmt.Errorf("%s: %w", what, clean(err))
	}
	// The stream may end a moment before the Engine knows the exit code.
	for {
		state, err := docker.ContainerExecInspect(ctx, created.ID)
		switch {
		case err != nil:
			return plan.ExecResult{}, fmt.Errorf("%s: %w", what, clean(err))
		case !state.Running:
			return plan.ExecResult{Code: state.ExitCode, Output: output}, nil
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			return plan.ExecResult{}, err
		}
	}
}

// attachExec starts the command, gives it its input and reads its output to the end.
func (c *Client) attachExec(ctx context.Context, docker *client.Client, exec string, stdin secret.Text) (string, error) {
	start := time.Now()
	stream, err := docker.ContainerExecAttach(ctx, exec, container.ExecAttachOptions{})
	if err != nil {
		c.trace(traceLine("POST", "/exec/"+exec+"/start", "error", start))
		return "", err
	}
	// This call takes over its connection and does not pass our transport.
	c.trace(traceLine("POST", "/exec/"+exec+"/start", "101", start))
	stop := context.AfterFunc(ctx, stream.Close)
	defer func() {
		if stop() {
			stream.Close()
		}
	}()
	if !stdin.IsZero() {
		_, err := io.WriteString(stream.Conn, stdin.Reveal()) // it goes to the process alone
		if err := errors.Join(err, stream.CloseWrite()); err != nil && !unread(err) {
			return "", &transportError{err: err}
		}
	}
	var output bounded
	if _, err := stdcopy.StdCopy(&output, &output, stream.Reader); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		// Whether the Engine is still there, the question for the exit code tells.
		if stdin.IsZero() || !unread(err) {
			return "", &transportError{err: err}
		}
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return output.kept.String(), nil
}

// unread reports whether a connection ended because the command has ended and left
// some of its input unread.
func unread(err error) bool {
	return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
}

// bounded keeps the first bytes written to it and accepts all.
type bounded struct{ kept bytes.Buffer }

// Write keeps what still has room.
func (b *bounded) Write(p []byte) (int, error) {
	room := maxExecOutput - b.kept.Len()
	b.kept.Write(p[:min(room, len(p))])
	return len(p), nil
}
