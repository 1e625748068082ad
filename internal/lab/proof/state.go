package proof

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"mqtunnel/internal/plan"
)

// composed is what Docker Compose makes of the files of a project.
type composed struct {
	hashes map[string]string            // by service
	files  map[string]map[string]string // content by path, by service
}

// asComposed asks Docker Compose, once for the same files.
func (p *patient) asComposed(ctx context.Context) (composed, error) {
	var key strings.Builder
	for _, name := range []string{".env", "compose.yaml", "compose.override.yaml"} {
		text, err := os.ReadFile(filepath.Join(p.dir, name))
		if err != nil {
			return composed{}, err
		}
		key.Write(text)
	}
	if known, there := p.composed[key.String()]; there {
		return known, nil
	}
	config, err := p.askCompose(ctx, "config", "--no-interpolate", "--format", "json")
	if err != nil {
		return composed{}, err
	}
	hashes, err := p.askCompose(ctx, "config", "--hash", "*")
	if err != nil {
		return composed{}, err
	}
	c := composed{hashes: map[string]string{}, files: map[string]map[string]string{}}
	for line := range strings.Lines(hashes) {
		service, hash, _ := strings.Cut(strings.TrimSpace(line), " ")
		c.hashes[service] = hash
	}
	type attached struct{ Source, Target string }
	var model struct {
		Services map[string]struct{ Configs, Secrets []attached }
		Configs  map[string]struct{ Content string }
	}
	if err := json.Unmarshal([]byte(config), &model); err != nil {
		return composed{}, err
	}
	for name, service := range model.Services {
		c.files[name] = map[string]string{}
		for _, a := range service.Configs {
			c.files[name][a.Target] = strings.ReplaceAll(model.Configs[a.Source].Content, "$$", "$")
		}
		for _, a := range service.Secrets {
			c.files[name][a.Target] = p.tunnel.Token.Reveal() // what the file must hold
		}
	}
	p.composed = map[string]composed{key.String(): c}
	return c, nil
}

// state describes all that there is of the project: containers with what they are
// made from and what they hold, networks, volumes and files. What is another one in
// each project or round is left out or compared with what the files say.
func (p *patient) state(ctx context.Context) (string, error) {
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+p.name))
	containers, err := p.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return "", err
	}
	networks, err := p.b.Engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	if err != nil {
		return "", err
	}
	volumes, err := p.b.Engine.VolumeList(ctx, volume.ListOptions{Filters: mine})
	if err != nil {
		return "", err
	}
	var lines []string
	for _, c := range containers {
		text, err := p.containerState(ctx, c, networks)
		if err != nil {
			return "", err
		}
		lines = append(lines, text...)
	}
	for _, n := range networks {
		lines = append(lines, "network "+n.Name)
	}
	for _, v := range volumes.Volumes {
		lines = append(lines, "volume "+v.Name)
	}
	files, err := p.fileState()
	if err != nil {
		return "", err
	}
	if err := p.noteLeft(ctx); err != nil {
		return "", err
	}
	lines = append(lines, files...)
	slices.Sort(lines)
	return strings.ReplaceAll(strings.Join(lines, "\n")+"\n", p.name, "PROJECT"), nil
}

// containerState describes one container.
func (p *patient) containerState(ctx context.Context, c container.Summary, networks []network.Summary) ([]string, error) {
	name, service := strings.TrimPrefix(c.Names[0], "/"), c.Labels[plan.LabelService]
	want, err := p.asComposed(ctx)
	if err != nil {
		return nil, err
	}
	words := []string{"container", name, c.Labels[plan.LabelNumber], c.State, "from", c.Image}
	if info, err := p.b.Engine.ImageInspect(ctx, c.Image); err != nil || info.ID != c.ImageID {
		words = append(words, "of another image")
	}
	if c.Labels[plan.LabelConfigHash] != want.hashes[service] {
		words = append(words, "made from another configuration")
	}
	for _, on := range slices.Sorted(maps.Keys(c.NetworkSettings.Networks)) {
		words = append(words, "on", on)
		id := c.NetworkSettings.Networks[on].NetworkID
		if strings.HasPrefix(on, p.name) && !slices.ContainsFunc(networks, func(n network.Summary) bool { return n.ID == id }) {
			words = append(words, "(gone)")
		}
	}
	for _, m := range c.Mounts {
		if m.Type == "volume" {
			words = append(words, "with", m.Name)
		}
	}
	holds, err := p.holdings(ctx, c.ID, want.files[service])
	if err != nil {
		return nil, err
	}
	lines := []string{strings.Join(words, " ")}
	for _, h := range holds {
		lines = append(lines, "container "+name+" holds "+h)
	}
	return lines, nil
}

