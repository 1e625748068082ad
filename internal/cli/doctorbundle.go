package cli

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/term"

	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
)

// toStdout is the FILE that stands for standard output.
const toStdout = "-"

// bundleFolder is what the files of a bundle lie in.
const bundleFolder = "mqtunnel-doctor/"

// bundle writes what a helper needs into the file that --bundle names, after it has
// shown all of it.
func (s *doctorRun) bundle(ctx context.Context, d doctor.Diagnosis, e *doctor.Evidence) error {
	path := s.flags.bundle
	if err := s.bundlePlace(path); err != nil {
		return err
	}
	files := doctor.Bundle(e, d, doctor.Program{Version: buildVersion(), OS: runtime.GOOS, Arch: runtime.GOARCH, Kernel: kernelRelease()})
	s.showBundle(files)
	if err := s.app.confirm(ctx, "This is all that the bundle holds. Write it to "+path+"?", s.flags.yes); err != nil {
		return err
	}
	archive, err := pack(files, e.At)
	if err != nil {
		return err
	}
	if path == toStdout {
		_, err := s.app.outFile.Write(archive)
		return err
	}
	if err := writeNew(path, archive); err != nil {
		return err
	}
	if !s.app.flags.quiet {
		fmt.Fprintf(s.app.Err, "written to %s; unpack it with: tar -xzf %s\n", display.Safe(path), display.Safe(path))
	}
	return nil
}

// bundlePlace refuses a place where nothing can be written to.
func (s *doctorRun) bundlePlace(path string) error {
	if path == toStdout {
		if term.IsTerminal(int(s.app.outFile.Fd())) {
			return remedy.Errorf(remedy.Usage, "name a file: --bundle doctor.tar.gz", "a terminal cannot show an archive")
		}
		return nil
	}
	_, err := os.Lstat(path)
	if err == nil {
		return bundleExists(path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return remedy.Errorf(remedy.Usage, "", "write %s: %w", path, err)
	}
	return nil
}

func bundleExists(path string) error {
	return remedy.Errorf(remedy.Usage, "name a file that does not exist yet", "%s exists already", path)
}

// showBundle shows every byte of the files: on standard output, or beside it where
// the archive goes there.
func (s *doctorRun) showBundle(files []doctor.BundleFile) {
	w := s.app.Out
	if s.flags.bundle == toStdout {
		w = s.app.Err
	}
	for _, f := range files {
		fmt.Fprintf(w, "== %s ==\n%s\n", f.Name, display.SafeLines(strings.TrimSuffix(string(f.Data), "\n")))
	}
}

// pack makes a compressed archive of the files.
func pack(files []doctor.BundleFile, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	zipped := gzip.NewWriter(&b)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		head := &tar.Header{Name: bundleFolder + f.Name, Mode: 0o600, Size: int64(len(f.Data)), ModTime: at.UTC().Truncate(time.Second), Format: tar.FormatPAX}
		if err := archive.WriteHeader(head); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.Name, err)
		}
		if _, err := archive.Write(f.Data); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.Name, err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		return nil, fmt.Errorf("pack the bundle: %w", err)
	}
	return b.Bytes(), nil
}

// writeNew makes a file that only its owner can read, whole or not at all.
func writeNew(path string, data []byte) error {
	d, err := projectdir.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // what was written is on the disk already
	err = d.Replace(nil, projectdir.File{Name: filepath.Base(path), Data: data, Mode: 0o600})
	if errors.Is(err, projectdir.ErrChanged) {
		return bundleExists(path)
	}
	return err
}

// kernelRelease returns the release of a Linux kernel, "" elsewhere.
func kernelRelease() string {
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(release))
}
