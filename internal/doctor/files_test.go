package doctor

import (
	"encoding/base64"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// Tunnels of the tests.
const (
	tunnelA = "aaaaaaaa-1111-4222-8333-444444444444"
	tunnelB = "bbbbbbbb-1111-4222-8333-444444444444"
)

// tokenOf returns a token for a tunnel that is as long as a real one.
func tokenOf(tunnel, seed string) string {
	secret := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(seed, 32)))
	return base64.StdEncoding.EncodeToString([]byte(`{"a":"0123456789abcdef0123456789abcdef","t":"` + tunnel + `","s":"` + secret + `"}`))
}

// projectDir is a directory with files of these names and texts; a name that ends in
// "/" makes a directory.
func projectDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// files gathers a directory.
func files(t *testing.T, dir string, environ ...string) *Evidence {
	t.Helper()
	e := &Evidence{}
	gatherFiles(t.Context(), Sources{Dir: dir, Environ: environ}, e)
	return e
}

// written is a directory as up leaves it.
func written(t *testing.T, env string, more map[string]string) string {
	t.Helper()
	all := map[string]string{".env": env, ".gitignore": string(render.GitIgnore())}
	maps.Copy(all, more)
	dir := projectDir(t, all)
	r := files(t, dir).Files.Rendered
	if r == nil {
		t.Fatalf("not rendered: %+v", files(t, dir).Files)
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}

// goodEnv is a .env in which nothing is wrong.
func goodEnv() string {
	return "CLOUDFLARE_TUNNEL_TOKEN=" + tokenOf(tunnelA, "a") + "\nMQTUNNEL_PROBE_PASSWORD=" + strings.Repeat("p", 32) + "\n"
}

func TestEveryFaultOfTheFilesIsNamedFirst(t *testing.T) {
	for _, c := range []struct {
		name    string
		files   map[string]string
		environ []string
		id      string // of the first finding of the layers files and token
		said    string // in its sentence
		do      string // in its remedy or commands
	}{
		{name: "no .env", id: "env-file", said: "there is no .env in ", do: "mqtunnel token set"},
		{name: "a directory in its place", files: map[string]string{".env/": ""}, id: "env-file", said: ".env is there and cannot be read: it is not a regular file", do: "move it away"},
		{name: "a broken line", files: map[string]string{".env": goodEnv() + "no assignment\n"}, id: "env-lines", said: ".env:3: this is not KEY=value", do: "write KEY=value"},
		{name: "another dialect", files: map[string]string{".env": goodEnv() + "CF_ACCESS_CLIENT_ID=a$b\nCF_ACCESS_CLIENT_SECRET=c\n"}, id: "env-compose", said: ".env:3: CF_ACCESS_CLIENT_ID: Docker Compose reads another value", do: "single quotes"},
		{name: "a bad setting", files: map[string]string{".env": goodEnv() + "MQTT_ALLOW_ANONYMOUS=yes\n"}, id: "settings", said: `.env:3: MQTT_ALLOW_ANONYMOUS: "yes" is not known`, do: "true, false"},
		{name: "a bad setting in the environment", files: map[string]string{".env": goodEnv()}, environ: []string{"MQTT_ALLOW_ANONYMOUS=yes"}, id: "settings", said: "environment: MQTT_ALLOW_ANONYMOUS"},
		{name: "set twice", files: map[string]string{".env": goodEnv() + "MQTT_HOSTNAME=a.example.com\nMQTT_HOSTNAME=b.example.com\n"}, id: "settings", said: ".env:4: MQTT_HOSTNAME is set twice"},
		{name: "overridden", files: map[string]string{".env": goodEnv() + "TUNNEL_LOGLEVEL=info\n"}, environ: []string{"TUNNEL_LOGLEVEL=debug"}, id: "environment", said: "the environment sets TUNNEL_LOGLEVEL to another value than .env", do: "unset TUNNEL_LOGLEVEL"},
		{name: "misspelt", files: map[string]string{".env": goodEnv() + "MQTT_HOSTNAM=a.example.com\n"}, id: "setting-names", said: "MQTT_HOSTNAM in .env line 3 is no setting of mqtunnel and is ignored: is MQTT_HOSTNAME meant?"},
		{name: "cloudflared's own name", files: map[string]string{".env": goodEnv() + "TUNNEL_TOKEN=x\n"}, id: "setting-names", said: "TUNNEL_TOKEN in .env line 3 is not read"},
		{name: "password file", files: map[string]string{".env": goodEnv(), "mosquitto/passwd": "phone\n"}, id: "users", said: "mosquitto/passwd:1"},
		{name: "ACL file", files: map[string]string{".env": goodEnv(), "mosquitto/acl": "nonsense\n"}, id: "users", said: "mosquitto/acl:1"},
		{name: "ACL file is a directory", files: map[string]string{".env": goodEnv(), "mosquitto/acl/": ""}, id: "users", said: "read mosquitto/acl: it is not a regular file"},
		{name: "conf.d", files: map[string]string{".env": goodEnv(), "mosquitto/conf.d/a.conf": "allow_anonymous true\n"}, id: "conf-d", said: "mosquitto/conf.d/a.conf:1"},
		{name: "override", files: map[string]string{".env": goodEnv(), "compose.override.yaml": "services: [\n"}, id: "override", said: "compose.override.yaml"},
		{name: "override with an unset variable", files: map[string]string{".env": goodEnv(), "compose.override.yaml": "services:\n  mosquitto:\n    hostname: ${NOBODY}\n"}, id: "override", said: "compose.override.yaml:3: the variable NOBODY is not set"},
		{name: "override that shows the token", files: map[string]string{".env": goodEnv(), "compose.override.yaml": "services:\n  cloudflared:\n    environment:\n      TUNNEL_TOKEN: ${CLOUDFLARE_TUNNEL_TOKEN}\n"}, id: "override", said: "service cloudflared has the tunnel token in its environment"},
		{name: "compose.yaml of somebody else", files: map[string]string{".env": goodEnv(), "compose.yaml": "services: {}\n"}, id: "compose-file", said: "compose.yaml was edited by hand:", do: "render --force"},
		{name: "compose.yaml is a directory", files: map[string]string{".env": goodEnv(), "compose.yaml/": ""}, id: "compose-file", said: "read compose.yaml: it is not a regular file"},
		{name: "no token", files: map[string]string{".env": "# nothing\n"}, id: "token", said: "there is no tunnel token in .env", do: "mqtunnel token set"},
		{name: "no token, but cloudflared's", files: map[string]string{".env": "TUNNEL_TOKEN=" + tokenOf(tunnelA, "a") + "\n"}, id: "token", said: "there is no tunnel token", do: "rename it to CLOUDFLARE_TUNNEL_TOKEN"},
		{name: "token cut", files: map[string]string{".env": "CLOUDFLARE_TUNNEL_TOKEN=" + tokenOf(tunnelA, "a")[:101] + "\n"}, id: "token-form", said: "the tunnel token is cut: its end is missing"},
		{name: "token quoted", files: map[string]string{".env": `CLOUDFLARE_TUNNEL_TOKEN='"` + tokenOf(tunnelA, "a") + "\"'\n"}, id: "token-form", said: "the tunnel token is not written as cloudflared reads it"},
		{name: "an API token", files: map[string]string{".env": "CLOUDFLARE_TUNNEL_TOKEN=" + strings.Repeat("Ab1_", 10) + "\n"}, id: "token-form", said: "this is a Cloudflare API token"},
		{name: "a whole command", files: map[string]string{".env": "CLOUDFLARE_TUNNEL_TOKEN='docker run cloudflare/cloudflared tunnel run --token " + tokenOf(tunnelA, "a") + "'\n"}, id: "token-form", said: "not written as cloudflared reads it"},
		{name: "a token hidden by the environment", files: map[string]string{".env": goodEnv()}, environ: []string{"CLOUDFLARE_TUNNEL_TOKEN="}, id: "token", said: "there is no tunnel token", do: "unset CLOUDFLARE_TUNNEL_TOKEN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			diagnosis := Judge(files(t, projectDir(t, c.files), c.environ...))
			found := diagnosis.Findings()
			if len(found) == 0 {
				t.Fatal("nothing is found")
			}
			f := found[0]
			do := f.Outcome.Remedy + "\n" + strings.Join(f.Commands, "\n")
			if f.ID != c.id || !strings.Contains(f.Sentence, c.said) || !strings.Contains(do, c.do) {
				t.Errorf("%s: %q, to do %q\nwant %s: %q, %q", f.ID, f.Sentence, do, c.id, c.said, c.do)
			}
			for _, r := range diagnosis.Results {
				text := r.Sentence + strings.Join(r.Seen, "\n") + r.Outcome.Remedy + strings.Join(r.Commands, "\n")
				if strings.Contains(text, tokenOf(tunnelA, "a")[:20]) {
					t.Errorf("%s shows the token: %s", r.ID, text)
				}
			}
		})
	}
}

