package lifecycle

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	imageapi "github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"mqtunnel/internal/config"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

// The image of the test program, made by TestMain, and the program itself.
var (
	imageRef = "mqtunnel-lifecycle-test:" + token()
	program  []byte
)

func token() string { return strings.ToLower(rand.Text()[:8]) }

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	flag.Parse()
	if testing.Short() {
		return verify(m.Run())
	}
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err == nil {
		err = makeImage(docker)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lifecycle tests need a Docker Engine (or -short):", err)
		return 1
	}
	code := m.Run()
	_, err = docker.ImageRemove(context.Background(), imageRef, imageapi.RemoveOptions{Force: true})
	if err = errors.Join(err, docker.Close()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return verify(code)
}

func verify(code int) int {
	if code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// makeImage builds testdata/app and imports it as an image with nothing else.
func makeImage(docker *client.Client) (err error) {
	dir, err := os.MkdirTemp("", "lifecycle-test")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin := filepath.Join(dir, "app")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, "./testdata/app")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the test program: %w: %s", err, out)
	}
	if program, err = os.ReadFile(bin); err != nil {
		return err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "app", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))}); err != nil {
		return err
	}
	if _, err := w.Write(program); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	body, err := docker.ImageImport(context.Background(), imageapi.ImportSource{Source: &archive, SourceName: "-"}, imageRef,
		imageapi.ImportOptions{Changes: []string{`ENTRYPOINT ["/app"]`}})
	if err != nil {
		return err
	}
	var answer bytes.Buffer
	_, err = answer.ReadFrom(body)
	return errors.Join(err, body.Close())
}

// open returns a client of the real Engine until the test ends, at host where it
// is given.
func open(t *testing.T, host string) *engine.Client {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the Docker Engine")
	}
	environ := os.Environ()
	if host != "" {
		environ = append(environ, "DOCKER_HOST="+host)
	}
	c, err := engine.Open(engine.Options{Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// site is a Compose project of the test's own, of containers that print lines.
type site struct {
	*engine.Client

	t       *testing.T
	project string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Client: open(t, ""), t: t, project: "lifetest" + token()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		o, err := s.Observe(ctx, plan.Query{Project: s.project})
		if err != nil {
			t.Error(err)
		}
		for _, c := range o.Containers {
			if err := s.Remove(ctx, c.ID, true); err != nil {
				t.Error(err)
			}
		}
	})
	return s
}

// add creates a container of a service; number tells those of one service apart.
func (s *site) add(service string, number int, tty bool, command ...string) string {
	s.t.Helper()
	name := fmt.Sprintf("%s-%s-%d", s.project, service, number)
	grace := 5 * time.Second
	id, err := s.CreateContainer(s.t.Context(), plan.Creation{
		Name: name,
		Service: plan.Service{
			Name: service, ContainerName: name, Image: imageRef,
			Spec: plan.Spec{Command: command, NetworkMode: "none", StopGrace: &grace, TTY: tty},
		},
		Labels: map[string]string{plan.LabelProject: s.project, plan.LabelService: service, plan.LabelOneoff: "False"},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// start adds a container and starts it.
func (s *site) start(service string, number int, command ...string) string {
	s.t.Helper()
	id := s.add(service, number, false, command...)
	s.must(s.Start(s.t.Context(), id))
	return id
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		if pause(ctx, 20*time.Millisecond) != nil {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// all reads the whole log of a container.
func (s *site) all(id string) []string {
	s.t.Helper()
	var lines []string
	s.must(s.Logs(s.t.Context(), id, plan.LogOptions{Tail: -1}, func(l plan.LogLine) error {
		lines = append(lines, l.Text)
		return nil
	}))
	return lines
}

// rendered returns the project of a directory with this .env and these files.
func rendered(t *testing.T, dir string, files map[string]string) (plan.Project, config.Settings) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	settings, err := config.Load(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := render.ReadDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, ".env"))
	if err != nil {
		t.Fatal(err)
	}
	env, err := render.Environment(nil, text)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(t.Context(), settings, env, false, token)
	if err != nil {
		t.Fatal(err)
	}
	return r.Project, settings
}
