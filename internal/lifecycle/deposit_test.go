package lifecycle

import (
	"context"
	"strings"
	"testing"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

func TestADatabaseIsPutWhereNoneIsAndNeverOverAnotherOne(t *testing.T) {
	e := open(t, "")
	image, err := labtest.Store(t, labtest.Engine(t)).Mosquitto(t.Context(), images.Mosquitto21)
	if err != nil {
		t.Fatal(err)
	}
	project := "lifedeposit" + token()
	p, _ := rendered(t, t.TempDir(), map[string]string{".env": "COMPOSE_PROJECT_NAME=" + project + "\nMOSQUITTO_IMAGE=" + image.Ref +
		"\nCLOUDFLARE_TUNNEL_TOKEN=none\nMQTUNNEL_PROBE_PASSWORD=0123456789abcdefghijklmn\n"})
	t.Cleanup(func() {
		if err := e.RemoveVolume(context.WithoutCancel(t.Context()), p.Volumes[0].Name); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		text, want string // what it becomes or, with a blank, what the error says
		force      bool
		holds      string
	}{
		{"one", "done", false, "one"},
		{"one", "same", false, "one"},
		{"two", "the volume " + p.Volumes[0].Name + " holds a database already", false, "one"},
		{"two", "moved", true, "two"},
		{"three", "moved", true, "three"},
	} {
		done, err := Deposit(t.Context(), e, p, []byte(c.text), c.force, func(Event) {})
		got := string(done)
		if err != nil {
			got = err.Error()
			if remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
				t.Errorf("%+v: code %d, hint %q", c, remedy.CodeOf(err), remedy.HintOf(err))
			}
		}
		if got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
		if held := inData(t, e, p, "cat /mosquitto/data/mosquitto.db && stat -c '%a %u %g' /mosquitto/data/mosquitto.db && ls -A /mosquitto/data"); !strings.HasPrefix(held, c.holds+"600 1883 1883") || strings.Contains(held, ".import") {
			t.Errorf("%+v: the volume holds %q", c, held)
		}
	}
	if held := inData(t, e, p, "cat /mosquitto/data/before-import/mosquitto.db /mosquitto/data/before-import-2/mosquitto.db"); held != "onetwo" {
		t.Errorf("aside is %q, want what was there before, each time", held)
	}
	o, err := e.Observe(t.Context(), plan.Query{Project: project, Volumes: []string{p.Volumes[0].Name}})
	if err != nil || len(o.Volumes) != 1 {
		t.Fatalf("volumes %v, %v", o.Volumes, err)
	}
	for key, want := range plan.VolumeLabels(p, p.Volumes[0]) {
		if got := o.Volumes[0].Labels[key]; got != want {
			t.Errorf("label %s of the volume is %q, want %q", key, got, want)
		}
	}
	noProbes(t, e, project)
}

// inData runs a command on the project's data and returns what it writes, in one line.
func inData(t *testing.T, e Depositor, p plan.Project, script string) string {
	t.Helper()
	s, m, err := dataMount(p)
	if err != nil {
		t.Fatal(err)
	}
	c := throwAway(p.Name, s, []string{"/bin/sh", "-c", "echo $(" + script + ")"})
	c.Service.Spec.Mounts = []plan.Mount{m}
	said := ""
	if err := inThrowAway(t.Context(), e, c, nil, func(ctx context.Context, id string) (err error) {
		said, err = lastWords(ctx, e, id)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return said
}

func TestAProjectWithoutAVolumeForDataTakesNone(t *testing.T) {
	p := plan.Project{Name: "x", Services: []plan.Service{{Name: plan.ServiceBroker, Spec: plan.Spec{
		Mounts: []plan.Mount{{Type: plan.MountTmpfs, Target: mosquitto.DataPath}},
	}}}}
	if _, m, err := dataMount(p); err == nil {
		t.Errorf("it would go to %v", m)
	}
}
