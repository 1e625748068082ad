package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// clone makes a fresh clone of what is committed.
func (b *Bench) clone(ctx context.Context) (dir string, remove func() error, err error) {
	parent, err := os.MkdirTemp("", "mqtunnel-clone-")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(parent) }
	dir = filepath.Join(parent, "mqtunnel")
	r, err := b.run(ctx, command{path: "git", args: []string{"clone", "--quiet", b.Root, dir}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("git clone: %s", r.err)
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}

// tests runs make test on a fresh clone and counts.
func tests(ctx context.Context, b *Bench) (figure string, err error) {
	dir, remove, err := b.clone(ctx)
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	start := time.Now()
	r, err := b.run(ctx, command{dir: dir, path: "make", args: []string{"test", "TESTFLAGS=-v -count=1"}})
	if err != nil {
		return "", err
	}
	// The clone is gone soon; what is wrong with it may take longer to find.
	log := filepath.Join(b.Root, ".lab", "proof-tests.log")
	if err := os.WriteFile(log, []byte(r.out+r.err), 0o600); err != nil {
		return "", err
	}
	passed, skipped := strings.Count(r.out, "--- PASS"), strings.Count(r.out, "--- SKIP")
	if r.code != 0 || skipped > 0 || passed == 0 {
		return "", missed("exit %d, %d passed, %d skipped (%s): %s", r.code, passed, skipped, log, failures(r.out+r.err))
	}
	return fmt.Sprintf("%d tests passed, 0 skipped, in %v", passed, time.Since(start).Round(time.Second)), nil
}
