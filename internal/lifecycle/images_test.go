package lifecycle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// shelf is an Engine with images.
type shelf struct {
	mu       sync.Mutex
	has      map[string]bool
	pulls    []string
	delivers bool
}

func (s *shelf) Image(_ context.Context, ref, _ string) (plan.Image, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return plan.Image{ID: "id " + ref}, s.has[ref], nil
}

func (s *shelf) Pull(_ context.Context, ref, platform string, report func(plan.PullProgress)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if ref == "gone:1" {
		return remedy.Errorf(remedy.Input, "check the name", "image %s does not exist", ref)
	}
	s.pulls = append(s.pulls, ref+platform)
	report(plan.PullProgress{Ref: ref, Done: 1, Total: 2})
	s.has[ref] = s.delivers
	return nil
}

func TestOnlyMissingImagesArePulled(t *testing.T) {
	s := &shelf{has: map[string]bool{"here:1": true}, delivers: true}
	var events []string
	services := []plan.Service{{Image: "here:1"}, {Image: "there:1", Platform: "/linux/arm64"}, {Image: "here:1"}}
	images, err := Images(t.Context(), s, services, func(e Event) { events = append(events, fmt.Sprintf("%T", e)) })
	if err != nil || len(images) != 2 || images["there:1"].ID != "id there:1" {
		t.Errorf("images %v, %v", images, err)
	}
	if !slices.Equal(s.pulls, []string{"there:1/linux/arm64"}) || !slices.Equal(events, []string{"lifecycle.Pulling", "lifecycle.Pulling", "lifecycle.Pulled"}) {
		t.Errorf("pulls %q, events %q", s.pulls, events)
	}
	if _, err := Images(t.Context(), s, []plan.Service{{Image: "gone:1"}}, func(Event) {}); remedy.CodeOf(err) != remedy.Input {
		t.Errorf("an image that does not exist: %v", err)
	}
	s = &shelf{has: map[string]bool{}}
	if _, err := Images(t.Context(), s, []plan.Service{{Image: "there:1"}}, func(Event) {}); err == nil {
		t.Error("an image that is not there after its pull is no error")
	}
}
