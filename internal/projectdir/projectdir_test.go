//go:build unix

package projectdir_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
)

// opened opens dir for the length of a test.
func opened(t *testing.T, dir string) *projectdir.Dir {
	t.Helper()
	d, err := projectdir.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// write stores text as name in dir, with mode 0600.
func write(t *testing.T, dir, name, text string) error {
	t.Helper()
	return opened(t, dir).Write(projectdir.File{Name: name, Data: []byte(text), Mode: 0o600})
}

// put makes a file by plain means.
func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
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

func owner(t *testing.T, path string) (uid, gid uint32) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	return stat.Uid, stat.Gid
}

func TestAFileIsWrittenWholeWithItsMode(t *testing.T) {
	for _, was := range []fs.FileMode{0, 0o600, 0o644, 0o666, 0o400} { // 0: none
		for _, mode := range []fs.FileMode{0o600, 0o644} {
			for _, name := range []string{"f", "a/b/f"} {
				dir := t.TempDir()
				path := filepath.Join(dir, name)
				if was != 0 {
					if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
						t.Fatal(err)
					}
					put(t, path, "a much longer old text")
					if err := os.Chmod(path, was); err != nil {
						t.Fatal(err)
					}
				}
				err := opened(t, dir).Write(projectdir.File{Name: name, Data: []byte("new"), Mode: mode})
				info, statErr := os.Stat(path)
				if err != nil || statErr != nil || info.Mode() != mode || content(t, path) != "new" || names(t, filepath.Dir(path)) != "f" {
					t.Errorf("%s, %o over %o: %v, %v, beside it %s", name, mode, was, err, info, names(t, filepath.Dir(path)))
				}
			}
		}
	}
}

func TestAFileThatIsRightIsNotTouched(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	put(t, path, "same")
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := write(t, dir, "f", "same"); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the file was replaced (%v)", err)
	}
	for _, other := range []string{"same, and more", "sam", ""} {
		if err := write(t, dir, "f", other); err != nil || content(t, path) != other {
			t.Errorf("%q: %v, the file holds %q", other, err, content(t, path))
		}
	}
}

func TestAReaderSeesOneOfTheTextsWhole(t *testing.T) {
	dir := t.TempDir()
	texts := [2]string{strings.Repeat("a", 64<<10), strings.Repeat("b", 64<<10)}
	put(t, filepath.Join(dir, "f"), texts[0])
	d := opened(t, dir)
	var writer sync.WaitGroup
	done := make(chan struct{})
	writer.Go(func() {
		defer close(done)
		for i := range 50 {
			if err := d.Write(projectdir.File{Name: "f", Data: []byte(texts[i%2]), Mode: 0o600}); err != nil {
				t.Error(err)
			}
		}
	})
	defer writer.Wait()
	for {
		f, err := d.Read("f", 1<<20)
		if text := string(f.Data); err != nil || text != texts[0] && text != texts[1] {
			t.Fatalf("read %d bytes, %v", len(f.Data), err)
		}
		select {
		case <-done:
			return
		default:
		}
	}
}

func TestAFileThatChangedMeanwhileIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct{ was, now string }{ // "": no file
		"edited":      {"A=1", "A=2"},
		"longer":      {"A=1", "A=1\nB=2"},
		"shorter":     {"A=1", "A="},
		"removed":     {"A=1", ""},
		"created":     {"", "A=1"},
		"as it was":   {"A=1", "A=1"},
		"still there": {"", ""},
	} {
		dir := t.TempDir()
		if c.now != "" {
			put(t, filepath.Join(dir, "f"), c.now)
		}
		var was *projectdir.File
		if c.was != "" {
			was = &projectdir.File{Name: "f", Data: []byte(c.was)}
		}
		before := names(t, dir)
		err := opened(t, dir).Replace(was, projectdir.File{Name: "f", Data: []byte("new"), Mode: 0o600})
		if c.was == c.now {
			if err != nil || content(t, filepath.Join(dir, "f")) != "new" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if !errors.Is(err, projectdir.ErrChanged) || err.Error() != "write f: the file changed meanwhile" || remedy.HintOf(err) == "" {
			t.Errorf("%s: error %v", name, err)
		}
		if names(t, dir) != before || c.now != "" && content(t, filepath.Join(dir, "f")) != c.now {
			t.Errorf("%s: left %s", name, names(t, dir))
		}
	}
}

