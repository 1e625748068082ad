//go:build unix

package engine_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

func TestAnEngineThatCannotBeReachedIsExplained(t *testing.T) {
	dir := t.TempDir()
	missing, dead := filepath.Join(dir, "missing.sock"), filepath.Join(dir, "dead.sock")
	l, err := net.Listen("unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	// Rootless Docker has its socket in the runtime directory.
	rootless, err := net.Listen("unix", filepath.Join(dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, rootless)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	old := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Api-Version", "1.40")
		w.Header().Set("Ostype", "linux")
	}))
	defer old.Close()
	tcp := func(s *httptest.Server) string { return "tcp://" + s.Listener.Addr().String() }

	for _, c := range []struct {
		name, host, want, hint string
		fault                  plan.EngineFault
	}{
		{"no socket", "unix://" + missing, "no Docker Engine at unix://" + missing + ": the socket does not exist", "start it", plan.EngineUnreachable},
		{"nothing behind the socket", "unix://" + dead, "no Docker Engine at unix://" + dead + ": nothing listens there", "start it", plan.EngineUnreachable},
		{"other sockets are named", "unix://" + missing, "does not exist", "export DOCKER_HOST=unix://" + filepath.Join(dir, "docker.sock"), plan.EngineUnreachable},
		{"where the address came from", "unix://" + missing, "does not exist", "the address came from DOCKER_HOST", plan.EngineUnreachable},
		{"port closed", "tcp://127.0.0.1:1", "nothing listens there", "start", plan.EngineUnreachable},
		{"another server", tcp(other), "404 page not found", "not as a Docker Engine", plan.EngineUnfit},
		{"too old", tcp(old), "too old: it speaks API 1.40, needed is 1.41", "update", plan.EngineUnfit},
		{"ssh", "ssh://nobody@127.0.0.1:1", "no Docker Engine at ssh://nobody@127.0.0.1:1", "ssh -p 1 nobody@127.0.0.1 docker version", plan.EngineUnreachable},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := engine.Open(engine.Options{Environ: []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + dir, "DOCKER_HOST=" + c.host}})
			if err != nil {
				t.Fatal(err)
			}
			closing(t, client)
			_, ping := client.Ping(t.Context())
			_, observe := client.Observe(t.Context(), plan.Query{Project: "x"})
			for _, err := range []error{ping, observe} {
				if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(remedy.HintOf(err), c.hint) {
					t.Errorf("error %v\nhint  %s\nwant  %s / %s", err, remedy.HintOf(err), c.want, c.hint)
				}
				if remedy.CodeOf(err) != remedy.Engine || strings.Contains(err.Error(), "%2F") {
					t.Errorf("code %d, %v", remedy.CodeOf(err), err)
				}
				if got := engine.ReasonOf(err); got != c.fault {
					t.Errorf("ReasonOf(%v) = %q, want %q", err, got, c.fault)
				}
			}
		})
	}
}

