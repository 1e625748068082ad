package mosquitto_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"mqtunnel/compose"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
)

// broker is a real broker in a container, made as the rendered project makes it.
type broker struct {
	t      *testing.T
	engine *client.Client
	id     string
}

// brokerFile is a file in the container.
type brokerFile struct {
	path, content string
	uid           int
	mode          int64
}

// own is a file of the broker's.
func own(path, content string) brokerFile {
	return brokerFile{path: path, content: content, uid: mosquitto.UID, mode: 0o600}
}

// versions returns the brokers to test on.
func versions(t *testing.T) []string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the Docker Engine")
	}
	return images.Versions()
}

// newBroker creates the container with the files and starts nothing.
func newBroker(t *testing.T, version string, readOnlyData bool, files ...brokerFile) *broker {
	t.Helper()
	engine, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	root, err := images.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	store, err := images.Open(t.Context(), engine, root, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	img, err := store.Mosquitto(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	name := "mosquitto-files-" + strings.ToLower(rand.Text()[:10])
	created, err := engine.ContainerCreate(t.Context(), &container.Config{
		Image: img.Ref, User: "1883:1883", Entrypoint: []string{"/bin/sh", mosquitto.StartPath},
	}, &container.HostConfig{
		CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"},
		RestartPolicy: container.RestartPolicy{Name: container.RestartPolicyUnlessStopped},
		Mounts:        []mount.Mount{{Type: mount.TypeVolume, Source: name, Target: mosquitto.DataPath, ReadOnly: readOnlyData}},
		Tmpfs:         map[string]string{"/mosquitto/log": "size=64k,mode=0700,uid=1883,gid=1883"},
	}, nil, nil, name)
	if err != nil {
		t.Fatal(err)
	}
	b := &broker{t: t, engine: engine, id: created.ID}
	t.Cleanup(func() {
		ctx := context.Background()
		if t.Failed() {
			t.Logf("log of the broker:\n%s", b.log(ctx))
		}
		if err := engine.ContainerRemove(ctx, created.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Error(err)
		}
		if err := engine.VolumeRemove(ctx, name, true); err != nil {
			t.Error(err)
		}
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	script, err := compose.Files.ReadFile(compose.StartScript)
	if err != nil {
		t.Fatal(err)
	}
	b.put(own(mosquitto.StartPath, string(script)))
	b.put(files...)
	return b
}

func (b *broker) put(files ...brokerFile) {
	b.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, f := range files {
		h := &tar.Header{Name: f.path[1:], Size: int64(len(f.content)), Mode: f.mode, Uid: f.uid, Gid: f.uid, ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			b.t.Fatal(err)
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			b.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.engine.CopyToContainer(b.t.Context(), b.id, "/", &archive, container.CopyToContainerOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// get returns a file, or the files of a directory by their base names.
func (b *broker) get(path string) map[string]string {
	b.t.Helper()
	r, _, err := b.engine.CopyFromContainer(b.t.Context(), b.id, path)
	if err != nil {
		b.t.Fatal(err)
	}
	defer func() { _ = r.Close() }() // everything was read
	found := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			b.t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			b.t.Fatal(err)
		}
		found[h.Name[strings.LastIndex(h.Name, "/")+1:]] = string(content)
	}
}

func (b *broker) start() {
	b.t.Helper()
	if err := b.engine.ContainerStart(b.t.Context(), b.id, container.StartOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func (b *broker) stop() {
	b.t.Helper()
	if err := b.engine.ContainerStop(b.t.Context(), b.id, container.StopOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// log returns all that the container wrote.
func (b *broker) log(ctx context.Context) string {
	r, err := b.engine.ContainerLogs(ctx, b.id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = r.Close() }() // everything was read
	var text bytes.Buffer
	if _, err := stdcopy.StdCopy(&text, &text, r); err != nil {
		return err.Error()
	}
	return text.String()
}

// reports returns what the start script said at each start.
func (b *broker) reports() []mosquitto.DatabaseReport {
	var all []mosquitto.DatabaseReport
	for line := range strings.Lines(b.log(b.t.Context())) {
		if r, ok := mosquitto.ParseDatabaseReport(mosquitto.ParseLine(line)); ok {
			all = append(all, r)
		}
	}
	return all
}

// sh runs a script in the container and returns its output and exit code, -1 when the
// container does not run.
func (b *broker) sh(script string) (string, int) {
	b.t.Helper()
	ctx := b.t.Context()
	made, err := b.engine.ContainerExecCreate(ctx, b.id, container.ExecOptions{
		Cmd: []string{"/bin/sh", "-c", script}, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return err.Error(), -1
	}
	at, err := b.engine.ContainerExecAttach(ctx, made.ID, container.ExecAttachOptions{})
	if err != nil {
		return err.Error(), -1
	}
	defer at.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, at.Reader); err != nil {
		return err.Error(), -1
	}
	done, err := b.engine.ContainerExecInspect(ctx, made.ID)
	if err != nil || done.Running {
		return fmt.Sprint("exec: ", err), -1
	}
	return out.String(), done.ExitCode
}

// login returns the exit code of a client that connects: 0 accepted, 5 refused.
func (b *broker) login(arguments string) int {
	_, code := b.sh("mosquitto_sub -h 127.0.0.1 -i login -t login -E -W 5 " + arguments)
	return code
}

// await waits until the condition holds.
func (b *broker) await(what string, holds func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for tick := time.NewTicker(100 * time.Millisecond); !holds(); {
		if time.Now().After(deadline) {
			tick.Stop()
			b.t.Fatalf("%s: not within a minute", what)
		}
		<-tick.C
	}
}

// conf returns the rendered configuration.
func conf(t *testing.T, data mosquitto.ConfData) brokerFile {
	t.Helper()
	text, err := mosquitto.RenderConf(template(t), data)
	if err != nil {
		t.Fatal(err)
	}
	return own(mosquitto.ConfPath, text)
}
