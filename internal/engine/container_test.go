package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

func TestEverythingOfASpecReachesTheEngine(t *testing.T) {
	b := newBench(t)
	net := plan.Network{Key: "default", Name: b.project + "_default"}
	labels := map[string]string{plan.LabelProject: b.project, plan.LabelNetwork: "default"}
	if err := b.CreateNetwork(t.Context(), net, labels); err != nil {
		t.Fatal(err)
	}
	grace, init := 1500*time.Millisecond, true
	s := b.service("mosquitto", "serve")
	s.Labels[plan.LabelRole] = plan.RoleBroker
	s.Service.Spec = plan.Spec{
		Entrypoint: []string{"/app"}, Command: []string{"serve"}, Env: []string{"A=1", "B=x y"},
		Labels: map[string]string{"mine": "yes", plan.LabelService: "overridden"},
		User:   "1883:1883", WorkingDir: "/etc", Hostname: "broker", StopSignal: "SIGTERM", StopGrace: &grace, Init: &init,
		CapAdd: []string{"NET_BIND_SERVICE"}, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"}, GroupAdd: []string{"20"},
		Sysctls: map[string]string{"net.core.somaxconn": "256"}, Ulimits: []plan.Ulimit{{Name: "core"}},
		Restart: plan.Restart{Name: "unless-stopped"},
		Health: &plan.Health{
			Test: []string{"CMD", "/app", "ok"}, Interval: 30 * time.Second, Timeout: 3 * time.Second,
			StartPeriod: 5 * time.Second, StartInterval: time.Second, Retries: 2,
		},
		Mounts: []plan.Mount{
			{Type: plan.MountVolume, Source: b.project + "_data", Target: "/data"},
			{Type: plan.MountTmpfs, Target: "/tmp", TmpfsSize: 1 << 20, TmpfsMode: 0o1777},
			{Type: plan.MountBind, Source: t.TempDir(), Target: "/host", ReadOnly: true},
		},
		Tmpfs: map[string]string{"/log": "size=65536"}, Expose: []string{"9001/tcp", "1883"},
		Ports:      []plan.Port{{HostIP: "127.0.0.1", Container: 1883, Protocol: "tcp"}},
		Networks:   []plan.Endpoint{{Network: net.Name, Aliases: []string{"broker"}}},
		ExtraHosts: []string{"edge:127.0.0.9"}, Logging: &plan.Logging{Driver: "json-file", Options: map[string]string{"max-size": "1m"}},
		MemoryLimit: 64 << 20, PidsLimit: 50, CPUs: 0.5, OOMScoreAdj: 100,
	}
	volume := plan.Volume{Key: "data", Name: b.project + "_data"}
	if err := b.CreateVolume(t.Context(), volume, map[string]string{plan.LabelProject: b.project, plan.LabelVolume: "data"}); err != nil {
		t.Fatal(err)
	}
	id := b.start(s)

	docker, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	closing(t, docker)
	r, err := docker.ContainerInspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprintf("cmd %v env %v user %s dir %s host %s stop %s %d init %v\n",
		r.Config.Cmd, r.Config.Env[:2], r.Config.User, r.Config.WorkingDir, r.Config.Hostname, r.Config.StopSignal, *r.Config.StopTimeout, *r.HostConfig.Init)
	got += fmt.Sprintf("labels %s %s attach %v exposed %d\n", r.Config.Labels["mine"], r.Config.Labels[plan.LabelService], r.Config.AttachStdout, len(r.Config.ExposedPorts))
	got += fmt.Sprintf("caps %v %v sec %v groups %v sysctls %v ulimit %v restart %v\n",
		r.HostConfig.CapAdd, r.HostConfig.CapDrop, r.HostConfig.SecurityOpt, r.HostConfig.GroupAdd, r.HostConfig.Sysctls, r.HostConfig.Ulimits[0], r.HostConfig.RestartPolicy.Name)
	got += fmt.Sprintf("health %v %v %d binds %d mounts %d tmpfs %v\n",
		r.Config.Healthcheck.Test, r.Config.Healthcheck.Interval, r.Config.Healthcheck.Retries, len(r.HostConfig.Binds), len(r.HostConfig.Mounts), r.HostConfig.Tmpfs)
	got += fmt.Sprintf("mode %s hosts %v log %s %v mem %d pids %d cpus %d oom %d\n",
		strings.Replace(string(r.HostConfig.NetworkMode), b.project, "P", 1), r.HostConfig.ExtraHosts, r.HostConfig.LogConfig.Type, r.HostConfig.LogConfig.Config["max-size"],
		r.HostConfig.Memory, *r.HostConfig.PidsLimit, r.HostConfig.NanoCPUs, r.HostConfig.OomScoreAdj)
	want := `cmd [serve] env [A=1 B=x y] user 1883:1883 dir /etc host broker stop SIGTERM 2 init true
labels yes mosquitto attach true exposed 2
caps [CAP_NET_BIND_SERVICE] [ALL] sec [no-new-privileges:true] groups [20] sysctls map[net.core.somaxconn:256] ulimit core=0:0 restart unless-stopped
health [CMD /app ok] 30s 2 binds 1 mounts 2 tmpfs map[/log:size=65536]
mode P_default hosts [edge:127.0.0.9] log json-file 1m mem 67108864 pids 50 cpus 500000000 oom 100
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("container differs from its spec (-want +got):\n%s", diff)
	}
	d, err := b.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Rights; got.User != "1883:1883" || got.HostNetwork || !slices.Equal(got.Excess(), []string{"has the capability NET_BIND_SERVICE"}) {
		t.Errorf("its rights are %+v, in excess of what is needed %q", got, got.Excess())
	}
	if d.PidsLimit != 50 || d.MemoryLimit != 64<<20 || d.Policy.Name != "unless-stopped" {
		t.Errorf("it is limited to %d processes and %d bytes, and restarted by %+v", d.PidsLimit, d.MemoryLimit, d.Policy)
	}
	aliases := r.NetworkSettings.Networks[net.Name].Aliases
	for _, alias := range []string{s.Name, "mosquitto", "broker"} {
		if !slices.Contains(aliases, alias) {
			t.Errorf("aliases are %v, want %s among them", aliases, alias)
		}
	}
	observed, err := b.Observe(t.Context(), plan.Query{Project: b.project})
	if err != nil {
		t.Fatal(err)
	}
	c := observed.Containers[0]
	if len(c.Ports) != 1 || c.Ports[0].HostIP != "127.0.0.1" || c.Ports[0].Container != 1883 || c.Ports[0].HostPort == "" {
		t.Errorf("published ports are %+v, want one of 1883 on 127.0.0.1", c.Ports)
	}
	if c.Health != plan.HealthStarting && c.Health != plan.HealthHealthy {
		t.Errorf("health is %q with status %q", c.Health, c.Status)
	}
	managed, err := b.Managed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(managed, func(m plan.Container) bool { return m.ID == id }) {
		t.Errorf("a container with our role is not among the %d managed ones", len(managed))
	}
}

func TestAContainerJoinsAllItsNetworksBeforeItStarts(t *testing.T) {
	b := newBench(t)
	s := b.service("cloudflared", "serve")
	s.Service.Spec.NetworkMode = ""
	for _, key := range []string{"default", "edge"} {
		n := plan.Network{Key: key, Name: b.project + "_" + key, Internal: key == "edge", Subnets: nil}
		if err := b.CreateNetwork(t.Context(), n, map[string]string{plan.LabelProject: b.project, plan.LabelNetwork: key}); err != nil {
			t.Fatal(err)
		}
		s.Service.Spec.Networks = append(s.Service.Spec.Networks, plan.Endpoint{Network: n.Name})
	}
	id := b.create(s)
	d, err := b.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if d.State != plan.StateCreated || len(d.Networks) != 2 {
		t.Errorf("state %s on networks %v, want created on two", d.State, d.Networks)
	}

	s.Name, s.Service.ContainerName = s.Name+"x", s.Name+"x"
	s.Service.Spec.Networks[1].IPv4 = "not an address"
	if _, err := b.CreateContainer(t.Context(), s); err == nil {
		t.Fatal("creating a container with an address that is none: no error")
	}
	if _, err := b.Inspect(t.Context(), s.Name); !engine.IsNotFound(err) {
		t.Errorf("a container that could not join its network is left: %v", err)
	}
}

func TestCopiedFilesHaveTheirOwnerAndModeAndLeaveDirectoriesAlone(t *testing.T) {
	b := newBench(t)
	s := b.service("files", "stat", "/etc", "/etc/new", "/etc/new/deep", "/etc/new/deep/token", "/etc/passwd")
	s.Service.Spec.User = "65532:65531" // of which no passwd knows
	id := b.create(s)
	b.take()
	files := []plan.File{
		{Path: "/etc/new/deep/token", UID: 65532, GID: 65531, Mode: 0o400, Content: secret.New("hunter2")},
		{Path: "/etc/passwd", UID: 1883, GID: 1883, Mode: 0o600, Content: secret.New("")},
	}
	if err := b.CopyFiles(t.Context(), id, files); err != nil {
		t.Fatal(err)
	}
	if calls := b.take(); len(calls) != 1 {
		t.Errorf("copying took %d calls, want one: %v", len(calls), calls)
	}
	if err := b.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.until(id, "it has ended", exited)
	got := strings.ReplaceAll(texts(b.logs(id, plan.LogOptions{Tail: -1})), "|", "\n")
	want := "/etc 7:8 711\n/etc/new 0:0 755\n/etc/new/deep 0:0 755\n/etc/new/deep/token 65532:65531 400\n/etc/passwd 1883:1883 600"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files in the container (-want +got):\n%s", diff)
	}

	data, found, err := b.ReadFile(t.Context(), id, "/etc/new/deep/token", 7)
	if err != nil || !found || string(data) != "hunter2" {
		t.Errorf("ReadFile = %q, %v, %v", data, found, err)
	}
	for _, c := range []struct {
		name, path string
		limit      int64
		want       string
	}{
		{"missing", "/etc/absent", 10, "<nil>"},
		{"too large", "/etc/new/deep/token", 6, "7 bytes, more than 6"},
		{"directory", "/etc", 1 << 20, "not a regular file"},
	} {
		_, found, err := b.ReadFile(t.Context(), id, c.path, c.limit)
		if found || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("ReadFile of a %s file = found %v, %v; want %s", c.name, found, err, c.want)
		}
	}
	if _, _, err := b.ReadFile(t.Context(), b.project+"absent", "/etc/passwd", 10); !engine.IsNotFound(err) {
		t.Errorf("ReadFile in a container that does not exist: %v", err)
	}
	bad := []plan.File{{Path: "/etc/../x", Content: secret.New("hunter2")}}
	if err := b.CopyFiles(t.Context(), id, bad); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("copying to /etc/../x: %v", err)
	}
}

func TestExecReturnsCodeAndBothStreams(t *testing.T) {
	b := newBench(t)
	id := b.start(b.service("exec", "serve"))
	b.take()
	r, err := b.Exec(t.Context(), id, []string{"/app", "exit", "5"}, secret.Text{})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 5 || !strings.Contains(r.Output, "to stdout\n") || !strings.Contains(r.Output, "to stderr\n") {
		t.Errorf("Exec = %+v, want code 5 and both lines", r)
	}
	if calls := b.take(); len(calls) < 3 {
		t.Errorf("exec is traced as %v, want create, start and inspect", calls)
	}
	r, err = b.Exec(t.Context(), id, []string{"/app", "long", "200000"}, secret.Text{})
	if err != nil || len(r.Output) != 64<<10 {
		t.Errorf("Exec with much output kept %d bytes, %v", len(r.Output), err)
	}
	r, err = b.Exec(t.Context(), id, []string{"/app", "echo"}, secret.New("first\nsecond"))
	if err != nil || r.Code != 0 || r.Output != "first\nsecond" {
		t.Errorf("Exec with an input: %+v, %v", r, err)
	}
	if r, err = b.Exec(t.Context(), id, []string{"/app", "exit", "5"}, secret.New(strings.Repeat("unread\n", 50000))); err != nil || r.Code != 5 {
		t.Errorf("Exec of a command that does not read its input: %d, %v", r.Code, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if _, err := b.Exec(ctx, id, []string{"/app", "serve"}, secret.Text{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Exec that outlives its context: %v", err)
	}
	if _, err := b.Exec(t.Context(), id, []string{"/absent"}, secret.Text{}); err == nil {
		if r, _ := b.Exec(t.Context(), id, []string{"/absent"}, secret.Text{}); r.Code == 0 {
			t.Error("Exec of a command that does not exist: code 0")
		}
	}
}

func TestStopGivesTheGraceAndRepeatingIsNoError(t *testing.T) {
	b := newBench(t)
	id := b.start(b.service("obeys", "serve"))
	stubborn := b.start(b.service("stubborn", "stubborn"))
	for _, c := range []string{id, stubborn} {
		b.until(c, "it is ready", func(plan.Details) bool { return len(b.logs(c, plan.LogOptions{Tail: -1})) > 0 })
	}
	grace := 800 * time.Millisecond
	for range 2 {
		for _, c := range []string{id, stubborn} {
			if err := b.Stop(t.Context(), c, &grace); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d := b.until(id, "it has ended", exited); d.ExitCode != 0 {
		t.Errorf("the one that obeys ended with %d", d.ExitCode)
	}
	d := b.until(stubborn, "it has ended", exited)
	if d.ExitCode != 137 || d.FinishedAt.Before(d.StartedAt) || d.StartedAt.IsZero() {
		t.Errorf("the stubborn one: exit %d, started %v, finished %v", d.ExitCode, d.StartedAt, d.FinishedAt)
	}
	if err := b.Kill(t.Context(), id, "SIGHUP"); !engine.IsConflict(err) {
		t.Errorf("a signal to a stopped container: %v, want a conflict", err)
	}
	if err := b.Stop(t.Context(), b.project+"-absent", nil); err != nil {
		t.Errorf("stopping what does not exist: %v", err)
	}
	for range 2 {
		if err := b.Start(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := b.Unpause(t.Context(), id); err != nil {
			t.Errorf("unpausing what runs: %v", err)
		}
	}
	if err := b.Restart(t.Context(), id, &grace); err != nil {
		t.Error(err)
	}
	if err := b.Kill(t.Context(), id, "SIGHUP"); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := b.Remove(t.Context(), id, true); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if _, err := b.Inspect(t.Context(), id); !engine.IsNotFound(err) {
		t.Errorf("inspecting what was removed: %v", err)
	}
}

func TestANameThatIsTakenIsAConflict(t *testing.T) {
	b := newBench(t)
	one := b.service("one", "serve")
	id := b.create(one)
	_, err := b.CreateContainer(t.Context(), one)
	if !engine.IsConflict(err) || remedy.CodeOf(err) != remedy.Input || !strings.HasPrefix(err.Error(), "create container "+one.Name+": conflict.") {
		t.Errorf("creating under a name that is taken: %v", err)
	}
	one.Service.Spec.Networks, one.Labels[plan.LabelConfigHash] = nil, "h"
	one.Name += "-hashed"
	hashed := b.create(one)
	if again, err := b.CreateContainer(t.Context(), one); err != nil || again != hashed {
		t.Errorf("what a command that was stopped had made, and never ran: %s, %v, want %s", again, err, hashed)
	}
	one.Labels[plan.LabelConfigHash] = "other"
	if _, err := b.CreateContainer(t.Context(), one); !engine.IsConflict(err) {
		t.Errorf("of another configuration: %v", err)
	}
	one.Labels[plan.LabelConfigHash] = "h"
	if err := b.Start(t.Context(), hashed); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CreateContainer(t.Context(), one); !engine.IsConflict(err) {
		t.Errorf("one that runs: %v", err)
	}
	one = b.service("one", "serve")
	other := b.create(b.service("two", "serve"))
	if err := b.Rename(t.Context(), other, one.Name); !engine.IsConflict(err) {
		t.Errorf("renaming to a name that is taken: %v", err)
	}
	if err := b.Rename(t.Context(), id, one.Name); err != nil {
		t.Errorf("renaming to the name that it has: %v", err)
	}
	if err := b.Rename(t.Context(), id, one.Name+"-new"); err != nil {
		t.Error(err)
	}
	if d, err := b.Inspect(t.Context(), one.Name+"-new"); err != nil || d.ID != id {
		t.Errorf("after the rename: %+v, %v", d, err)
	}
}
