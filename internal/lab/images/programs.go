package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"mqtunnel/internal/lab/connector"
)

// Images that are made of one program. The tag ends in the hash of what the image
// is made from, so that work trees with different programs do not take each
// other's images away.
const (
	worldName     = "mqtunnel-lab/world:v"
	standInName   = "mqtunnel-lab/cloudflared:standin"
	oldName       = "mqtunnel-lab/cloudflared:old"
	realName      = "mqtunnel-lab/cloudflared:real"
	worldPath     = "mqtunnel-lab"
	connectorPath = "usr/local/bin/cloudflared"
	connectorUID  = 65532 // "nonroot", as cloudflare/cloudflared has it
)

// World returns the image of the lab's world: this module's mqtunnel-lab on an
// empty base, running its command serve.
func (s *Store) World(ctx context.Context) (Image, error) {
	return s.program(ctx, "./cmd/mqtunnel-lab", "mqtunnel-lab", func(program []byte) recipe {
		files := tree{}
		files.file(worldPath, 0o755, program)
		files.dir("tmp", 0o777|fs.ModeSticky, 0)
		return recipe{ref: worldName, hashed: true, files: files, config: ocispec.ImageConfig{
			Entrypoint: []string{"/" + worldPath}, Cmd: []string{"serve"},
		}}
	})
}

// StandIn returns the image of the stand-in connector, laid out like
// cloudflare/cloudflared: no shell, uid 65532, the program on the PATH.
func (s *Store) StandIn(ctx context.Context) (Image, error) {
	return s.program(ctx, "./cmd/mqtunnel-lab/connector", "cloudflared-standin", func(program []byte) recipe {
		return connectorRecipe(standInName, program)
	})
}

// OldStandIn returns the image of the stand-in connector as a release that knows no
// token files.
func (s *Store) OldStandIn(ctx context.Context) (Image, error) {
	return s.program(ctx, "./cmd/mqtunnel-lab/connector", "cloudflared-standin", func(program []byte) recipe {
		r := connectorRecipe(oldName, program)
		r.config.Env = append(r.config.Env, connector.OldVariable+"=1")
		return r
	})
}

// Real returns the image of the cloudflared at file, laid out like StandIn's.
func (s *Store) Real(ctx context.Context, file string) (Image, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return Image{}, fmt.Errorf("read the real cloudflared: %w", err)
	}
	if !isELF(program) {
		return Image{}, fmt.Errorf("read the real cloudflared: %s is not a Linux program", file)
	}
	r := connectorRecipe(realName, program)
	needs, err := neededBy(program)
	if err != nil {
		return Image{}, fmt.Errorf("read the real cloudflared: %w", err)
	}
	if len(needs) > 0 {
		// It is linked dynamically, for the base image that brings the C library.
		r.suite, r.packages, r.programs = "trixie", []string{"libc6"}, []string{connectorPath}
		r.files.mergeUsr()
	}
	var out Image
	err = s.locked(ctx, func() error {
		out, err = s.ensure(ctx, r)
		return err
	})
	return out, err
}

func connectorRecipe(ref string, program []byte) recipe {
	files := tree{}
	files.file(connectorPath, 0o755, program)
	files.file("etc/passwd", 0o644, []byte("root:x:0:0:root:/root:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n"))
	files.file("etc/group", 0o644, []byte("root:x:0:\nnonroot:x:65532:\n"))
	files.dir("home/nonroot", 0o700, connectorUID)
	files.dir("tmp", 0o777|fs.ModeSticky, 0)
	return recipe{ref: ref, hashed: true, files: files, config: ocispec.ImageConfig{
		User:       fmt.Sprintf("%d:%d", connectorUID, connectorUID),
		Env:        []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		Entrypoint: []string{"cloudflared", "--no-autoupdate"},
		Cmd:        []string{"version"},
		WorkingDir: "/home/nonroot",
	}}
}

// program builds a program of this module and makes the image around it.
func (s *Store) program(ctx context.Context, pkg, name string, around func([]byte) recipe) (Image, error) {
	var out Image
	err := s.locked(ctx, func() error {
		file, err := s.goBuild(ctx, pkg, name)
		if err != nil {
			return err
		}
		program, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("read what was built: %w", err)
		}
		out, err = s.ensure(ctx, around(program))
		return err
	})
	return out, err
}

// goBuild builds a static program for the Engine's machine into .lab/bin; the go
// command decides what there is to do.
func (s *Store) goBuild(ctx context.Context, pkg, name string) (string, error) {
	out := filepath.Join(s.root, ".lab", "bin", s.arch, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, pkg) //nolint:gosec // all words are ours
	cmd.Dir = s.root
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+s.arch, "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("go build %s: %w: %s", pkg, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// RegistryProgram is Debian's docker-registry, unpacked and not installed.
type RegistryProgram struct {
	// Command starts the registry by its own dynamic linker; its arguments follow.
	Command []string
}

// Registry returns Debian's docker-registry for this machine.
func (s *Store) Registry(ctx context.Context) (RegistryProgram, error) {
	const program = "usr/bin/docker-registry"
	r := recipe{ref: "registry", suite: "trixie", packages: []string{"docker-registry"}, programs: []string{program}}
	var out RegistryProgram
	err := s.locked(ctx, func() error {
		inputs, err := r.inputs(s.arch)
		if err != nil {
			return err
		}
		dir := filepath.Join(s.root, ".lab", "cache", "registry-"+inputs[:12])
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			if err := s.unpackTo(ctx, r, dir); err != nil {
				return fmt.Errorf("make %s: %w", dir, err)
			}
		} else if err != nil {
			return fmt.Errorf("look for the registry: %w", err)
		}
		out, err = commandIn(dir, program)
		return err
	})
	return out, err
}

func (s *Store) unpackTo(ctx context.Context, r recipe, dir string) error {
	_, files, err := s.programs(ctx, r)
	if err != nil {
		return err
	}
	return files.writeTo(dir)
}

// commandIn returns how to run a dynamically linked program of an unpacked tree
// with the tree's own libraries.
func commandIn(dir, program string) (RegistryProgram, error) {
	linkers, err := filepath.Glob(filepath.Join(dir, "usr/lib/*-linux-*/ld-linux*.so*"))
	if err != nil {
		return RegistryProgram{}, fmt.Errorf("look for the dynamic linker: %w", err)
	}
	if len(linkers) == 0 {
		return RegistryProgram{}, fmt.Errorf("%s has no dynamic linker", dir)
	}
	return RegistryProgram{Command: []string{
		linkers[0], "--library-path", filepath.Dir(linkers[0]), filepath.Join(dir, program),
	}}, nil
}
