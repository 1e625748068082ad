package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// watched is a broker of the test's own that somebody watches.
type watched struct {
	*site

	broker plan.Container
	lock   sync.Mutex // of the project

	mu      sync.Mutex
	actions []mosquitto.Action
}

func newWatched(t *testing.T, version string) *watched {
	t.Helper()
	w := &watched{site: newSite(t)}
	image, err := labtest.Store(t, labtest.Engine(t)).Mosquitto(t.Context(), version)
	w.must(err)
	service := brokerService(t, w.project, image.Ref, t.TempDir(), nil)
	service.Spec.Networks, service.Spec.NetworkMode, service.Spec.Mounts, service.Spec.Ports = nil, "none", nil, nil
	id, err := w.CreateContainer(t.Context(), plan.Creation{
		Name: w.project + "-mosquitto-1", Service: service,
		Labels: map[string]string{plan.LabelProject: w.project, plan.LabelService: plan.ServiceBroker, plan.LabelOneoff: "False"},
	})
	w.must(err)
	w.must(w.CopyFiles(t.Context(), id, service.Files))
	w.must(w.Start(t.Context(), id))
	until(t, "the broker serves", func() bool {
		return slices.ContainsFunc(w.all(id), func(text string) bool { return mosquitto.Running(mosquitto.ParseLine(text)) })
	})
	w.broker = plan.Container{ID: id, State: plan.StateRunning}
	return w
}

// conf returns the configuration that the broker's container holds.
func (w *watched) conf() string {
	w.t.Helper()
	text, _, err := ReadFile(w.t.Context(), w, w.broker.ID, mosquitto.ConfPath)
	w.must(err)
	return text.Reveal()
}

func (w *watched) watching() bool {
	_, watching := mosquitto.PlainConf(w.conf())
	return watching
}

// watch begins a watch and returns what ends it and gives its error.
func (w *watched) watch(each func(mosquitto.Action) error) (end func() error) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	began, done := make(chan struct{}), make(chan error, 1)
	go func() {
		done <- Watch(ctx, w, Watching{
			Project: w.project, Each: each, Began: func(bool) { close(began) },
			Lock: func(context.Context) (func(), error) { w.lock.Lock(); return w.lock.Unlock, nil },
		})
	}()
	select {
	case <-began:
	case err := <-done:
		w.t.Fatalf("the watch ended before it began: %v", err)
	}
	return func() error { cancel(); return <-done }
}

func (w *watched) take(a mosquitto.Action) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.actions = append(w.actions, a)
	return nil
}

// knock comes by as somebody without a password, and reports whether that was seen.
func (w *watched) knock(id string) bool {
	w.t.Helper()
	_, err := w.Exec(w.t.Context(), w.broker.ID, []string{"mosquitto_pub", "-h", "127.0.0.1", "-i", id, "-t", "a", "-m", "x"}, secret.Text{})
	w.must(err)
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.actions, func(a mosquitto.Action) bool { return a.Kind == mosquitto.ActionRefused && a.ClientID == id })
}

func TestAWatchLeavesTheBrokerAsItWas(t *testing.T) {
	for _, version := range images.Versions() {
		t.Run(version, func(t *testing.T) {
			w := newWatched(t, version)
			before := w.conf()
			if strings.Contains(before, "log_type debug") {
				t.Fatal("the broker tells everything without a watch")
			}
			first, second := w.watch(w.take), w.watch(func(mosquitto.Action) error { return nil })
			until(t, "a refused login is seen", func() bool { return w.knock("one") })

			// The other one ends, and this one goes on.
			if err := second(); !errors.Is(err, context.Canceled) {
				t.Errorf("the second watch ends with %v", err)
			}
			until(t, "the first watch has asked again", w.watching)
			until(t, "a refused login is seen after the other has ended", func() bool { return w.knock("two") })

			// A command that puts the configuration back.
			w.lock.Lock()
			w.must(EndWatch(t.Context(), w, w.broker))
			if w.watching() {
				t.Error("the configuration is not back while the lock is held")
			}
			w.lock.Unlock()
			until(t, "the first watch has asked again", w.watching)
			if err := first(); !errors.Is(err, context.Canceled) {
				t.Errorf("the first watch ends with %v", err)
			}
			if after := w.conf(); after != before {
				t.Errorf("the configuration was\n%s\nand is\n%s", before, after)
			}
			w.must(EndWatch(t.Context(), w, w.broker)) // there is nothing to do
		})
	}
}

func TestAWatchThatCannotGoOnPutsTheConfigurationBack(t *testing.T) {
	w := newWatched(t, images.Mosquitto21)
	broken := errors.New("broken pipe")
	end := w.watch(func(a mosquitto.Action) error {
		if a.Kind == mosquitto.ActionRefused {
			return broken
		}
		return nil
	})
	w.knock("one")
	until(t, "the configuration is back", func() bool { return !w.watching() })
	if err := end(); !errors.Is(err, broken) {
		t.Errorf("the watch ends with %v", err)
	}

	// Without a broker that runs, it says so and leaves nothing.
	w.must(w.Stop(t.Context(), w.broker.ID, nil))
	err := Watch(t.Context(), w, Watching{
		Project: w.project, Lock: func(context.Context) (func(), error) { return func() {}, nil },
		Began: func(bool) { t.Error("it began") }, Each: func(mosquitto.Action) error { return nil },
	})
	if err == nil || !strings.Contains(err.Error(), "the broker does not run") || errors.Is(err, ErrWatchLeft) {
		t.Errorf("without a broker: %v", err)
	}

	// It waits for one that starts. A lock that cannot be had leaves the configuration,
	// which is told.
	w.must(w.Start(t.Context(), w.broker.ID))
	times := 0
	ctx, cancel := context.WithCancel(t.Context())
	err = Watch(ctx, w, Watching{
		Project: w.project, Began: func(bool) { cancel() }, Each: func(mosquitto.Action) error { return nil },
		Lock: func(context.Context) (func(), error) {
			if times++; times > 1 {
				return nil, fmt.Errorf("lock number %d", times)
			}
			return func() {}, nil
		},
	})
	if !errors.Is(err, ErrWatchLeft) || !strings.Contains(err.Error(), "lock number 2") {
		t.Errorf("without the lock: %v", err)
	}
}
