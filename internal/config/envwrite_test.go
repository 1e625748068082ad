//go:build unix

package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// set reads .env of dir, sets K and writes it.
func set(t *testing.T, dir, value string) (config.Written, error) {
	t.Helper()
	f, err := config.ReadEnv(dir)
	if err != nil {
		return config.Written{}, err
	}
	if err := f.Set("K", secret.New(value)); err != nil {
		t.Fatal(err)
	}
	return f.Write(dir)
}

// names lists the directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func stat(t *testing.T, path string) (fs.FileInfo, *syscall.Stat_t) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info, info.Sys().(*syscall.Stat_t)
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestTheFileIsPrivateWhateverItWas(t *testing.T) {
	for _, mode := range []fs.FileMode{0, 0o600, 0o644, 0o666, 0o400, 0o640} {
		dir := t.TempDir()
		path := filepath.Join(dir, config.EnvName)
		if mode != 0 {
			if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		written, err := set(t, dir, "v")
		info, _ := stat(t, path)
		if err != nil || info.Mode() != 0o600 || !written.Changed {
			t.Errorf("%o: mode %v, %+v, %v", mode, info.Mode(), written, err)
		}
		if told := written.Tightened == mode; told != (mode&0o177 != 0) && mode != 0 {
			t.Errorf("%o: told as %o", mode, written.Tightened)
		}
		if names(t, dir) != config.EnvName {
			t.Errorf("left behind: %s", names(t, dir))
		}
		if again, err := set(t, dir, "v"); err != nil || again != (config.Written{}) {
			t.Errorf("a second time: %+v, %v", again, err)
		}
	}
}

func TestAnOpenModeIsTightenedWithoutAnEdit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, config.EnvName)
	if err := os.WriteFile(path, []byte("A=1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o604); err != nil {
		t.Fatal(err)
	}
	f, err := config.ReadEnv(dir)
	if err != nil || f.Mode() != 0o604 {
		t.Fatalf("mode %o, %v", f.Mode(), err)
	}
	written, err := f.Write(dir)
	info, _ := stat(t, path)
	if err != nil || written.Changed || written.Tightened != 0o604 || info.Mode() != 0o600 || content(t, path) != "A=1\n" {
		t.Errorf("%+v, mode %v, %v", written, info.Mode(), err)
	}
}

func TestAFileThatChangedMeanwhileIsLeftAlone(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"edited":  func(path string) error { return os.WriteFile(path, []byte("A=2\n"), 0o600) },
		"removed": os.Remove,
	} {
		dir := dirWith(t, "A=1\n")
		f, err := config.ReadEnv(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Set("K", secret.New("v")); err != nil {
			t.Fatal(err)
		}
		if err := change(filepath.Join(dir, config.EnvName)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(dir); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(names(t, dir), "mqtunnel-") {
			t.Errorf("%s: left behind: %s", name, names(t, dir))
		}
	}
}

func TestALeftoverIsRemovedByTheNextWrite(t *testing.T) {
	dir := dirWith(t, "A=1\n")
	stale, fresh := filepath.Join(dir, ".env.mqtunnel-OLD"), filepath.Join(dir, ".env.mqtunnel-NEW")
	for _, path := range []string{stale, fresh} {
		if err := os.WriteFile(path, []byte("K=half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	hour := time.Now().Add(-time.Hour)
	if err := os.Chtimes(stale, hour, hour); err != nil {
		t.Fatal(err)
	}
	if _, err := set(t, dir, "v"); err != nil || names(t, dir) != ".env .env.mqtunnel-NEW" {
		t.Errorf("%v, %s", err, names(t, dir))
	}
}

func TestALinkIsFollowedInOnesOwnDirectory(t *testing.T) {
	dir, other := t.TempDir(), dirWith(t, "A=1\n")
	if err := os.Symlink(filepath.Join(other, config.EnvName), filepath.Join(dir, config.EnvName)); err != nil {
		t.Fatal(err)
	}
	if _, err := set(t, dir, "v"); err != nil {
		t.Fatal(err)
	}
	info, _ := stat(t, filepath.Join(dir, config.EnvName))
	if info.Mode()&fs.ModeSymlink == 0 || content(t, filepath.Join(other, config.EnvName)) != "A=1\nK=v\n" {
		t.Errorf("link %v, target %q", info.Mode(), content(t, filepath.Join(other, config.EnvName)))
	}
}

func TestRootWritesForTheOwnerAndFollowsNoLink(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root writes for others")
	}
	const owner = 12345
	theirs := func(t *testing.T) (string, string) {
		t.Helper()
		dir := t.TempDir()
		if err := os.Chown(dir, owner, owner+1); err != nil {
			t.Fatal(err)
		}
		return dir, filepath.Join(dir, config.EnvName)
	}
	t.Run("a new file is theirs", func(t *testing.T) {
		dir, path := theirs(t)
		if _, err := set(t, dir, "v"); err != nil {
			t.Fatal(err)
		}
		if _, st := stat(t, path); st.Uid != owner || st.Gid != owner+1 {
			t.Errorf("belongs to %d:%d", st.Uid, st.Gid)
		}
	})
	t.Run("an old file stays whose it was", func(t *testing.T) {
		dir, path := theirs(t)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, owner+2, owner+3); err != nil {
			t.Fatal(err)
		}
		if _, err := set(t, dir, "v"); err != nil {
			t.Fatal(err)
		}
		if _, st := stat(t, path); st.Uid != owner+2 || st.Gid != owner+3 {
			t.Errorf("belongs to %d:%d", st.Uid, st.Gid)
		}
	})
	secretFile := filepath.Join(dirWith(t, "SHADOW=root-only\n"), config.EnvName)
	for name, link := range map[string]func(path string) error{
		"symbolic":         func(path string) error { return os.Symlink(secretFile, path) },
		"hard":             func(path string) error { return os.Link(secretFile, path) },
		"dangling":         func(path string) error { return os.Symlink(filepath.Join(filepath.Dir(secretFile), "new"), path) },
		"pipe, not a file": func(path string) error { return syscall.Mkfifo(path, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			dir, path := theirs(t)
			if err := link(path); err != nil {
				t.Fatal(err)
			}
			_, err := set(t, dir, "v")
			if err == nil || strings.Contains(err.Error(), "SHADOW") {
				t.Errorf("error %v", err)
			}
			if name != "pipe, not a file" && remedy.CodeOf(err) != remedy.Input {
				t.Errorf("code %d: %v", remedy.CodeOf(err), err)
			}
			if content(t, secretFile) != "SHADOW=root-only\n" || names(t, filepath.Dir(secretFile)) != config.EnvName {
				t.Error("the link was followed")
			}
		})
	}
}

func TestADirectoryInThePlaceOfTheFileIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, config.EnvName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := config.ReadEnv(dir); err == nil || err.Error() != "read .env: it is not a regular file" {
		t.Errorf("error %v", err)
	}
	if _, err := config.ReadEnv(filepath.Join(dir, "nowhere")); remedy.CodeOf(err) != remedy.Input {
		t.Errorf("error %v", err)
	}
}
