package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mqtunnel/internal/plan"
)

const (
	// probeLife is how long a throw-away container may exist at most. It ends by
	// itself well before; what is older was left behind by a killed run.
	probeLife = time.Minute
	// createTime bounds the creation of a throw-away container.
	createTime = 30 * time.Second
	// discardTime bounds its removal.
	discardTime = 20 * time.Second
)

// throwAwayLabels mark a container of the project that Sweep may remove when its
// time is over.
func throwAwayLabels(project string) map[string]string {
	return map[string]string{
		plan.LabelProbe:    project,
		plan.LabelDeadline: strconv.FormatInt(time.Now().Add(probeLife).Unix(), 10),
	}
}

// inThrowAway runs a throw-away container with its files until use, which gets its ID,
// is done. It is removed whatever happens.
func inThrowAway(ctx context.Context, e Prober, c plan.Creation, files []plan.File, use func(ctx context.Context, id string) error) (err error) {
	id, err := create(ctx, e, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, discard(ctx, e, id)) }()
	if err := e.CopyFiles(ctx, id, files); err != nil {
		return err
	}
	if err := e.Start(ctx, id); err != nil {
		return err
	}
	return use(ctx, id)
}

// create makes a throw-away container. It is not cut short when the caller gives
// up: the Engine would make the container all the same, and nobody would know it.
func create(ctx context.Context, e Prober, c plan.Creation) (id string, err error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createTime)
	defer cancel()
	return e.CreateContainer(ctx, c)
}

// discard removes a throw-away container, also when the caller gave up.
func discard(ctx context.Context, e Prober, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	return e.Remove(ctx, id, true)
}

// Sweep removes probe and trial containers of the project that a killed run left
// behind: those past their deadline, or with all every one.
func Sweep(ctx context.Context, e Prober, project string, all bool) error {
	left, err := e.Probes(ctx)
	if err != nil {
		return err
	}
	for _, c := range left {
		if c.Labels[plan.LabelProbe] != project {
			continue
		}
		deadline, perr := strconv.ParseInt(c.Labels[plan.LabelDeadline], 10, 64)
		if !all && perr == nil && time.Now().Unix() < deadline {
			continue
		}
		if err := e.Remove(ctx, c.ID, true); err != nil {
			return fmt.Errorf("remove the probe %s that was left behind: %w", c.Name, err)
		}
	}
	return nil
}
