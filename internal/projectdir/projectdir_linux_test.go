package projectdir_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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
	if err := write(t, dir, "f", "new"); !errors.Is(err, syscall.EROFS) || err.Error() != "write f: read-only file system" || content(t, path) != "old" {
		t.Errorf("read-only: %v", err)
	}
}

// immutable makes a file one that not even root changes, for the length of a test.
func immutable(t *testing.T, path string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	flags, err := unix.IoctlGetInt(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err != nil {
		t.Skipf("the file system knows no immutable files: %v", err)
	}
	const flag = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	if err := unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flags|flag); err != nil {
		t.Skipf("making a file immutable is not allowed here: %v", err)
	}
	t.Cleanup(func() {
		again, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(unix.IoctlSetPointerInt(int(again.Fd()), unix.FS_IOC_SETFLAGS, flags), again.Close()); err != nil {
			t.Error(err)
		}
	})
}

func TestWhatIsWrittenIsPutBackWhenTheRestCannotBe(t *testing.T) {
	dir := t.TempDir()
	put(t, filepath.Join(dir, "a"), "old")
	put(t, filepath.Join(dir, "c"), "old")
	if err := os.Chmod(filepath.Join(dir, "a"), 0o640); err != nil {
		t.Fatal(err)
	}
	immutable(t, filepath.Join(dir, "c"))
	err := batch(t, dir, "a", "sub/b", "c", "d")
	if !errors.Is(err, syscall.EPERM) || err.Error() != "write c: operation not permitted" {
		t.Errorf("error %v", err)
	}
	info, statErr := os.Stat(filepath.Join(dir, "a"))
	if statErr != nil || info.Mode() != 0o640 || content(t, filepath.Join(dir, "a")) != "old" || names(t, dir) != "a c" {
		t.Errorf("left %s; a: %v, %q", names(t, dir), info, content(t, filepath.Join(dir, "a")))
	}
}

func TestAFullDiskLeavesTheWholeBatchAsItWas(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("mounting is not allowed here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	put(t, filepath.Join(dir, "a"), "old")
	put(t, filepath.Join(dir, "full"), strings.Repeat("x", 8<<10))
	if err := batch(t, dir, "a", "sub/b", "c"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("error %v", err)
	}
	if content(t, filepath.Join(dir, "a")) != "old" || names(t, dir) != "a full" {
		t.Errorf("left %q and %s", content(t, filepath.Join(dir, "a")), names(t, dir))
	}
}