func TestWhatAKilledProcessLeftIsRemoved(t *testing.T) {
	for _, name := range []string{"f", "sub/f"} {
		dir := t.TempDir()
		place := filepath.Dir(filepath.Join(dir, name))
		if err := os.MkdirAll(place, 0o755); err != nil {
			t.Fatal(err)
		}
		hour := time.Now().Add(-time.Hour)
		for _, left := range []string{"f.mqtunnel-new-OLD", "f.mqtunnel-new-NOW", "g.mqtunnel-new-OLD", "f.mine"} {
			put(t, filepath.Join(place, left), "secret")
			if strings.HasSuffix(left, "NOW") {
				continue
			}
			if err := os.Chtimes(filepath.Join(place, left), hour, hour); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(t, dir, name, "x"); err != nil {
			t.Fatal(err)
		}
		if got, want := names(t, place), "f f.mine f.mqtunnel-new-NOW g.mqtunnel-new-OLD"; got != want {
			t.Errorf("%s: left %s, want %s", name, got, want)
		}
	}
}

func TestNothingOutsideIsReadOrWritten(t *testing.T) {
	for _, c := range []struct {
		name, link string // of the link, which leads to outside or a file in it
		want       string
	}{
		{"f", "f", "write f: it is a link"},
		{"sub/f", "sub", "write sub/f: a link leads out of the project directory"},
		{"../f", "", "write ../f: path escapes from parent"},
		{"/f", "", "write /f: path escapes from parent"},
	} {
		outside, dir := t.TempDir(), t.TempDir()
		put(t, filepath.Join(outside, "f"), "whole")
		target := outside
		if c.link == c.name {
			target = filepath.Join(outside, "f")
		}
		if c.link != "" {
			if err := os.Symlink(target, filepath.Join(dir, c.link)); err != nil {
				t.Fatal(err)
			}
		}
		if err := write(t, dir, c.name, "x"); err == nil || err.Error() != c.want || c.link != "" && remedy.HintOf(err) == "" {
			t.Errorf("%s: error %v, want %s", c.name, err, c.want)
		}
		if f, err := opened(t, dir).Read(c.name, 100); err == nil {
			t.Errorf("%s: reads as %q", c.name, f.Data)
		}
		if names(t, outside) != "f" || content(t, filepath.Join(outside, "f")) != "whole" {
			t.Errorf("%s: outside is now %s", c.name, names(t, outside))
		}
	}
}

func TestALinkedFileIsEditedWhereItLies(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	put(t, filepath.Join(other, "there"), "old")
	if err := os.Symlink(filepath.Join(other, "there"), filepath.Join(dir, ".env")); err != nil {
		t.Fatal(err)
	}
	d, err := projectdir.OpenLinked(dir, ".env")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // a test
	f, err := d.Read(".env", 100)
	if err != nil || string(f.Data) != "old" || f.Name != ".env" {
		t.Fatalf("reads as %+v, %v", f, err)
	}
	if err := d.Replace(&f, projectdir.File{Name: ".env", Data: []byte("new"), Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	link, err := os.Lstat(filepath.Join(dir, ".env"))
	if err != nil || link.Mode()&fs.ModeSymlink == 0 || content(t, filepath.Join(other, "there")) != "new" || names(t, other) != "there" {
		t.Errorf("link %v, %v, its target holds %q", link, err, content(t, filepath.Join(other, "there")))
	}
	if err := os.Remove(filepath.Join(other, "there")); err != nil {
		t.Fatal(err)
	}
	if _, err := projectdir.OpenLinked(dir, ".env"); err == nil || err.Error() != "open .env: it is a link to a file that does not exist" {
		t.Errorf("dangling: error %v", err)
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, ".env")), os.Symlink(".env", filepath.Join(dir, ".env"))); err != nil {
		t.Fatal(err)
	}
	if _, err := projectdir.OpenLinked(dir, ".env"); !errors.Is(err, syscall.ELOOP) || remedy.HintOf(err) == "" {
		t.Errorf("a loop: error %v", err)
	}
}

func TestWhatIsNoFileOrTooLargeIsSaid(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil { // nobody writes into it
		t.Fatal(err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "socket"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close() //nolint:errcheck // the file is what matters
	if err := os.Symlink("itself", filepath.Join(dir, "itself")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "large"), "12345")
	d := opened(t, dir)
	for name, want := range map[string]string{
		"dir":    "it is not a regular file",
		"pipe":   "it is not a regular file",
		"socket": "it is not a regular file",
		"itself": "too many levels of symbolic links",
		"large":  "the file is too large",
		"none":   "no such file or directory",
	} {
		if _, err := d.Read(name, 4); err == nil || err.Error() != "read "+name+": "+want || remedy.CodeOf(err) != remedy.Input {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
		if name == "dir" || name == "pipe" {
			if err := write(t, dir, name, "x"); err == nil || err.Error() != "write "+name+": "+want {
				t.Errorf("%s: error %v, want %s", name, err, want)
			}
		}
	}
	if f, err := d.Read("large", 5); err != nil || string(f.Data) != "12345" {
		t.Errorf("at the limit: %q, %v", f.Data, err)
	}
	if _, err := d.Read("none", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is %v", err)
	}
	if _, err := d.List("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing directory is %v", err)
	}
	if _, err := projectdir.Open(filepath.Join(dir, "none")); remedy.CodeOf(err) != remedy.Input || !strings.Contains(remedy.HintOf(err), "-C") {
		t.Errorf("no project directory: %v", err)
	}
}

func TestRootWritesForTheOwner(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root writes for others")
	}
	const uid, gid = 12345, 12346
	for name, c := range map[string]struct{ was, want uint32 }{ // was: the file's old owner
		"a new file is theirs":          {want: uid},
		"one of root's becomes theirs":  {was: 1, want: uid}, // 1 stands for root
		"an old one stays whose it was": {was: 777, want: 777},
	} {
		dir := t.TempDir()
		if err := os.Chown(dir, uid, gid); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, "sub", "f")
		if c.was != 0 {
			if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, path, "old")
			if c.was != 1 {
				if err := os.Chown(path, int(c.was), int(c.was)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := write(t, dir, "sub/f", "x"); err != nil {
			t.Fatal(err)
		}
		if u, _ := owner(t, path); u != c.want {
			t.Errorf("%s: belongs to %d, want %d", name, u, c.want)
		}
		if u, g := owner(t, filepath.Dir(path)); c.was == 0 && (u != uid || g != gid) {
			t.Errorf("%s: its directory belongs to %d:%d", name, u, g)
		}
	}
}

func TestRootFollowsNoLinkInADirectoryOfSomebodyElse(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root is kept from following")
	}
	private := t.TempDir()
	shadow := filepath.Join(private, "shadow")
	put(t, shadow, "root-only")
	for name, link := range map[string]func(path string) error{
		"symbolic": func(path string) error { return os.Symlink(shadow, path) },
		"hard":     func(path string) error { return os.Link(shadow, path) },
		"dangling": func(path string) error { return os.Symlink(filepath.Join(private, "new"), path) },
	} {
		dir := t.TempDir()
		if err := os.Chown(dir, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if err := link(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
		refuse := func(how string, err error) {
			t.Helper()
			if err == nil || remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
				t.Errorf("%s, %s: error %v", name, how, err)
			}
		}
		refuse("write", write(t, dir, "f", "x"))
		if name != "dangling" {
			_, err := opened(t, dir).Read("f", 100)
			refuse("read", err)
		}
		d, err := projectdir.OpenLinked(dir, "f")
		if err == nil {
			_, err = d.Read("f", 100)
			_ = d.Close()
		}
		refuse("linked", err)
		if content(t, shadow) != "root-only" || names(t, private) != "shadow" {
			t.Errorf("%s: the link was followed", name)
		}
		if u, _ := owner(t, shadow); u != 0 {
			t.Errorf("%s: the file was given to %d", name, u)
		}
	}
}

// batch writes texts to files of dir together, in the order of the names.
func batch(t *testing.T, dir string, names ...string) error {
	t.Helper()
	b := &projectdir.Batch{}
	defer func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}()
	d, err := b.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := b.Add(d, projectdir.File{Name: name, Data: []byte("new"), Mode: 0o600}); err != nil {
			return err
		}
	}
	return b.Commit()
}

