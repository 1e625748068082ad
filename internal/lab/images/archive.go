package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// archive returns an image of one layer as "docker load" takes it: the format of
// "docker save", which every Engine reads, with or without the containerd store.
func archive(ref, arch string, config ocispec.ImageConfig, layer []byte) ([]byte, error) {
	made := madeAt()
	image, err := json.Marshal(ocispec.Image{
		Created:  &made,
		Platform: ocispec.Platform{Architecture: arch, OS: "linux"},
		Config:   config,
		RootFS:   ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{digest.FromBytes(layer)}},
		History:  []ocispec.History{{Created: &made, CreatedBy: "mqtunnel-lab"}},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the image's configuration: %w", err)
	}
	configName, layerName := hexSum(image)+".json", hexSum(layer)+"/layer.tar"
	manifest, err := json.Marshal([]map[string]any{{
		"Config": configName, "RepoTags": []string{ref}, "Layers": []string{layerName},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode the image's manifest: %w", err)
	}

	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range []struct {
		name string
		data []byte
	}{{configName, image}, {layerName, layer}, {"manifest.json", manifest}} {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.data)), ModTime: made, Typeflag: tar.TypeReg}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("write %s to the archive: %w", f.name, err)
		}
		if _, err := w.Write(f.data); err != nil {
			return nil, fmt.Errorf("write %s to the archive: %w", f.name, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("close the archive: %w", err)
	}
	return slices.Clip(out.Bytes()), nil
}

// Sample returns an archive of an image under ref that holds content as its one
// file: something to pull, of the size that a test wants.
func Sample(ref, arch string, content []byte) ([]byte, error) {
	t := tree{}
	t.file("sample", 0o644, content)
	layer, err := t.layer()
	if err != nil {
		return nil, err
	}
	return archive(ref, arch, ocispec.ImageConfig{Cmd: []string{"/sample"}}, layer)
}