func TestTheChangedLinesOfComposeAreSeenFirst(t *testing.T) {
	dir := projectDir(t, map[string]string{".env": goodEnv()})
	e := files(t, dir)
	text := strings.Replace(string(e.Files.Rendered.Compose), "restart: unless-stopped", "restart: always", 1)
	if err := os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := judgeComposeFile(files(t, dir))
	if o.Status != Failed || len(o.Seen) < 2 || !strings.Contains(o.Seen[0], "restart: always") {
		t.Errorf("%s: %q", o.Status, o.Seen)
	}
}

func TestWhatUpWouldStopAtComesBeforeWhatIsNotInForce(t *testing.T) {
	newer := func() *Evidence {
		return &Evidence{Project: ProjectEvidence{
			Observed: &plan.Observed{Containers: []plan.Container{{Name: "m"}}},
			Plan:     &plan.Plan{Steps: []plan.Step{{Op: plan.CreateContainer, Subject: plan.ServiceBroker, Why: plan.WhyConfiguration}}},
		}}
	}
	refused := newer()
	refused.Files.ConfErr = remedy.Errorf(remedy.Input, "", "mosquitto/conf.d/a.conf:1: the broker refuses this line")
	for name, c := range map[string]struct {
		e    *Evidence
		want string
	}{"nothing stops it": {newer(), "environment"}, "the broker refuses a line": {refused, "conf-d"}} {
		if o := judgeInForce(c.e); o.Status != Failed || o.Because != c.want {
			t.Errorf("%s: %s because of %s, want %s", name, o.Status, o.Because, c.want)
		}
	}
}

