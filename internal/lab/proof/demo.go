package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
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
	const name = "proofdemo"
	down := func() error {
		r, err := b.run(context.WithoutCancel(ctx), command{dir: dir, path: "make", args: []string{"demo-down", "DEMO=" + name}})
		if err == nil && r.code != 0 {
			err = fmt.Errorf("make demo-down: exit %d: %s", r.code, r.all())
		}
		return err
	}
	defer finish(&err, down)
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
	if left, err := b.left(ctx, name); err != nil || left != "" {
		return "", missed("make demo-down left %s %w", left, err)
	}
	return fmt.Sprintf("first run %v, second %v, %s; nothing left", took[0].Round(time.Second), took[1].Round(100*time.Millisecond), message), nil
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
		if args[0] == "status" && !json.Valid([]byte(r.out)) {
			return missed("status --json is no JSON: %s", r.out)
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
