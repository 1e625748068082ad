package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"mqtunnel/internal/config"
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
	path := filepath.Join(dir, config.EnvName)
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := set(t, dir, strings.Repeat("x", 64<<10))
	if !errors.Is(err, syscall.ENOSPC) || !strings.HasPrefix(err.Error(), "write .env: no space left on device") {
		t.Errorf("error %v", err)
	}
	if content(t, path) != "A=1\n" || names(t, dir) != config.EnvName {
		t.Errorf("left %q and %s", content(t, path), names(t, dir))
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := set(t, dir, "v"); !errors.Is(err, syscall.EROFS) || content(t, path) != "A=1\n" {
		t.Errorf("read-only: %v", err)
	}
}
