package distribution_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"go.uber.org/goleak"

	"mqtunnel/internal/lab/distribution"
	"mqtunnel/internal/lab/labtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, o distribution.Options) (*distribution.Registry, *client.Client) {
	t.Helper()
	engine := labtest.Engine(t)
	program, err := labtest.Store(t, engine).Registry(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o.Dir = t.TempDir()
	r, err := distribution.Start(t.Context(), program, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
	})
	return r, engine
}

// pull pulls and removes again.
func pull(t *testing.T, engine *client.Client, ref, auth string) (progress string, err error) {
	t.Helper()
	answer, err := engine.ImagePull(t.Context(), ref, image.PullOptions{RegistryAuth: auth})
	if err != nil {
		return "", err
	}
	var seen bytes.Buffer
	err = jsonmessage.DisplayJSONMessagesStream(answer, &seen, 0, false, nil)
	if err := errors.Join(err, answer.Close()); err != nil {
		return seen.String(), err
	}
	_, err = engine.ImageRemove(t.Context(), ref, image.RemoveOptions{})
	return seen.String(), err
}

func random(t *testing.T, size int) []byte {
	t.Helper()
	content := make([]byte, size)
	if _, err := io.ReadFull(rand.Reader, content); err != nil {
		t.Fatal(err)
	}
	return content
}

func TestWhatWasPushedCanBePulled(t *testing.T) {
	r, engine := start(t, distribution.Options{})
	ref, err := r.Push(t.Context(), engine, "sample/one:1", random(t, 100_000))
	if err != nil {
		t.Fatal(err)
	}
	if progress, err := pull(t, engine, ref, ""); err != nil || !strings.Contains(progress, "Pull complete") {
		t.Errorf("pull %s: %v\n%s", ref, err, progress)
	}
	if _, err := pull(t, engine, r.Reference("sample/none:1"), ""); err == nil || !strings.Contains(err.Error(), "not found") && !strings.Contains(err.Error(), "unknown") {
		t.Errorf("pull of a missing image: %v", err)
	}
}

func TestAPasswordIsAskedFor(t *testing.T) {
	r, engine := start(t, distribution.Options{Username: "alice", Password: "correct-horse"})
	ref, err := r.Push(t.Context(), engine, "sample/guarded:1", random(t, 10_000))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, engine, ref, ""); err == nil || !strings.Contains(err.Error(), "no basic auth credentials") {
		t.Errorf("pull without credentials: %v", err)
	}
	auth, err := r.Auth()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, engine, ref, auth); err != nil {
		t.Errorf("pull with credentials: %v", err)
	}
}

func TestARegistryCanVanishInTheMiddleOfABlob(t *testing.T) {
	r, engine := start(t, distribution.Options{})
	ref, err := r.Push(t.Context(), engine, "sample/big:1", random(t, 4_000_000))
	if err != nil {
		t.Fatal(err)
	}
	gone := make(chan struct{})
	r.SetFaults(distribution.Faults{BytesPerSecond: 4_000_000, CutAfter: 1_000_000, Cut: func() {
		close(gone)
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	answer, err := engine.ImagePull(ctx, ref, image.PullOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Close() }() // it is cut off
	var seen bytes.Buffer
	for scan := bufio.NewScanner(io.TeeReader(answer, &seen)); scan.Scan(); {
		select {
		case <-gone:
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		default:
		}
		// The Engine tries five times more, for over a minute in all.
		if strings.Contains(scan.Text(), "Retrying in") {
			return
		}
	}
	t.Errorf("the Engine did not miss the registry:\n%s", seen.String())
}

func TestTheRateLimitIsAnswered(t *testing.T) {
	r, engine := start(t, distribution.Options{})
	ref, err := r.Push(t.Context(), engine, "sample/limited:1", random(t, 1000))
	if err != nil {
		t.Fatal(err)
	}
	const message = "You have reached your pull rate limit."
	r.SetFaults(distribution.Faults{Status: 429, Code: "TOOMANYREQUESTS", Message: message})
	if _, err := pull(t, engine, ref, ""); err == nil || !strings.Contains(err.Error(), message) {
		t.Errorf("pull at the rate limit: %v, want %q", err, message)
	}
}

func TestAnIndexMayLackThePlatform(t *testing.T) {
	r, engine := start(t, distribution.Options{})
	ref, err := r.PushIndexFor(t.Context(), "sample/elsewhere:1", "linux/mips64le")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, engine, ref, ""); err == nil || !strings.Contains(err.Error(), "no matching manifest for linux/") {
		t.Errorf("pull of an image for another platform: %v", err)
	}
}
