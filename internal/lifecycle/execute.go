// Package lifecycle runs plans, waits until messages flow, and follows logs. It
// decides nothing about what should exist: the plan does.
package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// Actor is the Engine as far as a plan needs it. Every call is safe for
// concurrent use and succeeds when what it asks for is so already.
type Actor interface {
	CreateNetwork(ctx context.Context, n plan.Network, labels map[string]string) error
	RemoveNetwork(ctx context.Context, id string) error
	CreateVolume(ctx context.Context, v plan.Volume, labels map[string]string) error
	RemoveVolume(ctx context.Context, name string) error
	CreateContainer(ctx context.Context, c plan.Creation) (id string, err error)
	CopyFiles(ctx context.Context, id string, files []plan.File) error
	Start(ctx context.Context, id string) error
	Unpause(ctx context.Context, id string) error
	Stop(ctx context.Context, id string, grace *time.Duration) error
	Remove(ctx context.Context, id string, volumes bool) error
	Rename(ctx context.Context, id, name string) error
	Exec(ctx context.Context, id string, cmd []string, stdin secret.Text) (plan.ExecResult, error)
	Logs(ctx context.Context, id string, o plan.LogOptions, each func(plan.LogLine) error) error
}

// run is one execution of a plan.
type run struct {
	actor   Actor
	project plan.Project
	images  map[string]plan.Image
	plan    plan.Plan
	emit    func(Event)
	began   time.Time
	done    []chan struct{} // closed when the step succeeded, and only then

	mu   sync.Mutex
	made []string // container IDs by the index of the step that made them
}

// Execute runs the steps of a plan, each as soon as the steps that it waits for
// have succeeded. After the first failure no further step starts; those under
// way are cancelled. Images are those of the project's services by reference.
// emit is called from several goroutines, one call at a time.
func Execute(ctx context.Context, a Actor, p plan.Project, images map[string]plan.Image, pl plan.Plan, emit func(Event)) error {
	r := &run{
		actor: a, project: p, images: images, plan: pl, began: time.Now(),
		emit: oneAtATime(emit), done: make([]chan struct{}, len(pl.Steps)), made: make([]string, len(pl.Steps)),
	}
	for i := range r.done {
		r.done[i] = make(chan struct{})
	}
	g, ctx := errgroup.WithContext(ctx)
	for i, s := range pl.Steps {
		g.Go(func() error { return r.step(ctx, i, s) })
	}
	return g.Wait()
}

// oneAtATime serialises calls of emit.
func oneAtATime(emit func(Event)) func(Event) {
	var mu sync.Mutex
	return func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		emit(e)
	}
}

// step waits for what step i depends on, runs it, and lets its dependents go.
func (r *run) step(ctx context.Context, i int, s plan.Step) error {
	for _, a := range s.After {
		select {
		case <-r.done[a]:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := pause(ctx, s.Delay-time.Since(r.began)); err != nil {
		return err
	}
	r.emit(StepBegan{Step: s})
	start := time.Now()
	if err := r.act(ctx, i, s); err != nil {
		return fmt.Errorf("%s %s: %w", s.Op, s.Subject, err)
	}
	r.emit(StepDone{Step: s, Took: time.Since(start)})
	close(r.done[i])
	return nil
}

// pause waits for d or until the context ends.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// act makes the call of one step.
func (r *run) act(ctx context.Context, i int, s plan.Step) error {
	switch s.Op {
	case plan.CreateNetwork:
		n := r.network(s.Name)
		return r.actor.CreateNetwork(ctx, n, plan.NetworkLabels(r.project, n))
	case plan.CreateVolume:
		v := r.volume(s.Name)
		return r.actor.CreateVolume(ctx, v, plan.VolumeLabels(r.project, v))
	case plan.RemoveNetwork:
		return r.actor.RemoveNetwork(ctx, s.ID)
	case plan.RemoveVolume:
		return r.actor.RemoveVolume(ctx, s.ID)
	case plan.CreateContainer:
		return r.create(ctx, i, s)
	default:
		return r.container(ctx, s)
	}
}

// container makes the call of a step that acts on one container.
func (r *run) container(ctx context.Context, s plan.Step) error {
	id := r.id(s)
	switch s.Op {
	case plan.CopyFiles:
		if files := r.service(s.Subject).Files; len(files) > 0 {
			return r.actor.CopyFiles(ctx, id, files)
		}
		return nil
	case plan.Start:
		return r.actor.Start(ctx, id)
	case plan.Await:
		return awaitConnection(ctx, r.actor, id, r.service(s.Subject).Spec.TTY)
	case plan.Unpause:
		return r.actor.Unpause(ctx, id)
	case plan.Stop:
		return r.actor.Stop(ctx, id, r.service(s.Subject).Spec.StopGrace)
	case plan.Remove:
		// Anonymous volumes go with their container; named ones are never touched.
		return r.actor.Remove(ctx, id, true)
	case plan.Rename:
		return r.actor.Rename(ctx, id, s.Name)
	case plan.Reload:
		return Reload(ctx, r.actor, id, r.service(s.Subject).Files)
	default:
		return fmt.Errorf("unknown operation %q", s.Op)
	}
}

func (r *run) create(ctx context.Context, i int, s plan.Step) error {
	service := r.service(s.Subject)
	name := s.Name
	if name == "" {
		name = service.ContainerName
	}
	id, err := r.actor.CreateContainer(ctx, plan.Creation{
		Name: name, Service: service,
		Labels: plan.ContainerLabels(r.project, service, r.images[service.Image], s),
	})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made[i] = id
	return nil
}

// id returns the container that a step acts on.
func (r *run) id(s plan.Step) string {
	if s.ID != "" {
		return s.ID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.made[s.Made]
}

func (r *run) service(name string) plan.Service {
	for _, s := range r.project.Services {
		if s.Name == name {
			return s
		}
	}
	return plan.Service{Name: name}
}

func (r *run) network(name string) plan.Network {
	for _, n := range r.project.Networks {
		if n.Name == name {
			return n
		}
	}
	return plan.Network{Name: name}
}

func (r *run) volume(name string) plan.Volume {
	for _, v := range r.project.Volumes {
		if v.Name == name {
			return v
		}
	}
	return plan.Volume{Name: name}
}
