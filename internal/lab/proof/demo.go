package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/plan"
)

// secondDemo is how long a demo may take when everything is built.
const secondDemo = 20 * time.Second

// demo runs make demo in a fresh clone, twice, uses the project, and takes it
// down.
func demo(ctx context.Context, b *Bench) (figure string, err error) {
	dir, remove, err := b.clone(ctx)
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	if err := b.sweepDemos(ctx); err != nil {
		return "", err
	}
	name := demoName(os.Getpid())
	down := func() error {
		r, err := b.run(context.WithoutCancel(ctx), command{dir: dir, path: "make", args: []string{"demo-down", "DEMO=" + name}})
		if err == nil && r.code != 0 {
			err = fmt.Errorf("make demo-down: exit %d: %s", r.code, r.all())
		}
		return err
	}
	defer finish(&err, func() error {
		// What demo-down leaves is removed all the same.
		return errors.Join(down(), b.removeDemo(context.WithoutCancel(ctx), name))
	})
	var took [2]time.Duration
	var message string
	for i := range took {
		start := time.Now()
		r, err := b.run(ctx, command{dir: dir, path: "make", args: []string{"demo", "DEMO=" + name}})
		if err != nil {
			return "", err
		}
		took[i] = time.Since(start)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		message = lines[len(lines)-1]
		if r.code != 0 || !regexp.MustCompile(`^demo: message came back through wss://\S+ in [\d.]+ ms$`).MatchString(message) {
			return "", missed("make demo: exit %d, last line %q: %s", r.code, message, r.err)
		}
	}
	if took[1] > secondDemo {
		return "", missed("the second make demo took %v, the bar is %v", took[1].Round(time.Second), secondDemo)
	}
	if err := b.useDemo(ctx, dir, name); err != nil {
		return "", err
	}
	if err := down(); err != nil {
		return "", err
	}
	left, err := b.left(ctx, name)
	if err != nil {
		return "", err
	}
	if left != "" {
		return "", missed("make demo-down left %s", left)
	}
	if _, err := os.Stat(filepath.Join(dir, ".lab", name)); err == nil {
		return "", missed("make demo-down left .lab/%s", name)
	}
	return fmt.Sprintf("first run %v, second %v, %s; nothing left", took[0].Round(time.Second), took[1].Round(100*time.Millisecond), message), nil
}

// demoName is what the demo of the proof in a process is called.
func demoName(pid int) string { return fmt.Sprintf("proofdemo%d", pid) }

// sweepDemos removes what is left of demos of proofs that were killed.
func (b *Bench) sweepDemos(ctx context.Context) error {
	// A lab's network is made first and removed last.
	networks, err := b.Engine.NetworkList(ctx, network.ListOptions{Filters: filters.NewArgs(filters.Arg("label", bench.LabelLab))})
	if err != nil {
		return err
	}
	for _, n := range networks {
		name := n.Labels[bench.LabelLab]
		pid, err := strconv.Atoi(strings.TrimPrefix(name, "proofdemo"))
		if err != nil || name != demoName(pid) {
			continue
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err == nil {
			continue
		}
		if err := b.removeDemo(ctx, name); err != nil {
			return fmt.Errorf("remove what is left of the demo %s: %w", name, err)
		}
	}
	return nil
}

// removeDemo removes a demo's project and lab without its directory.
func (b *Bench) removeDemo(ctx context.Context, name string) error {
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"=mqtunnel-"+name))
	containers, err := b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return err
	}
	for _, c := range containers {
		if err := b.Engine.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			return err
		}
	}
	networks, err := b.Engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	if err != nil {
		return err
	}
	for _, n := range networks {
		if err := b.Engine.NetworkRemove(ctx, n.ID); err != nil {
			return err
		}
	}
	volumes, err := b.Engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		return err
	}
	for _, v := range volumes.Volumes {
		if err := b.Engine.VolumeRemove(ctx, v.Name, false); err != nil {
			return err
		}
	}
	return bench.Remove(ctx, b.Engine, name)
}

// useDemo runs the commands that the README names in the demo's directory.
func (b *Bench) useDemo(ctx context.Context, dir, name string) error {
	for _, args := range [][]string{{"status", "--json"}, {"logs"}, {"down"}} {
		r, err := b.run(ctx, command{dir: dir, path: dir + "/bin/mqtunnel", args: append([]string{"-C", ".lab/" + name}, args...)})
		if err != nil {
			return err
		}
		if r.code != 0 || r.out == "" {
			return missed("mqtunnel %v in the demo: exit %d: %s", args, r.code, r.all())
		}
		var s statusOf
		if args[0] == "status" && (json.Unmarshal([]byte(r.out), &s) != nil || !s.Healthy) {
			return missed("status --json in the demo: %s", r.out)
		}
	}
	return nil
}

// left names what is left of a demo on the Engine.
func (b *Bench) left(ctx context.Context, name string) (string, error) {
	var left []string
	containers, err := b.Engine.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return "", err
	}
	for _, c := range containers {
		if strings.Contains(strings.Join(c.Names, " "), name) {
			left = append(left, "container "+c.Names[0])
		}
	}
	networks, err := b.Engine.NetworkList(ctx, network.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, n := range networks {
		if strings.Contains(n.Name, name) {
			left = append(left, "network "+n.Name)
		}
	}
	volumes, err := b.Engine.VolumeList(ctx, volume.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, v := range volumes.Volumes {
		if strings.Contains(v.Name, name) {
			left = append(left, "volume "+v.Name)
		}
	}
	return strings.Join(left, ", "), nil
}
