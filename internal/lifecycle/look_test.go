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
		_, _, err := Look(ctx, h.e, v)
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
		report, _, err := Look(t.Context(), m, v)
		if want := min(times+1, 2); m.created != want {
			t.Errorf("restarted %d times: %d looks, want %d", times, m.created, want)
		}
		if times == 2 {
			if !errors.Is(err, ErrRestarted) {
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
	report, place, err := Look(t.Context(), h.e, v)
	if err != nil || place != PlaceNetwork || !report.RoundTrip.OK || report.Ready.OK {
		t.Errorf("from %s: %v, round trip %+v, metrics %+v", place, err, report.RoundTrip, report.Ready)
	}
}

// connectedAgain ends the faults, and waits for the connections that a connector loses
// when UDP is silent for longer than QUIC bears: others count on them.
func (h *house) connectedAgain() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), 2*time.Minute)
	defer cancel()
	if err := h.lab.Control.ClearFaults(ctx); err != nil {
		h.t.Error(err)
	}
	all := func(s control.TunnelState) bool { return s.Connections() == edgeConnections }
	if s, err := h.lab.Control.WaitTunnel(ctx, h.tunnel.TunnelID, all); err != nil {
		h.t.Errorf("after the faults: %v: %+v", err, s)
	}
}

// wayOut looks at the way to the edge while the lab's edge and resolver fail, from
// the connector's network namespace and from the network.
func wayOut(h *house) {
	t := h.t
	v := h.ready.View
	v.Request.Edge, v.Request.Others = true, true
	inside := h.id(plan.ServiceConnector)
	defer h.connectedAgain()
	const healthy = "true true false; true true true true; true true true true"
	names := []string{"_v2-origintunneld._tcp.argotunnel.com", "region1.v2.argotunnel.com", "region2.v2.argotunnel.com"}
	for _, c := range []struct {
		name      string
		connector string
		faults    control.Faults
		want      string // any, service, over TLS; of each region the lookup, TCP, TLS, UDP
	}{
		{"healthy", inside, control.Faults{}, healthy},
		{"healthy, from the network", "", control.Faults{}, healthy},
		{"silent UDP", inside, control.Faults{UDP: control.UDPSilent}, "true true false; true true true false; true true true false"},
		{"dropped TCP", "", control.Faults{Accept: control.AcceptDrop}, "true true false; true false false true; true false false true"},
		{"one region", "", control.Faults{Accept: control.AcceptRefuse, UDP: control.UDPSilent, Region: 2}, "true true false; true true true true; true false false false"},
		{"filtered names", "", control.Faults{DNS: control.DNSNXDomain, DNSNames: names}, "true false false; false false false false; false false false false"},
		{"no DNS", "", control.Faults{DNS: control.DNSServFail}, "false false false; false false false false; false false false false"},
	} {
		if err := h.lab.Control.SetFaults(t.Context(), c.faults); err != nil {
			t.Fatal(err)
		}
		v.Connector = c.connector
		began := time.Now()
		report, place, err := Look(t.Context(), h.e, v)
		if err != nil || report.Edge == nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		t.Logf("%s: %v, of which the probe %v", c.name, time.Since(began).Round(time.Millisecond), report.Took.Round(time.Millisecond))
		e := report.Edge
		got := fmt.Sprint(e.Any.OK, e.Service.OK, e.ServiceTLS.OK)
		for _, r := range e.Regions {
			got += "; " + fmt.Sprint(r.Lookup.OK, r.TCP.OK, r.TLS.OK, r.UDP.OK)
		}
		if got != c.want || !report.RoundTrip.OK || (place == PlaceConnector) != (c.connector != "") || report.Took > probe.MaxDuration {
			t.Errorf("%s, from %s:\n got %s\nwant %s\n%+v", c.name, place, got, c.want, e)
		}
		if len(report.Resolvers) == 0 || report.Counted != (c.connector != "") {
			t.Errorf("%s: name servers %q, requests counted %v", c.name, report.Resolvers, report.Counted)
		}
	}
}

