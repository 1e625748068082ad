package lifecycle

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

func TestADepositThatFailsLeavesTheOldDatabaseAndItsCopies(t *testing.T) {
	for step, shim := range map[string]string{
		"room for the new one":  "cp\n[ \"${1##*/}\" = given ] && exit 1",
		"the old one set aside": "ln\nexit 1\ncp\ncase $2 in */before-import/*) exit 1 ;; esac",
		"the copies set aside":  "mv\n[ \"${1##*/}\" = copies ] && case $2 in */before-import/) exit 1 ;; esac",
		"the new one in place":  "mv\n[ \"$1\" = -f ] && exit 1",
	} {
		dir, shims := t.TempDir(), t.TempDir()
		data, given := filepath.Join(dir, "data"), filepath.Join(dir, "given")
		if err := errors.Join(
			os.MkdirAll(filepath.Join(data, "copies"), 0o700),
			os.WriteFile(filepath.Join(data, "mosquitto.db"), []byte("old"), 0o600),
			os.WriteFile(filepath.Join(data, "copies", "1"), []byte("copy"), 0o600),
			os.WriteFile(given, []byte("new"), 0o600),
		); err != nil {
			t.Fatal(err)
		}
		name := ""
		for line := range strings.Lines(shim) {
			text := strings.TrimSuffix(line, "\n")
			if text == "cp" || text == "ln" || text == "mv" {
				name, text = text, "#!/bin/sh"
			}
			appendLine(t, filepath.Join(shims, name), text)
		}
		for _, name := range []string{"cp", "ln", "mv"} {
			if _, err := os.Stat(filepath.Join(shims, name)); err == nil {
				appendLine(t, filepath.Join(shims, name), "exec /bin/"+name+" \"$@\"")
			}
		}
		script := strings.Replace(depositScript, "data="+mosquitto.DataPath+"\n", "data="+data+"\n", 1)
		cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, "import", given, "force")
		cmd.Env = []string{"PATH=" + shims + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "import: failed: ") {
			t.Errorf("%s: %v, %q", step, err, out)
		}
		var left []string
		if err := filepath.WalkDir(data, func(path string, d os.DirEntry, err error) error {
			if err == nil && !d.IsDir() {
				text, rerr := os.ReadFile(path)
				left, err = append(left, strings.TrimPrefix(path, data+"/")+"="+string(text)), rerr
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if want := []string{"copies/1=copy", "mosquitto.db=old"}; !slices.Equal(left, want) {
			t.Errorf("%s: left is %q, want %q", step, left, want)
		}
	}
}

// appendLine adds a line to a program.
func appendLine(t *testing.T, path, line string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteString(line + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}
