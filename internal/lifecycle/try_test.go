package lifecycle

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// brokerService returns the broker's service of a project without users, with
// this image and these further files in its directory.
func brokerService(t *testing.T, project, image, dir string, files map[string]string) plan.Service {
	t.Helper()
	all := maps.Clone(files)
	if all == nil {
		all = map[string]string{}
	}
	all[".env"] = "COMPOSE_PROJECT_NAME=" + project + "\nMOSQUITTO_IMAGE=" + image + "\nCLOUDFLARE_TUNNEL_TOKEN=none\nMQTUNNEL_PROBE_PASSWORD=0123456789abcdefghijklmn\n"
	p, _ := rendered(t, dir, all)
	i := slices.IndexFunc(p.Services, func(s plan.Service) bool { return s.Name == plan.ServiceBroker })
	return p.Services[i]
}

// noProbes fails when a probe or trial of the project exists.
func noProbes(t *testing.T, e Prober, project string) {
	t.Helper()
	left, err := e.Probes(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range left {
		if c.Labels[plan.LabelProbe] == project {
			t.Errorf("%s is left behind, %s", c.Name, c.State)
		}
	}
}

func TestAConfigurationIsTriedBeforeItIsUsed(t *testing.T) {
	e := open(t, "")
	store := labtest.Store(t, labtest.Engine(t))
	for _, version := range images.Versions() {
		image, err := store.Mosquitto(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			for name, c := range map[string]struct {
				files  map[string]string
				change func(*plan.Service)
				want   string
			}{
				"good":              {nil, nil, ""},
				"further directive": {map[string]string{"mosquitto/conf.d/more.conf": "max_keepalive 600\n"}, nil, ""},
				"unknown directive": {
					map[string]string{"mosquitto/conf.d/more.conf": "frobnicate yes\n"},
					nil,
					`mosquitto/conf.d/more.conf:1: the broker refuses this line: Error: Unknown configuration variable`,
				},
				"no password file": {nil, func(s *plan.Service) {
					s.Files = slices.DeleteFunc(slices.Clone(s.Files), func(f plan.File) bool { return f.Path == mosquitto.PasswdPath })
				}, "the broker refuses its configuration: "},
				"no file at all":  {nil, func(s *plan.Service) { s.Files = nil }, "the broker "},
				"nothing written": {nil, func(s *plan.Service) { s.Spec.Entrypoint = []string{"/bin/true"} }, "the broker does not start with its configuration: it wrote nothing"},
			} {
				project := "lifetry" + token()
				service := brokerService(t, project, image.Ref, t.TempDir(), c.files)
				if c.change != nil {
					c.change(&service)
				}
				err := Try(t.Context(), e, project, service)
				switch {
				case c.want == "" && err != nil, c.want != "" && (err == nil || !strings.HasPrefix(err.Error(), c.want) || remedy.CodeOf(err) != remedy.Input):
					t.Errorf("%s: %v, want %q", name, err, c.want)
				}
				noProbes(t, e, project)
			}
		})
	}
}

