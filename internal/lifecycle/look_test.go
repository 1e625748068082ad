package lifecycle

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"mqtunnel/internal/plan"
)

func cutShort(h *house) {
	t := h.t
	v := h.ready.View
	v.Connector = h.id(plan.ServiceConnector)
	for delay := time.Duration(0); delay < 1500*time.Millisecond; delay += 90 * time.Millisecond {
		ctx, cancel := context.WithTimeout(t.Context(), delay)
		_, err := Look(ctx, h.e, v)
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("cut short after %v: %v", delay, err)
		}
		noProbes(t, h.e, h.project.Name)
	}
}

func deadNamespace(h *house) {
	t := h.t
	v := h.ready.View
	v.Connector = h.id(plan.ServiceConnector)
	grace := 5 * time.Second
	for times := range 3 {
		m := &meddler{Client: h.e}
		starts := 0
		m.started = func(string) {
			if starts++; starts <= times {
				if err := h.e.Restart(t.Context(), v.Connector, &grace); err != nil {
					t.Error(err)
				}
			}
		}
		report, err := Look(t.Context(), m, v)
		if want := min(times+1, 2); m.created != want {
			t.Errorf("restarted %d times: %d looks, want %d", times, m.created, want)
		}
		if times == 2 {
			if !errors.Is(err, errRestarted) {
				t.Errorf("restarted at every look: %v", err)
			}
			continue
		}
		if err != nil || !report.RoundTrip.OK {
			t.Errorf("restarted %d times: %v, %+v", times, err, report.RoundTrip)
		}
	}
}

func fromTheNetwork(h *house) {
	t := h.t
	v := h.ready.View
	v.Connector = h.id(plan.ServiceConnector)
	grace := 5 * time.Second
	if err := h.e.Stop(t.Context(), v.Connector, &grace); err != nil {
		t.Fatal(err)
	}
	defer h.up()
	report, err := Look(t.Context(), h.e, v)
	if err != nil || !report.RoundTrip.OK || report.Ready.OK {
		t.Errorf("%v, round trip %+v, metrics %+v", err, report.RoundTrip, report.Ready)
	}
}

func leftovers(h *house) {
	t := h.t
	other := h.project.Name + "-other"
	add := func(project string, deadline time.Time) string {
		t.Helper()
		c := probeContainer(View{Project: project, Image: imageRef}, "none")
		c.Labels[plan.LabelDeadline] = strconv.FormatInt(deadline.Unix(), 10)
		id, err := h.e.CreateContainer(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	past, future := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	names := map[string]string{
		add(h.project.Name, past): "past", add(h.project.Name, future): "future", add(other, past): "other",
	}
	left := func() string {
		t.Helper()
		all, err := h.e.Probes(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, c := range all {
			if name := names[c.ID]; name != "" {
				list = append(list, name)
			}
		}
		slices.Sort(list)
		return strings.Join(list, " ")
	}
	for _, c := range []struct {
		project string
		all     bool
		want    string
	}{{h.project.Name, false, "future other"}, {h.project.Name, true, "other"}, {other, false, ""}} {
		if err := Sweep(t.Context(), h.e, c.project, c.all); err != nil || left() != c.want {
			t.Errorf("sweep of %s, all %v: %v, left %q, want %q", c.project, c.all, err, left(), c.want)
		}
	}
}
