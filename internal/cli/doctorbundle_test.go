package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/remedy"
)

// unpack reads an archive as names and texts.
func unpack(t *testing.T, archive []byte) map[string]string {
	t.Helper()
	zipped, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zipped); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[head.Name] = string(data)
		if head.Mode != 0o600 || head.Uname != "" || head.Uid != 0 {
			t.Errorf("%s: mode %04o, owner %q %d", head.Name, head.Mode, head.Uname, head.Uid)
		}
	}
}

// bundling is a doctor that writes a bundle to a path, without a terminal.
func bundling(t *testing.T, path string, yes bool) (*doctorRun, *os.File) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = null.Close() })
	a := &App{In: null, outFile: out, errFile: null}
	a.Out, a.Err = display.NewStream(out, nil, false), display.NewStream(null, nil, false)
	return &doctorRun{session: &session{app: a}, flags: doctorFlags{bundle: path, yes: yes}}, out
}

func TestABundleHoldsWhatWasShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doctor.tar.gz")
	s, out := bundling(t, path, true)
	e := &doctor.Evidence{At: time.Unix(1787040000, 0)}
	if err := s.bundle(t.Context(), doctor.Diagnosis{}, e); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	shown, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, archive)
	for name, text := range files {
		head := "== " + name[len(bundleFolder):] + " ==\n" + text
		if !bytes.Contains(shown, []byte(head)) {
			t.Errorf("%s was not shown as it is:\n%s", name, text)
		}
	}
	want := map[string]string{}
	for _, f := range doctor.Bundle(e, doctor.Diagnosis{}, doctor.Program{Version: buildVersion(), OS: "linux", Arch: "amd64", Kernel: kernelRelease()}) {
		want[bundleFolder+f.Name] = files[bundleFolder+f.Name]
	}
	if diff := cmp.Diff(want, files); diff != "" || len(files) == 0 {
		t.Error(diff)
	}
}

func TestABundleIsNeverWrittenOverAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doctor.tar.gz")
	if err := os.WriteFile(path, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	s, _ := bundling(t, path, true)
	if err := s.bundle(t.Context(), doctor.Diagnosis{}, &doctor.Evidence{}); remedy.CodeOf(err) != remedy.Usage {
		t.Errorf("error %v", err)
	}
	if err := writeNew(path, []byte("x")); remedy.CodeOf(err) != remedy.Usage {
		t.Errorf("a file that came meanwhile: error %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
		t.Errorf("it holds %q, %v", text, err)
	}
}

func TestABundleWantsAYes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doctor.tar.gz")
	s, _ := bundling(t, path, false)
	if err := s.bundle(t.Context(), doctor.Diagnosis{}, &doctor.Evidence{}); remedy.CodeOf(err) != remedy.Usage {
		t.Errorf("error %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("it was written: %v", err)
	}
}

func TestABundleGoesToStandardOutputAlone(t *testing.T) {
	s, out := bundling(t, toStdout, true)
	if err := s.bundle(t.Context(), doctor.Diagnosis{}, &doctor.Evidence{}); err != nil {
		t.Fatal(err)
	}
	archive, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if files := unpack(t, archive); len(files) == 0 {
		t.Error("nothing in it")
	}
}
