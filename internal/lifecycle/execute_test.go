package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// recorder is an Engine that writes down what it is asked for, takes a second for
// each call, and fails where it is told to.
type recorder struct {
	began time.Time
	fails map[string]error // by call
	exec  func(cmd []string) (plan.ExecResult, error)
	input string                                                                            // of the last command
	logs  func(ctx context.Context, o plan.LogOptions, each func(plan.LogLine) error) error // nil cannot be read

	mu    sync.Mutex
	calls []string // as they end: "call", or "call: error"
	at    map[string]time.Duration
	files map[string]string // path -> content, as uploaded
}

func newRecorder() *recorder {
	return &recorder{began: time.Now(), fails: map[string]error{}, at: map[string]time.Duration{}, files: map[string]string{}}
}

func (r *recorder) call(ctx context.Context, format string, args ...any) error {
	name := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.at[name] = time.Since(r.began)
	r.mu.Unlock()
	err := pause(ctx, time.Second)
	if err == nil {
		err = r.fails[name]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		name += ": " + err.Error()
	}
	r.calls = append(r.calls, name)
	return err
}

func (r *recorder) CreateNetwork(ctx context.Context, n plan.Network, labels map[string]string) error {
	return r.call(ctx, "network %s of %s", n.Name, labels[plan.LabelProject])
}

func (r *recorder) RemoveNetwork(ctx context.Context, id string) error {
	return r.call(ctx, "remove network %s", id)
}

func (r *recorder) CreateVolume(ctx context.Context, v plan.Volume, labels map[string]string) error {
	return r.call(ctx, "volume %s of %s", v.Name, labels[plan.LabelProject])
}

func (r *recorder) RemoveVolume(ctx context.Context, name string) error {
	return r.call(ctx, "remove volume %s", name)
}

func (r *recorder) CreateContainer(ctx context.Context, c plan.Creation) (string, error) {
	return "id-of-" + c.Name, r.call(ctx, "create %s image %s", c.Name, c.Labels[plan.LabelImage])
}

func (r *recorder) CopyFiles(ctx context.Context, id string, files []plan.File) error {
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
		r.mu.Lock()
		r.files[f.Path] = f.Content.Reveal() // the test compares it
		r.mu.Unlock()
	}
	return r.call(ctx, "copy %s to %s", strings.Join(names, "+"), id)
}

func (r *recorder) Start(ctx context.Context, id string) error { return r.call(ctx, "start %s", id) }

func (r *recorder) Unpause(ctx context.Context, id string) error {
	return r.call(ctx, "unpause %s", id)
}

func (r *recorder) Stop(ctx context.Context, id string, grace *time.Duration) error {
	if grace == nil {
		return r.call(ctx, "stop %s", id)
	}
	return r.call(ctx, "stop %s within %v", id, *grace)
}

func (r *recorder) Kill(ctx context.Context, id, signal string) error {
	return r.call(ctx, "%s to %s", signal, id)
}

func (r *recorder) Remove(ctx context.Context, id string, volumes bool) error {
	return r.call(ctx, "remove %s volumes %v", id, volumes)
}

func (r *recorder) Rename(ctx context.Context, id, name string) error {
	return r.call(ctx, "rename %s to %s", id, name)
}

func (r *recorder) Exec(ctx context.Context, id string, cmd []string, stdin secret.Text) (plan.ExecResult, error) {
	if err := r.call(ctx, "exec in %s: %s", id, strings.Join(cmd, " ")); err != nil {
		return plan.ExecResult{}, err
	}
	r.input = stdin.Reveal() // to compare
	if r.exec == nil {
		return plan.ExecResult{}, nil
	}
	return r.exec(cmd)
}

func (r *recorder) Logs(ctx context.Context, _ string, o plan.LogOptions, each func(plan.LogLine) error) error {
	if r.logs == nil {
		return errors.New("configured logging driver does not support reading")
	}
	return r.logs(ctx, o, each)
}

func (r *recorder) sorted() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := slices.Clone(r.calls)
	slices.Sort(calls)
	return strings.Join(calls, "\n")
}