// TestNoPermissionOnTheSocketSaysWhichGroup runs this test's own program as
// another user, since for root nothing is forbidden.
func TestNoPermissionOnTheSocketSaysWhichGroup(t *testing.T) {
	if host := os.Getenv("ENGINE_TEST_PING"); host != "" {
		client, err := engine.Open(engine.Options{Environ: []string{"HOME=/", "DOCKER_HOST=" + host}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Ping(t.Context())
		fmt.Printf("fault: %s\nerror: %v\nhint: %s\n", engine.ReasonOf(err), err, remedy.HintOf(err))
		return
	}
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	// t.TempDir lies below a directory that only its owner may enter.
	dir, err := os.MkdirTemp("/var/tmp", "engine-test") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	socket, program := filepath.Join(dir, "docker.sock"), filepath.Join(dir, "ping.test")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	closing(t, l)
	binary, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	const adm = 4 // a group that Debian's base system has
	for _, c := range []struct {
		name string
		mode os.FileMode
		gid  int
		want string
	}{
		{"group", 0o660, adm, "nobody is not in the group adm: sudo usermod -aG adm nobody"},
		{"owner only", 0o600, adm, "the socket belongs to another user"},
		{"root", 0o660, 0, "the socket is root's: run with sudo"},
	} {
		if err := errors.Join(os.Chown(socket, 0, c.gid), os.Chmod(socket, c.mode)); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(program, "-test.short", "-test.run", t.Name())
		cmd.Env, cmd.Dir = []string{"ENGINE_TEST_PING=unix://" + socket}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		want := "fault: forbidden\nerror: no Docker Engine at unix://" + socket + ": permission denied\nhint: " + c.want
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s\nwant %s", c.name, err, out, want)
		}
	}
}

func TestAnEngineThatAnswersIsNoFault(t *testing.T) {
	b := newBench(t)
	if _, err := b.Ping(t.Context()); engine.ReasonOf(err) != plan.EngineOK {
		t.Errorf("ReasonOf(%v) = %q", err, engine.ReasonOf(err))
	}
	pinned, err := engine.Open(engine.Options{Environ: []string{"HOME=/", "DOCKER_HOST=" + b.Endpoint(), "DOCKER_API_VERSION=9.9"}})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, pinned)
	_, err = pinned.Ping(t.Context())
	if got := engine.ReasonOf(err); got != plan.EngineUnnamed {
		t.Errorf("ReasonOf(%v) = %q, want %q", err, got, plan.EngineUnnamed)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	slow, err := engine.Open(engine.Options{Environ: []string{"HOME=/", "DOCKER_HOST=" + b.Endpoint()}})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, slow)
	_, err = slow.Version(late)
	if got := engine.ReasonOf(err); got != plan.EngineUnreachable {
		t.Errorf("ReasonOf(%v) = %q, want %q", err, got, plan.EngineUnreachable)
	}
}

// gate passes connections on to the real Engine until it is shut.
type gate struct {
	listener net.Listener
	engine   string

	mu    sync.Mutex
	open  []net.Conn
	going sync.WaitGroup
}

func newGate(t *testing.T, engineSocket string) *gate {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "gate.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, engine: engineSocket}
	g.going.Go(g.accept)
	t.Cleanup(g.shut)
	return g
}

func (g *gate) accept() {
	for {
		in, err := g.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("unix", g.engine)
		if err != nil {
			_ = in.Close() // the Engine is not there
			continue
		}
		g.mu.Lock()
		g.open = append(g.open, in, out)
		g.mu.Unlock()
		// How a connection ends is what the test is about.
		g.going.Go(func() { _, _ = io.Copy(out, in) })
		g.going.Go(func() { _, _ = io.Copy(in, out) })
	}
}

// shut is what a killed Engine looks like.
func (g *gate) shut() {
	_ = g.listener.Close() // a second time when the test ends
	g.mu.Lock()
	for _, c := range g.open {
		_ = c.Close() // likewise
	}
	g.mu.Unlock()
	g.going.Wait()
}

func TestAnEngineThatGoesAwayEndsStreamsAsUnavailable(t *testing.T) {
	b := newBench(t)
	id := b.start(b.service("mosquitto", "serve"))
	g := newGate(t, strings.TrimPrefix(b.Endpoint(), "unix://"))
	through, err := engine.Open(engine.Options{Environ: []string{"HOME=/", "DOCKER_HOST=unix://" + g.listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, through)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ready, results := make(chan struct{}, 64), make(chan error, 2)
	go func() {
		results <- through.Logs(ctx, id, plan.LogOptions{Tail: -1, Follow: true}, func(plan.LogLine) error { ready <- struct{}{}; return nil })
	}()
	go func() {
		results <- through.Events(ctx, b.project, time.Now().Add(-time.Hour), func(plan.EngineEvent) error { ready <- struct{}{}; return nil })
	}()
	for range 3 { // the line "ready", and at least create and start
		select {
		case <-ready:
		case <-ctx.Done():
			t.Fatal("the streams show nothing")
		}
	}
	g.shut()
	for range 2 {
		if err := <-results; !engine.IsUnavailable(err) {
			t.Errorf("stream of an Engine that went away: %v", err)
		} else {
			t.Log(err)
		}
	}
	if _, err := through.Inspect(ctx, id); !engine.IsUnavailable(err) || strings.Contains(err.Error(), "%2F") {
		t.Errorf("a call afterwards: %v", err)
	} else {
		t.Log(err)
	}
}
