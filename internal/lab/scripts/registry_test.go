//go:build linux

package scripts_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/rogpeppe/go-internal/testscript"

	"mqtunnel/internal/lab/distribution"
)

// served is a registry of the script's own.
type served struct {
	*distribution.Registry

	s    *script
	once sync.Once
}

// registry runs a real registry on loopback, $REG:
//
//	registry start [USER:PASSWORD]
//	registry broker NAME:TAG           push the broker with one more layer
//	registry elsewhere NAME:TAG OS/ARCH
//	registry limit TEXT                answer as one whose rate limit is reached
//	registry slow BYTES                a second
//	registry vanish BYTES              when so much of a blob was sent
func registry(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 || args[0] != "start" && (s.served == nil || len(args) < 2) {
		ts.Fatalf("usage: registry start | broker | elsewhere | limit | slow | vanish")
	}
	ctx := s.tb.Context()
	switch args[0] {
	case "start":
		o := distribution.Options{Dir: s.tb.TempDir()}
		if len(args) > 1 {
			o.Username, o.Password, _ = strings.Cut(args[1], ":")
		}
		program, err := s.store.Registry(ctx)
		ts.Check(err)
		r, err := distribution.Start(ctx, program, o)
		ts.Check(err)
		s.served = &served{Registry: r, s: s}
		ts.Setenv("REG", r.Address())
	case "broker":
		ts.Check(s.served.broker(ctx, args[1]))
	case "elsewhere":
		_, err := s.served.PushIndexFor(ctx, args[1], args[2])
		ts.Check(err)
	case "limit":
		s.served.SetFaults(distribution.Faults{Status: 429, Code: "TOOMANYREQUESTS", Message: args[1]})
	case "slow":
		s.served.SetFaults(distribution.Faults{BytesPerSecond: number(ts, args[1])})
	case "vanish":
		n, err := strconv.Atoi(args[1])
		ts.Check(err)
		s.served.SetFaults(distribution.Faults{BytesPerSecond: n, CutAfter: n, Cut: func() {
			go s.served.end() // it waits for the very request that calls this
		}})
	default:
		ts.Fatalf("registry %s: no such verb", args[0])
	}
}

// extraBytes is the size of the layer that a pull has to fetch.
const extraBytes = 4_000_000

// broker pushes the lab's broker with a layer that the Engine does not have.
func (r *served) broker(ctx context.Context, name string) (err error) {
	engine, ref := r.s.engine, r.Reference(name)
	c, err := engine.ContainerCreate(ctx, &container.Config{Image: r.s.lab.Mosquitto}, nil, nil, nil, "")
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}))
	}()
	content := make([]byte, extraBytes)
	if _, err := io.ReadFull(rand.Reader, content); err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err = errors.Join(w.WriteHeader(&tar.Header{Name: "extra", Mode: 0o644, Size: extraBytes}), write(w, content), w.Close())
	if err != nil {
		return err
	}
	if err := engine.CopyToContainer(ctx, c.ID, "/", &layer, container.CopyToContainerOptions{}); err != nil {
		return err
	}
	if _, err := engine.ContainerCommit(ctx, c.ID, container.CommitOptions{Reference: ref}); err != nil {
		return err
	}
	saved, err := engine.ImageSave(ctx, []string{ref})
	if err != nil {
		return err
	}
	archive, err := io.ReadAll(saved)
	if err = errors.Join(err, saved.Close()); err != nil {
		return err
	}
	if _, err := engine.ImageRemove(ctx, ref, image.RemoveOptions{}); err != nil {
		return err
	}
	_, err = r.PushArchive(ctx, engine, name, archive)
	return err
}

func write(w io.Writer, data []byte) error {
	_, err := w.Write(data)
	return err
}

// end ends the registry.
func (r *served) end() {
	r.once.Do(func() {
		if err := r.Stop(); err != nil {
			r.s.tb.Log(err)
		}
	})
}

// stop ends the registry and removes what was pulled from it.
func (r *served) stop(ctx context.Context) error {
	r.end()
	list, err := r.s.engine.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("reference", r.Address()+"/*/*"))})
	for _, i := range list {
		for _, tag := range i.RepoTags {
			_, rerr := r.s.engine.ImageRemove(ctx, tag, image.RemoveOptions{Force: true})
			err = errors.Join(err, rerr)
		}
	}
	return err
}
