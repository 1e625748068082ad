package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// processEvery is how often the processes are looked at while commands run.
const processEvery = 50 * time.Millisecond

// watch searches what a project does on the Engine while it does it: every event,
// every container that is made, however short it lives, with all it logs, and every
// process of the machine.
type watch struct {
	p      *project
	s      *search
	group  *errgroup.Group
	cancel context.CancelFunc
	// Containers of the project by ID, and which of them were inspected. They belong
	// to one goroutine until the watch has ended.
	made      map[string]string
	inspected map[string]bool
}

// watch begins a watch.
func (p *project) watch(ctx context.Context, s *search) *watch {
	ctx, cancel := context.WithCancel(ctx)
	group, ctx := errgroup.WithContext(ctx)
	w := &watch{p: p, s: s, group: group, cancel: cancel, made: map[string]string{}, inspected: map[string]bool{}}
	messages, errs := p.b.Engine.Events(ctx, events.ListOptions{Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))})
	group.Go(func() error {
		for {
			select {
			case m := <-messages:
				if err := w.event(ctx, m); err != nil {
					return err
				}
			case err := <-errs:
				return err
			}
		}
	})
	group.Go(func() error {
		for {
			if err := s.processes(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(processEvery):
			}
		}
	})
	return w
}

// end ends the watch.
func (w *watch) end() error {
	w.cancel()
	if err := w.group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("watch the Engine: %w", err)
	}
	return nil
}

// short returns the names of the containers that were of no service, and how many of
// them were inspected while they lived.
func (w *watch) short() (names []string, inspected int) {
	for id, name := range w.made {
		if !strings.HasSuffix(name, "-1") {
			names = append(names, name)
			if w.inspected[id] {
				inspected++
			}
		}
	}
	slices.Sort(names)
	return names, inspected
}

// event looks at one event. Its attributes are the container's labels; what a command
// runs inside a container stands in the action.
func (w *watch) event(ctx context.Context, m events.Message) error {
	about := m.Actor.Attributes
	if about[plan.LabelProject] != w.p.name && about[plan.LabelProbe] != w.p.name {
		return nil
	}
	name := about["name"]
	w.s.look("event "+string(m.Action)+" of "+name, string(m.Action)+" "+fmt.Sprint(about))
	if m.Action != events.ActionCreate && m.Action != events.ActionStart {
		return nil
	}
	w.made[m.Actor.ID] = name
	_, raw, err := w.p.b.Engine.ContainerInspectWithRaw(ctx, m.Actor.ID, true)
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return err
	}
	w.inspected[m.Actor.ID] = true
	w.s.look("docker inspect "+name, string(raw))
	if m.Action == events.ActionCreate {
		w.group.Go(func() error { return w.output(ctx, m.Actor.ID, name) })
	}
	return nil
}

// output reads all that a container writes until its end, from before its start: one
// that removes itself takes its log along.
func (w *watch) output(ctx context.Context, id, name string) error {
	stream, err := w.p.b.Engine.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdout: true, Stderr: true, Logs: true})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil // gone already
	}
	if err != nil {
		return err
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	var text strings.Builder
	_, err = stdcopy.StdCopy(&text, &text, stream.Reader)
	w.s.look("docker logs "+name, text.String())
	if ctx.Err() != nil {
		return nil // the container outlives the watch
	}
	return err
}