func TestATrialTouchesNoData(t *testing.T) {
	dir := t.TempDir()
	got := trialMounts([]plan.Mount{
		{Type: plan.MountVolume, Source: "home_data", Target: mosquitto.DataPath},
		{Type: plan.MountBind, Source: dir, Target: mosquitto.DataPath + "/store"},
		{Type: plan.MountVolume, Source: "certs", Target: "/certs"},
		{Type: plan.MountBind, Source: dir, Target: "/mosquitto/certs"},
	})
	if len(got) != 1 || got[0].Target != "/mosquitto/certs" || !got[0].ReadOnly {
		t.Errorf("mounts %+v", got)
	}
	e := open(t, "")
	image, err := labtest.Store(t, labtest.Engine(t)).Mosquitto(t.Context(), images.Versions()[0])
	if err != nil {
		t.Fatal(err)
	}
	// A directive may name a file of a bind mount.
	if err := os.WriteFile(filepath.Join(dir, "psk"), []byte("a:00\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	project := "lifetry" + token()
	service := brokerService(t, project, image.Ref, t.TempDir(), nil)
	service.Spec.Mounts = append(service.Spec.Mounts, plan.Mount{Type: plan.MountBind, Source: dir, Target: "/mosquitto/certs"})
	service.Spec.Entrypoint = []string{"/bin/sh", "-c", "test -f /mosquitto/certs/psk && ! touch /mosquitto/certs/x 2>/dev/null && exec /bin/sh /mosquitto/config/start.sh"}
	if err := Try(t.Context(), e, project, service); err != nil {
		t.Error(err)
	}
	o, err := e.Observe(t.Context(), plan.Query{Project: project, Volumes: []string{project + "_data"}})
	if err != nil || len(o.Volumes) != 0 {
		t.Errorf("volumes %v, %v", o.Volumes, err)
	}
	noProbes(t, e, project)
}

func TestAnAbandonedTrialLeavesNothing(t *testing.T) {
	e := open(t, "")
	image, err := labtest.Store(t, labtest.Engine(t)).Mosquitto(t.Context(), images.Versions()[0])
	if err != nil {
		t.Fatal(err)
	}
	project := "lifetry" + token()
	service := brokerService(t, project, image.Ref, t.TempDir(), nil)
	service.Spec.Entrypoint = []string{"/bin/sleep", "600"}
	ctx, cancel := context.WithCancel(t.Context())
	err = Try(ctx, &meddler{Client: e, started: func(string) { cancel() }}, project, service)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	noProbes(t, e, project)
}

func TestUsersAreInEffectAndCredentialsGone(t *testing.T) {
	e := open(t, "")
	store := labtest.Store(t, labtest.Engine(t))
	for _, version := range images.Versions() {
		image, err := store.Mosquitto(t.Context(), version)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			ctx, project, dir := t.Context(), "lifeuser"+token(), t.TempDir()
			service := brokerService(t, project, image.Ref, dir, nil)
			service.Spec.Mounts, service.Spec.Networks, service.Spec.NetworkMode = nil, nil, "none"
			id, err := e.CreateContainer(ctx, plan.Creation{Name: project, Service: service})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := e.Remove(context.WithoutCancel(ctx), id, true); err != nil {
					t.Error(err)
				}
			})
			if err := errors.Join(e.CopyFiles(ctx, id, service.Files), e.Start(ctx, id)); err != nil {
				t.Fatal(err)
			}
			probe := Login{User: mosquitto.ProbeUser, Password: secret.New("0123456789abcdefghijklmn")}
			if err := proveLogin(ctx, e, id, probe); err != nil {
				t.Fatalf("the probe's account: %v", err)
			}

			passwords := &mosquitto.Passwords{}
			phone := Login{User: "phone", Password: secret.New("a pass word # with 'signs'")}
			if err := errors.Join(passwords.Set(phone.User, phone.Password), passwords.SetProbe(probe.Password)); err != nil {
				t.Fatal(err)
			}
			after := plan.Project{Name: project, Services: []plan.Service{brokerService(t, project, image.Ref, dir, map[string]string{"mosquitto/passwd": passwords.Render().Reveal()})}}
			if err := ChangeUsers(ctx, e, id, after, phone); err != nil {
				t.Errorf("a new user: %v", err)
			}
			wrong := Login{User: "phone", Password: secret.New("wrong-password")}
			if err := ChangeUsers(ctx, e, id, after, wrong); err == nil || strings.Contains(err.Error(), "wrong-password") {
				t.Errorf("a wrong password: %v", err)
			}
			if _, found, err := ReadFile(ctx, e, id, "/mosquitto/config/mosquitto_sub"); found || err != nil {
				t.Errorf("credentials are left in the container: %v, %v", found, err)
			}
			held, err := HeldFiles(ctx, e, id, []string{mosquitto.PasswdPath, mosquitto.PasswdPath + ".new", "/none"})
			if err != nil || len(held) != 1 || !strings.Contains(held[mosquitto.PasswdPath].Reveal(), "phone:") {
				t.Errorf("held files %d, %v", len(held), err)
			}
		})
	}
}
