package engine_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
)

// imageRef is the image of all tests of one run, made by TestMain.
var imageRef = "mqtunnel-engine-test:" + token()

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		return m.Run()
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		fmt.Fprintln(os.Stderr, "engine tests need a Docker Engine:", err)
		return 1
	}
	if err := makeImage(docker); err != nil {
		fmt.Fprintln(os.Stderr, "engine tests need a Docker Engine (or -short):", err)
		return 1
	}
	code := m.Run()
	ctx := context.Background()
	if _, err := docker.ImageRemove(ctx, imageRef, image.RemoveOptions{Force: true}); err != nil {
		fmt.Fprintln(os.Stderr, "remove image:", err)
		return 1
	}
	if err := docker.Close(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// makeImage builds testdata/app and imports it as an image with nothing else.
func makeImage(docker *client.Client) (err error) {
	dir, err := os.MkdirTemp("", "engine-test")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	bin := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the test program: %w: %s", err, out)
	}
	program, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, h := range []tar.Header{
		{Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o711, Uid: 7, Gid: 8},
		{Name: "app", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	} {
		if err := w.WriteHeader(&h); err != nil {
			return err
		}
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	body, err := docker.ImageImport(context.Background(), image.ImportSource{Source: &archive, SourceName: "-"}, imageRef,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/app"]`, `CMD ["serve"]`, `EXPOSE 9001/tcp`}})
	if err != nil {
		return err
	}
	var answer bytes.Buffer
	_, err = answer.ReadFrom(body)
	return errors.Join(err, body.Close())
}

func token() string {
	b := make([]byte, 4)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// closing closes c when the test ends.
func closing(t *testing.T, c io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

// bench is one test's own project on the real Engine.
type bench struct {
	*engine.Client
	t       *testing.T
	project string

	mu    sync.Mutex
	calls []string
}

// newBench opens the Engine, and removes whatever of the project is left when
// the test ends.
func newBench(t *testing.T) *bench {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the Docker Engine")
	}
	b := &bench{t: t, project: "engtest" + token()}
	c, err := engine.Open(engine.Options{Environ: os.Environ(), Trace: func(line string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls = append(b.calls, line)
	}})
	if err != nil {
		t.Fatal(err)
	}
	b.Client = c
	t.Cleanup(b.sweep)
	return b
}

// sweep removes by Docker's client, so that it works where ours is broken.
func (b *bench) sweep() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		b.t.Error(err)
		return
	}
	defer func() {
		if err := docker.Close(); err != nil {
			b.t.Error(err)
		}
	}()
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+b.project))
	observed, err := b.Observe(ctx, plan.Query{Project: b.project})
	if err != nil {
		b.t.Error(err)
	}
	for _, c := range observed.Containers {
		if err := b.Remove(ctx, c.ID, true); err != nil {
			b.t.Error(err)
		}
	}
	networks, err := docker.NetworkList(ctx, network.ListOptions{Filters: mine})
	if err != nil {
		b.t.Error(err)
	}
	for _, n := range networks {
		if err := docker.NetworkRemove(ctx, n.ID); err != nil {
			b.t.Error(err)
		}
	}
	volumes, err := docker.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		b.t.Error(err)
	}
	for _, v := range volumes.Volumes {
		if err := docker.VolumeRemove(ctx, v.Name, true); err != nil {
			b.t.Error(err)
		}
	}
	if err := b.Close(); err != nil {
		b.t.Error(err)
	}
}

// take returns the calls made since the last take, without their durations.
func (b *bench) take() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	calls := b.calls
	b.calls = nil
	for i, c := range calls {
		calls[i] = c[:strings.LastIndexByte(c, ' ')]
	}
	slices.Sort(calls)
	return calls
}

// service is a container that the project may have.
func (b *bench) service(name string, command ...string) plan.Creation {
	return plan.Creation{
		Name: b.project + "-" + name + "-1",
		Service: plan.Service{
			Name: name, ContainerName: b.project + "-" + name + "-1", Image: imageRef,
			Spec: plan.Spec{Command: command, NetworkMode: "none"},
		},
		Labels: map[string]string{
			plan.LabelProject: b.project, plan.LabelService: name, plan.LabelOneoff: "False", plan.LabelImage: "x",
		},
	}
}

// create creates a container.
func (b *bench) create(c plan.Creation) string {
	b.t.Helper()
	id, err := b.CreateContainer(b.t.Context(), c)
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

// start creates and starts a container.
func (b *bench) start(c plan.Creation) string {
	b.t.Helper()
	id := b.create(c)
	if err := b.Start(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
	return id
}

// until inspects a container until want holds.
func (b *bench) until(id, what string, want func(plan.Details) bool) plan.Details {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		d, err := b.Inspect(ctx, id)
		if err != nil {
			b.t.Fatalf("waiting until %s: %v", what, err)
		}
		if want(d) {
			return d
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			b.t.Fatalf("waiting until %s: last seen %+v", what, d)
		}
	}
}

func exited(d plan.Details) bool { return d.State == plan.StateExited }

// logs reads a whole log.
func (b *bench) logs(id string, o plan.LogOptions) []plan.LogLine {
	b.t.Helper()
	var lines []plan.LogLine
	err := b.Logs(b.t.Context(), id, o, func(l plan.LogLine) error { lines = append(lines, l); return nil })
	if err != nil {
		b.t.Fatal(err)
	}
	return lines
}

func texts(lines []plan.LogLine) string {
	var all []string
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return strings.Join(all, "|")
}
