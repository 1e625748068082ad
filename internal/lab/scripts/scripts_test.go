//go:build linux

package scripts_test

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"
	"github.com/rogpeppe/go-internal/testscript"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
)

// atOnce is how many scripts run at a time where nobody says otherwise: they
// mostly wait, and every project takes one of the Engine's few subnets.
const atOnce = "5"

func TestMain(m *testing.M) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", atOnce); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// fixture is what all scripts share.
type fixture struct {
	root   string // the work tree
	bin    string // directory of the binary
	engine *client.Client
	store  *images.Store
	lab    *bench.Lab
	broker string // image of the older broker

	composeOnce sync.Once
	composeErr  error
}

// TestScripts runs the command line as a user does, on the Engine and in a lab.
func TestScripts(t *testing.T) {
	engine := labtest.Engine(t)
	root, err := images.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{root: root, bin: t.TempDir(), engine: engine, store: labtest.Store(t, engine), lab: labtest.Start(t, options())}
	older, err := f.store.Mosquitto(t.Context(), images.Mosquitto20)
	if err != nil {
		t.Fatal(err)
	}
	f.broker = older.Ref
	if err := f.build(); err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		Setup:               f.setup,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"lab":        withScript(startLab),
			"project":    withScript(project),
			"write":      withScript(writeProject),
			"token":      withScript(token),
			"config":     withScript(config),
			"fault":      withScript(fault),
			"world":      withScript(worldFault),
			"edge":       withScript(edge),
			"registry":   withScript(registry),
			"code":       withScript(code),
			"until":      withScript(until),
			"begin":      withScript(begin),
			"shows":      withScript(shows),
			"interrupt":  withScript(interrupt),
			"terminal":   withScript(terminal),
			"engine":     withScript(engineCommand),
			"ids":        withScript(ids),
			"compose":    withScript(compose),
			"mqtt":       withScript(mqtt),
			"client":     withScript(openClient),
			"alive":      withScript(alive),
			"gone":       withScript(gone),
			"knock":      withScript(knock),
			"each-once":  withScript(eachOnce),
			"sorted":     withScript(sorted),
			"masked":     withScript(masked),
			"small-disk": withScript(smallDisk),
			"unused":     withScript(unused),
		},
	})
}

// options says which lab to start: with LAB_CLOUDFLARED its connectors are that
// real cloudflared.
func options() bench.Options { return bench.Options{Cloudflared: os.Getenv("LAB_CLOUDFLARED")} }

// build builds the binary, or takes the one that LAB_MQTUNNEL names.
func (f *fixture) build() error {
	name := filepath.Join(f.bin, "mqtunnel")
	if given := os.Getenv("LAB_MQTUNNEL"); given != "" {
		return os.Symlink(given, name)
	}
	build := exec.Command("go", "build", "-trimpath", "-o", name, "./cmd/mqtunnel")
	build.Dir, build.Env = f.root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build mqtunnel: %w\n%s", err, out)
	}
	return nil
}

// script is the state of one script.
type script struct {
	*fixture

	tb       testing.TB
	lab      *bench.Lab // the shared one, or the script's own
	id       string     // of this run of this script, unique on the Engine
	projects map[string]*projectState
	current  *projectState
	clients  map[string]*mqttClient
	begun    map[string]*process
	secrets  []string
	ids      map[string]string
	served   *served
	knocks   *knocking
}

// projectState is a project directory with a tunnel.
type projectState struct {
	name, dir, compose, host string
	tunnel                   control.Credentials
	settings                 []string
}

type stateKey struct{}

// withScript hands a command the script's state.
func withScript(cmd func(*testscript.TestScript, *script, bool, []string)) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		s, ok := ts.Value(stateKey{}).(*script)
		if !ok {
			ts.Fatalf("the script has no state")
		}
		cmd(ts, s, neg, args)
	}
}

// setup prepares a script: the binary comes first in PATH, and whatever the
// script leaves on the Engine is removed at its end.
func (f *fixture) setup(env *testscript.Env) error {
	tb, ok := env.T().(testing.TB)
	if !ok {
		return errors.New("testscript's T is no testing.TB")
	}
	s := &script{
		fixture: f, tb: tb, lab: f.lab, id: labtest.Name(tb),
		projects: map[string]*projectState{}, clients: map[string]*mqttClient{}, begun: map[string]*process{}, ids: map[string]string{},
	}
	env.Values[stateKey{}] = s
	env.Setenv("PATH", f.bin+string(filepath.ListSeparator)+env.Getenv("PATH"))
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("TERM", "xterm")
	port, err := freePort()
	if err != nil {
		return err
	}
	env.Setenv("PORT", port)
	env.Setenv("ID", s.id)
	env.Setenv("MOSQUITTO20", f.broker)
	env.Setenv("MOSQUITTO21", f.lab.Mosquitto)
	env.Setenv("CLOUDFLARED", f.lab.Cloudflared)
	for _, key := range []string{"DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY"} {
		if value := os.Getenv(key); value != "" {
			env.Setenv(key, value)
		}
	}
	env.Defer(func() {
		if err := s.cleanUp(); err != nil {
			tb.Error(err)
		}
	})
	return s.useLab(env.Setenv, env.WorkDir)
}

// useLab points the script at its lab: CA is trusted by the binary.
func (s *script) useLab(setenv func(key, value string), work string) error {
	file := filepath.Join(work, "lab-ca.pem")
	setenv("SSL_CERT_FILE", file)
	setenv("LABNET", s.lab.Network)
	return os.WriteFile(file, s.lab.CA, 0o600)
}

// cleanUp removes what the script made.
func (s *script) cleanUp() error {
	var errs []error
	for _, p := range s.begun {
		errs = append(errs, p.end())
	}
	if s.knocks != nil {
		s.knocks.stop()
	}
	for _, c := range s.clients {
		c.close()
	}
	if s.tb.Failed() {
		for _, p := range s.projects {
			s.tb.Logf("project %s of tunnel %s", p.compose, p.tunnel.TunnelID)
		}
	}
	ctx := s.lasting()
	errs = append(errs, s.removeMine(ctx))
	// Every project of this script begins with the lab's name and the script's.
	errs = append(errs, bench.RemoveProjects(ctx, s.engine, s.lab.Name+"_"+s.id))
	if s.lab != s.fixture.lab {
		errs = append(errs, bench.RemoveProjects(ctx, s.engine, s.lab.Name))
	}
	if s.served != nil {
		errs = append(errs, s.served.stop(ctx))
	}
	return errors.Join(errs...)
}

// code runs a command and wants its exit code: code 4 mqtunnel up. No token
// may show in what it prints.
func code(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code NUMBER COMMAND [ARGUMENT...]")
	}
	got := exitCode(ts, ts.Exec(args[1], args[2:]...))
	s.noSecret(ts, ts.ReadFile("stdout")+ts.ReadFile("stderr"))
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		ts.Fatalf("run: %v", err)
	}
	return exit.ExitCode()
}

// noSecret fails the script when output shows a token or a part of one.
func (s *script) noSecret(ts *testscript.TestScript, output string) {
	for _, text := range s.secrets {
		if strings.Contains(output, text) {
			ts.Fatalf("the output shows a secret:\n%s", output)
		}
	}
}

// freePort returns a TCP port of this machine that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
