//go:build unix

package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqtunnel/internal/config"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// set reads .env of dir, sets K=v and writes it.
func set(t *testing.T, dir string) (config.Written, error) {
	t.Helper()
	f, err := config.ReadEnv(dir)
	if err != nil {
		return config.Written{}, err
	}
	if err := f.Set("K", secret.New("v")); err != nil {
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

func permissions(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode()
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
		written, err := set(t, dir)
		if err != nil || permissions(t, path) != 0o600 || !written.Changed {
			t.Errorf("%o: mode %v, %+v, %v", mode, permissions(t, path), written, err)
		}
		if told := written.Tightened == mode; told != (mode&0o177 != 0) && mode != 0 {
			t.Errorf("%o: told as %o", mode, written.Tightened)
		}
		if names(t, dir) != config.EnvName {
			t.Errorf("left behind: %s", names(t, dir))
		}
		if again, err := set(t, dir); err != nil || again != (config.Written{}) {
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
	if err != nil || written.Changed || written.Tightened != 0o604 || permissions(t, path) != 0o600 || content(t, path) != "A=1\n" {
		t.Errorf("%+v, mode %v, %v", written, permissions(t, path), err)
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

func TestALinkIsFollowedInOnesOwnDirectory(t *testing.T) {
	dir, other := t.TempDir(), dirWith(t, "A=1\n")
	if err := os.Symlink(filepath.Join(other, config.EnvName), filepath.Join(dir, config.EnvName)); err != nil {
		t.Fatal(err)
	}
	if _, err := set(t, dir); err != nil {
		t.Fatal(err)
	}
	if permissions(t, filepath.Join(dir, config.EnvName))&fs.ModeSymlink == 0 || content(t, filepath.Join(other, config.EnvName)) != "A=1\nK=v\n" {
		t.Errorf("target %q", content(t, filepath.Join(other, config.EnvName)))
	}
}

func TestRootFollowsNoLinkInADirectoryOfSomebodyElse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root is kept from following")
	}
	secretFile := filepath.Join(dirWith(t, "SHADOW=root-only\n"), config.EnvName)
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secretFile, filepath.Join(dir, config.EnvName)); err != nil {
		t.Fatal(err)
	}
	_, err := set(t, dir)
	if remedy.CodeOf(err) != remedy.Input || !strings.HasPrefix(err.Error(), "open .env: it is a link") {
		t.Errorf("error %v", err)
	}
	if content(t, secretFile) != "SHADOW=root-only\n" {
		t.Error("the link was followed")
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
