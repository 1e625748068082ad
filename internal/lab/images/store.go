// Package images builds the container images of the lab without any registry:
// Mosquitto from Debian's packages, laid out like eclipse-mosquitto; a connector
// on an empty base; the lab's world. What an image is made of stands hashed in a
// label, so an image is built only when its inputs changed, and none is
// fetched from anywhere while it is there.
package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/gofrs/flock"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Labels of every image of the lab.
const (
	// LabelInputs holds the SHA-256 of all that the image is made from.
	LabelInputs = "io.mqtunnel.lab.inputs"
	// LabelPackages lists Debian's packages in it, "NAME=VERSION" by spaces.
	LabelPackages = "io.mqtunnel.lab.packages"
)

// builder is raised when the code of this package turns the same inputs into
// another image.
const builder = 1

// Image is an image that the Engine has.
type Image struct {
	Ref   string // e.g. "mqtunnel-lab/mosquitto:2.1"
	ID    string // "sha256:…"
	Built bool   // it was made by this call
}

// Store makes images on one Engine from one work tree. It is safe for
// concurrent use, also by several processes on the same work tree.
type Store struct {
	engine *client.Client
	root   string
	arch   string // as Go says it
	log    Logf
}

// Logf takes one line about what is being done, as testing.T.Logf does.
type Logf func(format string, args ...any)

// Open returns the store of the work tree at root, which holds the module's
// go.mod; what is kept between runs stands in its directory .lab. Lines
// about what is being built go to log.
func Open(ctx context.Context, engine *client.Client, root string, log Logf) (*Store, error) {
	version, err := engine.ServerVersion(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the Engine for its version: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(root, ".lab"), 0o755); err != nil { //nolint:gosec // nothing secret in the directory itself
		return nil, fmt.Errorf("make the lab's directory: %w", err)
	}
	return &Store{engine: engine, root: root, arch: version.Arch, log: log}, nil
}

// FindRoot returns the nearest directory at or above dir that holds the module's
// go.mod.
func FindRoot(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the work tree: %w", err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		text, err := os.ReadFile(filepath.Join(at, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module mqtunnel\n") {
			return at, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find the work tree: %w", err)
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("find the work tree: no go.mod of mqtunnel at or above %s", abs)
		}
	}
}

// recipe is how one image is made.
type recipe struct {
	ref    string
	hashed bool // the tag goes on with the hash of the inputs
	config ocispec.ImageConfig
	files  tree // what is known beforehand
	// packages are fetched and programs with all that they need taken from
	// them; none when suite is "".
	suite    string
	packages []string
	programs []string
	// plugins is a pattern of file names that the image has in /usr/lib itself.
	plugins string
}

// inputs hashes all that decides what the image will be, the versions of the
// packages excepted: these are as they were when it was made.
func (r recipe) inputs(arch string) (string, error) {
	layer, err := r.files.layer()
	if err != nil {
		return "", err
	}
	text, err := json.Marshal([]any{builder, r.ref, arch, r.config, hexSum(layer), r.suite, r.packages, r.programs, r.plugins})
	if err != nil {
		return "", fmt.Errorf("encode the inputs of %s: %w", r.ref, err)
	}
	return hexSum(text), nil
}

// tagHash is how much of the inputs' hash a tag holds, in characters.
const tagHash = 12

// ensure returns the image of the recipe, building it when there is none of
// these inputs. The caller holds the lock.
func (s *Store) ensure(ctx context.Context, r recipe) (Image, error) {
	inputs, err := r.inputs(s.arch)
	if err != nil {
		return Image{}, err
	}
	if r.hashed {
		r.ref += "-" + inputs[:tagHash]
	}
	old, err := s.engine.ImageInspect(ctx, r.ref)
	if err != nil && !errdefs.IsNotFound(err) {
		return Image{}, fmt.Errorf("inspect %s: %w", r.ref, err)
	}
	if err == nil && old.Config != nil && old.Config.Labels[LabelInputs] == inputs {
		return Image{Ref: r.ref, ID: old.ID}, nil
	}

	began := time.Now()
	content, err := s.build(ctx, r, inputs)
	if err != nil {
		return Image{}, fmt.Errorf("build %s: %w", r.ref, err)
	}
	if err := Load(ctx, s.engine, content); err != nil {
		return Image{}, fmt.Errorf("load %s: %w", r.ref, err)
	}
	made, err := s.engine.ImageInspect(ctx, r.ref)
	if err != nil {
		return Image{}, fmt.Errorf("inspect %s: %w", r.ref, err)
	}
	s.log("image %s: built in %.1f s, %.1f MB", r.ref, time.Since(began).Seconds(), float64(len(content))/1e6)
	if old.ID != "" && old.ID != made.ID {
		// One that a container still runs from stays until that is gone.
		_, err := s.engine.ImageRemove(ctx, old.ID, image.RemoveOptions{})
		if err != nil && !errdefs.IsConflict(err) && !errdefs.IsNotFound(err) {
			return Image{}, fmt.Errorf("remove the former %s: %w", r.ref, err)
		}
	}
	return Image{Ref: r.ref, ID: made.ID, Built: true}, nil
}

func (s *Store) build(ctx context.Context, r recipe, inputs string) ([]byte, error) {
	config := r.config
	config.Labels = map[string]string{LabelInputs: inputs}
	files := r.files
	if r.suite != "" {
		packages, programs, err := s.programs(ctx, r)
		if err != nil {
			return nil, err
		}
		config.Labels[LabelPackages] = packages
		files = tree{}
		files.add(programs)
		files.add(r.files)
	}
	layer, err := files.layer()
	if err != nil {
		return nil, err
	}
	return archive(r.ref, s.arch, config, layer)
}

// programs fetches the packages of the recipe and returns their list and what
// the programs need of them.
func (s *Store) programs(ctx context.Context, r recipe) (string, tree, error) {
	s.log("image %s: fetching packages of Debian %s", r.ref, r.suite)
	source := apt{dir: filepath.Join(s.root, ".lab", "cache", r.suite+"-"+s.arch), suite: r.suite, arch: debianArch(s.arch)}
	packages, err := source.fetch(ctx, r.packages)
	if err != nil {
		return "", nil, err
	}
	var list []string
	for _, p := range packages {
		list = append(list, p.name+"="+p.version)
	}
	all, err := unpack(ctx, packages)
	if err != nil {
		return "", nil, err
	}
	all.move(r.plugins, "usr/lib")
	all.add(r.files)
	out, err := all.closure(r.programs...)
	return strings.Join(list, " "), out, err
}

// Load gives an archive to the Engine.
func Load(ctx context.Context, engine *client.Client, content []byte) (err error) {
	answer, err := engine.ImageLoad(ctx, bytes.NewReader(content))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	return jsonmessage.DisplayJSONMessagesStream(answer.Body, io.Discard, 0, false, nil)
}

// locked runs f while no other process builds images of this work tree.
func (s *Store) locked(ctx context.Context, f func() error) (err error) {
	lock := flock.New(filepath.Join(s.root, ".lab", "images.lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return fmt.Errorf("wait for another build of the lab's images: %w", err)
	}
	defer func() { err = errors.Join(err, lock.Unlock()) }()
	return f()
}
