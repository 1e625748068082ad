// Package labtest gives tests a lab of their own, gone when the test ends.
package labtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/docker/docker/client"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
)

// Engine returns a client of the Engine until the test ends. A test that needs
// the Engine fails where there is none, and is skipped by -short alone.
func Engine(tb testing.TB) *client.Client {
	tb.Helper()
	if testing.Short() {
		tb.Skip("needs the Docker Engine")
	}
	engine, err := bench.Engine()
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := engine.Close(); err != nil {
			tb.Error(err)
		}
	})
	return engine
}

// Store returns the image store of the work tree that the test runs in.
func Store(tb testing.TB, engine *client.Client) *images.Store {
	tb.Helper()
	root, err := images.FindRoot(".")
	if err != nil {
		tb.Fatal(err)
	}
	store, err := images.Open(tb.Context(), engine, root, tb.Logf)
	if err != nil {
		tb.Fatal(err)
	}
	return store
}

// Name returns a name that no other test has, short enough for every use.
func Name(tb testing.TB) string {
	tb.Helper()
	var b [5]byte
	if _, err := rand.Read(b[:]); err != nil {
		tb.Fatal(err)
	}
	return "t" + hex.EncodeToString(b[:])
}

// Start starts a lab of the test's own. When the test ends the lab is removed,
// and so are the Compose projects that bench.ProjectName names for it, with
// their data. Name, Root, Log and Ephemeral of o are set here.
// What killed test runs have left is removed on the way.
func Start(tb testing.TB, o bench.Options) *bench.Lab {
	tb.Helper()
	engine := Engine(tb)
	root, err := images.FindRoot(".")
	if err != nil {
		tb.Fatal(err)
	}
	if err := bench.Sweep(tb.Context(), engine); err != nil {
		tb.Fatal(err)
	}
	o.Name, o.Root, o.Log, o.Ephemeral = Name(tb), root, tb.Logf, true
	lab, err := bench.Start(tb.Context(), engine, o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		// The test's own context has ended by now.
		ctx := context.WithoutCancel(tb.Context())
		if tb.Failed() {
			if text, err := lab.Log(ctx); err == nil {
				tb.Logf("the lab's log:\n%s", text)
			}
		}
		if err := errors.Join(bench.RemoveProjects(ctx, engine, lab.Name), lab.Stop(ctx)); err != nil {
			tb.Error(err)
		}
	})
	return lab
}
