package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"mqtunnel/internal/plan"
)

// manifestsAPI is the first API whose image inspect lists platform manifests.
const manifestsAPI = "1.48"

// Image looks up an image by reference and reports whether the Engine has it.
// Where the Engine keeps several platforms under one reference, platform
// ("linux/arm64") chooses, "" is the Engine's own.
func (c *Client) Image(ctx context.Context, ref, platform string) (plan.Image, bool, error) {
	docker, err := c.api(ctx)
	if err != nil {
		return plan.Image{}, false, err
	}
	manifests := c.speaks(manifestsAPI)
	r, err := docker.ImageInspect(ctx, ref, client.ImageInspectWithManifests(manifests))
	if err != nil {
		if IsNotFound(err) {
			return plan.Image{}, false, nil
		}
		return plan.Image{}, false, fmt.Errorf("inspect image %s: %w", ref, clean(err))
	}
	img := plan.Image{ID: r.ID, Label: r.ID, OS: r.Os, Arch: r.Architecture, RepoDigests: r.RepoDigests}
	if r.Config != nil {
		for port := range r.Config.ExposedPorts {
			img.ExposedPorts = append(img.ExposedPorts, port)
		}
		slices.Sort(img.ExposedPorts)
	}
	if available := availableManifests(r.Manifests); len(available) > 0 {
		digest, err := c.chooseManifest(ctx, available, platform)
		if err != nil {
			return plan.Image{}, false, err
		}
		if digest != "" {
			img.Label = digest
		}
	}
	img.Digests = []string{img.Label}
	if img.ID != img.Label {
		img.Digests = append(img.Digests, img.ID)
	}
	return img, true, nil
}

// availableManifests keeps the manifests of images whose content is here;
// attestations and platforms that were not pulled are in the index too.
func availableManifests(all []image.ManifestSummary) []image.ManifestSummary {
	var list []image.ManifestSummary
	for _, m := range all {
		if m.Kind == image.ManifestKindImage && m.Available && m.ImageData != nil {
			list = append(list, m)
		}
	}
	return list
}

// chooseManifest is the rule of Compose since 5.5 for the image label: the
// manifest of the wanted platform, a lone one in any case, else none.
func (c *Client) chooseManifest(ctx context.Context, available []image.ManifestSummary, platform string) (string, error) {
	if len(available) == 1 {
		return available[0].ID, nil
	}
	want := parsePlatform(platform)
	if want == nil {
		info, err := c.Version(ctx)
		if err != nil {
			return "", err
		}
		want = &ocispec.Platform{OS: info.OS, Architecture: info.Arch}
	}
	for _, m := range available {
		have := m.ImageData.Platform
		if have.OS == want.OS && have.Architecture == want.Architecture && (want.Variant == "" || have.Variant == want.Variant) {
			return m.ID, nil
		}
	}
	return "", nil
}

// parsePlatform reads "linux/arm64" or "linux/arm/v7"; nil for "".
func parsePlatform(platform string) *ocispec.Platform {
	if platform == "" {
		return nil
	}
	parts := strings.SplitN(platform, "/", 3)
	p := &ocispec.Platform{OS: parts[0]}
	if len(parts) == 1 {
		// Compose takes a bare architecture too.
		return &ocispec.Platform{OS: "linux", Architecture: parts[0]}
	}
	p.Architecture = parts[1]
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p
}
