package world_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"mqtunnel/internal/lab/control"
)

// TestAConnectorIsServedFromStartToGrace runs the stand-in, or the cloudflared that
// LAB_CLOUDFLARED names.
func TestAConnectorIsServedFromStartToGrace(t *testing.T) {
	binary := os.Getenv("LAB_CLOUDFLARED")
	if binary == "" {
		binary = filepath.Join(t.TempDir(), "cloudflared")
		if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "mqtunnel/cmd/mqtunnel-lab/connector").CombinedOutput(); err != nil {
			t.Fatalf("build the stand-in: %v\n%s", err, out)
		}
	}
	for _, protocol := range []string{"http2", "quic"} {
		t.Run(protocol, func(t *testing.T) {
			l := startLab(t)
			c := l.tunnel(t, "mqtt.example.com", echo(t).URL)
			cmd, done := l.runCloudflared(t, binary, protocol, c)
			l.waitConfigured(t, c.TunnelID)
			ws, _, err := l.dial(t)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ws.CloseNow() }()
			const messages = 500
			began := time.Now()
			for i := range messages {
				roundTrip(t, ws, fmt.Sprint(i))
			}
			t.Logf("%d round trips, %v each", messages, time.Since(began)/messages)
			for range 40 {
				other, _, err := l.dial(t)
				if err != nil {
					t.Fatal(err)
				}
				roundTrip(t, other, "x")
				_ = other.Close(websocket.StatusNormalClosure, "")
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			roundTrip(t, ws, "while it drains")
			_ = ws.Close(websocket.StatusNormalClosure, "")
			began = time.Now()
			select {
			case err := <-done:
				t.Logf("ended %v after its last WebSocket: %v", time.Since(began), err)
			case <-time.After(waitTime):
				t.Error("it does not end after its last WebSocket closed")
			}
		})
	}
}

func (l *lab) runCloudflared(t *testing.T, binary, protocol string, c control.Credentials) (*exec.Cmd, <-chan error) {
	t.Helper()
	dir := t.TempDir()
	ca, token := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "token")
	for path, text := range map[string]string{ca: string(l.World.CA()), token: c.Token.Reveal()} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var edges []string
	for i := range l.addresses {
		edges = append(edges, l.edge(i))
	}
	var log bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, "--no-autoupdate", "tunnel", "--metrics", "127.0.0.1:0", "run")
	cmd.Stderr = &log
	cmd.Env = []string{
		"TUNNEL_EDGE=" + strings.Join(edges, ","), "TUNNEL_CACERT=" + ca, "TUNNEL_TOKEN_FILE=" + token,
		"TUNNEL_TRANSPORT_PROTOCOL=" + protocol, "TUNNEL_NO_PRECHECKS=true", "TUNNEL_GRACE_PERIOD=20s", "HOME=" + dir,
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		if t.Failed() {
			t.Logf("%s", &log)
		}
	})
	return cmd, done
}

// waitConfigured waits for four connections of which the first has its configuration.
func (l *lab) waitConfigured(t *testing.T, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := l.WaitTunnel(ctx, id, func(s control.TunnelState) bool {
		return s.Connections() == 4 && s.Connectors[0].Connections[0].ConfigVersion == 0
	})
	if err != nil {
		t.Fatal(err)
	}
}