func TestAnEnvThatCannotBeReadIsNoRefusedLogin(t *testing.T) {
	refused := failedAt(probe.StageConnect, probe.ClassNotAuthorised)
	e := &Evidence{Public: PublicEvidence{Hostname: "mqtt.example.com", Trips: []Trip{{Err: &refused}}}}
	if o := judgePublicLogin(e); o.Status != Skipped {
		t.Errorf("without settings: %+v", o)
	}
	e.Files.Settings = &config.Settings{ProbePassword: secret.New("x")}
	if o := judgePublicLogin(e); o.Status != Failed {
		t.Errorf("with settings: %+v", o)
	}
}

func TestTheProjectOfADirectoryIsFoundWithoutItsEnv(t *testing.T) {
	c := plan.Container{Labels: map[string]string{plan.LabelProject: "home", plan.LabelRole: plan.ServiceBroker, plan.LabelWorkingDir: "/srv/home"}}
	f := FilesEvidence{Dir: "/srv/home", EnvMissing: true, Settings: &config.Settings{Project: defaultProject}}
	if got := projectName(Sources{}, f, []plan.Container{c}); got != "home" {
		t.Errorf("project %q, want the one that was made from the directory", got)
	}
	f.EnvMissing = false
	if got := projectName(Sources{}, f, []plan.Container{c}); got != defaultProject {
		t.Errorf("project %q, want the one of .env", got)
	}
}

