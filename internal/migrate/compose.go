package migrate

import (
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// mount is where something of the directory is in the broker's container.
type mount struct {
	source string // relative to the directory; "" for what lies elsewhere
	target string
}

// composeNames are the names that Compose looks for, in its order.
func composeNames() []string {
	return []string{"compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"}
}

// composeFile is as much of a Compose file as matters here.
type composeFile struct {
	Services yaml.Node `yaml:"services"`
}

// composeService is a service of it.
type composeService struct {
	Image   string      `yaml:"image"`
	Volumes []yaml.Node `yaml:"volumes"`
}

// composeMount is the long form of a volume.
type composeMount struct {
	Source string `yaml:"source"`
	Target string `yaml:"target"`
}

// compose reads which service is the broker and what is mounted into it.
func (r *reader) compose() error {
	name, text, err := r.first(composeNames())
	if err != nil || name == "" {
		return err
	}
	service, mounts, ok := parseCompose(text, r.root)
	if !ok {
		r.leave(name, "Compose file", "it cannot be read, so its volumes are not known")
		return nil
	}
	r.setup.Service, r.mounts = service, mounts
	return nil
}

// parseCompose returns the service that is the broker, "" for none, and its mounts,
// longest target first. It reports whether the text can be read.
func parseCompose(text, root string) (service string, mounts []mount, ok bool) {
	var file composeFile
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		return "", nil, false
	}
	if file.Services.Kind != yaml.MappingNode {
		return "", nil, true
	}
	for i := 0; i+1 < len(file.Services.Content); i += 2 {
		var s composeService
		if err := file.Services.Content[i+1].Decode(&s); err != nil {
			continue
		}
		var all []mount
		for _, v := range s.Volumes {
			if m, known := parseMount(v, root); known {
				all = append(all, m)
			}
		}
		key := file.Services.Content[i].Value
		inside := slices.ContainsFunc(all, func(m mount) bool { return m.target == "/mosquitto" || strings.HasPrefix(m.target, "/mosquitto/") })
		if strings.Contains(s.Image, "mosquitto") || strings.Contains(key, "mosquitto") || inside {
			slices.SortStableFunc(all, func(a, b mount) int { return len(b.target) - len(a.target) })
			return key, all, true
		}
	}
	return "", nil, true
}

// parseMount reads one volume in either form. One with a variable in it is not known.
func parseMount(node yaml.Node, root string) (mount, bool) {
	var m composeMount
	if node.Kind == yaml.ScalarNode {
		parts := strings.Split(node.Value, ":")
		if len(parts) < 2 {
			return mount{}, false
		}
		m = composeMount{parts[0], parts[1]}
	} else if err := node.Decode(&m); err != nil {
		return mount{}, false
	}
	if m.Source == "" || strings.Contains(m.Source+m.Target, "$") || !path.IsAbs(m.Target) {
		return mount{}, false
	}
	source, inside := relative(m.Source, root)
	if !strings.HasPrefix(m.Source, ".") && !path.IsAbs(m.Source) || !inside {
		source = "" // a named volume, or a directory elsewhere
	}
	return mount{source, path.Clean(m.Target)}, true
}

// relative returns a path below root as one relative to it, and whether it is one.
func relative(name, root string) (string, bool) {
	if path.IsAbs(name) {
		rest, below := strings.CutPrefix(path.Clean(name), strings.TrimSuffix(root, "/")+"/")
		return rest, below
	}
	clean := path.Clean(name)
	return clean, clean != ".." && !strings.HasPrefix(clean, "../")
}

// layouts are where set-ups without a known mount keep what is in a directory of the
// container.
func layouts() []struct {
	inside  string
	outside []string
} {
	return []struct {
		inside  string
		outside []string
	}{
		{"/mosquitto/config", []string{"config", "mosquitto/config", ".", "mosquitto", "conf"}},
		{"/mosquitto/data", []string{"data", "mosquitto/data"}},
		{"/etc/mosquitto", []string{"etc/mosquitto", ".", "config", "mosquitto"}},
		{"/var/lib/mosquitto", []string{"var/lib/mosquitto", "data", "mosquitto/data"}},
		{"/mosquitto", []string{"mosquitto", "."}},
	}
}

// candidates returns the names that a path inside the container may have in the
// directory, likeliest first. What is mounted from elsewhere has none.
func (r *reader) candidates(inside string) []string {
	if !path.IsAbs(inside) {
		name, ok := relative(inside, r.root)
		if !ok {
			return nil
		}
		return []string{path.Join(path.Dir(r.conf.name), name), name}
	}
	inside = path.Clean(inside)
	for _, m := range r.mounts {
		if rest, ok := below(inside, m.target); ok {
			if m.source == "" {
				return nil
			}
			return []string{path.Join(m.source, rest)}
		}
	}
	var names []string
	if name, ok := relative(inside, r.root); ok {
		names = append(names, name)
	}
	for _, l := range layouts() {
		if rest, ok := below(inside, l.inside); ok {
			for _, dir := range l.outside {
				names = append(names, path.Join(dir, rest))
			}
		}
	}
	return names
}

// below returns the rest of a path under dir, "" for dir itself.
func below(name, dir string) (rest string, ok bool) {
	if name == dir {
		return "", true
	}
	return strings.CutPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}
