package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
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

// manyHostnames pushes a configuration that is longer than a line of the log and
// than an answer of the Engine.
func manyHostnames(h *house) {
	t := h.t
	push := func(rules int) int {
		t.Helper()
		var c control.TunnelConfig
		for i := range rules {
			c.Ingress = append(c.Ingress, control.Rule{Hostname: fmt.Sprintf("service-%d.example.com", i), Service: "http://10.0.0.1:8080"})
		}
		c.Ingress = append(c.Ingress, control.Rule{Hostname: publicName, Service: brokerURL}, control.Rule{Service: "http_status:404"})
		pushed, err := h.lab.Control.Configure(t.Context(), h.tunnel.TunnelID, c)
		if err != nil || pushed.Applied == 0 || len(pushed.Refused) > 0 {
			t.Fatalf("push %d rules: %+v, %v", rules, pushed, err)
		}
		return pushed.Version
	}
	const rules = 10_000
	version := push(rules)
	defer push(0)
	inquiry := Inquiry{Project: h.project.Name, Observed: h.observe(), Service: brokerURL}
	st, err := Inquire(t.Context(), h.e, inquiry)
	if err != nil || !st.Healthy() || !st.Ingress.Unread || len(st.Ingress.Rules) > 0 || st.Ingress.Received() {
		t.Errorf("by the log: %+v, %d rules, unread %v, %v", st.Problems, len(st.Ingress.Rules), st.Ingress.Unread, err)
	}
	inquiry.Live = &h.ready.View
	st, err = Inquire(t.Context(), h.e, inquiry)
	if err != nil || !st.Healthy() || st.Ingress.Version != version || len(st.Ingress.Rules) != rules+2 || !slices.Equal(st.Hostnames(brokerURL), []string{publicName}) {
		t.Errorf("from inside: %+v, version %d of %d, %d rules, %v", st.Problems, st.Ingress.Version, version, len(st.Ingress.Rules), err)
	}
	events, ready, err := h.await(t.Context(), h.ready)
	if err != nil || ready.Ingress.Version != version || ready.Hostname != publicName {
		t.Errorf("up: %v, version %d of %d, %s, after %q", err, ready.Ingress.Version, version, ready.Hostname, events)
	}
}

func TestAConfigurationThatTheLogDoesNotShowIsNotTheOldOne(t *testing.T) {
	old := pushed("m.example.com", "tcp://elsewhere:1")
	cut := strings.Replace(old, `\"}]}" version=3`, "", 1)
	if cut == old {
		t.Fatal("the line is not cut")
	}
	answer := func(version int) probe.Report {
		return probe.Report{Config: probe.Endpoint{
			Check: probe.Check{Done: true, OK: true},
			Body:  fmt.Appendf(nil, `{"version":%d,"config":{"ingress":[{"hostname":"m.example.com","service":"http://mosquitto:9001"}]}}`, version),
		}}
	}
	up := container(plan.StateRunning, 0, 0)
	up.Health = plan.HealthHealthy
	up.StartedAt = time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		log    []string
		looks  []int // versions that looks found, before and after the line that is cut
		before int
		want   string
	}{
		"old one":                {[]string{old}, nil, 0, "version 3, unread false, 2 rules, 1 problems"},
		"cut":                    {[]string{old, cut}, nil, 0, "version 3, unread true, 0 rules, 0 problems"},
		"cut from the start":     {[]string{cut}, nil, 0, "version -1, unread true, 0 rules, 0 problems"},
		"a look after it":        {[]string{old, cut}, []int{4}, 0, "version 4, unread false, 1 rules, 0 problems"},
		"a look at the old one":  {[]string{old, cut}, []int{3}, 0, "version 3, unread true, 0 rules, 0 problems"},
		"a look that came first": {[]string{old, cut}, []int{4, 4}, 1, "version 4, unread false, 1 rules, 0 problems"},
		"a short one after it":   {[]string{cut, old}, nil, 0, "version 3, unread false, 2 rules, 1 problems"},
		"a start after it":       {[]string{old, cut, starting, version, registered0}, nil, 0, "version -1, unread false, 0 rules, 1 problems"},
	} {
		f := told([]string{database, brokerStarts, brokerRuns}, []string{starting, version, connectorID, registered0})
		for _, v := range c.looks[:c.before] {
			f.learn(answer(v), false)
		}
		for _, l := range c.log {
			_ = f.take(LogEntry{Service: plan.ServiceConnector, Line: plan.LogLine{Text: l}})
		}
		for _, v := range c.looks[c.before:] {
			f.learn(answer(v), false)
		}
		v := f.view()
		s := Status{Services: []ServiceStatus{
			{Service: plan.ServiceBroker, Exists: true, State: plan.StateRunning, Health: plan.HealthHealthy},
			{Service: plan.ServiceConnector, Exists: true, State: plan.StateRunning, Health: plan.HealthHealthy, Since: up.StartedAt},
		}}
		s.fill(v, []plan.Details{up, up}, Inquiry{Service: brokerURL})
		got := fmt.Sprintf("version %d, unread %v, %d rules, %d problems", s.Ingress.Version, s.Ingress.Unread, len(s.Ingress.Rules), len(s.Problems))
		if got != c.want {
			t.Errorf("%s:\n got %s %+v\nwant %s", name, got, s.Problems, c.want)
		}
	}
}
