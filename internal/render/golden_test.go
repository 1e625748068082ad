package render_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

var (
	update = flag.Bool("update", false, "write the golden files anew")
	// With a path here the hashes are compared with the labels that this docker
	// compose writes, on the Engine of DOCKER_HOST, which must be one of its own:
	// the projects use the names and images of real ones.
	composeBinary = flag.String("compose", "", "a real docker compose to compare the golden hashes with")
)

const (
	tunnelID = "6ff42ae2-765d-4adf-8112-31c55c1551ef"
	token    = "eyJhIjoiMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAifQ=="
)

// base is the Input of the default settings with broker files in short.
func base() render.Input {
	return render.Input{
		Project:        "mqtunnel",
		BrokerImage:    "eclipse-mosquitto:2.1.2-alpine",
		ConnectorImage: "cloudflare/cloudflared:2026.8.2",
		TunnelID:       tunnelID,
		Conf:           "allow_anonymous false\npassword_file /mosquitto/config/passwd\nlistener 1883\nlistener 9001\nprotocol websockets\n",
		StartScript:    "#!/bin/sh\nset -u\ndata=${1:-/mosquitto/data}\necho \"mqtunnel: $data\" >&2\n\nexec mosquitto -c /mosquitto/config/mqtunnel.conf\n",
		Passwd:         "mqtunnel-probe:$7$1000$c2FsdHNhbHRzYWx0$aGFzaA==\n",
		ACL:            "user mqtunnel-probe\ntopic readwrite mqtunnel/probe/#\ntopic read $SYS/#\n",
		NewRevision:    func() string { return "0123456789abcdef" },
	}
}

// variants are the rendered projects whose text and hashes are frozen.
func variants() map[string]func(*render.Input) {
	return map[string]func(*render.Input){
		"default": func(*render.Input) {},
		"other":   func(in *render.Input) { in.Project = "other" },
		"lan":     func(in *render.Input) { in.LAN = "192.168.1.2:1883:1883" },
		"anonymous": func(in *render.Input) {
			in.Conf = strings.Replace(in.Conf, "allow_anonymous false", "allow_anonymous true", 1)
			in.ACL = "topic readwrite #\n" + in.ACL
		},
		"http2": func(in *render.Input) {
			in.Grace = 20e9
			in.ConnectorEnv = map[string]string{"TUNNEL_TRANSPORT_PROTOCOL": "http2", "TUNNEL_EDGE_IP_VERSION": "4", "TUNNEL_LOGLEVEL": "debug"}
		},
	}
}

// TestTheProjectIsWhatWasReviewed freezes text and hashes. The hashes are those
// in the labels that docker compose 5.6.0 wrote for these files (-compose), and
// those of compose-go 2.4.7, 2.9.1 and 2.14.0, which Compose 2.32 to 5.5 are made
// with; a difference here means that every container would be made anew by the other
// tool.
func TestTheProjectIsWhatWasReviewed(t *testing.T) {
	for name, change := range variants() {
		t.Run(name, func(t *testing.T) {
			in := base()
			change(&in)
			text, err := render.Compose(in)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".yaml", string(text))
			dir := t.TempDir()
			project := load(t, dir, text)
			got := hashes(project)
			golden(t, name+".hashes", got)
			if *composeBinary != "" {
				if diff := cmp.Diff(realHashes(t, dir, text, project), got); diff != "" {
					t.Errorf("hashes differ from docker compose (-compose +ours):\n%s", diff)
				}
			}
		})
	}
}

// hashedOverride uses what enters the hash in its own way: files of variables,
// dependencies that stay out, merged lists, and forms that compose-go rewrites.
const hashedOverride = `
services:
  mosquitto:
    environment: {TZ: Europe/Prague, FROM_HOST: , PLAIN: "${FROM_ENV}"}
    env_file: [extra.env]
    networks: {default: {aliases: [broker]}}
    ports: ["127.0.0.1:18883:1883"]
    expose: ["7000-7001"]
    extra_hosts: ["ha:192.168.1.5", "b:10.0.0.1"]
    ulimits: {nofile: 2000}
    sysctls: {net.core.somaxconn: 100}
    tmpfs: /scratch
  cloudflared:
    healthcheck: {disable: true}
    depends_on: [mosquitto]
    stop_signal: SIGINT
    mem_limit: 64m
    cpus: 0.5
networks:
  default: {driver_opts: {com.docker.network.driver.mtu: 1400}}
volumes:
  data: {labels: {keep: "yes"}}
`

// TestAnOverrideIsHashedAsDockerComposeHashesIt is the same with an override.
func TestAnOverrideIsHashedAsDockerComposeHashesIt(t *testing.T) {
	in := base()
	in.Project = "other"
	text, dir := rendered(t, in), t.TempDir()
	put(t, dir, "compose.override.yaml", hashedOverride)
	put(t, dir, "extra.env", "EXTRA=1\nTZ=lost\n")
	env := map[string]string{"CLOUDFLARE_TUNNEL_TOKEN": token, "FROM_ENV": "e", "FROM_HOST": "h"}
	project, err := render.Load(t.Context(), dir, text, env)
	if err != nil {
		t.Fatal(err)
	}
	got := hashes(project)
	golden(t, "override.hashes", got)
	if *composeBinary != "" {
		t.Setenv("FROM_ENV", "e")
		t.Setenv("FROM_HOST", "h")
		if diff := cmp.Diff(realHashes(t, dir, text, project), got); diff != "" {
			t.Errorf("hashes differ from docker compose (-compose +ours):\n%s", diff)
		}
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s differs, run with -update and review (-want +got):\n%s", path, diff)
	}
}

func load(t *testing.T, dir string, text []byte) plan.Project {
	t.Helper()
	p, err := render.Load(t.Context(), dir, text, map[string]string{"CLOUDFLARE_TUNNEL_TOKEN": token})
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return p
}

func hashes(p plan.Project) string {
	var b strings.Builder
	for _, n := range p.Networks {
		fmt.Fprintln(&b, "network", n.Name, n.Hash)
	}
	for _, v := range p.Volumes {
		fmt.Fprintln(&b, "volume", v.Name, v.Hash)
	}
	for _, s := range p.Services {
		fmt.Fprintln(&b, "container", s.ContainerName, s.Hash)
	}
	return b.String()
}

// realHashes lets docker compose create the project and reads its labels.
func realHashes(t *testing.T, dir string, text []byte, p plan.Project) string {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("CLOUDFLARE_TUNNEL_TOKEN="+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, name string, args ...string) string {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	t.Cleanup(func() { run(context.Background(), *composeBinary, "down", "-v") })
	run(t.Context(), *composeBinary, "create")
	label := func(kind, name, path string) string {
		var labels map[string]string
		out := run(t.Context(), "docker", kind, "inspect", "-f", "{{json "+path+"}}", name)
		if err := json.Unmarshal([]byte(out), &labels); err != nil {
			t.Fatalf("labels of %s %s: %v", kind, name, err)
		}
		return labels[plan.LabelConfigHash]
	}
	for i, n := range p.Networks {
		p.Networks[i].Hash = label("network", n.Name, ".Labels")
	}
	for i, v := range p.Volumes {
		p.Volumes[i].Hash = label("volume", v.Name, ".Labels")
	}
	for i, s := range p.Services {
		p.Services[i].Hash = label("container", s.ContainerName, ".Config.Labels")
	}
	return hashes(p)
}
