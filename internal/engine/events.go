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
	docker, err := c.api(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	messages, errs := docker.Events(ctx, events.ListOptions{
		Since: stamp(since),
		Filters: filters.NewArgs(
			filters.Arg("type", string(events.ContainerEventType)),
			filters.Arg("label", plan.LabelProject+"="+project),
		),
	})
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
