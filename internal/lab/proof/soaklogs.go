package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// followed wants the long logs -f to have shown every line of the log once, and to have
// no more goroutines than one that has just begun. It ends it.
func (s *soaking) followed(ctx context.Context) (lines int, goroutines string, err error) {
	fresh, err := s.follow(ctx, "--tail", "1")
	if err != nil {
		return 0, "", err
	}
	err = eventually(ctx, back, func() error {
		u, err := fresh.use()
		if want := s.uses[len(s.uses)-1].files; err == nil && u.files < want {
			err = missed("a fresh logs -f has %d files open, the long one %d", u.files, want)
		}
		return err
	})
	if err != nil {
		return 0, "", errors.Join(err, endGroup(fresh.cmd))
	}
	young, err := fresh.end(ctx, syscall.SIGQUIT)
	if err != nil {
		return 0, "", err
	}
	old, err := s.follower.end(ctx, syscall.SIGQUIT)
	if err != nil {
		return 0, "", err
	}
	has, may := goroutinesIn(old.err), goroutinesIn(young.err)
	if has > may || may == 0 {
		return 0, "", missed("logs -f has %d goroutines, a fresh one %d", has, may)
	}
	all, err := s.must(ctx, "logs", "-t")
	if err != nil {
		return 0, "", err
	}
	lines, err = sameLines(old.out, all)
	return lines, fmt.Sprintf("%d goroutines where a fresh one has %d", has, may), err
}

// goroutinesIn counts the goroutines in what a Go program writes when it is told to quit.
// Those of the runtime come and go with the load, and those of connections are counted
// with the open files.
func goroutinesIn(text string) (n int) {
	for line := range strings.Lines(text) {
		by, begun := strings.CutPrefix(line, "created by ")
		if begun && !strings.HasPrefix(by, "runtime.") && !strings.HasPrefix(by, "net/http.") && !strings.HasPrefix(by, "os/signal.") {
			n++
		}
	}
	return n
}

// atTheEnd is how long before the last line that was followed one of another service may
// have been on its way.
const atTheEnd = time.Second

// sameLines wants each line that was followed in the log, once, and none of the log left
// out but for those at the end. It counts them.
func sameLines(followed, log string) (count int, err error) {
	seen := map[string]int{}
	var last time.Time
	for line := range strings.Lines(followed) {
		at, err := stampOf(line)
		if err != nil {
			return count, err
		}
		if at.After(last) {
			last = at
		}
		seen[line]++
		count++
	}
	for line := range strings.Lines(log) {
		at, err := stampOf(line)
		if err != nil {
			return count, err
		}
		if n := seen[line]; n != 1 && at.Before(last.Add(-atTheEnd)) {
			return count, missed("logs -f showed a line of the log %d times: %s", n, line)
		}
		delete(seen, line)
	}
	for line := range seen {
		return count, missed("logs -f showed a line that the log does not have: %s", line)
	}
	return count, nil
}

// stampOf reads the time in a line of logs -t, which stands behind the service.
func stampOf(line string) (time.Time, error) {
	_, rest, _ := strings.Cut(line, "| ")
	stamp, _, _ := strings.Cut(rest, " ")
	at, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(stamp))
	if err != nil {
		return at, fmt.Errorf("line of logs -t %q: %w", line, err)
	}
	return at, nil
}