func TestABatchIsWrittenWholeOrNotAtAll(t *testing.T) {
	for name, c := range map[string]struct {
		hinder func(dir string) error
		want   string
	}{
		"nothing": {func(string) error { return nil }, ""},
		"a link":  {func(dir string) error { return os.Symlink("a", filepath.Join(dir, "c")) }, "write c: it is a link"},
		"a directory": {
			func(dir string) error { return os.Mkdir(filepath.Join(dir, "c"), 0o700) }, "write c: it is not a regular file",
		},
	} {
		dir := t.TempDir()
		put(t, filepath.Join(dir, "a"), "old")
		if err := c.hinder(dir); err != nil {
			t.Fatal(err)
		}
		before := names(t, dir)
		err := batch(t, dir, "a", "sub/b", "c")
		if c.want == "" {
			if err != nil || names(t, dir) != "a c sub" || content(t, filepath.Join(dir, "sub", "b")) != "new" {
				t.Errorf("%s: error %v, left %s", name, err, names(t, dir))
			}
			continue
		}
		if err == nil || err.Error() != c.want || remedy.HintOf(err) == "" {
			t.Errorf("%s: error %v, want %s", name, err, c.want)
		}
		if names(t, dir) != before || content(t, filepath.Join(dir, "a")) != "old" {
			t.Errorf("%s: left %s, a holds %q", name, names(t, dir), content(t, filepath.Join(dir, "a")))
		}
	}
}

func TestANewDirectoryHasItsOwnerWhenItGetsItsName(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root writes for others")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 12345, 12346); err != nil {
		t.Fatal(err)
	}
	// What a process left that was killed before the new one had its name.
	left := filepath.Join(dir, "sub.mqtunnel-new-OLD")
	hour := time.Now().Add(-time.Hour)
	if err := errors.Join(os.Mkdir(left, 0o755), os.Chtimes(left, hour, hour)); err != nil {
		t.Fatal(err)
	}
	if err := write(t, dir, "sub/f", "x"); err != nil {
		t.Fatal(err)
	}
	if u, g := owner(t, filepath.Join(dir, "sub")); u != 12345 || g != 12346 {
		t.Errorf("the directory belongs to %d:%d", u, g)
	}
	if names(t, dir) != "sub" {
		t.Errorf("left %s", names(t, dir))
	}
}
