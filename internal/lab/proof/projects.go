package proof

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
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

// started returns when the project's containers were started, by ID.
func (p *project) started(ctx context.Context) (map[string]string, error) {
	list, err := p.b.Engine.ContainerList(ctx, container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", "com.docker.compose.project="+p.name)),
	})
	if err != nil {
		return nil, err
	}
	at := map[string]string{}
	for _, c := range list {
		info, err := p.b.Engine.ContainerInspect(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		at[c.ID] = info.State.Status + " " + info.State.StartedAt
	}
	return at, nil
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
	commands := 0
	for _, args := range [][]string{
		{"status"},
		{"logs"},
		{"user", "add", "x", "--topics", "all", "--generate"},
		{"user", "remove", "x", "--yes"},
		{"restart", "--connect-to", lab.ConnectTo(other.host)},
		{"up", "--connect-to", lab.ConnectTo(other.host)},
		{"down"},
		{"down"},
	} {
		before, err := one.started(ctx)
		if err != nil {
			return "", err
		}
		if _, err := other.must(ctx, args...); err != nil {
			return "", err
		}
		after, err := one.started(ctx)
		if err != nil {
			return "", err
		}
		if fmt.Sprint(before) != fmt.Sprint(after) || len(after) != 2 {
			return "", missed("%s of the other project changed this one: %v became %v", strings.Join(args, " "), before, after)
		}
		commands++
	}
	if s, code, err := one.status(ctx); err != nil || code != 0 || !s.Healthy {
		return "", missed("the first project is not healthy beside the other: %+v, exit %d, %w", s, code, err)
	}
	stopped, err := one.fromElsewhere(ctx, dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d commands of one left the other untouched; the same name elsewhere was stopped with exit 4 by %d of %d commands", commands, stopped, stopped), nil
}

// fromElsewhere wants commands that change anything to stop with exit 4 when the
// project of that name belongs to another directory.
func (p *project) fromElsewhere(ctx context.Context, dir string) (int, error) {
	twin, err := p.b.project(ctx, p.lab, dir, "twin", "twin.example.com")
	if err != nil {
		return 0, err
	}
	before, err := p.started(ctx)
	if err != nil {
		return 0, err
	}
	stopped := 0
	for _, args := range [][]string{{"up"}, {"down"}, {"down", "--volumes", "--yes"}, {"restart"}, {"user", "add", "x", "--topics", "all", "--generate"}} {
		r, err := twin.mqtunnel(ctx, "", append([]string{"-p", p.name}, args...)...)
		if err != nil {
			return stopped, err
		}
		if r.code != 4 || !strings.Contains(r.err, p.dir) {
			return stopped, missed("%v under the name of another directory's project: exit %d, %s", args, r.code, r.err)
		}
		stopped++
	}
	after, err := p.started(ctx)
	if err == nil && fmt.Sprint(before) != fmt.Sprint(after) {
		err = missed("a command from elsewhere changed the project: %v became %v", before, after)
	}
	return stopped, err
}
