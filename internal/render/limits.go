package render

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"mqtunnel/internal/remedy"
)

// checkLimits explains why files, compose.yaml and the override, do not load when
// that is because limits stand in deploy.resources and at the service as well,
// where compose.yaml has them. It returns nil when it is for another reason.
func checkLimits(ctx context.Context, dir string, files []types.ConfigFile, env map[string]string) error {
	project, err := load(ctx, dir, files, env, func(o *loader.Options) { o.SkipConsistencyCheck = true })
	if err != nil {
		return nil //nolint:nilerr // the reason is another one
	}
	override := files[len(files)-1]
	for _, name := range slices.Sorted(maps.Keys(project.Services)) {
		above, below := clash(project.Services[name])
		if above == "" {
			continue
		}
		where := filepath.Base(override.Filename)
		key := []string{"services", name, "deploy", "resources", below}
		if line := lineOf(override.Content, key); line > 0 {
			where = fmt.Sprintf("%s:%d", where, line)
		}
		hint := "write mem_limit, pids_limit and cpus at the service instead"
		if below == "reservations" {
			hint = "write mem_reservation at the service instead"
		}
		return remedy.Errorf(remedy.Input, hint, "%s: %s: the service has %s already, and the two differ",
			where, strings.Join(key, "."), above)
	}
	return nil
}

// clash returns the key at the service and the one in deploy.resources that
// Compose does not accept side by side, or "". A limit that is left out in
// deploy.resources.limits differs from every other.
func clash(s types.ServiceConfig) (above, below string) {
	if s.Deploy == nil {
		return "", ""
	}
	if l := s.Deploy.Resources.Limits; l != nil {
		switch {
		case s.MemLimit != 0 && l.MemoryBytes != s.MemLimit:
			return "mem_limit", "limits"
		case s.PidsLimit != 0 && l.Pids != s.PidsLimit:
			return "pids_limit", "limits"
		case s.CPUS != 0 && l.NanoCPUs.Value() != s.CPUS:
			return "cpus", "limits"
		}
	}
	if r := s.Deploy.Resources.Reservations; r != nil && s.MemReservation != 0 && r.MemoryBytes != s.MemReservation {
		return "mem_reservation", "reservations"
	}
	return "", ""
}

// lineOf returns the line of the last key of path in YAML that is known to be
// valid, or 0 where it comes from elsewhere than a plain mapping.
func lineOf(text []byte, path []string) int {
	line := 0
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		if decoder.Decode(&document) != nil || len(document.Content) == 0 {
			return line
		}
		at := document.Content[0]
		for i, key := range path {
			k := slices.IndexFunc(at.Content, func(n *yaml.Node) bool { return n.Value == key })
			if at.Kind != yaml.MappingNode || k < 0 || k%2 != 0 {
				break
			}
			if i == len(path)-1 {
				line = at.Content[k].Line
			}
			at = at.Content[k+1]
		}
	}
}