func TestALookFromTheNetworkHasWhatTheConnectorWouldHave(t *testing.T) {
	v := View{Project: "home", Service: plan.Service{Name: plan.ServiceConnector, Image: "i", ContainerName: "cloudflared", Spec: plan.Spec{
		Networks: []plan.Endpoint{{Network: "home_default", Aliases: []string{"tunnel"}, IPv4: "172.30.0.9"}, {Network: "lan"}},
		DNS:      []string{"1.1.1.1"}, DNSSearch: []string{"lan"}, DNSOpt: []string{"ndots:0"}, ExtraHosts: []string{"a:1.2.3.4"},
		Env: []string{"HTTP_PROXY=x"},
	}}}
	got := probeContainer(v, "")
	spec := got.Service.Spec
	text := fmt.Sprintf("%q %v %v %v %v %v %v %q %v", got.NetworkMode, got.Service.Image, spec.Networks, spec.DNS, spec.DNSSearch, spec.DNSOpt, spec.ExtraHosts, got.Service.ContainerName, spec.Env)
	if want := `"" i [{home_default [] } {lan [] }] [1.1.1.1] [lan] [ndots:0] [a:1.2.3.4] "" []`; text != want {
		t.Errorf("\n got %s\nwant %s", text, want)
	}
	if got := probeContainer(v, "container:c"); len(got.Service.Spec.Networks) > 0 || len(got.Service.Spec.DNS) > 0 || got.NetworkMode != "container:c" {
		t.Errorf("in the connector's place: %+v", got)
	}
	v.Service.Spec.NetworkMode, v.Service.Spec.Networks = "host", nil
	if got := probeContainer(v, ""); got.NetworkMode != "host" {
		t.Errorf("on the host's network: %+v", got)
	}
}

func leftovers(h *house) {
	t := h.t
	other := h.project.Name + "-other"
	add := func(project string, deadline time.Time) string {
		t.Helper()
		c := probeContainer(View{Project: project, Service: plan.Service{Image: imageRef}}, "none")
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
	inquiry := Inquiry{Project: h.project.Name, Observed: h.observe()}
	st, err := Inquire(t.Context(), h.e, inquiry)
	if err != nil || !st.Ingress.Unread || len(st.Ingress.Rules) > 0 || st.Ingress.Received() {
		t.Errorf("by the log: %d rules, unread %v, %v", len(st.Ingress.Rules), st.Ingress.Unread, err)
	}
	inquiry.Live = &h.ready.View
	st, err = Inquire(t.Context(), h.e, inquiry)
	if err != nil || st.Ingress.Version != version || len(st.Ingress.Rules) != rules+2 || !slices.Equal(st.Hostnames(brokerURL), []string{publicName}) {
		t.Errorf("from inside: version %d of %d, %d rules, %v", st.Ingress.Version, version, len(st.Ingress.Rules), err)
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
	for name, c := range map[string]struct {
		log    []string
		looks  []int // versions that looks found, before and after the line that is cut
		before int
		want   string
	}{
		"old one":                {[]string{old}, nil, 0, "version 3, unread false, 2 rules"},
		"cut":                    {[]string{old, cut}, nil, 0, "version 3, unread true, 0 rules"},
		"cut from the start":     {[]string{cut}, nil, 0, "version -1, unread true, 0 rules"},
		"a look after it":        {[]string{old, cut}, []int{4}, 0, "version 4, unread false, 1 rules"},
		"a look at the old one":  {[]string{old, cut}, []int{3}, 0, "version 3, unread true, 0 rules"},
		"a look that came first": {[]string{old, cut}, []int{4, 4}, 1, "version 4, unread false, 1 rules"},
		"a short one after it":   {[]string{cut, old}, nil, 0, "version 3, unread false, 2 rules"},
		"a start after it":       {[]string{old, cut, starting, version, registered0}, nil, 0, "version -1, unread false, 0 rules"},
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
		in := f.view().ingress
		got := fmt.Sprintf("version %d, unread %v, %d rules", in.Version, in.Unread, len(in.Rules))
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
	}
}
