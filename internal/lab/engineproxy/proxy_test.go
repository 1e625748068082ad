package engineproxy_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"

	"mqtunnel/internal/lab/engineproxy"
	"mqtunnel/internal/lab/labtest"
)

// proxied returns a proxy of the Engine and a client that goes through it.
func proxied(t *testing.T) (*engineproxy.Proxy, *client.Client) {
	t.Helper()
	p, err := engineproxy.Listen(t.Context(), engineproxy.Options{
		Socket: filepath.Join(t.TempDir(), "docker.sock"), Dial: labtest.Engine(t).Dialer(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	docker, err := client.NewClientWithOpts(client.WithHost(p.Host()), client.WithVersion("1.41"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() }) // idle connections end with the proxy
	return p, docker
}

func TestCallsPassAndAreListed(t *testing.T) {
	p, docker := proxied(t)
	if _, err := docker.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.VolumeInspect(t.Context(), labtest.Name(t)+"-no-such"); !errdefs.IsNotFound(err) {
		t.Errorf("an error of the Engine came as %v", err)
	}
	var got []string
	for _, c := range p.Calls() {
		if c.Changes() {
			t.Errorf("%s is taken for a change", c)
		}
		got = append(got, c.Method+" "+strings.Split(c.Path, "/")[1])
	}
	if want := []string{"HEAD _ping", "GET volumes"}; !slices.Equal(got, want) {
		t.Errorf("calls %q, want %q", got, want)
	}
	p.Forget()
	if left := p.Calls(); len(left) != 0 {
		t.Errorf("forgotten, and still there: %v", left)
	}
}

func TestAFaultStrikesWhenItIsSaid(t *testing.T) {
	type expectation struct {
		there  bool   // the volume exists
		failed string // words of the error, "" for none
	}
	for name, c := range map[string]struct {
		fault engineproxy.Fault
		want  expectation
	}{
		"cut before":      {engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Cut}, expectation{false, "EOF"}},
		"cut after":       {engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Cut}, expectation{true, "EOF"}},
		"cut in the body": {engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.CutBody}, expectation{true, "EOF"}},
		"fail before":     {engineproxy.Fault{Moment: engineproxy.Before, Then: engineproxy.Fail}, expectation{false, engineproxy.ErrorMessage}},
		"fail after":      {engineproxy.Fault{Moment: engineproxy.After, Then: engineproxy.Fail}, expectation{true, engineproxy.ErrorMessage}},
		"half a request":  {engineproxy.Fault{Moment: engineproxy.During, Then: engineproxy.Cut}, expectation{false, "EOF"}},
		"a delay":         {engineproxy.Fault{Moment: engineproxy.During, Delay: 300 * time.Millisecond}, expectation{true, ""}},
	} {
		t.Run(name, func(t *testing.T) {
			p, docker := proxied(t)
			volumeName := labtest.Name(t)
			ctx := context.WithoutCancel(t.Context())
			t.Cleanup(func() { _ = labtest.Engine(t).VolumeRemove(ctx, volumeName, true) }) // where it was made
			var struck atomic.Int32
			c.fault.Call, c.fault.Strike = 2, func() { struck.Add(1) }
			p.Arm(c.fault)
			if _, err := docker.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, hit := p.Struck(); hit {
				t.Error("the first call was struck, not the second")
			}
			start := time.Now()
			_, err := docker.VolumeCreate(t.Context(), volume.CreateOptions{Name: volumeName})
			if c.want.failed == "" && err != nil || c.want.failed != "" && (err == nil || !strings.Contains(err.Error(), c.want.failed)) {
				t.Errorf("error %v, want %q", err, c.want.failed)
			}
			if took := time.Since(start); took < c.fault.Delay {
				t.Errorf("held up for %v, want %v", took, c.fault.Delay)
			}
			if call, hit := p.Struck(); !hit || struck.Load() != 1 || call.Path != "/volumes/create" {
				t.Errorf("struck %d times, last %v", struck.Load(), call)
			}
			list, err := labtest.Engine(t).VolumeList(t.Context(), volume.ListOptions{Filters: filters.NewArgs(filters.Arg("name", volumeName))})
			if err != nil {
				t.Fatal(err)
			}
			if there := len(list.Volumes) == 1; there != c.want.there {
				t.Errorf("the volume exists: %v, want %v", there, c.want.there)
			}
			if _, err := docker.Ping(t.Context()); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}