func TestHashesThatTheRunningBrokerDoesNotReadAreTold(t *testing.T) {
	const newer = "alice:$7$1000$2luQ8Y/rTPQa8v2/c+ewNfnO8thqR9J+aNFWi+moeM3j/QXBTepr4O3O04Ktpne32wKVXP3Mrvo1x6VEjELCBg==" +
		"$UX1pQceRtECr5QYk6sMp/vnQPY0kVZCkJgXcRzkzzlmXr/KR0B9aMFzeSKXQ8NZZ8RMNOgabd4jMkNY3eyooGw==\n"
	for version, want := range map[string]Status{"2.0.21": Warned, "2.1.2": Passed, "": Passed} {
		e := files(t, projectDir(t, map[string]string{".env": goodEnv(), "mosquitto/passwd": newer}))
		e.Project.Status = &lifecycle.Status{Services: []lifecycle.ServiceStatus{{Service: plan.ServiceBroker, Version: version}}}
		if o := judgeUsers(e); o.Status != want || want == Warned && !slices.Contains(o.Commands, "mqtunnel user passwd alice") {
			t.Errorf("broker %q: %+v, want %s", version, o, want)
		}
	}
}

func TestFilesAsTheyShouldBeGiveNoFinding(t *testing.T) {
	for name, e := range map[string]*Evidence{
		"before the first up":          files(t, projectDir(t, map[string]string{".env": "CLOUDFLARE_TUNNEL_TOKEN=" + tokenOf(tunnelA, "a") + "\n"})),
		"the token in the environment": files(t, t.TempDir(), "CLOUDFLARE_TUNNEL_TOKEN="+tokenOf(tunnelA, "a")),
		"after up":                     files(t, written(t, goodEnv(), nil)),
		"with an override": files(t, written(t, goodEnv(), map[string]string{
			"compose.override.yaml": "services:\n  mosquitto:\n    mem_limit: 512m\n", "mosquitto/conf.d/a.conf": "max_keepalive 600\n",
		})),
		"the same in the environment": files(t, written(t, goodEnv()+"TUNNEL_LOGLEVEL=info\n", nil), "TUNNEL_LOGLEVEL=info"),
	} {
		for _, f := range Judge(e).Findings() {
			t.Errorf("%s: %s: %s %v", name, f.ID, f.Sentence, f.Seen)
		}
		if e.Files.Rendered == nil || e.Files.Token == nil {
			t.Errorf("%s: not rendered: %+v", name, e.Files)
		}
	}
}

