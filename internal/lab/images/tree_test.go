package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestALayerDependsOnNothingButItsTree(t *testing.T) {
	layer := func(order ...string) []byte {
		tr := tree{}
		for _, name := range order {
			tr.file(name, 0o644, []byte(name))
		}
		tr.symlink("bin", "usr/bin")
		tr.dir("tmp", 0o777|fs.ModeSticky, 0)
		out, err := tr.layer()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	a, b := layer("usr/bin/x", "etc/passwd"), layer("etc/passwd", "usr/bin/x")
	if !bytes.Equal(a, b) {
		t.Error("the order in which files were added shows in the layer")
	}
	var names []string
	for r := tar.NewReader(bytes.NewReader(a)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Name == "tmp/" && h.Mode != 0o1777 {
			t.Errorf("tmp has mode %o, want 1777", h.Mode)
		}
	}
	if want := []string{"bin", "etc/", "etc/passwd", "tmp/", "usr/", "usr/bin/", "usr/bin/x"}; !slices.Equal(names, want) {
		t.Errorf("the layer has %q, want %q", names, want)
	}
}

func TestPathsAreSpelledAsMergedUsrHasThem(t *testing.T) {
	for in, want := range map[string]string{
		"./bin/busybox": "usr/bin/busybox", "/lib64/ld.so": "usr/lib64/ld.so", "lib": "usr/lib",
		"library/x": "library/x", "./usr/lib/x": "usr/lib/x", "../../etc/passwd": "etc/passwd",
	} {
		if got := merged(in); got != want {
			t.Errorf("merged(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLinksLeadToFilesOrFail(t *testing.T) {
	tr := tree{}
	tr.file("usr/lib/a.so.1.2", 0o644, nil)
	tr.symlink("usr/lib/a.so.1", "a.so.1.2")
	tr.symlink("usr/lib/a.so", "/lib/a.so.1")
	tr.symlink("usr/lib/loop", "loop")
	tr.symlink("usr/lib/nowhere", "../none")
	way, err := tr.resolve("usr/lib/a.so")
	if want := []string{"usr/lib/a.so", "usr/lib/a.so.1", "usr/lib/a.so.1.2"}; err != nil || !slices.Equal(way, want) {
		t.Errorf("resolve: %q, %v, want %q", way, err, want)
	}
	for _, name := range []string{"usr/lib/loop", "usr/lib/nowhere", "absent"} {
		if way, err := tr.resolve(name); err == nil {
			t.Errorf("resolve(%s) = %q, want an error", name, way)
		}
	}
}

// machine reads this machine's own libraries, which have what a program needs.
func machine(t *testing.T, patterns ...string) tree {
	t.Helper()
	tr := tree{}
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			tr.file(merged(file), 0o755, data)
		}
	}
	return tr
}

func TestAProgramComesWithItsLibraries(t *testing.T) {
	linker := "/lib64/ld-linux-*.so*"
	if _, err := os.Stat("/lib64"); err != nil {
		linker = "/lib/ld-linux*.so*"
	}
	all := machine(t, "/bin/ls", linker, "/lib/*-linux-*/libc.so.6", "/lib/*-linux-*/libselinux.so.1", "/lib/*-linux-*/libpcre2-8.so.0", "/lib/*-linux-*/libm.so.6")
	// As Debian has some: the file under another name than the library's own.
	for name, e := range all {
		if strings.HasSuffix(name, "/libselinux.so.1") {
			delete(all, name)
			all[name+".2"] = e
		}
	}
	got, err := all.closure("usr/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	has := func(part string) bool {
		for name := range got {
			if strings.Contains(name, part) {
				return true
			}
		}
		return false
	}
	for _, want := range []string{"usr/bin/ls", "ld-linux", "libc.so.6", "libselinux.so.1.2", "libpcre2-8.so.0"} {
		if !has(want) {
			t.Errorf("the closure of ls lacks %s", want)
		}
	}
	if has("libm.so.6") {
		t.Error("the closure of ls has libm, which it does not need")
	}
	if e := got["usr/lib"+"/"+triplet(got)+"/libselinux.so.1"]; e.link != "libselinux.so.1.2" {
		t.Errorf("no link from the library's own name: %+v", e)
	}
	for name := range all {
		if strings.Contains(name, "libpcre2") {
			delete(all, name)
		}
	}
	if _, err := all.closure("usr/bin/ls"); err == nil || !strings.Contains(err.Error(), "needs libpcre2-8.so.0, which no package has") {
		t.Errorf("a missing library: %v", err)
	}
}

func triplet(tr tree) string {
	for name := range tr {
		if strings.HasSuffix(name, "/libc.so.6") {
			return filepath.Base(filepath.Dir(name))
		}
	}
	return ""
}

func TestThePlanOfAptNamesFiles(t *testing.T) {
	plan := "NOTE: This is only a simulation!\nInst libc6 (2.41-12+deb13u5 Debian:13.8/stable [amd64]) []\n" +
		"Inst busybox-static:amd64 (1:1.37.0-6+b9 Debian:13.8/stable, Debian-Security:13/stable-security [amd64])\nConf libc6 (2.41)\n"
	got := installed([]byte(plan), "/a")
	want := []debianPackage{
		{"libc6", "2.41-12+deb13u5", "/a/libc6_2.41-12+deb13u5_amd64.deb"},
		{"busybox-static", "1:1.37.0-6+b9", "/a/busybox-static_1%3a1.37.0-6+b9_amd64.deb"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func FuzzThePlanOfAptNamesFilesOfTheCache(f *testing.F) {
	f.Add([]byte("Inst libc6 (2.41-12+deb13u5 Debian:13.8/stable [amd64]) []\n"))
	f.Add([]byte("Inst ../../x (1 [../y])\n"))
	f.Fuzz(func(t *testing.T, plan []byte) {
		for _, p := range installed(plan, "/cache") {
			if filepath.Dir(filepath.Clean(p.file)) != "/cache" {
				t.Errorf("%q leads out of the cache: %s", plan, p.file)
			}
		}
	})
}
