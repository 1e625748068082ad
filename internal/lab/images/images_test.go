package images_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
)

// start creates and starts a container, with files put in first, and removes it
// when the test ends.
func start(t *testing.T, engine *client.Client, config container.Config, host container.HostConfig, files map[string]string) string {
	t.Helper()
	host.CapDrop, host.SecurityOpt = []string{"ALL"}, []string{"no-new-privileges:true"}
	c, err := engine.ContainerCreate(t.Context(), &config, &host, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		options := container.RemoveOptions{Force: true, RemoveVolumes: true}
		if err := engine.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, options); err != nil {
			t.Error(err)
		}
	})
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Uid: 1883, Gid: 1883, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := engine.CopyToContainer(t.Context(), c.ID, "/", &archive, container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := engine.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return c.ID
}

// do runs a command in a container and returns what it printed and its exit code.
func do(t *testing.T, engine *client.Client, id string, command ...string) (string, int) {
	t.Helper()
	e, err := engine.ContainerExecCreate(t.Context(), id, container.ExecOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := engine.ContainerExecAttach(t.Context(), e.ID, container.ExecAttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, stream.Reader); err != nil {
		t.Fatal(err)
	}
	state, err := engine.ContainerExecInspect(t.Context(), e.ID)
	if err != nil {
		t.Fatal(err)
	}
	return out.String(), state.ExitCode
}

// logged waits until the container's log has the words, and returns the log.
func logged(t *testing.T, engine *client.Client, id, words string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		stream, err := engine.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true})
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := stdcopy.StdCopy(&out, &out, stream); err != nil {
			t.Fatal(err)
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(out.String(), words) {
			return out.String()
		}
		select {
		case <-ctx.Done():
			t.Fatalf("waiting for %q in the log of %s:\n%s", words, id, out.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func mosquitto(t *testing.T, engine *client.Client, version string) string {
	t.Helper()
	image, err := labtest.Store(t, engine).Mosquitto(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	return image.Ref
}

const brokerConfig = `listener 1883
listener 9001
protocol websockets
allow_anonymous false
password_file /mosquitto/config/passwd
persistence true
persistence_location /mosquitto/data/
`

func TestTheBrokerRunsAsItsUserWithoutCapabilities(t *testing.T) {
	for _, version := range images.Versions() {
		t.Run(version, func(t *testing.T) {
			engine := labtest.Engine(t)
			ref := mosquitto(t, engine, version)
			name := "mqtunnel-lab-test-" + labtest.Name(t)
			if _, err := engine.VolumeCreate(t.Context(), volume.CreateOptions{Name: name}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := engine.VolumeRemove(context.WithoutCancel(t.Context()), name, false); err != nil {
					t.Error(err)
				}
			})
			id := start(t, engine,
				container.Config{Image: ref, User: "1883:1883", Cmd: []string{"/usr/sbin/mosquitto", "-c", "/own.conf"}},
				container.HostConfig{Binds: []string{name + ":/mosquitto/data"}},
				map[string]string{"own.conf": brokerConfig, "mosquitto/config/passwd": ""})
			logged(t, engine, id, "mosquitto version "+version+".")

			if out, code := do(t, engine, id, "mosquitto_sub", "-E", "-t", "a"); code != 5 {
				t.Errorf("mosquitto_sub -E at a broker that refuses: exit %d, want 5\n%s", code, out)
			}
			if out, code := do(t, engine, id, "ash", "-c", "mosquitto_passwd -b /mosquitto/config/passwd alice secret && kill -HUP 1"); code != 0 {
				t.Fatalf("add a user: exit %d\n%s", code, out)
			}
			logged(t, engine, id, "Reloading config.")
			out, code := do(t, engine, id, "sh", "-c",
				"mosquitto_pub -r -q 1 -u alice -P secret -t a/b -m hello && mosquitto_sub -u alice -P secret -t a/b -C 1 -W 10")
			if code != 0 || out != "hello\n" {
				t.Errorf("publish and subscribe: exit %d, %q", code, out)
			}
			timeout := 10
			if err := engine.ContainerStop(t.Context(), id, container.StopOptions{Timeout: &timeout}); err != nil {
				t.Fatal(err)
			}
			state, err := engine.ContainerInspect(t.Context(), id)
			if err != nil || state.State.ExitCode != 0 {
				t.Errorf("stop: %v, exit %d, want 0", err, state.State.ExitCode)
			}
			if err := engine.ContainerStart(t.Context(), id, container.StartOptions{}); err != nil {
				t.Fatal(err)
			}
			if out, code := do(t, engine, id, "sh", "-c", `test -s /mosquitto/data/mosquitto.db && stat -c '%u %a' /mosquitto/data/mosquitto.db`); out != "1883 600\n" {
				t.Errorf("the database after a stop: exit %d, %q", code, out)
			}
		})
	}
}

func TestTheBrokersImageIsLaidOutLikeTheOfficialOne(t *testing.T) {
	for _, version := range images.Versions() {
		t.Run(version, func(t *testing.T) {
			engine := labtest.Engine(t)
			ref := mosquitto(t, engine, version)
			image, err := engine.ImageInspect(t.Context(), ref)
			if err != nil {
				t.Fatal(err)
			}
			c := image.Config
			if got := strings.Join(append(slices.Clone(c.Entrypoint), c.Cmd...), " "); got != "/docker-entrypoint.sh /usr/sbin/mosquitto -c /mosquitto/config/mosquitto.conf" {
				t.Errorf("it runs %q", got)
			}
			if len(c.Volumes) != 2 || len(c.ExposedPorts) != 1 || c.User != "" {
				t.Errorf("volumes %v, ports %v, user %q", c.Volumes, c.ExposedPorts, c.User)
			}
			if !strings.Contains(c.Labels[images.LabelPackages], "mosquitto="+version+".") {
				t.Errorf("packages: %s", c.Labels[images.LabelPackages])
			}
			id := start(t, engine, container.Config{Image: ref, User: "1883:1883", Entrypoint: []string{"sh", "-c", "exec sleep 600"}}, container.HostConfig{}, nil)
			for command, want := range map[string]string{
				"stat -c '%u:%g %n' /mosquitto /mosquitto/*": "1883:1883 /mosquitto\n1883:1883 /mosquitto/config\n1883:1883 /mosquitto/data\n1883:1883 /mosquitto/log\n",
				"id":                            "uid=1883(mosquitto) gid=1883(mosquitto) groups=1883(mosquitto)\n",
				"head -1 /docker-entrypoint.sh": "#!/bin/ash\n",
				"ls /usr/lib/mosquitto_dynamic_security.so /mosquitto-no-auth.conf": "/mosquitto-no-auth.conf\n/usr/lib/mosquitto_dynamic_security.so\n",
				"touch /tmp/x /mosquitto/config/x && echo x":                        "x\n",
				"which mosquitto mosquitto_pub mosquitto_sub mosquitto_rr mosquitto_passwd mosquitto_ctrl": "/usr/sbin/mosquitto\n/usr/bin/mosquitto_pub\n" +
					"/usr/bin/mosquitto_sub\n/usr/bin/mosquitto_rr\n/usr/bin/mosquitto_passwd\n/usr/bin/mosquitto_ctrl\n",
			} {
				if out, code := do(t, engine, id, "sh", "-c", command); out != want {
					t.Errorf("%s: exit %d\n%s\nwant\n%s", command, code, out, want)
				}
			}
			has, _ := do(t, engine, id, "busybox", "--list")
			links, _ := do(t, engine, id, "find", "/usr/bin", "-type", "l")
			if len(strings.Fields(links)) < 80 {
				t.Errorf("links to busybox:\n%s", links)
			}
			for link := range strings.FieldsSeq(links) {
				if !slices.Contains(strings.Fields(has), path.Base(link)) {
					t.Errorf("%s is no applet of the image's busybox", link)
				}
			}
		})
	}
}

func TestWithoutAConfigurationOnly21IsOpen(t *testing.T) {
	engine := labtest.Engine(t)
	// The entrypoint runs as root here, and lets the broker become its user.
	asRoot := container.HostConfig{CapAdd: []string{"CHOWN", "SETUID", "SETGID"}}
	id := start(t, engine, container.Config{Image: mosquitto(t, engine, images.Mosquitto21)}, asRoot, nil)
	logged(t, engine, id, "Opening http api listen socket on port 9883")
	if out, code := do(t, engine, id, "mosquitto_sub", "-E", "-t", "a"); code != 0 {
		t.Errorf("2.1 by itself refuses anonymous clients: exit %d\n%s", code, out)
	}
	id = start(t, engine, container.Config{Image: mosquitto(t, engine, images.Mosquitto20)}, asRoot, nil)
	if log := logged(t, engine, id, " running"); !strings.Contains(log, "Starting in local only mode") {
		t.Errorf("2.0 by itself is not in local only mode:\n%s", log)
	}
}

func TestTheConnectorsImageHasNoShellAndNoRoot(t *testing.T) {
	engine := labtest.Engine(t)
	store := labtest.Store(t, engine)
	made := map[string]images.Image{}
	var err error
	if made["stand-in"], err = store.StandIn(t.Context()); err != nil {
		t.Fatal(err)
	}
	if file := os.Getenv("LAB_CLOUDFLARED"); file != "" {
		if made["real"], err = store.Real(t.Context(), file); err != nil {
			t.Fatal(err)
		}
	}
	for kind, image := range made {
		inspect, err := engine.ImageInspect(t.Context(), image.Ref)
		if err != nil {
			t.Fatal(err)
		}
		if inspect.Config.User != "65532:65532" || strings.Join(inspect.Config.Entrypoint, " ") != "cloudflared --no-autoupdate" {
			t.Errorf("%s: %+v", kind, inspect.Config)
		}
		id := start(t, engine, container.Config{Image: image.Ref}, container.HostConfig{}, nil)
		logged(t, engine, id, "cloudflared version 20")
		shell, err := engine.ContainerCreate(t.Context(), &container.Config{Image: image.Ref, Entrypoint: []string{"sh"}}, nil, nil, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if err := engine.ContainerStart(t.Context(), shell.ID, container.StartOptions{}); err == nil {
			t.Errorf("%s: the image has a shell", kind)
		}
		if err := engine.ContainerRemove(t.Context(), shell.ID, container.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
}

func TestNothingIsBuiltTwice(t *testing.T) {
	engine := labtest.Engine(t)
	first := mosquitto(t, engine, images.Mosquitto20)
	// Without apt-get on its path no package can be fetched.
	t.Setenv("PATH", t.TempDir())
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			image, err := labtest.Store(t, engine).Mosquitto(t.Context(), images.Mosquitto20)
			if err != nil || image.Built || image.Ref != first {
				t.Errorf("again: %+v, %v", image, err)
			}
		})
	}
	wg.Wait()
}

func TestAVersionThatThereIsNotIsRefused(t *testing.T) {
	_, err := labtest.Store(t, labtest.Engine(t)).Mosquitto(t.Context(), "1.6")
	if err == nil || !strings.Contains(err.Error(), `mosquitto "1.6": the lab has 2.0 and 2.1`) {
		t.Errorf("got %v", err)
	}
}
