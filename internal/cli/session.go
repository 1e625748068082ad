package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// session is one command at work on one project directory.
type session struct {
	app      *App
	dir      string // absolute
	settings config.Settings
	env      *config.EnvFile // .env with edits that store is to write, nil for none
	engine   *engine.Client  // nil until connect
	progress *display.Progress
}

// dir returns the project directory, absolute.
func (a *App) dir() (string, error) {
	dir := a.flags.dir
	if dir == "" {
		dir = "."
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the project directory: %w", err)
	}
	info, err := os.Stat(abs)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", remedy.Errorf(remedy.Input, "name a directory that exists, or make it: mkdir -p "+abs, "project directory %s does not exist", abs)
	case err != nil:
		return "", remedy.Errorf(remedy.Input, "", "project directory: %w", err)
	case !info.IsDir():
		return "", remedy.Errorf(remedy.Input, "name the directory, not a file in it", "%s is not a directory", abs)
	}
	return abs, nil
}

// directory reads the files of the project directory.
func (a *App) directory() (*render.Directory, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	return render.ReadDirectory(dir)
}

// session reads the settings of a project directory; -p wins over them.
func (a *App) session(dir string) (*session, error) {
	s := &session{app: a, dir: dir, progress: display.NewProgress(a.Err, a.flags.quiet)}
	env, err := config.ReadEnv(dir)
	if err != nil {
		return nil, err
	}
	return s, s.set(env)
}

// set makes the settings those of .env and of the environment; -p wins over both.
func (s *session) set(env *config.EnvFile) error {
	settings, err := env.Settings(s.dir, s.app.Environ)
	if err != nil {
		return err
	}
	if project := s.app.flags.project; project != "" {
		if settings, err = settings.WithProject(project); err != nil {
			return remedy.Errorf(remedy.Usage, remedy.HintOf(err), "-p: %w", err)
		}
	}
	s.settings = settings
	return nil
}

// here is session for the project directory that the flags name.
func (a *App) here() (*session, error) {
	dir, err := a.dir()
	if err != nil {
		return nil, err
	}
	return a.session(dir)
}

// open is here for commands that need the Engine.
func (a *App) open(ctx context.Context) (*session, error) {
	s, err := a.here()
	if err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// connect finds the Engine and makes sure that it answers.
func (s *session) connect(ctx context.Context) error {
	o := engine.Options{Context: s.app.flags.context, Environ: s.app.Environ}
	if s.app.flags.debug {
		o.Trace = func(line string) {
			fmt.Fprintln(s.app.Err, s.app.Err.Paint(display.Faint, "debug: "+display.Safe(line)))
		}
	}
	client, err := engine.Open(o)
	if err != nil {
		return err
	}
	if _, err := client.Ping(ctx); err != nil {
		return left(errors.Join(err, client.Close()), leftNothing)
	}
	s.engine = client
	return nil
}

// close lets go of the Engine.
func (s *session) close() {
	s.progress.End()
	if s.engine != nil {
		_ = s.engine.Close() // idle connections end with the process anyway
	}
}

// show passes an event to the display.
func (s *session) show(e lifecycle.Event) {
	if w, waits := e.(lifecycle.Waiting); waits {
		w.Hint = s.app.again(w.Hint)
		e = w
	}
	s.progress.Show(e)
}

// warn tells something that a person should know.
func (s *session) warn(text string) {
	s.show(lifecycle.Notice{Text: s.app.again(text), Warning: true})
}

// note tells something that a person may want to know.
func (s *session) note(text string) { s.show(lifecycle.Notice{Text: s.app.again(text)}) }

// lock makes this command the only one at work on the project directory, and reads the
// settings again: whoever had the lock may have changed them.
func (s *session) lock(ctx context.Context) (release func(), err error) {
	free, err := engine.Lock(ctx, s.dir, !s.app.flags.noWait, func(holder string) {
		// What the other one was called by is no command to type.
		s.show(lifecycle.Notice{Text: "waiting for another mqtunnel at work on this directory: " + holder})
	})
	if err != nil {
		return nil, left(err, leftNothing)
	}
	release = func() { _ = free() } // the lock ends with the process at the latest
	s.env = nil
	env, err := config.ReadEnv(s.dir)
	if err == nil {
		err = s.set(env)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

// editEnv changes .env and the settings in memory; store writes it.
func (s *session) editEnv(edit func(*config.EnvFile) error) error {
	env, err := s.envFile()
	if err != nil {
		return err
	}
	if err := edit(env); err != nil {
		return err
	}
	s.env = env
	return s.set(env)
}

// envFile is .env as it is to be.
func (s *session) envFile() (*config.EnvFile, error) {
	if s.env != nil {
		return s.env, nil
	}
	return config.ReadEnv(s.dir)
}

// store writes .env as far as it was edited, the project's files if there are any, and
// further ones: all, or none of them. The caller holds the lock.
func (s *session) store(r *render.Rendered, more ...render.Target) (err error) {
	b := &projectdir.Batch{}
	defer func() { err = errors.Join(err, b.Close()) }()
	d, err := b.Open(s.dir)
	if err != nil {
		return err
	}
	var targets []render.Target
	if r != nil {
		if targets, err = r.Targets(d); err != nil {
			return err
		}
		// The Compose file first: a token that is stored has its revision there.
		if err := b.Add(d, targets[0]); err != nil {
			return err
		}
		targets = targets[1:]
	}
	var written config.Written
	if s.env != nil {
		if written, err = s.env.AddTo(b, s.dir); err != nil {
			return err
		}
	}
	for _, t := range append(targets, more...) {
		if err := b.Add(d, t); err != nil {
			return err
		}
	}
	if err := b.Commit(); err != nil {
		return err
	}
	s.env = nil
	if written.Tightened != 0 {
		s.warn(fmt.Sprintf(".env could be read by others (mode %04o); it has mode 0600 now", written.Tightened))
	}
	return nil
}

// environment is what Compose interpolates from and takes secrets from: the
// process environment over .env.
func (s *session) environment() (map[string]string, error) {
	env, err := s.envFile()
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	for _, e := range s.app.Environ {
		if k, v, ok := strings.Cut(e, "="); ok {
			vars[k] = v
		}
	}
	text := env.Text().Reveal() // read again in Compose's dialect
	var keys []string
	for _, e := range s.settings.Entries {
		keys = append(keys, e.Key)
	}
	for _, d := range render.Dialects([]byte(text), keys, maps.Clone(vars)) {
		return nil, remedy.Errorf(remedy.Input, d.Fix, "%s", d)
	}
	return render.Variables(s.settings, vars, []byte(text))
}

// rendered reports whether the directory has a Compose file of ours.
func (s *session) rendered() bool {
	_, err := os.Lstat(filepath.Join(s.dir, render.FileName)) // a link is refused
	return err == nil
}

// query is what an observation of this project looks for.
func query(p plan.Project) plan.Query {
	q := plan.Query{Project: p.Name}
	for _, svc := range p.Services {
		q.Names = append(q.Names, svc.ContainerName)
		q.Images = append(q.Images, svc.Image)
	}
	for _, n := range p.Networks {
		q.Networks = append(q.Networks, n.Name)
	}
	for _, v := range p.Volumes {
		q.Volumes = append(q.Volumes, v.Name)
	}
	return q
}
