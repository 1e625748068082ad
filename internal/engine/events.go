package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"mqtunnel/internal/plan"
)

// Events passes what happens to containers of a project to each, from since on
// (the zero time is now), until ctx ends or each returns an error, which it
// returns as it is. When the Engine goes away the error satisfies IsUnavailable.
// Of the past the Engine keeps about 256 events; since is by the Engine's clock.
func (c *Client) Events(ctx context.Context, project string, since time.Time, each func(plan.EngineEvent) error) error {
	return c.events(ctx, project, events.ListOptions{Since: stamp(since)}, each)
}

// PastEvents returns what happened to containers of a project between two instants
// of the Engine's clock, oldest first, as far as the Engine remembers it. Where until
// lies ahead, it waits for that.
func (c *Client) PastEvents(ctx context.Context, project string, since, until time.Time) ([]plan.EngineEvent, error) {
	var past []plan.EngineEvent
	err := c.events(ctx, project, events.ListOptions{Since: stamp(since), Until: stamp(until)}, func(e plan.EngineEvent) error {
		past = append(past, e)
		return nil
	})
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return past, err
}

// events reads a stream of events. Where the options end it, that end is io.EOF.
func (c *Client) events(ctx context.Context, project string, o events.ListOptions, each func(plan.EngineEvent) error) error {
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	o.Filters = filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("label", plan.LabelProject+"="+project),
	)
	ctx, cancel := context.WithCancel(ctx)
	messages, errs := docker.Events(ctx, o)
	defer func() {
		cancel()
		for range errs {
			// Docker's goroutine closes the channel when it has ended.
			continue
		}
	}()
	for {
		select {
		case m := <-messages:
			if err := each(event(m)); err != nil {
				return err
			}
		case err := <-errs:
			if o.Until != "" && errors.Is(err, io.EOF) {
				return io.EOF
			}
			return eventsError(ctx, project, err)
		}
	}
}

// eventsError words the end of the stream, which has no good end.
func eventsError(ctx context.Context, project string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if errors.Is(err, io.EOF) {
		err = &transportError{err: errors.New("it closed the connection")}
	}
	return fmt.Errorf("watch events of project %s: %w", project, clean(err))
}

func event(m events.Message) plan.EngineEvent {
	return plan.EngineEvent{
		Time: time.Unix(0, m.TimeNano), Action: string(m.Action), ContainerID: m.Actor.ID,
		Service: m.Actor.Attributes[plan.LabelService], Attributes: m.Actor.Attributes,
	}
}
