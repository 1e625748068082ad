//go:build unix

package engine_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/remedy"
)

func TestOnlyOneHoldsTheLockAndTheOtherLearnsWho(t *testing.T) {
	if dir := os.Getenv("ENGINE_TEST_LOCK"); dir != "" {
		if _, err := engine.Lock(t.Context(), dir, false, nil); err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		bufio.NewScanner(os.Stdin).Scan() // until killed
		return
	}
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.short", "-test.run", t.Name())
	child.Env = append(os.Environ(), "ENGINE_TEST_LOCK="+dir)
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewScanner(stdout)
	for out.Scan() && out.Text() != "locked" {
	}

	_, err = engine.Lock(t.Context(), dir, false, nil)
	holder := fmt.Sprintf("(pid %d)", child.Process.Pid)
	if remedy.CodeOf(err) != remedy.Failed || !strings.Contains(err.Error(), dir+" is in use by engine.test ") || !strings.Contains(err.Error(), holder) {
		t.Errorf("without waiting: %v, want the holder %s", err, holder)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := engine.Lock(ctx, dir, true, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting beyond the context: %v", err)
	}
	told := 0
	release, err := engine.Lock(t.Context(), dir, true, func(who string) {
		told++
		if !strings.Contains(who, holder) {
			t.Errorf("told %q, want %s", who, holder)
		}
		if err := child.Process.Kill(); err != nil {
			t.Error(err)
		}
	})
	if err != nil || told != 1 {
		t.Fatalf("waiting for a holder that is killed: %v, told %d times", err, told)
	}
	if err := child.Wait(); err == nil {
		t.Error("the holder ended by itself")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	release, err = engine.Lock(t.Context(), dir, false, nil)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left in the directory: %v, %v", left, err)
	}
	if _, err := engine.Lock(t.Context(), dir+"/absent", false, nil); err == nil || err.Error() != "lock "+dir+"/absent: no such file or directory" {
		t.Errorf("a directory that does not exist: %v", err)
	}
}
