package render_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// put writes a file under dir.
func put(t *testing.T, dir, name, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// overridden loads the default project with an override file and returns the error.
func overridden(t *testing.T, override string, env map[string]string) error {
	t.Helper()
	dir := t.TempDir()
	put(t, dir, "compose.override.yaml", override)
	_, err := render.Load(t.Context(), dir, rendered(t, base()), env)
	return err
}

func TestOurFilesBelongToWhoReadsThem(t *testing.T) {
	p := load(t, t.TempDir(), rendered(t, base()))
	type file struct {
		Path     string
		UID, GID int
		Mode     string
		Content  string
	}
	var got []file
	for _, s := range p.Services {
		for _, f := range s.Files {
			got = append(got, file{f.Path, f.UID, f.GID, f.Mode.String(), f.Content.Reveal()})
		}
	}
	in := base()
	want := []file{
		{"/mosquitto/config/mqtunnel.conf", 1883, 1883, "-rw-------", in.Conf},
		{"/mosquitto/config/passwd", 1883, 1883, "-rw-------", in.Passwd},
		{"/mosquitto/config/acl", 1883, 1883, "-rw-------", in.ACL},
		{"/mosquitto/config/start.sh", 1883, 1883, "-r-x------", in.StartScript},
		{"/run/secrets/tunnel_token", 65532, 65532, "-r--------", token},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestTheProjectInThePlansWords(t *testing.T) {
	dir := t.TempDir()
	p := load(t, dir, rendered(t, base()))
	for i := range p.Services {
		p.Services[i].Files = nil // TestOurFilesBelongToWhoReadsThem
	}
	text, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "default.plan.json", strings.ReplaceAll(string(text), dir, "DIR")+"\n")
}

func TestWithoutATokenNothingIsPutIntoTheConnector(t *testing.T) {
	p, err := render.Load(t.Context(), t.TempDir(), rendered(t, base()), nil)
	if err != nil {
		t.Fatal(err)
	}
	if files := p.Services[1].Files; len(files) != 0 {
		t.Errorf("the connector gets %v, want nothing", files)
	}
}

const everything = `
x-common: &common
  labels: {made: here}
services:
  mosquitto:
    environment: {TZ: Europe/Prague, EMPTY: }
    env_file: [extra.env]
    networks:
      default: {aliases: [broker]}
      home: {ipv4_address: 172.30.0.9}
    ports: ["127.0.0.1:8883:1883", {target: 9001, published: "9001"}]
    expose: ["7000-7001", 7002/udp]
    volumes:
      - ./certs:/certs:ro
      - {type: tmpfs, target: /scratch, tmpfs: {size: 1m, mode: 0o700}}
    extra_hosts: ["ha:192.168.1.5"]
    mem_limit: 64m
    cpus: 0.5
    ulimits: {nofile: 2000}
    devices: ["/dev/null:/dev/x:r"]
    sysctls: {net.core.somaxconn: 100}
    dns: 1.1.1.1
    stop_grace_period: 1m
  cloudflared:
    container_name: connector
    healthcheck: {disable: true}
    depends_on: {logger: {condition: service_started}}
    restart: on-failure:3
    logging: {driver: local, options: !override {}}
  logger:
    <<: *common
    image: logger:1
    network_mode: none
    init: true
    deploy: {resources: {limits: {cpus: "0.1", memory: 64m, pids: 20}, reservations: {memory: 32m}}}
    configs: [{source: settings, target: app/settings, mode: 0o440}]
    secrets: [key]
networks:
  home: {external: true, name: home-net}
configs:
  settings: {content: "a=${FROM_ENV}"}
secrets:
  key: {file: ./key.txt}
`

func TestAnOverrideIsCarriedOut(t *testing.T) {
	dir := t.TempDir()
	put(t, dir, "compose.override.yaml", everything)
	put(t, dir, "extra.env", "EXTRA=1\n")
	p, err := render.Load(t.Context(), dir, rendered(t, base()), map[string]string{"FROM_ENV": "from env"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range p.Services {
		names = append(names, s.Name+"="+s.ContainerName)
	}
	broker, logger, connector := p.Services[0].Spec, p.Services[1], p.Services[2]
	for _, c := range []struct {
		name      string
		got, want any
	}{
		{"start order and names", names, []string{"mosquitto=mosquitto", "logger=mqtunnel-logger-1", "cloudflared=connector"}},
		{"files", p.ConfigFiles, []string{dir + "/compose.yaml", dir + "/compose.override.yaml"}},
		{"environment", broker.Env, []string{"EMPTY", "EXTRA=1", "TZ=Europe/Prague"}},
		{"networks", broker.Networks, []plan.Endpoint{
			{Network: "mqtunnel_default", Aliases: []string{"broker"}},
			{Network: "home-net", IPv4: "172.30.0.9"},
		}},
		{"external network", p.Networks[1].External, true},
		{"ports", broker.Ports, []plan.Port{
			{HostIP: "127.0.0.1", HostPort: "8883", Container: 1883, Protocol: "tcp"},
			{HostPort: "9001", Container: 9001, Protocol: "tcp"},
		}},
		{"expose", broker.Expose, []string{"7000/tcp", "7001/tcp", "7002/udp"}},
		{"mounts", broker.Mounts, []plan.Mount{
			{Type: "volume", Source: "mqtunnel_data", Target: "/mosquitto/data"},
			{Type: "bind", Source: dir + "/certs", Target: "/certs", ReadOnly: true, CreateHost: true},
			{Type: "tmpfs", Target: "/scratch", TmpfsSize: 1 << 20, TmpfsMode: 0o700},
		}},
		{"hosts", broker.ExtraHosts, []string{"ha:192.168.1.5"}},
		{"limits", []any{broker.CPUs, broker.MemoryLimit, broker.PidsLimit}, []any{0.5, int64(64 << 20), int64(64)}},
		{"limits of deploy", []any{logger.Spec.CPUs, logger.Spec.MemoryLimit, logger.Spec.MemoryRes, logger.Spec.PidsLimit}, []any{0.1, int64(64 << 20), int64(32 << 20), int64(20)}},
		{"ulimits", broker.Ulimits, []plan.Ulimit{{Name: "core"}, {Name: "nofile", Soft: 2000, Hard: 2000}}},
		{"devices", broker.Devices, []plan.Device{{Host: "/dev/null", Container: "/dev/x", Permissions: "r"}}},
		{"sysctls", broker.Sysctls, map[string]string{"net.core.somaxconn": "100"}},
		{"dns", broker.DNS, []string{"1.1.1.1"}},
		{"grace", *broker.StopGrace, time.Minute},
		{"health check", connector.Spec.Health.Test, []string{"NONE"}},
		{"depends_on label", connector.Spec.Labels[plan.LabelDependsOn], "logger:service_started:false"},
		{"restart", connector.Spec.Restart, plan.Restart{Name: "on-failure", MaxRetries: 3}},
		{"logging", []any{connector.Spec.Logging.Driver, len(connector.Spec.Logging.Options)}, []any{"local", 0}},
		{"merged label", logger.Spec.Labels["made"], "here"},
		{"network mode", []any{logger.Spec.NetworkMode, len(logger.Spec.Networks)}, []any{"none", 0}},
		{"init", *logger.Spec.Init, true},
		{"file from a secret", logger.Spec.Mounts, []plan.Mount{{Type: "bind", Source: dir + "/key.txt", Target: "/run/secrets/key", ReadOnly: true}}},
		{"file from content", []any{logger.Files[0].Path, logger.Files[0].Mode.String(), logger.Files[0].UID, logger.Files[0].Content.Reveal()}, []any{"/app/settings", "-r--r-----", 0, "a=from env"}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: got %+v, want %+v", c.name, c.got, c.want)
		}
	}
}

func TestWhatCannotBeCarriedOutIsRefusedByKeyAndLine(t *testing.T) {
	for _, c := range []struct{ override, want string }{
		{"services:\n  mosquitto:\n    build: .\n", "compose.override.yaml:3: services.mosquitto.build: not supported"},
		{"services:\n  cloudflared:\n    image: a\n    profiles: [x]\n", ":4: services.cloudflared.profiles: not supported"},
		{"services:\n  a:\n    image: a\n    healthcheck:\n      foo: 1\n", ":5: services.a.healthcheck.foo: not supported"},
		{"services:\n  a:\n    deploy:\n      replicas: 2\n", ":4: services.a.deploy.replicas: not supported"},
		{"services:\n  a:\n    network_mode: service:mosquitto\n", `:3: services.a.network_mode: "service:mosquitto" is not supported`},
		{"services:\n  a:\n    volumes:\n      - type: image\n        source: x\n", `:4: services.a.volumes.type: "image" is not supported`},
		{"services:\n  a:\n    volumes:\n      - type: bind\n        bind: {recursive: disabled}\n", ":5: services.a.volumes.bind.recursive: not supported"},
		{"services:\n  a:\n    networks:\n      default:\n        mac_address: x\n", ":5: services.a.networks.default.mac_address: not supported"},
		{"networks:\n  default:\n    ipam:\n      driver: x\n", ":4: networks.default.ipam.driver: not supported"},
		{"name: other\n", ":1: name: not supported"},
		{"include: [x.yaml]\n", ":1: include: not supported"},
		{"secrets:\n  a:\n    external: true\n", ":3: secrets.a.external: not supported"},
		{"x-a: &a\n  gpus: all\nservices:\n  a:\n    <<: *a\n", ":2: services.a.gpus: not supported"},
		{"x-a: &a {pid: host}\nservices:\n  a: {<<: [*a], image: x}\n", ":1: services.a.pid: not supported"},
		{"x-s: &s {a: {ipc: host}}\nservices: *s\n", ":1: services.a.ipc: not supported"},
		{"services: {}\n---\nservices:\n  a:\n    uts: host\n", ":5: services.a.uts: not supported"},
		{"x-a: &a {k: &b {<<: *a}, <<: *b}\nservices: {m: *a}\n", "compose.override.yaml"},
		{"services:\n  a: {image: x, ulimits: {nofile: {soft: x}}}\n", "compose.override.yaml"},
		{"services:\n  a: [\n", "compose.override.yaml:2: not YAML"},
		{"a: &a [*a]\nservices: &b\n  x:\n    deploy: {resources: *b}\n", ""},
		{"services:\n  mosquitto:\n    read_only: true\n", "service mosquitto is read_only"},
		{"services:\n  mosquitto:\n    labels: !reset {}\n", "the service mosquitto is not the broker any more"},
		{"services:\n  cloudflared: !reset null\n", "the service cloudflared is not the connector any more"},
		{"services:\n  a:\n    image: x\n    networks: [nowhere]\n", "undefined network nowhere"},
		{"services:\n  a:\n    image: x\n    mem_limit: []\n", "compose.override.yaml"},
	} {
		err := overridden(t, c.override, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("override %q: error %v, want %q", c.override, err, c.want)
			continue
		}
		if remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
			t.Errorf("override %q: code %d, hint %q, want %d and a hint", c.override, remedy.CodeOf(err), remedy.HintOf(err), remedy.Input)
		}
	}
}

func TestTheOverrideOfDockerComposesChoiceIsTaken(t *testing.T) {
	names := []string{"docker-compose.override.yaml", "docker-compose.override.yml", "compose.override.yaml", "compose.override.yml"}
	dir := t.TempDir()
	for _, name := range names { // each is preferred to those before it
		put(t, dir, name, "services: {mosquitto: {hostname: "+strings.ReplaceAll(name, ".", "-")+"}}\n")
		got, _, err := render.Override(dir)
		if err != nil || got != name {
			t.Errorf("Override = %q, %v, want %q", got, err, name)
		}
		p := load(t, dir, rendered(t, base()))
		if host := p.Services[0].Spec.Hostname; host != strings.ReplaceAll(name, ".", "-") {
			t.Errorf("with %s the hostname is %q", name, host)
		}
	}
}

func TestNoErrorHoldsAValueOfTheEnvironment(t *testing.T) {
	env := map[string]string{"CLOUDFLARE_TUNNEL_TOKEN": token, "MQTT_PASSWORD": "pass 'word\" 9"}
	for _, override := range []string{
		"services: {mosquitto: {mem_limit: \"${CLOUDFLARE_TUNNEL_TOKEN}\"}}\n",
		"services: {mosquitto: {pids_limit: \"${MQTT_PASSWORD}\"}}\n",
		"services: {mosquitto: {ports: [\"${MQTT_PASSWORD}\"]}}\n",
		"services: {mosquitto: {networks: [\"${CLOUDFLARE_TUNNEL_TOKEN}\"]}}\n",
		"services: {mosquitto: {environment: {TOKEN: \"" + token + "}}}\n",
		"services: {mosquitto: {environment: {TUNNEL_TOKEN: \"${" + token + "\"}}}\n",
	} {
		err := overridden(t, override, env)
		if err == nil {
			t.Errorf("override %q is accepted", override)
			continue
		}
		for _, value := range env {
			if text := err.Error() + remedy.HintOf(err); strings.Contains(text, value) {
				t.Errorf("override %q: the error shows a secret: %s", override, text)
			}
		}
	}
}

func FuzzAnOverrideNeverCrashesTheLoader(f *testing.F) {
	f.Add(everything)
	f.Add("services: {mosquitto: {volumes: [a:b:c:d]}}")
	f.Add("a: &a [*a]\nservices: *a")
	f.Add("? {a: b}\n: c\n")
	in := base()
	f.Fuzz(func(t *testing.T, override string) {
		dir := t.TempDir()
		put(t, dir, "compose.override.yaml", override)
		// Whether it loads is not the question.
		_, _ = render.Load(t.Context(), dir, rendered(t, in), map[string]string{"CLOUDFLARE_TUNNEL_TOKEN": token})
	})
}

func BenchmarkLoad(b *testing.B) {
	text := rendered(b, base())
	dir := b.TempDir()
	for b.Loop() {
		if _, err := render.Load(b.Context(), dir, text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