func TestTheProbesPasswordIsNotNeeded(t *testing.T) {
	dir := written(t, goodEnv(), nil)
	if err := os.WriteFile(filepath.Join(dir, ".env"), []byte("CLOUDFLARE_TUNNEL_TOKEN="+tokenOf(tunnelA, "a")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(filepath.Join(dir, render.PasswdName))
	if err != nil {
		t.Fatal(err)
	}
	f := files(t, dir).Files
	if f.Rendered == nil || len(f.Changes) != 0 || string(f.Rendered.Passwd) != string(before) {
		t.Errorf("without its password the project changes: %v", f.Changes)
	}
}

func TestAModeThatLetsOthersReadIsSeen(t *testing.T) {
	dir := projectDir(t, map[string]string{".env": goodEnv()})
	for mode, want := range map[os.FileMode]Status{0o600: Passed, 0o400: Passed, 0o644: Failed, 0o640: Failed, 0o602: Failed} {
		if err := os.Chmod(filepath.Join(dir, ".env"), mode); err != nil {
			t.Fatal(err)
		}
		if got := judgeEnvPrivate(files(t, dir)); got.Status != want {
			t.Errorf("mode %04o: %s, want %s", mode, got.Status, want)
		}
	}
}

func TestASecretInGitIsAWarning(t *testing.T) {
	dir := projectDir(t, map[string]string{".env": goodEnv(), ".gitignore": string(render.GitIgnore())})
	for _, args := range [][]string{{"init", "-q"}, {"add", "-f", ".env"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	if o := judgeGit(files(t, dir)); o.Status != Warned || !strings.Contains(o.Sentence, "git tracks .env") {
		t.Errorf("%+v", o)
	}
}

// running is a project that runs with what dir holds, compared with what dir holds
// after the edit, if there is one.
func running(t *testing.T, dir string, edit func()) *Evidence {
	t.Helper()
	before := files(t, dir)
	p := before.Files.Rendered.Project
	o := plan.Observed{Images: map[string]plan.Image{}}
	for _, n := range p.Networks {
		o.Networks = append(o.Networks, plan.ObservedNetwork{ID: "n", Name: n.Name})
	}
	for _, v := range p.Volumes {
		o.Volumes = append(o.Volumes, plan.ObservedVolume{Name: v.Name})
	}
	for _, s := range p.Services {
		c := plan.Container{
			ID: s.Name, Name: s.ContainerName, State: plan.StateRunning, Image: s.Image,
			Labels: plan.ContainerLabels(p, s, plan.Image{Label: "sha256:1"}, plan.Step{}), Networks: map[string]string{},
		}
		o.Images[s.Image] = plan.Image{Label: "sha256:1", Digests: []string{"sha256:1"}}
		for _, n := range s.Spec.Networks {
			c.Networks[n.Network] = "n"
		}
		for _, m := range s.Spec.Mounts {
			c.Volumes = append(c.Volumes, m.Source)
		}
		o.Containers = append(o.Containers, c)
	}
	e := before
	if edit != nil {
		edit()
		e = files(t, dir)
	}
	e.Engine.Info.API = "1.41"
	e.Project.Name, e.Project.Observed, e.Project.All = p.Name, &o, o.Containers
	if e.Files.Rendered != nil {
		pl := plan.Up(e.Files.Rendered.Project, o, plan.Options{})
		e.Project.Plan = &pl
	}
	return e
}

func TestWhatRunsIsComparedByItsContentOnly(t *testing.T) {
	rewrite := func(dir, text string) func() {
		return func() {
			if err := os.WriteFile(filepath.Join(dir, ".env"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name    string
		env     string               // the new .env, "" leaves it
		observe func(*plan.Observed) // changes what exists
		want    string               // outcomes of files and token
		said    string               // in the sentence
		id      string               // whose
	}{
		{name: "nothing changed"},
		{name: "comment added", env: goodEnv() + "# mine\n"},
		{name: "setting of the broker", env: goodEnv() + "MQTT_SAVE_INTERVAL=10\n", want: "in-force failed", id: "in-force", said: "MQTT_SAVE_INTERVAL was changed since mqtunnel up"},
		{name: "setting of the connector", env: goodEnv() + "TUNNEL_TRANSPORT_PROTOCOL=http2\n", want: "in-force failed", id: "in-force", said: "TUNNEL_TRANSPORT_PROTOCOL was changed"},
		{name: "image", env: goodEnv() + "MOSQUITTO_IMAGE=eclipse-mosquitto:2.0.22\n", want: "in-force failed", id: "in-force", said: "MOSQUITTO_IMAGE was changed"},
		{name: "published port", env: goodEnv() + "MQTT_LAN_LISTEN=1883\n", want: "in-force failed", id: "in-force", said: "MQTT_LAN_LISTEN was changed"},
		{name: "anonymous", env: goodEnv() + "MQTT_ALLOW_ANONYMOUS=true\n", want: "in-force failed", id: "in-force", said: "MQTT_ALLOW_ANONYMOUS was changed"},
		{name: "another tunnel's token", env: strings.Replace(goodEnv(), tokenOf(tunnelA, "a"), tokenOf(tunnelB, "b"), 1), want: "token-tunnel failed", id: "token-tunnel", said: "the connector serves the tunnel " + tunnelA},
		{name: "stopped", observe: func(o *plan.Observed) { o.Containers[0].State = plan.StateExited }},
		{name: "missing", observe: func(o *plan.Observed) { o.Containers = o.Containers[1:] }},
		{name: "renamed", observe: func(o *plan.Observed) { o.Containers[0].Name = "0123456789ab_mosquitto" }},
		{name: "detached", observe: func(o *plan.Observed) { clear(o.Containers[0].Networks) }},
		{name: "down", env: goodEnv() + "MQTT_SAVE_INTERVAL=10\n", observe: func(o *plan.Observed) { o.Containers = nil }},
		{name: "the image's tag moved", observe: func(o *plan.Observed) {
			for ref := range o.Images {
				o.Images[ref] = plan.Image{Label: "sha256:2"}
			}
		}, want: "in-force failed", id: "in-force", said: "mosquitto runs with something older than the files: image changed"},
		{name: "of another directory", env: goodEnv() + "MQTT_SAVE_INTERVAL=10\n", observe: func(o *plan.Observed) {
			o.Containers[0].Labels[plan.LabelWorkingDir] = "/elsewhere"
		}, want: "directory failed", id: "directory", said: `belongs to the directory "/elsewhere"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := written(t, goodEnv(), nil)
			var edit func()
			if c.env != "" {
				edit = rewrite(dir, c.env)
			}
			e := running(t, dir, edit)
			if c.observe != nil {
				c.observe(e.Project.Observed)
				pl := plan.Up(e.Files.Rendered.Project, *e.Project.Observed, plan.Options{})
				e.Project.Plan = &pl
			}
			got := strings.Trim(outcomes(e, LayerFiles)+", "+outcomes(e, LayerToken), ", ")
			if got != c.want {
				t.Errorf("got %q, want %q\n%s", got, c.want, e.Project.Plan)
			}
			if r, _ := Judge(e).Result(c.id); !strings.Contains(r.Sentence, c.said) {
				t.Errorf("said %q, want %q", r.Sentence, c.said)
			}
		})
	}
}

func TestANewTokenOfTheSameTunnelIsNotInForce(t *testing.T) {
	dir := written(t, goodEnv(), nil)
	e := running(t, dir, nil)
	held := false
	e.Project.TokenHeld = &held
	e.Project.Plan = &plan.Plan{Steps: []plan.Step{{Op: plan.CreateContainer, Subject: plan.ServiceConnector, Why: plan.WhyToken}}}
	r, _ := Judge(e).Result("in-force")
	if r.Status != Failed || r.Sentence != "the tunnel token is newer than the one that the connector runs with" {
		t.Errorf("%s %q", r.Status, r.Sentence)
	}
}

func TestAnEnvironmentThatDoesHarmIsTheCause(t *testing.T) {
	dir := written(t, goodEnv()+"MQTT_SAVE_INTERVAL=60\n", nil)
	now := files(t, dir, "MQTT_SAVE_INTERVAL=10")
	e := running(t, dir, nil)
	e.Files = now.Files
	pl := plan.Up(now.Files.Rendered.Project, *e.Project.Observed, plan.Options{})
	e.Project.Plan = &pl
	if got := outcomes(e, LayerFiles); got != "environment failed" {
		t.Errorf("a setting: %q", got)
	}

	other := files(t, dir, "CLOUDFLARE_TUNNEL_TOKEN="+tokenOf(tunnelB, "b"))
	e.Files = other.Files
	pl = plan.Up(other.Files.Rendered.Project, *e.Project.Observed, plan.Options{})
	if got := outcomes(e, LayerFiles) + outcomes(e, LayerToken); got != "environment failed" {
		t.Errorf("the token: %q", got)
	}

	named := written(t, goodEnv()+"COMPOSE_PROJECT_NAME=home\n", nil)
	e = running(t, named, nil)
	e.Files = files(t, named, "COMPOSE_PROJECT_NAME=other").Files
	e.Project.Name, e.Project.Observed, e.Project.Plan = "other", &plan.Observed{}, &plan.Plan{}
	if got := outcomes(e, LayerFiles); got != "environment failed" {
		t.Errorf("the project: %q", got)
	}
}

func TestAMisspeltSettingIsTakenForTheNearest(t *testing.T) {
	for key, want := range map[string]string{
		"MQTT_HOSTNAM": config.KeyHostname, "MQTT_HOST_NAME": config.KeyHostname, "MOSQUITO_IMAGE": config.KeyMosquittoImage,
		"CLOUDFLARE_TUNEL_TOKEN": config.KeyToken, "MQTT_SOMETHING": "", "": "",
	} {
		if got := nearest(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	if slices.Contains([]int{distance("kitten", "sitting"), distance("", "abc")}, 0) || distance("kitten", "sitting") != 3 {
		t.Errorf("distance of kitten and sitting: %d", distance("kitten", "sitting"))
	}
}
