package doctor

import (
	"context"
	"errors"
	"slices"
	"testing"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
)

// inspected answers an inspect alone, by the container's name.
type inspected struct {
	lifecycle.Prober

	containers []plan.Details
}

func (i inspected) Inspect(_ context.Context, name string) (plan.Details, error) {
	at := slices.IndexFunc(i.containers, func(d plan.Details) bool { return d.Name == name })
	if at < 0 {
		return plan.Details{}, errors.New("there is no such container")
	}
	return i.containers[at], nil
}

func TestUpSaysWhatDoctorSaysOfTheConfinement(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*scene)
		want   []string
	}{
		"as rendered":           {func(*scene) {}, nil},
		"no memory cgroup":      {func(s *scene) { s.broker.MemoryLimit, s.connector.MemoryLimit = 0, 0 }, []string{"MQT-B20"}},
		"changed by hand":       {func(s *scene) { s.connector.PidsLimit = 1000 }, []string{"MQT-C11"}},
		"what else is wrong":    {func(s *scene) { s.broker.State, s.connector.Networks = plan.StatePaused, nil }, nil},
		"one container is gone": {func(s *scene) { s.broker.Name = "" }, nil},
		"loosened and privileged": {func(s *scene) {
			s.wanted(thisBroker).Spec.CapAdd, s.broker.Rights.CapAdd = []string{"NET_RAW"}, []string{"CAP_NET_RAW"}
			s.connector.Rights.Privileged = true
		}, []string{"MQT-C11", "MQT-B22"}},
	} {
		s := healthy()
		c.change(s)
		var got []string
		for _, f := range Unconfined(t.Context(), inspected{containers: []plan.Details{s.broker, s.connector}}, *s.e.Files.Rendered) {
			got = append(got, f.Code)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: findings %v, want %v", name, got, c.want)
		}
	}
}