// home is the project of these tests.
func home() plan.Project {
	grace := 30 * time.Second
	return plan.Project{
		Name:     "home",
		Networks: []plan.Network{{Key: "default", Name: "home_default"}},
		Volumes:  []plan.Volume{{Key: "data", Name: "home_data"}},
		Services: []plan.Service{
			{
				Name: "mosquitto", ContainerName: "mosquitto", Image: "broker:1",
				Spec: plan.Spec{
					StopGrace: &grace, Networks: []plan.Endpoint{{Network: "home_default"}},
					Mounts: []plan.Mount{{Type: plan.MountVolume, Source: "home_data", Target: "/mosquitto/data"}},
				},
				Files: []plan.File{{Path: "/mosquitto/config/passwd", Content: secret.New("hashes")}, {Path: "/mosquitto/config/acl", Content: secret.New("rules")}},
			},
			{
				Name: "cloudflared", ContainerName: "cloudflared", Image: "connector:1",
				Spec: plan.Spec{Networks: []plan.Endpoint{{Network: "home_default"}}},
			},
		},
	}
}

func execute(ctx context.Context, r *recorder, pl plan.Plan) ([]string, error) {
	var events []string
	images := map[string]plan.Image{"broker:1": {Label: "sha256:b"}, "connector:1": {Label: "sha256:c"}}
	err := Execute(ctx, r, home(), images, pl, func(e Event) {
		switch e := e.(type) {
		case StepBegan:
			events = append(events, fmt.Sprintf("began %s %s", e.Step.Op, e.Step.Subject))
		case StepDone:
			events = append(events, fmt.Sprintf("done %s %s %v", e.Step.Op, e.Step.Subject, e.Took))
		}
	})
	return events, err
}

func TestAPlanIsRunInTheOrderOfItsDependencies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		_, err := execute(t.Context(), r, plan.Up(home(), plan.Observed{Images: map[string]plan.Image{}}, plan.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.Join([]string{
			"copy /mosquitto/config/passwd+/mosquitto/config/acl to id-of-mosquitto",
			"create cloudflared image sha256:c",
			"create mosquitto image sha256:b",
			"network home_default of home",
			"start id-of-cloudflared",
			"start id-of-mosquitto",
			"volume home_data of home",
		}, "\n")
		if got := r.sorted(); got != want {
			t.Errorf("calls:\n%s\nwant:\n%s", got, want)
		}
		for call, at := range map[string]time.Duration{
			"network home_default of home": 0, "volume home_data of home": 0,
			"create mosquitto image sha256:b": time.Second, "create cloudflared image sha256:c": time.Second,
			"start id-of-mosquitto": 3 * time.Second,
		} {
			if r.at[call] != at {
				t.Errorf("%s began after %v, want %v", call, r.at[call], at)
			}
		}
	})
}

func TestEveryOperationIsTheCallThatItNames(t *testing.T) {
	for op, c := range map[plan.Op]struct {
		step plan.Step
		want string
	}{
		plan.RemoveNetwork: {plan.Step{ID: "n1"}, "remove network n1"},
		plan.RemoveVolume:  {plan.Step{ID: "v1"}, "remove volume v1"},
		plan.Unpause:       {plan.Step{Subject: "mosquitto", ID: "c1"}, "unpause c1"},
		plan.Stop:          {plan.Step{Subject: "mosquitto", ID: "c1"}, "stop c1 within 30s"},
		plan.Remove:        {plan.Step{Subject: "mosquitto", ID: "c1"}, "remove c1 volumes true"},
		plan.Rename:        {plan.Step{Subject: "mosquitto", ID: "c1", Name: "mosquitto"}, "rename c1 to mosquitto"},
		plan.CopyFiles:     {plan.Step{Subject: "cloudflared", ID: "c1"}, ""}, // nothing to copy
		plan.CreateContainer: {
			plan.Step{Subject: "cloudflared", Name: "0123_cloudflared"}, "create 0123_cloudflared image sha256:c",
		},
		plan.Reload: {
			plan.Step{Subject: "mosquitto", ID: "c1"},
			"copy /mosquitto/config/passwd.new+/mosquitto/config/acl.new to c1\n" +
				"exec in c1: sh -c mv -f /mosquitto/config/passwd.new /mosquitto/config/passwd && mv -f /mosquitto/config/acl.new /mosquitto/config/acl && kill -HUP 1",
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRecorder()
			c.step.Op = op
			if _, err := execute(t.Context(), r, plan.Plan{Steps: []plan.Step{c.step}}); err != nil {
				t.Errorf("%s: %v", op, err)
			}
			if got := r.sorted(); got != c.want {
				t.Errorf("%s: calls\n%s\nwant\n%s", op, got, c.want)
			}
		})
	}
	if _, err := execute(t.Context(), newRecorder(), plan.Plan{Steps: []plan.Step{{Op: "dance", Subject: "x"}}}); err == nil {
		t.Error("an operation that does not exist was run")
	}
}

func TestNothingRunsAfterAFailedStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		boom := errors.New("boom")
		r.fails["stop a"] = boom
		events, err := execute(t.Context(), r, plan.Plan{Steps: []plan.Step{
			{Op: plan.Stop, Subject: "x", ID: "a"},
			{Op: plan.Remove, Subject: "x", ID: "a", After: []int{0}},
			{Op: plan.Start, Subject: "y", ID: "b"},
			{Op: plan.Start, Subject: "z", ID: "c", After: []int{2}}, // ready just when a fails
			{Op: plan.Start, Subject: "z", ID: "d", After: []int{1, 2}},
			{Op: plan.Stop, Subject: "late", ID: "e", Delay: time.Minute},
		}})
		if !errors.Is(err, boom) || err.Error() != "stop container x: boom" {
			t.Errorf("error %v, want that of the step with what it was", err)
		}
		for _, call := range r.calls {
			if !strings.HasPrefix(call, "stop a: boom") && !strings.HasPrefix(call, "start b") && call != "start c: context canceled" {
				t.Errorf("after the failure: %q", call)
			}
		}
		if slices.Contains(events, "done stop container x 1s") || slices.Contains(events, "began stop container late") {
			t.Errorf("events %q", events)
		}
		if took := time.Since(r.began); took != time.Second {
			t.Errorf("the rest was waited for: %v", took)
		}
	})
}

func TestAStepUnderWayEndsWhenItIsCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		r := newRecorder()
		_, err := execute(ctx, r, plan.Plan{Steps: []plan.Step{
			{Op: plan.Start, Subject: "x", ID: "a"},
			{Op: plan.Start, Subject: "y", ID: "b", After: []int{0}},
			{Op: plan.Start, Subject: "z", ID: "c", After: []int{1}},
		}})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if got, want := r.sorted(), "start a\nstart b: context deadline exceeded"; got != want {
			t.Errorf("calls\n%s\nwant\n%s", got, want)
		}
	})
}

func TestADelayCountsFromTheStartOfTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		_, err := execute(t.Context(), r, plan.Plan{Steps: []plan.Step{
			{Op: plan.Stop, Subject: "cloudflared", ID: "a"},
			{Op: plan.Stop, Subject: "mosquitto", ID: "b", Delay: 500 * time.Millisecond},
			{Op: plan.Remove, Subject: "mosquitto", ID: "b", After: []int{1}, Delay: 500 * time.Millisecond},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for call, want := range map[string]time.Duration{"stop a": 0, "stop b within 30s": 500 * time.Millisecond, "remove b volumes true": 1500 * time.Millisecond} {
			if r.at[call] != want {
				t.Errorf("%s began after %v, want %v", call, r.at[call], want)
			}
		}
	})
}

func TestACreatedContainerIsKnownToLaterSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRecorder()
		_, err := execute(t.Context(), r, plan.Plan{Steps: []plan.Step{
			{Op: plan.CreateContainer, Subject: "cloudflared"},
			{Op: plan.CreateContainer, Subject: "mosquitto", Name: "0123_mosquitto"},
			{Op: plan.CopyFiles, Subject: "mosquitto", Made: 1, After: []int{1}},
			{Op: plan.Rename, Subject: "mosquitto", Made: 1, Name: "mosquitto", After: []int{2}},
			{Op: plan.Start, Subject: "cloudflared", Made: 0, After: []int{0}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{
			"copy /mosquitto/config/passwd+/mosquitto/config/acl to id-of-0123_mosquitto", "rename id-of-0123_mosquitto to mosquitto", "start id-of-cloudflared",
		} {
			if !slices.Contains(r.calls, want) {
				t.Errorf("no call %q in %q", want, r.calls)
			}
		}
	})
}
