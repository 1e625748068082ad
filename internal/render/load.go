package render

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
)

// FileName is the Compose file that mqtunnel writes. It comes first in
// Compose's own search, so plain `docker compose` takes the same.
const FileName = "compose.yaml"

// Load returns the project that rendered, the text of dir's compose.yaml, makes
// together with the user's override file, read as `docker compose` would read
// both in dir. env is what Compose interpolates from: the process environment
// over .env, see Environment. Keys that cannot be carried out and variables that
// are not set, which Compose takes for blank with a warning, are refused by name,
// file and line, as a remedy.Error. No error holds a value of env.
func Load(ctx context.Context, dir string, rendered []byte, env map[string]string) (plan.Project, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return plan.Project{}, fmt.Errorf("find project directory: %w", err)
	}
	files := []types.ConfigFile{{Filename: filepath.Join(dir, FileName), Content: rendered}}
	name, text, err := Override(dir)
	if err != nil {
		return plan.Project{}, err
	}
	if name != "" {
		if err := checkOverride(name, text, env); err != nil {
			return plan.Project{}, err
		}
		files = append(files, types.ConfigFile{Filename: filepath.Join(dir, name), Content: text})
	}
	project, err := load(ctx, dir, files, env)
	if err != nil && name != "" {
		if clash := checkLimits(ctx, dir, files, env); clash != nil {
			return plan.Project{}, clash
		}
	}
	if err != nil {
		return plan.Project{}, refuse(name, scrub(err, env))
	}
	return translate(project, files)
}

// Override returns the name and the text of the override file that Compose
// would merge in dir, or "" when there is none. Where there are several Compose
// takes the first in its own order, and so does Override. It may be a link.
func Override(dir string) (name string, text []byte, err error) {
	for _, name := range cli.DefaultOverrideFileNames {
		text, err := linked(dir, name)
		if err != nil || text != nil {
			return name, text, err
		}
	}
	return "", nil, nil
}

// linked returns the text of a file of the user's, nil when there is none.
func linked(dir, name string) ([]byte, error) {
	d, err := projectdir.OpenLinked(dir, name)
	if err != nil {
		return nil, err
	}
	defer d.Close() //nolint:errcheck // nothing was written
	return read(d, name)
}

// load reads files with compose-go in the steps of the Compose CLI: environment
// of services last, unused networks and volumes dropped. Our own file alone
// needs no check against the schema, which costs more than all the rest.
func load(ctx context.Context, dir string, files []types.ConfigFile, env map[string]string, options ...func(*loader.Options)) (*types.Project, error) {
	silence()
	details := types.ConfigDetails{WorkingDir: dir, ConfigFiles: files, Environment: maps.Clone(env)}
	if details.Environment == nil {
		details.Environment = types.Mapping{}
	}
	options = append(options, func(o *loader.Options) {
		o.SkipResolveEnvironment = true
		o.SkipValidation = len(files) == 1
	})
	project, err := loader.LoadWithContext(ctx, details, options...)
	if err != nil {
		return nil, err
	}
	project, err = project.WithoutUnnecessaryResources().WithServicesEnvironmentResolved(true)
	if err != nil {
		return nil, err
	}
	return project, project.CheckContainerNameUnicity()
}

// refuse says that the project does not load, and whose fault that can be.
func refuse(override string, err error) error {
	if override == "" {
		return fmt.Errorf("load %s: %w", FileName, err)
	}
	return remedy.Errorf(remedy.Input, "correct "+override+"; `docker compose config` shows what Compose makes of it",
		"load %s with %s: %w", FileName, override, err)
}

// silence keeps compose-go quiet: it warns through logrus alone, in the middle of
// our output, and quotes values that may be secrets.
func silence() { logrus.SetOutput(io.Discard) }

// secretName says which variables hold secrets, going by their names.
func secretName() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(token|secret|pass|pwd|psk|pin|cred|key|auth)`)
}

// scrub returns err as text in which no value of a variable that sounds like a
// secret stands: compose-go quotes what it could not make sense of.
func scrub(err error, env map[string]string) error {
	text, secretish := err.Error(), secretName()
	values := make([]string, 0, len(env))
	for name, value := range env {
		if value != "" && secretish.MatchString(name) {
			values = append(values, value)
		}
	}
	// The longest first, so that one that holds another leaves no rest.
	slices.SortFunc(values, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	for _, value := range values {
		text = strings.ReplaceAll(text, value, hidden)
	}
	return errors.New(blank([]byte(text)))
}
