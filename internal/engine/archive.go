package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/plan"
)

// CopyFiles puts files into a container, running or not, in one upload, with
// owner and mode exactly as given. Missing parent directories are made;
// directories that exist stay as they are. The upload is not atomic: a process in
// the container may see a file half written.
func (c *Client) CopyFiles(ctx context.Context, id string, files []plan.File) error {
	if len(files) == 0 {
		return nil
	}
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	archive, err := pack(files)
	if err != nil {
		return fmt.Errorf("copy files into container %s: %w", short(id), err)
	}
	// Without copyUIDGID the Engine keeps the owner of the archive; with it, it
	// would look the container's user up in a passwd that may not be there.
	err = docker.CopyToContainer(ctx, id, "/", archive, container.CopyToContainerOptions{})
	if err != nil {
		return fmt.Errorf("copy files into container %s: %w", short(id), clean(err))
	}
	return nil
}

// What a tar archive has beside the files, in bytes: for each its headers and what
// fills it up to a block, and an end.
const (
	tarEntry = 4 << 10
	tarEnd   = 1 << 10
)

// pack writes a tar archive of the files. It has no entries for directories: such
// an entry changes a directory that exists.
func pack(files []plan.File) (io.Reader, error) {
	var archive bytes.Buffer
	size := tarEnd
	for _, f := range files {
		size += len(f.Content.Reveal()) + tarEntry // only its length is looked at
	}
	archive.Grow(size)
	w := tar.NewWriter(&archive)
	now := time.Now()
	for _, f := range files {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) != f.Path || f.Path == "/" {
			return nil, fmt.Errorf("%q is not an absolute path of a file", f.Path)
		}
		content := f.Content.Reveal() // this is where a secret enters its container
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: strings.TrimPrefix(f.Path, "/"), Size: int64(len(content)),
			Mode: int64(f.Mode.Perm()), Uid: f.UID, Gid: f.GID, ModTime: now, Format: tar.FormatPAX,
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.Path, err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.Path, err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("pack files: %w", err)
	}
	return &archive, nil
}

// ReadFile reads a regular file out of a container, running or not, and reports
// whether it is there. A file larger than limit bytes is an error. The error
// satisfies IsNotFound when the container does not exist.
func (c *Client) ReadFile(ctx context.Context, id, path string, limit int64) (data []byte, found bool, err error) {
	docker, err := c.api(ctx)
	if err != nil {
		return nil, false, err
	}
	body, stat, err := docker.CopyFromContainer(ctx, id, path)
	if IsNotFound(err) {
		// The answer does not tell which of the two is missing.
		if _, err := c.Inspect(ctx, id); err != nil {
			return nil, false, err
		}
		return nil, false, nil
	}
	what := fmt.Sprintf("read %s in container %s", path, short(id))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", what, clean(err))
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	switch {
	case !stat.Mode.IsRegular():
		return nil, false, fmt.Errorf("%s: not a regular file", what)
	case stat.Size > limit:
		return nil, false, fmt.Errorf("%s: %d bytes, more than %d", what, stat.Size, limit)
	}
	archive := tar.NewReader(body)
	if _, err := archive.Next(); err != nil {
		return nil, false, fmt.Errorf("%s: %w", what, clean(err))
	}
	data, err = io.ReadAll(io.LimitReader(archive, limit))
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", what, clean(err))
	}
	return data, true, nil
}
