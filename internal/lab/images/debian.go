package images

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// The archive is Debian's, and its signatures are checked with the keys that
// every Debian has.
const (
	debianArchive = "http://deb.debian.org/debian"
	debianKeys    = "/usr/share/keyrings/debian-archive-keyring.gpg"
)

// debianPackage is one package file that stands in the cache.
type debianPackage struct {
	name, version string
	file          string
}

// apt is apt-get with a state of its own: nothing of the machine's packages is
// read or changed, so it needs no root.
type apt struct {
	dir   string // lists and package files
	suite string // code name, e.g. "trixie"
	arch  string // Debian's word, e.g. "amd64"
}

// fetch brings the packages and all that they depend on into the cache and
// returns them. Nothing is installed.
func (a apt) fetch(ctx context.Context, packages []string) ([]debianPackage, error) {
	for _, dir := range []string{"lists/partial", "archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, dir), 0o755); err != nil { //nolint:gosec // packages are public
			return nil, fmt.Errorf("make the package cache: %w", err)
		}
	}
	source := fmt.Sprintf("deb [signed-by=%s] %s %s main\n", debianKeys, debianArchive, a.suite)
	for name, text := range map[string]string{"sources.list": source, "status": ""} {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o644); err != nil { //nolint:gosec // packages are public
			return nil, fmt.Errorf("make the package cache: %w", err)
		}
	}
	if _, err := a.run(ctx, "update"); err != nil {
		return nil, err
	}
	install := append([]string{"install", "--no-install-recommends", "--yes"}, packages...)
	if _, err := a.run(ctx, append(install, "--download-only")...); err != nil {
		return nil, err
	}
	plan, err := a.run(ctx, append(install, "--simulate")...)
	if err != nil {
		return nil, err
	}
	found := installed(plan, filepath.Join(a.dir, "archives"))
	if len(found) == 0 {
		return nil, fmt.Errorf("apt-get names no package to install: %s", plan)
	}
	return found, nil
}

// installed reads the lines "Inst NAME (VERSION ORIGIN [ARCH])" of a simulated
// install.
func installed(plan []byte, archives string) []debianPackage {
	line := regexp.MustCompile(`(?m)^Inst ([a-z0-9][a-z0-9.+-]*)(?::\w+)? \(([\w.:+~-]+) .*\[(\w+)\]\)`)
	var out []debianPackage
	for _, m := range line.FindAllSubmatch(plan, -1) {
		name, version, arch := string(m[1]), string(m[2]), string(m[3])
		file := fmt.Sprintf("%s_%s_%s.deb", name, strings.ReplaceAll(version, ":", "%3a"), arch)
		out = append(out, debianPackage{name: name, version: version, file: filepath.Join(archives, file)})
	}
	return out
}

func (a apt) run(ctx context.Context, args ...string) ([]byte, error) {
	options := []string{
		"Dir::Etc::sourcelist=" + filepath.Join(a.dir, "sources.list"),
		"Dir::Etc::sourceparts=/dev/null",
		"Dir::Etc::preferences=/dev/null",
		"Dir::Etc::preferencesparts=/dev/null",
		"Dir::State=" + a.dir,
		"Dir::State::lists=" + filepath.Join(a.dir, "lists"),
		"Dir::State::status=" + filepath.Join(a.dir, "status"),
		"Dir::Cache=" + a.dir,
		"Dir::Cache::archives=" + filepath.Join(a.dir, "archives"),
		"Dir::Log=" + a.dir,
		"APT::Architecture=" + a.arch,
		"APT::Architectures=" + a.arch,
		"APT::Get::List-Cleanup=false",
		// As root apt becomes the user _apt, who may not enter somebody's home.
		"APT::Sandbox::User=root",
		"Acquire::Languages=none",
		"Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false",
		"Acquire::Retries=3",
	}
	full := []string{"--quiet", "--quiet"}
	for _, option := range options {
		full = append(full, "-o", option)
	}
	cmd := exec.CommandContext(ctx, "apt-get", append(full, args...)...) //nolint:gosec // all words are ours
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("apt-get %s for %s: %w: %s", args[0], a.suite, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.Bytes(), nil
}

// unpack reads the programs and libraries of the packages into memory.
func unpack(ctx context.Context, packages []debianPackage) (tree, error) {
	out := tree{}
	for _, p := range packages {
		if err := p.unpack(ctx, out); err != nil {
			return nil, fmt.Errorf("unpack %s: %w", filepath.Base(p.file), err)
		}
	}
	return out, nil
}

func (p debianPackage) unpack(ctx context.Context, out tree) (err error) {
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", p.file) //nolint:gosec // a file of our own cache
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := readTar(stdout, out)
	// What follows the last entry is padding; unread, dpkg-deb would fail.
	_, drainErr := io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("dpkg-deb: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return errors.Join(readErr, drainErr)
}

func readTar(r io.Reader, out tree) error {
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := merged(h.Name)
		if !strings.HasPrefix(name, "usr/bin/") && !strings.HasPrefix(name, "usr/sbin/") && !strings.HasPrefix(name, "usr/lib") {
			continue
		}
		switch h.Typeflag {
		case tar.TypeSymlink:
			out.symlink(name, h.Linkname)
		case tar.TypeLink:
			out[name] = out[merged(h.Linkname)]
		case tar.TypeReg:
			data, err := io.ReadAll(archive)
			if err != nil {
				return err
			}
			out.file(name, fs.FileMode(h.Mode).Perm(), data)
		}
	}
}

// debianArch translates Go's word for an architecture into Debian's.
func debianArch(goarch string) string {
	switch goarch {
	case "386":
		return "i386"
	case "arm":
		return "armhf"
	case "ppc64le":
		return "ppc64el"
	}
	return goarch
}
