package proof

import (
	"path/filepath"
	"testing"

	"github.com/docker/docker/client"

	"mqtunnel/internal/lab/labtest"
)

func TestAnEngineSaysOtherWordsUntilItIsTruthful(t *testing.T) {
	b := &Bench{Engine: labtest.Engine(t)}
	real, err := b.Engine.ServerVersion(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "docker.sock")
	d, err := b.double(t.Context(), path, 0o600, map[string]string{real.Arch: "arm", real.APIVersion: "1.39"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	says := func() (arch, api string) {
		t.Helper()
		docker, err := client.NewClientWithOpts(client.WithHost("unix://"+path), client.WithAPIVersionNegotiation())
		if err != nil {
			t.Fatal(err)
		}
		v, err := docker.ServerVersion(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := docker.Close(); err != nil {
			t.Error(err)
		}
		return v.Arch, v.APIVersion
	}
	if arch, api := says(); arch != "arm" || api != "1.39" {
		t.Errorf("it says %s and %s, want arm and 1.39", arch, api)
	}
	d.truthful()
	if arch, api := says(); arch != real.Arch || api != real.APIVersion {
		t.Errorf("it says %s and %s, want %s and %s", arch, api, real.Arch, real.APIVersion)
	}
}
