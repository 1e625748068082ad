package engine_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

// registry serves one image "good" of two layers, and names that fail in the
// ways of real registries.
type registry struct {
	t       *testing.T
	private bool // asks for a login
	blobs   map[string][]byte
	good    []byte
}

func newRegistry(t *testing.T, private bool) *httptest.Server {
	t.Helper()
	r := &registry{t: t, private: private, blobs: map[string][]byte{}}
	layers := []any{}
	diffs := []string{}
	for i := range 2 {
		plain := layerOf(t, fmt.Sprintf("file%d", i), 5_000_000)
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		if _, err := z.Write(plain); err != nil {
			t.Fatal(err)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		diffs = append(diffs, digest(plain))
		layers = append(layers, r.blob("application/vnd.docker.image.rootfs.diff.tar.gzip", packed.Bytes()))
	}
	config := r.json(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	r.good = r.json(map[string]any{
		"schemaVersion": 2, "mediaType": manifestType,
		"config": r.blob("application/vnd.docker.container.image.v1+json", config), "layers": layers,
	})
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return s
}

func layerOf(t *testing.T, name string, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := make([]byte, size)
	rand.Read(content)
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

func (r *registry) json(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

func (r *registry) blob(mediaType string, content []byte) map[string]any {
	d := digest(content)
	r.blobs[d] = content
	return map[string]any{"mediaType": mediaType, "size": len(content), "digest": d}
}

func (r *registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	name, rest, _ := strings.Cut(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	fail := func(status int, code, message string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		write(w, fmt.Appendf(nil, `{"errors":[{"code":%q,"message":%q}]}`, code, message))
	}
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("me:hunter2"))
	switch {
	case r.private && req.Header.Get("Authorization") != login:
		w.Header().Set("WWW-Authenticate", `Basic realm="registry"`)
		fail(http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	case name == "":
	case name == "limited":
		fail(http.StatusTooManyRequests, "TOOMANYREQUESTS", "You have reached your pull rate limit.")
	case name == "broken":
		fail(http.StatusServiceUnavailable, "UNAVAILABLE", "try later")
	case name == "foreign":
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.list.v2+json")
		write(w, r.json(map[string]any{
			"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
			"manifests": []any{map[string]any{
				"mediaType": manifestType, "size": len(r.good), "digest": digest(r.good),
				"platform": map[string]any{"os": "linux", "architecture": "s390x"},
			}},
		}))
	case strings.HasPrefix(rest, "blobs/") && r.blobs[strings.TrimPrefix(rest, "blobs/")] != nil:
		blob := r.blobs[strings.TrimPrefix(rest, "blobs/")]
		w.Header().Set("Content-Length", fmt.Sprint(len(blob)))
		write(w, blob)
	case name == "good" && (rest == "manifests/1" || rest == "manifests/"+digest(r.good)):
		w.Header().Set("Content-Type", manifestType)
		w.Header().Set("Docker-Content-Digest", digest(r.good))
		write(w, r.good)
	default:
		fail(http.StatusNotFound, "MANIFEST_UNKNOWN", "manifest unknown")
	}
}

// write answers a request; that the Engine has hung up is its own affair.
func write(w http.ResponseWriter, b []byte) { _, _ = w.Write(b) }

func TestPullShowsProgressAndSaysWhatWentWrong(t *testing.T) {
	b := newBench(t)
	host := newRegistry(t, false).Listener.Addr().String()
	private := newRegistry(t, true).Listener.Addr().String()
	config := filepath.Join(t.TempDir(), "config.json")
	writeJSON(t, config, map[string]any{"auths": map[string]any{
		private: map[string]any{"auth": base64.StdEncoding.EncodeToString([]byte("me:hunter2"))},
	}})
	knows, err := engine.Open(engine.Options{Environ: []string{"DOCKER_HOST=" + b.Endpoint(), "DOCKER_CONFIG=" + filepath.Dir(config)}})
	if err != nil {
		t.Fatal(err)
	}
	closing(t, knows)
	pulled := []string{host + "/good:1", private + "/good:1"}
	defer removeImages(t, pulled)

	var last plan.PullProgress
	count := 0
	if err := b.Pull(t.Context(), pulled[0], "", func(p plan.PullProgress) { last, count = p, count+1 }); err != nil {
		t.Fatal(err)
	}
	if last.Ref != pulled[0] || last.Layers != 2 || last.LayersDone != 2 || last.Done < 10_000_000 || last.Done != last.Total || count < 5 {
		t.Errorf("after %d reports: %+v", count, last)
	}
	if img, found, err := b.Image(t.Context(), pulled[0], ""); err != nil || !found || len(img.RepoDigests) != 1 || img.Label == "" {
		t.Errorf("Image = %+v, %v, %v", img, found, err)
	}
	if err := knows.Pull(t.Context(), pulled[1], "", func(plan.PullProgress) {}); err != nil {
		t.Errorf("pull with stored credentials: %v", err)
	}

	for _, c := range []struct {
		ref, platform string
		code          remedy.Code
		want, hint    string
	}{
		{host + "/good:2", "", remedy.Input, "manifest unknown", "no such image or tag"},
		{private + "/good:1", "", remedy.Input, "no basic auth credentials", "docker login"},
		{host + "/limited:1", "", remedy.Failed, "toomanyrequests", "limits pulls"},
		{host + "/foreign:1", "linux/arm/v7", remedy.Input, "no matching manifest for linux/arm/v7", "no cloudflared image for 32-bit ARM"},
		{host + "/foreign:1", "", remedy.Input, "no matching manifest for linux/", "does not exist for linux/" + runtime.GOARCH},
		{host + "/broken:1", "", remedy.Failed, "503 Service Unavailable", "connection to the registry broke"},
		{"127.0.0.1:1/x:1", "", remedy.Failed, "connection refused", "cannot reach the registry"},
		{"Not A Name", "", remedy.Input, "invalid reference format", "name:tag"},
	} {
		err := b.Pull(t.Context(), c.ref, c.platform, func(plan.PullProgress) {})
		if err == nil || !strings.HasPrefix(err.Error(), "pull "+c.ref+": ") || !strings.Contains(err.Error(), c.want) ||
			remedy.CodeOf(err) != c.code || !strings.Contains(remedy.HintOf(err), c.hint) || strings.Contains(err.Error(), "%2F") {
			t.Errorf("pull %s %s: %v (code %d, hint %q)\nwant %q, code %d, hint %q", c.ref, c.platform, err, remedy.CodeOf(err), remedy.HintOf(err), c.want, c.code, c.hint)
		}
	}
}

func removeImages(t *testing.T, refs []string) {
	t.Helper()
	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := docker.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, ref := range refs {
		if _, err := docker.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}); err != nil {
			t.Error(err)
		}
	}
}
