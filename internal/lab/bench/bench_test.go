package bench_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/joho/godotenv"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/labtest"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// run runs a shell line in a broker's container on the lab's network.
func run(t *testing.T, engine *client.Client, lab *bench.Lab, line string) string {
	t.Helper()
	c, err := engine.ContainerCreate(t.Context(),
		&container.Config{Image: lab.Mosquitto, Entrypoint: []string{"sh", "-c"}, Cmd: []string{line}, User: "1883:1883"},
		&container.HostConfig{NetworkMode: container.NetworkMode(lab.Network), DNS: []string{lab.Address.String()}}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := engine.ContainerRemove(context.WithoutCancel(t.Context()), c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Error(err)
		}
	}()
	ended, errs := engine.ContainerWait(t.Context(), c.ID, container.WaitConditionNextExit)
	if err := engine.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-ended:
	case err := <-errs:
		t.Fatal(err)
	}
	stream, err := engine.ContainerLogs(t.Context(), c.ID, container.LogsOptions{ShowStdout: true, ShowStderr: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }() // it was read to its end
	var out bytes.Buffer
	if _, err := stdcopy.StdCopy(&out, &out, stream); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestALabAnswersItsNetworkAndThisMachine(t *testing.T) {
	lab := labtest.Start(t, bench.Options{})
	engine := labtest.Engine(t)

	request := control.TunnelRequest{Name: "t", Hostnames: []control.Rule{{Hostname: "mqtt.example.com", Service: "http://mosquitto:9001"}}}
	if _, err := lab.Control.CreateTunnel(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	out := run(t, engine, lab, "nslookup mqtt.example.com; nslookup region1.v2.argotunnel.com; nslookup nosuch.example.net")
	for _, want := range []string{"Address: " + lab.Address.String(), "Name:\tregion1.v2.argotunnel.com", "NXDOMAIN"} {
		if !strings.Contains(out, want) {
			t.Errorf("DNS from a container, want %q:\n%s", want, out)
		}
	}

	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(lab.CA) {
		t.Fatalf("the CA is no certificate:\n%s", lab.CA)
	}
	_, address, _ := strings.Cut(lab.ConnectTo("mqtt.example.com"), ":443:")
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}
	answer, err := (&http.Client{Transport: transport}).Get("https://mqtt.example.com/mqtt")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }() // it was read to its end
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != 530 || !strings.Contains(string(body), "error code: 1033") {
		t.Errorf("the public side without a connector: %v\n%s\n%s", err, answer.Status, body)
	}
}

// connectTimeout is long for four connections, which are made a second apart.
const connectTimeout = time.Minute

