package probe_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// passwordHash is password as mosquitto_passwd writes it.
const passwordHash = "$7$101$bXF0dW5uZWwtdGVz$78c5p0l4QDRlC7LRDzpEQPNAlGS2IGhjFjFxrMLrcz9NJ9pv9tB55TC6/98t6FV3QoJ5e6o+dKL8OAaWVRUyIg=="

// mosquitto returns the command line of a real Mosquitto: the lab's image of that
// version, unpacked.
func mosquitto(t *testing.T, version string) []string {
	t.Helper()
	engine := labtest.Engine(t)
	image, err := labtest.Store(t, engine).Mosquitto(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	c, err := engine.ContainerCreate(t.Context(), &container.Config{Image: image.Ref}, nil, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Error(err)
		}
	})
	dir := t.TempDir()
	content, _, err := engine.CopyFromContainer(t.Context(), c.ID, "/usr")
	if err != nil {
		t.Fatal(err)
	}
	unpack := exec.Command("tar", "-C", dir, "-x", "--no-same-owner")
	unpack.Stdin = content
	out, err := unpack.CombinedOutput()
	if err := errors.Join(err, content.Close()); err != nil {
		t.Fatalf("unpack %s: %v: %s", image.Ref, err, out)
	}
	libraries, err := filepath.Glob(filepath.Join(dir, "usr", "lib", "*-linux-gnu*"))
	if err != nil {
		t.Fatal(err)
	}
	// With the C library that it was built for.
	loaders, err := filepath.Glob(filepath.Join(dir, "usr", "lib*", "ld-linux*"))
	if err != nil || len(loaders) == 0 {
		loaders, err = filepath.Glob(filepath.Join(dir, "usr", "lib", "*-linux-gnu*", "ld-linux*"))
	}
	if err != nil || len(loaders) == 0 {
		t.Fatalf("%s has no loader, %v", image.Ref, err)
	}
	return []string{loaders[0], "--library-path", strings.Join(libraries, ":"), filepath.Join(dir, "usr/sbin/mosquitto")}
}

// everyVersion runs a test against each Mosquitto that there is.
func everyVersion(t *testing.T, test func(*testing.T, string)) {
	t.Helper()
	for _, version := range images.Versions() {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

// realBroker starts Mosquitto with a password file and an ACL, and returns
// targets for its listeners.
func realBroker(t *testing.T, version, settings string) (webSocket, plain probe.Target) {
	t.Helper()
	command := mosquitto(t, version)
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	webSocketAddress, plainAddress := closedPort(t), closedPort(t)
	passwords := write("passwd", username+":"+passwordHash+"\n")
	acl := write("acl", "user "+username+"\ntopic readwrite "+topic+"\ntopic write mute\n")
	listener := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return "listener " + port + " 127.0.0.1\nsocket_domain ipv4\n"
	}
	config := write("m.conf", "user root\npassword_file "+passwords+"\nacl_file "+acl+"\n"+settings+"\n"+
		listener(plainAddress)+listener(webSocketAddress)+"protocol websockets\n")
	ctx, cancel := context.WithCancel(context.Background())
	broker := exec.CommandContext(ctx, command[0], append(command[1:], "-c", config, "-v")...)
	var log bytes.Buffer
	broker.Stdout, broker.Stderr = &log, &log
	if err := broker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = broker.Wait() // killed
		if t.Failed() {
			t.Log(log.String())
		}
	})
	webSocket, plain = to("ws", webSocketAddress), to("mqtt", plainAddress)
	until := within(t, 10*time.Second)
	for _, target := range []probe.Target{plain, webSocket} {
		for probe.ClassOf(func() error { _, err := probe.Refused(until, target); return err }()) == probe.ClassRefused {
			if until.Err() != nil {
				t.Fatalf("Mosquitto %s does not listen", version)
			}
		}
	}
	return webSocket, plain
}

func TestARealMosquittoIsUnderstood(t *testing.T) { everyVersion(t, isUnderstood) }

func isUnderstood(t *testing.T, version string) {
	t.Helper()
	webSocket, plain := realBroker(t, version, "allow_anonymous false")
	for name, target := range map[string]probe.Target{"WebSocket": webSocket, "plain": plain} {
		result, err := probe.RoundTrip(within(t, 10*time.Second), target, topic)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		t.Logf("%s: total %v, message %v, stages %v", name, result.Total, result.Message, result.Stages)

		refused, err := probe.Refused(within(t, 10*time.Second), target)
		if err != nil || !refused {
			t.Errorf("%s, anonymous: refused %v, %v", name, refused, err)
		}

		wrong := target
		wrong.Password = secret.New("wrong")
		_, err = probe.RoundTrip(within(t, 10*time.Second), wrong, topic)
		if e, _ := errors.AsType[*probe.Error](err); e == nil || e.Class != probe.ClassNotAuthorised || e.ReasonCode != 0x87 {
			t.Errorf("%s, wrong password: %v", name, err)
		}

		// 2.0 lets the account subscribe to what it may not read, and delivers nothing.
		short := within(t, 2*time.Second)
		_, err = probe.RoundTrip(short, target, "mute")
		if class := probe.ClassOf(err); class != probe.ClassNotReturned && class != probe.ClassSubscribeDenied {
			t.Errorf("%s, unreadable topic: %v", name, err)
		}
		_, err = probe.RoundTrip(within(t, 3*time.Second), target, "elsewhere")
		if class := probe.ClassOf(err); class != probe.ClassPublishDenied && class != probe.ClassSubscribeDenied {
			t.Errorf("%s, foreign topic: %v", name, err)
		}
	}
}

func TestTheProbeUnderstandsARealMosquitto(t *testing.T) { everyVersion(t, probeUnderstands) }

func probeUnderstands(t *testing.T, version string) {
	t.Helper()
	webSocket, plain := realBroker(t, version, "allow_anonymous true\nsys_interval 1")
	req := probe.Request{
		Broker: "127.0.0.1", Username: username, Password: secret.New(password), Topic: topic,
		WebSocketPort: portOf(t, webSocket.ConnectTo[0].ToHost+":"+webSocket.ConnectTo[0].ToPort),
		PlainPort:     portOf(t, plain.ConnectTo[0].ToHost+":"+plain.ConnectTo[0].ToPort),
	}
	report := probe.Run(t.Context(), req, nil)
	t.Logf("took %v", report.Took)
	found := report.Findings(probe.Expect{})
	if !report.RoundTrip.OK || len(found) != 2 || found[0].Class != probe.ClassAnonymousAccepted {
		t.Errorf("round trip %+v, findings %+v", report.RoundTrip, found)
	}
	// The plain port for the WebSocket one: what a mistyped service URL meets.
	req.WebSocketPort = req.PlainPort
	report = probe.Run(t.Context(), req, nil)
	if got := probe.ClassOf(fmt.Errorf("probe: %w", report.RoundTrip.Error)); got != probe.ClassClosed {
		t.Errorf("WebSocket on the plain port: %v", report.RoundTrip.Error)
	}
}
