package lifecycle

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// Puller is the Engine as far as images need it.
type Puller interface {
	Image(ctx context.Context, ref, platform string) (plan.Image, bool, error)
	Pull(ctx context.Context, ref, platform string, report func(plan.PullProgress)) error
}

// Images returns the images of the services by reference, pulling those that
// the Engine does not have, all at once.
func Images(ctx context.Context, e Puller, services []plan.Service, emit func(Event)) (map[string]plan.Image, error) {
	emit = oneAtATime(emit)
	var mu sync.Mutex
	images := map[string]plan.Image{}
	wanted := map[string]string{}
	for _, s := range services {
		wanted[s.Image] = s.Platform
	}
	g, ctx := errgroup.WithContext(ctx)
	for ref, platform := range wanted {
		g.Go(func() error {
			img, err := image(ctx, e, ref, platform, emit)
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			images[ref] = img
			return nil
		})
	}
	return images, g.Wait()
}

// image returns one image, pulled if it has to be.
func image(ctx context.Context, e Puller, ref, platform string, emit func(Event)) (plan.Image, error) {
	img, found, err := e.Image(ctx, ref, platform)
	if err != nil || found {
		return img, err
	}
	start := time.Now()
	emit(Pulling{Progress: plan.PullProgress{Ref: ref}})
	if err := e.Pull(ctx, ref, platform, func(p plan.PullProgress) { emit(Pulling{Progress: p}) }); err != nil {
		return plan.Image{}, err
	}
	emit(Pulled{Ref: ref, Took: time.Since(start)})
	img, found, err = e.Image(ctx, ref, platform)
	if err == nil && !found {
		err = fmt.Errorf("image %s was pulled, and the Engine does not have it", ref)
	}
	return img, err
}