// tarOf packs one file.
func tarOf(t *testing.T, files map[string]string) io.Reader {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o400, Uid: 65532, Gid: 65532, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestAConnectorRegistersFromAProjectsNetwork(t *testing.T) {
	lab := labtest.Start(t, bench.Options{Cloudflared: os.Getenv("LAB_CLOUDFLARED")})
	engine := labtest.Engine(t)
	tunnel, err := lab.Control.CreateTunnel(t.Context(), control.TunnelRequest{Name: "t"})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{plan.LabelProject: bench.ProjectName(lab.Name, "")}
	own, err := engine.NetworkCreate(t.Context(), bench.ProjectName(lab.Name, "")+"_default", network.CreateOptions{Labels: labels})
	if err != nil {
		t.Fatal(err)
	}
	c, err := engine.ContainerCreate(t.Context(),
		&container.Config{Image: lab.Cloudflared, Labels: labels, Cmd: []string{"tunnel", "run"}, Env: []string{
			"TUNNEL_TOKEN_FILE=/token", "TUNNEL_CACERT=/ca.pem",
		}},
		&container.HostConfig{
			NetworkMode: container.NetworkMode(own.ID), DNS: []string{lab.Address.String()},
			CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges:true"},
		}, nil, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := engine.CopyToContainer(t.Context(), c.ID, "/", tarOf(t, map[string]string{"ca.pem": string(lab.CA), "token": tunnel.Token.Reveal()}), container.CopyToContainerOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := engine.NetworkConnect(t.Context(), lab.Network, c.ID, nil); err != nil {
		t.Fatal(err)
	}
	if err := engine.ContainerStart(t.Context(), c.ID, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), connectTimeout)
	defer cancel()
	state, err := lab.Control.WaitTunnel(ctx, tunnel.TunnelID, func(s control.TunnelState) bool { return s.Connections() == 4 })
	if err != nil {
		t.Fatalf("%v\n%+v", err, state)
	}
}

func TestALabThatRunsIsTakenAsItIs(t *testing.T) {
	lab := labtest.Start(t, bench.Options{})
	engine := labtest.Engine(t)
	root, err := images.FindRoot(".")
	if err != nil {
		t.Fatal(err)
	}
	again, err := bench.Start(t.Context(), engine, bench.Options{Name: lab.Name, Root: root, Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.CA, lab.CA) || again.PublicPort != lab.PublicPort {
		t.Error("a second start of the same lab made another world")
	}
	attached, err := bench.Attach(t.Context(), engine, lab.Name)
	if err != nil {
		t.Fatal(err)
	}
	if attached.Address != lab.Address || attached.ControlPort != lab.ControlPort {
		t.Errorf("Attach: %+v, want %+v", attached, lab)
	}
}

// holders makes a container, a network and a volume with these labels and returns
// a function that says which are there still.
func holders(t *testing.T, engine *client.Client, image, name string, labels map[string]string) (left func() string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if _, err := engine.VolumeCreate(ctx, volume.CreateOptions{Name: name, Labels: labels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.VolumeRemove(ctx, name, true) })
	if _, err := engine.ContainerCreate(ctx, &container.Config{Image: image, Labels: labels}, nil, nil, nil, name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.ContainerRemove(ctx, name, container.RemoveOptions{RemoveVolumes: true}) })
	// By its network a lab is found: it comes when the rest is there.
	if _, err := engine.NetworkCreate(ctx, name, network.CreateOptions{Labels: labels}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.NetworkRemove(ctx, name) }) // most tests have removed it
	return func() string {
		var out []string
		for kind, err := range map[string]error{
			"container": second(engine.ContainerInspect(ctx, name)),
			"network":   second(engine.NetworkInspect(ctx, name, network.InspectOptions{})),
			"volume":    second(engine.VolumeInspect(ctx, name)),
		} {
			if err == nil {
				out = append(out, kind)
			} else if !errdefs.IsNotFound(err) {
				t.Error(err)
			}
		}
		return strings.Join(out, ",")
	}
}

func second[T any](_ T, err error) error { return err }

func TestRemovingALabTouchesNothingElse(t *testing.T) {
	lab := labtest.Start(t, bench.Options{})
	engine := labtest.Engine(t)
	name := lab.Name
	// Names and labels that a careless removal would take for the lab's.
	others := map[string]map[string]string{
		name + "-neighbour":                   {bench.LabelLab: name + "x"},
		bench.ProjectName(name+"-b", ""):      {plan.LabelProject: bench.ProjectName(name+"-b", "")},
		bench.ProjectName(name, "unlabelled"): nil,
	}
	left := map[string]func() string{}
	for other, labels := range others {
		left[other] = holders(t, engine, lab.Mosquitto, other, labels)
	}
	mine := holders(t, engine, lab.Mosquitto, bench.ProjectName(name, "two"), map[string]string{plan.LabelProject: bench.ProjectName(name, "two")})

	if err := bench.RemoveProjects(t.Context(), engine, name); err != nil {
		t.Fatal(err)
	}
	if err := lab.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if still := mine(); still != "" {
		t.Errorf("of the lab's own project is left: %s", still)
	}
	for other, f := range left {
		if still := f(); strings.Count(still, ",") != 2 {
			t.Errorf("of %s is left %q, want all three", other, still)
		}
	}
	if _, err := bench.Attach(t.Context(), engine, name); err == nil {
		t.Error("the lab runs still")
	}
	if err := lab.Stop(t.Context()); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
}

func TestSweepRemovesWhatEndedProcessesLeft(t *testing.T) {
	engine := labtest.Engine(t)
	lab := labtest.Start(t, bench.Options{})
	gone := labtest.Name(t)
	// No process has this number and this time of start.
	labels := map[string]string{bench.LabelLab: gone, bench.LabelOwner: "1/1"}
	// The lab comes last: from then on the sweep of any other test binary finds it.
	project := holders(t, engine, lab.Mosquitto, bench.ProjectName(gone, "p"), map[string]string{plan.LabelProject: bench.ProjectName(gone, "p")})
	left := holders(t, engine, lab.Mosquitto, "mqtunnel-lab-"+gone, labels)

	if err := bench.Sweep(t.Context(), engine); err != nil {
		t.Fatal(err)
	}
	if still := left(); still != "volume" { // labs have none
		t.Errorf("of the dead lab is left %q", still)
	}
	if still := project(); still != "" {
		t.Errorf("of the dead lab's project is left %q", still)
	}
	if err := lab.Control.Healthy(t.Context()); err != nil {
		t.Errorf("the lab of a process that runs was swept: %v", err)
	}
}

// Test binaries of several packages sweep at once.
func TestSeveralMaySweepAtOnce(t *testing.T) {
	engine := labtest.Engine(t)
	image, err := labtest.Store(t, engine).Mosquitto(t.Context(), images.Versions()[0])
	if err != nil {
		t.Fatal(err)
	}
	gone := labtest.Name(t)
	project := bench.ProjectName(gone, "p")
	labels := map[string]string{plan.LabelProject: project}
	left := holders(t, engine, image.Ref, project, labels)
	// What runs and is attached takes a moment to remove, in which the others find it.
	running := project + "-running"
	if _, err := engine.ContainerCreate(t.Context(), &container.Config{Image: image.Ref, Labels: labels, Cmd: []string{"sleep", "600"}},
		&container.HostConfig{NetworkMode: container.NetworkMode(project), Mounts: []mount.Mount{{Type: mount.TypeVolume, Source: project, Target: "/data"}}},
		nil, nil, running); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	t.Cleanup(func() {
		_ = engine.ContainerRemove(ctx, running, container.RemoveOptions{Force: true, RemoveVolumes: true})
	}) // the sweep has removed it
	if err := engine.ContainerStart(t.Context(), running, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	// The lab comes last: from then on the sweep of any other test binary finds it.
	holders(t, engine, image.Ref, "mqtunnel-lab-"+gone, map[string]string{bench.LabelLab: gone, bench.LabelOwner: "1/1"})
	var sweeps errgroup.Group
	for range 4 {
		sweeps.Go(func() error { return bench.Sweep(t.Context(), engine) })
	}
	if err := sweeps.Wait(); err != nil {
		t.Error(err)
	}
	if still := left(); still != "" {
		t.Errorf("of the dead lab's project is left %q", still)
	}
}

func TestAProjectKeepsTheOtherLinesOfItsSettings(t *testing.T) {
	lab := &bench.Lab{Name: "x", Network: "mqtunnel-lab-x", Mosquitto: "m:1", Cloudflared: "c:1", CA: []byte("-----BEGIN\nMII\n-----END\n")}
	dir := t.TempDir()
	file := filepath.Join(dir, ".env")
	before := "# mine\nMQTUNNEL_PROBE_PASSWORD=kept\nCLOUDFLARE_TUNNEL_TOKEN=old\nMOSQUITTO_IMAGE=old\n"
	if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lab.WriteProject(dir, bench.ProjectOptions{Name: "p", Token: secret.New("new="), Settings: []string{"A=b"}}); err != nil {
		t.Fatal(err)
	}
	got, err := godotenv.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"CLOUDFLARE_TUNNEL_TOKEN": "new=", "COMPOSE_PROJECT_NAME": "p", "MOSQUITTO_IMAGE": "m:1", "CLOUDFLARED_IMAGE": "c:1",
		"MQTUNNEL_PROBE_PASSWORD": "kept", "A": "b",
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s = %q, want %q", key, got[key], value)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), "# mine\n") || strings.Contains(string(text), "old") {
		t.Errorf(".env: %v\n%s", err, text)
	}
	if err := lab.WriteProject(dir, bench.ProjectOptions{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	if again, err := godotenv.Read(file); err != nil || again["CLOUDFLARE_TUNNEL_TOKEN"] != "new=" {
		t.Errorf("without a new token: %v, token %q, want the one that was there", err, again["CLOUDFLARE_TUNNEL_TOKEN"])
	}
}
