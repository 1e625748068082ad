package engine_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// dockerDir writes a Docker configuration directory: its current context, if
// any, and contexts by name and host.
func dockerDir(t *testing.T, current string, contexts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	writeJSON(t, filepath.Join(dir, "config.json"), map[string]any{"currentContext": current})
	for name, host := range contexts {
		id := sha256.Sum256([]byte(name))
		writeJSON(t, filepath.Join(dir, "contexts", "meta", hex.EncodeToString(id[:]), "meta.json"), map[string]any{
			"Name": name, "Metadata": map[string]any{},
			"Endpoints": map[string]any{"docker": map[string]any{"Host": host, "SkipTLSVerify": false}},
		})
	}
	return dir
}

func writeJSON(t *testing.T, file string, v any) {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestTheEndpointIsFoundAsDockerFindsIt(t *testing.T) {
	contexts := map[string]string{
		"home": "unix:///run/home.sock", "pi": "ssh://pi@raspberry:2222", "plain": "tcp://10.0.0.5:2375", "near": "tcp://127.0.0.1:2375",
	}
	none, home := dockerDir(t, "", contexts), dockerDir(t, "home", contexts)
	empty := t.TempDir()
	broken := t.TempDir()
	if err := os.WriteFile(filepath.Join(broken, "config.json"), []byte(`{"currentContext": `), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		flag string
		env  []string
		want string // endpoint, or the error
	}{
		{"nothing set", "", []string{"DOCKER_CONFIG=" + none}, "unix:///var/run/docker.sock"},
		{"no configuration", "", []string{"HOME=" + empty}, "unix:///var/run/docker.sock"},
		{"current context", "", []string{"DOCKER_CONFIG=" + home}, "unix:///run/home.sock"},
		{"variable over current", "", []string{"DOCKER_CONFIG=" + home, "DOCKER_CONTEXT=pi"}, "ssh://pi@raspberry:2222"},
		{"host over context variable", "", []string{"DOCKER_CONFIG=" + home, "DOCKER_CONTEXT=pi", "DOCKER_HOST=unix:///x"}, "unix:///x"},
		{"flag over host", "home", []string{"DOCKER_CONFIG=" + none, "DOCKER_HOST=unix:///x"}, "unix:///run/home.sock"},
		{"the default by name", "default", []string{"DOCKER_CONFIG=" + home}, "unix:///var/run/docker.sock"},
		{"the default by name is DOCKER_HOST", "default", []string{"DOCKER_CONFIG=" + home, "DOCKER_HOST=unix:///x"}, "unix:///x"},
		{"empty host is none", "", []string{"DOCKER_CONFIG=" + home, "DOCKER_HOST="}, "unix:///run/home.sock"},
		{"ssh", "", []string{"HOME=" + empty, "DOCKER_HOST=ssh://pi@raspberry"}, "ssh://pi@raspberry"},
		{"host without scheme", "", []string{"HOME=" + empty, "DOCKER_HOST=localhost"}, "tcp://localhost:2375"},
		{"loopback v6", "", []string{"HOME=" + empty, "DOCKER_HOST=tcp://[::1]:99"}, "tcp://[::1]:99"},
		{"loopback by context", "near", []string{"DOCKER_CONFIG=" + none}, "tcp://127.0.0.1:2375"},
		{"TLS", "", []string{"HOME=" + empty, "DOCKER_HOST=tcp://far", "DOCKER_TLS=1"}, "tcp://far:2376"},
		{"TLS verified without files", "", []string{"HOME=" + empty, "DOCKER_TLS_VERIFY=1"}, "tcp://localhost:2376"},
		{"missing context", "nope", []string{"DOCKER_CONFIG=" + home}, `docker context "nope" from --context does not exist`},
		{"missing context of variable", "", []string{"DOCKER_CONFIG=" + home, "DOCKER_CONTEXT=nope"}, `docker context "nope" from DOCKER_CONTEXT does not exist`},
		{"plain TCP", "", []string{"HOME=" + empty, "DOCKER_HOST=tcp://10.0.0.5"}, "the tunnel token would cross the network in clear"},
		{"plain TCP by context", "plain", []string{"DOCKER_CONFIG=" + none}, "the tunnel token would cross the network in clear"},
		{"plain TCP by looks", "", []string{"HOME=" + empty, "DOCKER_HOST=tcp://localhost.example.com"}, "the tunnel token would cross the network in clear"},
		{"unknown scheme", "", []string{"HOME=" + empty, "DOCKER_HOST=ftp://x"}, `"ftp" is no scheme`},
		{"broken configuration", "", []string{"DOCKER_CONFIG=" + broken}, "config.json"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, err := engine.Open(engine.Options{Context: c.flag, Environ: c.env})
			if err != nil {
				if !strings.Contains(err.Error(), c.want) || remedy.CodeOf(err) != remedy.Engine || remedy.HintOf(err) == "" {
					t.Errorf("error %q (code %d, hint %q), want %q", err, remedy.CodeOf(err), remedy.HintOf(err), c.want)
				}
				if got := engine.ReasonOf(err); got != plan.EngineUnnamed {
					t.Errorf("ReasonOf(%v) = %q, want %q", err, got, plan.EngineUnnamed)
				}
				return
			}
			if client.Endpoint() != c.want {
				t.Errorf("endpoint %s, want %s", client.Endpoint(), c.want)
			}
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	_, err := engine.Open(engine.Options{Context: "nope", Environ: []string{"DOCKER_CONFIG=" + home}})
	if hint := remedy.HintOf(err); hint != "contexts that exist: default, home, near, pi, plain" {
		t.Errorf("hint for a missing context: %q", hint)
	}
}
