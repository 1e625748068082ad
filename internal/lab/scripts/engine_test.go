//go:build linux

package scripts_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/pkg/stdcopy"
	"github.com/docker/go-connections/nat"
	"github.com/rogpeppe/go-internal/testscript"

	"mqtunnel/internal/plan"
)

// labelScript marks what a script made by itself on the Engine.
const labelScript = "io.mqtunnel.lab.script"

// engineCommand does on the Engine what others do there:
//
//	engine start|stop|pause|unpause|kill|rm CONTAINER
//	engine run NAME [port=PORT] [LABEL=VALUE...]   a container that only waits
//	engine exec CONTAINER COMMAND...               its output is stdout then
//	engine network NAME [LABEL=VALUE...]
//	engine limit NAME MEGABYTES
func engineCommand(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: engine VERB NAME [ARGUMENT...]")
	}
	ctx, name, rest := s.tb.Context(), args[1], args[2:]
	var err error
	switch args[0] {
	case "start":
		err = s.engine.ContainerStart(ctx, name, container.StartOptions{})
	case "stop":
		err = s.engine.ContainerStop(ctx, name, container.StopOptions{})
	case "pause":
		err = s.engine.ContainerPause(ctx, name)
	case "unpause":
		err = s.engine.ContainerUnpause(ctx, name)
	case "kill":
		err = s.engine.ContainerKill(ctx, name, "KILL")
	case "limit":
		err = s.limit(ctx, name, rest)
	case "rm":
		err = s.engine.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true})
	case "run":
		err = s.run(ctx, name, rest)
	case "network":
		_, err = s.engine.NetworkCreate(ctx, name, network.CreateOptions{Labels: s.labels(rest)})
	case "exec":
		var out string
		if out, err = s.exec(ctx, name, rest); err == nil {
			_, err = fmt.Fprint(ts.Stdout(), out)
		}
	default:
		ts.Fatalf("engine %s: no such verb", args[0])
	}
	ts.Check(err)
}

// limit gives a container another limit of memory, as docker update does.
func (s *script) limit(ctx context.Context, name string, arguments []string) error {
	megabytes, err := strconv.ParseInt(strings.Join(arguments, ""), 10, 32)
	if err != nil {
		return err
	}
	_, err = s.engine.ContainerUpdate(ctx, name, container.UpdateConfig{Resources: container.Resources{Memory: megabytes << 20, MemorySwap: megabytes << 21}})
	return err
}

// labels marks an object as this script's, with further labels.
func (s *script) labels(pairs []string) map[string]string {
	labels := map[string]string{labelScript: s.id}
	for _, pair := range pairs {
		key, value, _ := strings.Cut(pair, "=")
		labels[key] = value
	}
	return labels
}

// run starts a container that only waits.
func (s *script) run(ctx context.Context, name string, options []string) error {
	host, exposed := nat.PortMap{}, nat.PortSet{}
	options = slices.DeleteFunc(slices.Clone(options), func(o string) bool {
		port, found := strings.CutPrefix(o, "port=")
		if found {
			exposed["1883/tcp"] = struct{}{}
			host["1883/tcp"] = []nat.PortBinding{{HostIP: "0.0.0.0", HostPort: port}}
		}
		return found
	})
	_, err := s.engine.ContainerCreate(ctx,
		&container.Config{Image: s.lab.Mosquitto, Entrypoint: []string{"sleep", "3600"}, Labels: s.labels(options), ExposedPorts: exposed},
		&container.HostConfig{PortBindings: host, Init: new(true)}, nil, nil, name)
	if err != nil {
		return err
	}
	return s.engine.ContainerStart(ctx, name, container.StartOptions{})
}

