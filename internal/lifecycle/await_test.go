package lifecycle

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// meddler is the real Engine, and somebody who does something just after a
// container was started.
type meddler struct {
	*engine.Client

	started func(id string)

	mu      sync.Mutex
	created int
}

func (m *meddler) CreateContainer(ctx context.Context, c plan.Creation) (string, error) {
	m.mu.Lock()
	m.created++
	m.mu.Unlock()
	return m.Client.CreateContainer(ctx, c)
}

func (m *meddler) Start(ctx context.Context, id string) error {
	err := m.Client.Start(ctx, id)
	m.started(id)
	return err
}

const publicName = "mqtt.example.com"

// house is a project that runs in a lab.
type house struct {
	t       *testing.T
	e       *engine.Client
	lab     *bench.Lab
	tunnel  control.Credentials
	project plan.Project
	ready   Readiness
	images  map[string]plan.Image
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, e: open(t, ""), lab: labtest.Start(t, bench.Options{})}
	var err error
	h.tunnel, err = h.lab.Control.CreateTunnel(t.Context(), control.TunnelRequest{
		Name: "life", Hostnames: []control.Rule{{Hostname: publicName, Service: brokerURL}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	err = h.lab.WriteProject(dir, bench.ProjectOptions{
		Name: bench.ProjectName(h.lab.Name, "life"), Token: h.tunnel.Token,
		Settings: []string{config.KeyProbePassword + "=0123456789abcdefghijklmn"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var settings config.Settings
	h.project, settings = rendered(t, dir, nil)
	if h.images, err = Images(t.Context(), h.e, h.project.Services, func(Event) {}); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.lab.CA)
	to, err := probe.ParseConnectTo(h.lab.ConnectTo(publicName))
	if err != nil {
		t.Fatal(err)
	}
	const topic = "mqtunnel/probe/round-trip"
	h.ready = Readiness{
		Project: h.project, Service: brokerURL, Topic: topic, Timeout: time.Minute,
		Public: probe.Target{ConnectTo: []probe.ConnectTo{to}, RootCAs: roots, Username: mosquitto.ProbeUser, Password: settings.ProbePassword},
		View: View{
			Project: h.project.Name, Service: h.service(plan.ServiceConnector), Binary: secret.New(string(program)),
			Request: probe.Request{
				Broker: "mosquitto", WebSocketPort: 9001, PlainPort: 1883, Username: mosquitto.ProbeUser, Password: settings.ProbePassword,
				Topic: topic, Metrics: "127.0.0.1:20241",
			},
		},
	}
	return h
}

// service returns one of the project's services.
func (h *house) service(name string) plan.Service {
	h.t.Helper()
	i := slices.IndexFunc(h.project.Services, func(s plan.Service) bool { return s.Name == name })
	if i < 0 {
		h.t.Fatalf("the project has no %s", name)
	}
	return h.project.Services[i]
}

func (h *house) observe() plan.Observed {
	h.t.Helper()
	q := plan.Query{Project: h.project.Name}
	for _, n := range h.project.Networks {
		q.Networks = append(q.Networks, n.Name)
	}
	for _, v := range h.project.Volumes {
		q.Volumes = append(q.Volumes, v.Name)
	}
	o, err := h.e.Observe(h.t.Context(), q)
	if err != nil {
		h.t.Fatal(err)
	}
	o.Images = h.images
	return o
}

// id returns the container of a service.
func (h *house) id(service string) string {
	h.t.Helper()
	c, found := h.observe().Find(service)
	if !found {
		h.t.Fatalf("there is no container of %s", service)
	}
	return c.ID
}

func (h *house) up() {
	h.t.Helper()
	if err := Execute(h.t.Context(), h.e, h.project, h.images, plan.Up(h.project, h.observe(), plan.Options{}), func(Event) {}); err != nil {
		h.t.Fatal(err)
	}
}

// await waits, and returns the events as "stage: detail", begun stages as "stage?",
// and what was waited for as "stage! what".
func (h *house) await(ctx context.Context, r Readiness) (events []string, ready Ready, err error) {
	ready, err = Await(ctx, h.e, r, func(e Event) {
		switch e := e.(type) {
		case StageBegan:
			events = append(events, string(e.Stage)+"?")
		case StageReached:
			events = append(events, string(e.Stage)+": "+e.Detail)
		case Waiting:
			events = append(events, string(e.Stage)+"! "+e.Saw)
		default:
		}
	})
	return events, ready, err
}

// TestAProjectInALab goes through the life of one project, since a lab takes a
// while to start.
func TestAProjectInALab(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.up()
	for _, c := range []struct {
		name string
		run  func(*house)
	}{
		{"each stage is told when it is reached", freshStages},
		{"a settled project is told in one line a stage", settledStages},
		{"a broker with a long log is not waited for", longLog},
		{"giving up leaves no probe", givingUp},
		{"a look that is cut short leaves nothing", cutShort},
		{"a look from a dead namespace is repeated once", deadNamespace},
		{"a look without a connector is from the network", fromTheNetwork},
		{"a look at the way out finds what blocks it", wayOut},
		{"leftovers are swept", leftovers},
		{"status looks from inside", liveStatus},
		{"thousands of public hostnames are no trouble", manyHostnames},
		{"a hostname that is missing in the dashboard is named", missingHostname},
		{"a wrong service in the dashboard is waited for and taken over", patience},
		{"a timeout says what was seen", timeouts},
		{"a stopped broker ends the wait", stoppedBroker},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := *h
			sub.t = t
			c.run(&sub)
			noProbes(t, h.e, h.project.Name)
		})
	}
}

func freshStages(h *house) {
	t := h.t
	events, ready, err := h.await(t.Context(), h.ready)
	if err != nil {
		t.Fatalf("%v after %q", err, events)
	}
	want := []string{
		"broker?", "broker: serving, mosquitto ", "connector?", "connector: running, cloudflared ", "edge?", "edge: connection ", "configuration?",
		"configuration: version ", "origin?", "origin: a message came back in ", "public?", "public: a message came back through wss://" + publicName,
	}
	// Further connections and passing trouble may stand between.
	i := 0
	for _, e := range events {
		switch {
		case i < len(want) && strings.HasPrefix(e, want[i]):
			i++
		case strings.HasPrefix(e, "edge: connection ") && i > 5, strings.Contains(e, "! "):
		default:
			t.Errorf("%q where %q should be", e, want[min(i, len(want)-1)])
		}
	}
	if i != len(want) {
		t.Errorf("events %q", events)
	}
	if ready.Hostname != publicName || ready.Connections < 1 || ready.Public.Message <= 0 || ready.Inside.Message <= 0 || ready.Database == nil {
		t.Errorf("ready %+v", ready)
	}
}

func settledStages(h *house) {
	t := h.t
	r := h.ready
	r.Settled = true
	events, _, err := h.await(t.Context(), r)
	if err != nil {
		t.Fatalf("%v after %q", err, events)
	}
	var reached []string
	for _, e := range events {
		stage, _, found := strings.Cut(e, ": ")
		if found {
			reached = append(reached, stage)
		}
		if strings.Contains(e, "! ") {
			t.Errorf("a healthy project has trouble: %q", e)
		}
	}
	if want := []string{"broker", "connector", "edge", "configuration", "origin", "public"}; !slices.Equal(reached, want) {
		t.Errorf("events %q", events)
	}
}

// longLog writes more lines than are read back, so that no start is among them.
func longLog(h *house) {
	t := h.t
	_, err := h.e.Exec(t.Context(), h.id(plan.ServiceBroker), []string{"sh", "-c", fmt.Sprintf(
		"i=0; while [ $i -lt %d ]; do mosquitto_sub -h 127.0.0.1 -p 1883 -i filler -t x -E -W 5 >/dev/null 2>&1; i=$((i+1)); done", keptLines/2+20)}, secret.Text{})
	if err != nil {
		t.Fatal(err)
	}
	// Another service was started just now, so the project is not settled.
	if err := errors.Join(h.e.Stop(t.Context(), h.id(plan.ServiceConnector), nil), h.e.Start(t.Context(), h.id(plan.ServiceConnector))); err != nil {
		t.Fatal(err)
	}
	events, _, err := h.await(t.Context(), h.ready)
	if err != nil || !slices.Contains(events, "broker: running, mosquitto") && !slices.Contains(events, "broker: running") {
		t.Errorf("%v after %q", err, events)
	}
}

func givingUp(h *house) {
	t := h.t
	for delay := 20 * time.Millisecond; delay < 1200*time.Millisecond; delay += 130 * time.Millisecond {
		ctx, cancel := context.WithCancel(t.Context())
		given := time.AfterFunc(delay, cancel)
		r := h.ready
		r.Hostname = "never.example.com" // so that it does not get ready
		r.Patient = true
		_, _, err := h.await(ctx, r)
		if !errors.Is(err, context.Canceled) || remedy.CodeOf(err) != remedy.Interrupted {
			t.Errorf("given up after %v: %v", delay, err)
		}
		given.Stop()
		cancel()
		noProbes(t, h.e, h.project.Name)
	}
}

func liveStatus(h *house) {
	t := h.t
	if _, _, err := h.await(t.Context(), h.ready); err != nil {
		t.Fatal(err)
	}
	for name, live := range map[string]*View{"": nil, "live": &h.ready.View} {
		st, err := Inquire(t.Context(), h.e, Inquiry{Project: h.project.Name, Observed: h.observe(), Live: live})
		if err != nil || st.InsideErr != nil || len(st.Connections) == 0 || st.ConnectorID == "" || (live != nil) != (st.Inside != nil) {
			t.Errorf("%s: %+v, %v", name, st, err)
		}
	}
	broken := h.ready.View
	broken.Binary = secret.New("#!/nothing\n")
	st, err := Inquire(t.Context(), h.e, Inquiry{Project: h.project.Name, Observed: h.observe(), Live: &broken})
	if err != nil || !strings.HasPrefix(fmt.Sprint(st.InsideErr), "look from inside the network: ") || len(st.Services) != 2 {
		t.Errorf("where no probe runs: %v, %v", st.InsideErr, err)
	}
}

func missingHostname(h *house) {
	t := h.t
	r := h.ready
	r.Hostname = "x.example.com"
	_, _, err := h.await(t.Context(), r)
	if remedy.CodeOf(err) != remedy.No || !strings.HasPrefix(fmt.Sprint(err), "not ready: configuration: the tunnel does not publish x.example.com") ||
		!strings.Contains(remedy.HintOf(err), "Hostname x.example.com, Type HTTP, URL mosquitto:9001") {
		t.Errorf("%v, hint %q", err, remedy.HintOf(err))
	}
}

func patience(h *house) {
	t := h.t
	set := func(service string) {
		t.Helper()
		_, err := h.lab.Control.Configure(t.Context(), h.tunnel.TunnelID, control.TunnelConfig{
			Ingress: []control.Rule{{Hostname: publicName, Service: service}, {Service: "http_status:404"}},
		})
		if err != nil {
			t.Error(err)
		}
	}
	set("tcp://mosquitto:1883")
	r := h.ready
	r.Patient = true
	var events []string
	_, err := Await(t.Context(), h.e, r, func(e Event) {
		if w, ok := e.(Waiting); ok && w.Stage == StageConfiguration {
			events = append(events, w.Saw+"; "+w.Hint)
			set(brokerURL)
		}
	})
	if err != nil || len(events) != 1 || !strings.HasPrefix(events[0], "the public hostname has Type TCP") || !strings.Contains(events[0], "Ctrl-C leaves everything running") {
		t.Errorf("%v after %q", err, events)
	}
}

func timeouts(h *house) {
	t := h.t
	if err := h.lab.Control.SetTunnelFaults(t.Context(), h.tunnel.TunnelID, control.Faults{PublicStatus: 530}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := h.lab.Control.SetTunnelFaults(t.Context(), h.tunnel.TunnelID, control.Faults{}); err != nil {
			t.Error(err)
		}
	}()
	r := h.ready
	r.Timeout, r.Patient = 15*time.Second, true // long enough for a busy machine to come so far
	events, _, err := h.await(t.Context(), r)
	if remedy.CodeOf(err) != remedy.No || !strings.HasPrefix(fmt.Sprint(err), "not ready: public: wss://"+publicName) || !strings.HasSuffix(fmt.Sprint(err), "(waited 15s)") {
		t.Errorf("%v after %q", err, events)
	}
	if n := len(slices.DeleteFunc(events, func(e string) bool { return !strings.HasPrefix(e, "public! ") })); n != 1 {
		t.Errorf("the same fault was told %d times", n)
	}
}

func stoppedBroker(h *house) {
	t := h.t
	grace := 5 * time.Second
	if err := h.e.Stop(t.Context(), h.id(plan.ServiceBroker), &grace); err != nil {
		t.Fatal(err)
	}
	for _, settled := range []bool{false, true} {
		r := h.ready
		r.Settled = settled
		events, _, err := h.await(t.Context(), r)
		if remedy.CodeOf(err) != remedy.No || !strings.HasPrefix(fmt.Sprint(err), "not ready: ") || !strings.Contains(remedy.HintOf(err), "mqtunnel logs") {
			t.Errorf("settled %v: %v after %q", settled, err, events)
		}
	}
}
