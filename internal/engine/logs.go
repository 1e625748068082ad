package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/plan"
)

// Logs passes the lines of a container's log to each, oldest first, and returns
// when the log ends, when each returns an error (which it returns as it is), or
// when ctx ends. With Follow the log ends when the container stops. Since is
// inclusive. Lines are cut at 64 KiB; memory does not grow with the log. A last
// line without a line end is passed on too.
func (c *Client) Logs(ctx context.Context, id string, o plan.LogOptions, each func(plan.LogLine) error) (err error) {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	tail := "all"
	if o.Tail >= 0 {
		tail = strconv.Itoa(o.Tail)
	}
	body, err := docker.ContainerLogs(ctx, id, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Timestamps: true,
		Since: stamp(o.Since), Until: stamp(o.Until), Follow: o.Follow, Tail: tail,
	})
	if err != nil {
		return fmt.Errorf("read logs of container %s: %w", short(id), clean(err))
	}
	defer func() {
		// Closing a body that still streams reports nothing of use.
		_ = body.Close()
	}()
	read := readFrames
	if o.TTY {
		read = readRaw
	}
	err = read(body, each)
	if broken, ok := errors.AsType[*streamError](err); ok {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("read logs of container %s: %w", short(id), clean(&transportError{err: broken.err}))
	}
	return err
}

// stamp writes a time as the Engine takes it, "" for the zero time.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond())
}

// streamError is a stream that broke, as against an error of who reads it.
type streamError struct{ err error }

func (e *streamError) Error() string { return e.err.Error() }

// Unwrap gives what reading failed with.
func (e *streamError) Unwrap() error { return e.err }

const (
	// maxLine is where lines are cut.
	maxLine = 64 << 10
	// chunkSize is how much of the stream is held at a time.
	chunkSize = 32 << 10
	// frameHeader is the length of what stands before each frame: the stream, three
	// empty bytes, and the length in big endian (Engine API, attach).
	frameHeader = 8
	// maxStamp is the length of the longest time stamp.
	maxStamp = len("2006-01-02T15:04:05.000000000+07:00")
)

// readFrames reads a log of two streams. Every frame is one message of the log
// driver: a line with its end, or a piece of a long line. Each begins with a
// stamp, pieces too, which is why the frames matter.
func readFrames(r io.Reader, each func(plan.LogLine) error) error {
	in := bufio.NewReaderSize(r, chunkSize)
	chunk := make([]byte, chunkSize)
	lines := [2]line{{}, {stderr: true}}
	for {
		var header [frameHeader]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			if !errors.Is(err, io.EOF) {
				return &streamError{err: err}
			}
			return flush(&lines[0], &lines[1], each)
		}
		length := int64(binary.BigEndian.Uint32(header[4:]))
		stream := header[0]
		switch stream {
		case 0, 1, 2: // stdin, where an Engine's message may stand, stdout and stderr
		case 3:
			text, err := io.ReadAll(io.LimitReader(in, min(length, chunkSize)))
			return &streamError{err: errors.Join(errors.New(string(text)), err)}
		default:
			return &streamError{err: fmt.Errorf("not a log: unknown stream %d", stream)}
		}
		if err := lines[stream/2].frame(in, length, chunk, each); err != nil {
			return err
		}
	}
}

// readRaw reads the log of a container with a terminal: one stream of lines,
// each with its stamp.
func readRaw(r io.Reader, each func(plan.LogLine) error) error {
	l := line{terminal: true}
	chunk := make([]byte, chunkSize)
	for {
		n, err := r.Read(chunk)
		if aerr := l.add(chunk[:n], each); aerr != nil {
			return aerr
		}
		switch {
		case errors.Is(err, io.EOF):
			return l.end(each)
		case err != nil:
			return &streamError{err: err}
		}
	}
}

// flush passes on lines that the end of the log left open, the older first.
func flush(a, b *line, each func(plan.LogLine) error) error {
	if b.open && (!a.open || b.time.Before(a.time)) {
		a, b = b, a
	}
	if err := a.end(each); err != nil {
		return err
	}
	return b.end(each)
}

// line is the line of one stream that is being read.
type line struct {
	stderr   bool
	terminal bool
	open     bool // something of the line was read
	time     time.Time
	text     []byte
}

// frame reads one frame in chunks.
func (l *line) frame(in io.Reader, length int64, chunk []byte, each func(plan.LogLine) error) error {
	for first := true; length > 0; first = false {
		piece := chunk[:min(length, int64(len(chunk)))]
		if _, err := io.ReadFull(in, piece); err != nil {
			return &streamError{err: err}
		}
		length -= int64(len(piece))
		if first {
			t, rest, stamped := cutStamp(piece)
			if stamped && !l.open {
				l.time, l.open = t, true
			}
			piece = rest
		}
		if err := l.add(piece, each); err != nil {
			return err
		}
	}
	return nil
}

// add takes text and passes on the lines that it completes.
func (l *line) add(text []byte, each func(plan.LogLine) error) error {
	for len(text) > 0 {
		piece, rest, ended := bytes.Cut(text, []byte{'\n'})
		l.open = true
		l.text = append(l.text, piece[:min(len(piece), maxLine-len(l.text))]...)
		if ended {
			if err := l.end(each); err != nil {
				return err
			}
		}
		text = rest
	}
	return nil
}

// cutStamp takes the Engine's time stamp off the beginning of a text. What does
// not begin with one is all text.
func cutStamp(text []byte) (t time.Time, rest []byte, stamped bool) {
	i := bytes.IndexByte(text[:min(len(text), maxStamp+1)], ' ')
	if i < 0 {
		return time.Time{}, text, false
	}
	t, err := time.Parse(time.RFC3339Nano, string(text[:i]))
	if err != nil {
		return time.Time{}, text, false
	}
	return t, text[i+1:], true
}

// end passes the line on, if there is one.
func (l *line) end(each func(plan.LogLine) error) error {
	if !l.open {
		return nil
	}
	text := l.text
	if l.terminal {
		if t, rest, stamped := cutStamp(text); stamped {
			l.time, text = t, rest
		}
		text = bytes.TrimSuffix(text, []byte{'\r'})
	}
	done := plan.LogLine{Time: l.time, Stderr: l.stderr, Text: string(text)}
	l.open, l.text = false, l.text[:0]
	return each(done)
}