// holdings compares the files in the directories of those that a service gets.
func (p *patient) holdings(ctx context.Context, id string, want map[string]string) (lines []string, err error) {
	dirs := map[string]bool{}
	for file := range want {
		dirs[path.Dir(file)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		held, err := p.filesIn(ctx, id, dir)
		if err != nil {
			return nil, err
		}
		for _, file := range slices.Sorted(maps.Keys(held)) {
			verdict := "of the image, or left"
			if content, known := want[file]; known && content == held[file].content {
				verdict = "as the files say"
			} else if known {
				verdict = "unlike the files"
			}
			lines = append(lines, fmt.Sprintf("%s %s %s", file, held[file].mode, verdict))
		}
	}
	return lines, nil
}

// heldFile is a file in a container.
type heldFile struct{ content, mode string }

// filesIn reads the files of a directory out of a container.
func (p *patient) filesIn(ctx context.Context, id, dir string) (files map[string]heldFile, err error) {
	files = map[string]heldFile{}
	stream, _, err := p.b.Engine.CopyFromContainer(ctx, id, dir)
	if errdefs.IsNotFound(err) {
		return files, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	archive := tar.NewReader(stream)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			return nil, err
		}
		if header.Typeflag == tar.TypeReg {
			name := path.Join(path.Dir(dir), header.Name) //nolint:gosec // nothing is written there
			files[name] = heldFile{string(text), fmt.Sprintf("%04o of %d", header.Mode&0o7777, header.Uid)}
		}
	}
}

// fileState lists the files of the project directory.
func (p *patient) fileState() (lines []string, err error) {
	return lines, filepath.WalkDir(p.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		relative, rerr := filepath.Rel(p.dir, path)
		lines = append(lines, fmt.Sprintf("file %s %v", relative, info.Mode()))
		return errors.Join(err, rerr)
	})
}

// changedLines lists the lines that one of two states alone has.
func changedLines(want, got string) string {
	lines := func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n") }
	var list []string
	for _, l := range lines(want) {
		if !slices.Contains(lines(got), l) {
			list = append(list, "without: "+l)
		}
	}
	for _, l := range lines(got) {
		if !slices.Contains(lines(want), l) {
			list = append(list, "with: "+l)
		}
	}
	return strings.Join(list, ", ")
}

// noteLeft remembers the throw-away containers that there are now.
func (p *patient) noteLeft(ctx context.Context) error {
	list, err := p.throwAways(ctx)
	if err != nil {
		return err
	}
	for _, c := range list {
		var volumes []string
		for _, m := range c.Mounts {
			if m.Type == "volume" {
				volumes = append(volumes, m.Name)
			}
		}
		p.left[c.ID] = volumes
	}
	return nil
}

func (p *patient) throwAways(ctx context.Context) ([]container.Summary, error) {
	return p.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", plan.LabelProbe+"="+p.name))})
}

// leftLimit is by when a throw-away container that a killed command left has to be
// gone: its own time is a minute.
const leftLimit = 2 * time.Minute

// nothingLeft wants the throw-away containers that were left gone, with their
// volumes, once their time is over and another command is run.
func (p *patient) nothingLeft(ctx context.Context) error {
	if err := p.ensure(ctx, running); err != nil {
		return err
	}
	err := eventually(ctx, leftLimit, func() error {
		if _, err := p.must(ctx, "status", "--live"); err != nil {
			return final(err)
		}
		list, err := p.throwAways(ctx)
		if err == nil && len(list) > 0 {
			err = missed("%d throw-away containers are left, the first is %s", len(list), list[0].Names[0])
		}
		return err
	})
	if err != nil {
		return err
	}
	for id, volumes := range p.left {
		for _, name := range volumes {
			if _, err := p.b.Engine.VolumeInspect(ctx, name); !errdefs.IsNotFound(err) {
				return missed("the volume %s of throw-away container %s is left: %w", name, id[:12], err)
			}
		}
	}
	return nil
}
