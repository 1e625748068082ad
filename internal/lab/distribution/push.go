package distribution

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/jsonmessage"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"mqtunnel/internal/lab/images"
)

// Auth returns the registry's credentials as the Engine's API takes them in its
// X-Registry-Auth header.
func (r *Registry) Auth() (string, error) {
	password, _ := r.user.Password()
	auth := registry.AuthConfig{Username: r.user.Username(), Password: password, ServerAddress: r.address}
	return registry.EncodeAuthConfig(auth)
}

// Reference returns what to pull for a NAME:TAG of this registry.
func (r *Registry) Reference(name string) string { return r.address + "/" + name }

// Push puts an image of one file with the given content into the registry under
// NAME:TAG and returns its reference. The Engine that pushes keeps nothing of it.
func (r *Registry) Push(ctx context.Context, engine *client.Client, name string, content []byte) (ref string, err error) {
	version, err := engine.ServerVersion(ctx)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	archive, err := images.Sample(r.Reference(name), version.Arch, content)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	return r.PushArchive(ctx, engine, name, archive)
}

// PushArchive is Push for an archive whose image is called Reference(name).
func (r *Registry) PushArchive(ctx context.Context, engine *client.Client, name string, archive []byte) (ref string, err error) {
	ref = r.Reference(name)
	if err := images.Load(ctx, engine, archive); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	defer func() {
		_, removeErr := engine.ImageRemove(context.WithoutCancel(ctx), ref, image.RemoveOptions{})
		err = errors.Join(err, removeErr)
	}()
	auth, err := r.Auth()
	if err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	answer, err := engine.ImagePush(ctx, ref, image.PushOptions{RegistryAuth: auth})
	if err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	err = jsonmessage.DisplayJSONMessagesStream(answer, io.Discard, 0, false, nil)
	if err := errors.Join(err, answer.Close()); err != nil {
		return "", fmt.Errorf("push %s: %w", ref, err)
	}
	return ref, nil
}

// PushIndexFor puts under NAME:TAG an index that has an image for the given
// platform only ("linux/s390x"), and returns its reference: on any other
// machine a pull finds no image.
func (r *Registry) PushIndexFor(ctx context.Context, name, platform string) (string, error) {
	repository, tag, _ := strings.Cut(name, ":")
	system, arch, _ := strings.Cut(platform, "/")
	put := func(reference, mediaType string, value any) (ocispec.Descriptor, error) {
		data, err := json.Marshal(value)
		if err != nil {
			return ocispec.Descriptor{}, err
		}
		d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
		path := "/v2/" + repository + "/manifests/" + reference
		if reference == "" {
			path = "/v2/" + repository + "/manifests/" + d.Digest.String()
		}
		_, err = r.request(ctx, http.MethodPut, path, mediaType, strings.NewReader(string(data)))
		return d, err
	}
	config, err := r.blob(ctx, repository, []byte("{}"))
	if err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	config.MediaType = ocispec.MediaTypeImageConfig
	manifest := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{}}
	manifest.SchemaVersion = 2
	d, err := put("", ocispec.MediaTypeImageManifest, manifest)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	d.Platform = &ocispec.Platform{OS: system, Architecture: arch}
	index := ocispec.Index{MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{d}}
	index.SchemaVersion = 2
	if _, err := put(tag, ocispec.MediaTypeImageIndex, index); err != nil {
		return "", fmt.Errorf("push %s: %w", name, err)
	}
	return r.Reference(name), nil
}

// blob uploads data in one piece.
func (r *Registry) blob(ctx context.Context, repository string, data []byte) (ocispec.Descriptor, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+r.upstream+"/v2/"+repository+"/blobs/uploads/", nil)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if password, set := r.user.Password(); set {
		request.SetBasicAuth(r.user.Username(), password)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	if err := answer.Body.Close(); err != nil {
		return ocispec.Descriptor{}, err
	}
	location, err := answer.Location()
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("begin an upload: status %d: %w", answer.StatusCode, err)
	}
	d := ocispec.Descriptor{Digest: digest.FromBytes(data), Size: int64(len(data))}
	query := location.Query()
	query.Set("digest", d.Digest.String())
	_, err = r.request(ctx, http.MethodPut, location.Path+"?"+query.Encode(), "application/octet-stream", strings.NewReader(string(data)))
	return d, err
}