// exec runs a command in a container and returns its output.
func (s *script) exec(ctx context.Context, name string, cmd []string) (string, error) {
	created, err := s.engine.ContainerExecCreate(ctx, name, container.ExecOptions{Cmd: cmd, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return "", err
	}
	attached, err := s.engine.ContainerExecAttach(ctx, created.ID, container.ExecAttachOptions{})
	if err != nil {
		return "", err
	}
	defer attached.Close()
	var out strings.Builder
	if _, err := stdcopy.StdCopy(&out, &out, attached.Reader); err != nil {
		return "", err
	}
	info, err := s.engine.ContainerExecInspect(ctx, created.ID)
	if err == nil && info.ExitCode != 0 {
		err = fmt.Errorf("%s in %s: exit %d: %s", cmd[0], name, info.ExitCode, out.String())
	}
	return out.String(), err
}

// removeMine removes what the script made by itself.
func (s *script) removeMine(ctx context.Context) error {
	mine := filters.NewArgs(filters.Arg("label", labelScript+"="+s.id))
	containers, err := s.engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		err := s.engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if !errdefs.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	networks, err := s.engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	errs = append(errs, err)
	for _, n := range networks {
		// Containers of the script's project may be on it still; they go first.
		for id := range n.Containers {
			errs = append(errs, s.engine.NetworkDisconnect(ctx, n.ID, id, true))
		}
		errs = append(errs, s.engine.NetworkRemove(ctx, n.ID))
	}
	return errors.Join(errs...)
}

// containers returns the current project's containers by service, with the time
// of their last start, since a restart keeps the ID.
func (s *script) containers(ctx context.Context) (map[string]string, error) {
	list, err := s.engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+s.current.compose)),
	})
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, c := range list {
		d, err := s.engine.ContainerInspect(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		found[c.Labels[plan.LabelService]] = c.ID[:12] + " since " + d.State.StartedAt
	}
	return found, nil
}

// ids remembers the current project's containers, or wants that exactly the
// named ones are others since: ids save, ids same, ids changed cloudflared, ids
// restarted mosquitto (the same container, started again), ids none.
func ids(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: ids save | same | none | changed SERVICE... | restarted SERVICE...")
	}
	now, err := s.containers(s.tb.Context())
	ts.Check(err)
	switch args[0] {
	case "save":
		s.ids = now
		return
	case "none":
		if len(now) > 0 {
			ts.Fatalf("there are containers: %v", now)
		}
		return
	}
	for _, service := range slices.Sorted(maps.Keys(s.ids)) {
		before, after := s.ids[service], now[service]
		sameID := len(after) > 12 && before[:12] == after[:12]
		ok := before == after
		if slices.Contains(args[1:], service) {
			ok = after != "" && before != after && sameID == (args[0] == "restarted")
		}
		if !ok {
			ts.Fatalf("%s %v: %s was %s, is %s", args[0], args[1:], service, before, after)
		}
	}
}

// compose runs the real Docker Compose in the current directory: compose up -d.
func compose(ts *testscript.TestScript, s *script, neg bool, args []string) {
	s.composeOnce.Do(func() {
		make := exec.Command("make", "-C", s.root, "bin/docker-compose")
		make.Env = os.Environ() // Go's caches
		if out, err := make.CombinedOutput(); err != nil {
			s.composeErr = fmt.Errorf("build docker compose: %w\n%s", err, out)
		}
	})
	ts.Check(s.composeErr)
	err := ts.Exec(filepath.Join(s.root, "bin", "docker-compose"), args...)
	if (err != nil) != neg {
		ts.Fatalf("docker compose %v: %v", args, err)
	}
	s.noSecret(ts, ts.ReadFile("stdout")+ts.ReadFile("stderr"))
}

// unused skips the script where somebody's containers have these names, which
// the script would take: unused mosquitto cloudflared.
func unused(ts *testscript.TestScript, s *script, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: unused NAME...")
	}
	for _, name := range args {
		if c, err := s.engine.ContainerInspect(s.tb.Context(), name); err == nil {
			s.tb.Skipf("container %s runs on this Engine and is somebody's", c.Name)
		}
	}
}
