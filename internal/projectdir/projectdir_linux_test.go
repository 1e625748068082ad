package projectdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAFullDiskLeavesTheOldFileWhole(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	path := filepath.Join(dir, "f")
	put(t, path, "old")
	err := write(t, dir, "f", strings.Repeat("x", 64<<10))
	if !errors.Is(err, syscall.ENOSPC) || err.Error() != "write f: no space left on device" {
		t.Errorf("error %v", err)
	}
	if content(t, path) != "old" || names(t, dir) != "f" {
		t.Errorf("left %q and %s", content(t, path), names(t, dir))
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := write(t, dir, "f", "new"); !errors.Is(err, syscall.EROFS) || content(t, path) != "old" {
		t.Errorf("read-only: %v", err)
	}
}
