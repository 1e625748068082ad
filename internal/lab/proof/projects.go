package proof

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"mqtunnel/internal/plan"
)

// statusOf is the part of status --json that proofs read.
type statusOf struct {
	Healthy  bool   `json:"healthy"`
	Project  string `json:"project"`
	Services []struct {
		Service  string `json:"service"`
		State    string `json:"state"`
		Restarts int    `json:"restarts"`
	} `json:"services"`
	Problems []struct {
		Code string `json:"code"`
		Text string `json:"text"`
	} `json:"problems"`
}

// status asks for the project's status.
func (p *project) status(ctx context.Context) (statusOf, int, error) {
	r, err := p.mqtunnel(ctx, "", "status", "--json")
	if err != nil {
		return statusOf{}, 0, err
	}
	var s statusOf
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		return s, r.code, fmt.Errorf("status --json: %w: %s%s", err, r.out, r.err)
	}
	return s, r.code, nil
}

// snapshot is all that there is of a project: its containers with when they were
// started, its networks and volumes, and its files.
func (p *project) snapshot(ctx context.Context) (map[string]string, error) {
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+p.name))
	containers, err := p.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return nil, err
	}
	at := map[string]string{}
	for _, c := range containers {
		info, err := p.b.Engine.ContainerInspect(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		at["container "+info.Name+" "+c.ID] = info.State.Status + " " + info.State.StartedAt
	}
	networks, err := p.b.Engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	if err != nil {
		return nil, err
	}
	for _, n := range networks {
		at["network "+n.Name] = n.ID
	}
	volumes, err := p.b.Engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		return nil, err
	}
	for _, v := range volumes.Volumes {
		// Not when it was made: to the Engine that is when a file in it last came or went.
		at["volume "+v.Name] = v.Labels[plan.LabelConfigHash]
	}
	return at, filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // the proof's own directory
		at["file "+path] = fmt.Sprintf("%x", sha256.Sum256(data))
		return err
	})
}

// difference names what is not the same in two snapshots.
func difference(before, after map[string]string) string {
	var list []string
	for what, was := range before {
		if is, there := after[what]; !there {
			list = append(list, what+" is gone")
		} else if is != was {
			list = append(list, what+" changed")
		}
	}
	for what := range after {
		if _, there := before[what]; !there {
			list = append(list, what+" is new")
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// twoProjects runs two projects side by side.
func twoProjects(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "two")
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	one, err := b.project(ctx, lab, dir, "", hostname)
	if err != nil {
		return "", err
	}
	other, err := b.project(ctx, lab, dir, "other", "other.example.com")
	if err != nil {
		return "", err
	}
	if err := one.up(ctx); err != nil {
		return "", err
	}
	if err := other.up(ctx); err != nil {
		return "", err
	}
	commands, err := one.untouchedBy(ctx, other)
	if err != nil {
		return "", err
	}
	if s, code, err := one.status(ctx); err != nil || code != 0 || !s.Healthy || s.Project != one.name {
		return "", missed("the first project is not healthy beside the other: %+v, exit %d, %w", s, code, err)
	}
	stopped, err := one.fromElsewhere(ctx, dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d commands of one left the other untouched; the same name elsewhere was stopped with exit 4 by %d of %d commands", commands, stopped, stopped), nil
}

// untouchedBy runs every command in the other project, from another directory, and
// wants this one as it was after each.
func (p *project) untouchedBy(ctx context.Context, other *project) (commands int, err error) {
	connect := p.lab.ConnectTo(other.host)
	before, err := p.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	for _, args := range [][]string{
		{"status"},
		{"status", "--live"},
		{"logs"},
		{"user", "add", "x", "--topics", "all", "--generate"},
		{"user", "passwd", "x", "--generate"},
		{"user", "remove", "x", "--yes"},
		{"restart", "--connect-to", connect},
		{"up", "--connect-to", connect},
		{"render", "--write"},
		{"down"},
		{"down"},
		{"up", "--connect-to", connect, "--timeout", "90s"},
		{"down", "--volumes", "--yes"},
		{"token", "remove", "--yes"},
	} {
		r, err := p.b.run(ctx, command{
			dir: p.dir, path: p.b.program(), args: append([]string{"-C", other.dir, "-p", other.name}, args...),
			env: []string{"SSL_CERT_FILE=" + filepath.Join(other.dir, "ca.pem")},
		})
		if err != nil {
			return commands, err
		}
		if r.code != 0 {
			return commands, fmt.Errorf("mqtunnel %s in the other project: exit %d: %s", strings.Join(args, " "), r.code, r.err)
		}
		if name := p.name + "-"; strings.Contains(r.all(), name+"mosquitto") || strings.Contains(r.all(), name+"cloudflared") {
			return commands, missed("%s of the other project speaks of this one: %s", strings.Join(args, " "), r.all())
		}
		after, err := p.snapshot(ctx)
		if err != nil {
			return commands, err
		}
		if changed := difference(before, after); changed != "" {
			return commands, missed("%s of the other project changed this one: %s", strings.Join(args, " "), changed)
		}
		commands++
	}
	left, err := other.snapshot(ctx)
	if err != nil {
		return commands, err
	}
	for what := range left {
		if !strings.HasPrefix(what, "file ") {
			return commands, missed("down --volumes of the other project left its %s", what)
		}
	}
	return commands, nil
}

// fromElsewhere wants commands that change anything to stop with exit 4 when the
// project of that name belongs to another directory.
func (p *project) fromElsewhere(ctx context.Context, dir string) (int, error) {
	twin, err := p.b.project(ctx, p.lab, dir, "twin", "twin.example.com")
	if err != nil {
		return 0, err
	}
	before, err := p.snapshot(ctx)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, args := range [][]string{
		{"up"},
		{"down"},
		{"down", "--volumes", "--yes"},
		{"restart"},
		{"user", "add", "x", "--topics", "all", "--generate"},
	} {
		r, err := twin.mqtunnel(ctx, "", append([]string{"-p", p.name}, args...)...)
		if err != nil {
			return stopped, err
		}
		if r.code != 4 || !strings.Contains(r.err, p.dir) {
			return stopped, missed("%v under the name of another directory's project: exit %d, %s", args, r.code, r.err)
		}
		stopped++
	}
	after, err := p.snapshot(ctx)
	if err != nil {
		return stopped, err
	}
	if changed := difference(before, after); changed != "" {
		return stopped, missed("a command from elsewhere changed the project: %s", changed)
	}
	return stopped, nil
}
