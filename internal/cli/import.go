package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/migrate"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// importOptions are the flags of import.
type importOptions struct{ dryRun, yes, force, noData bool }

func (a *App) importCommand() *cobra.Command {
	var o importOptions
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Move a Mosquitto set-up made by hand into this project",
		Long: `Move the Mosquitto set-up in DIR into this project: tunnel token, users with
their passwords, what they may do, directives, and retained messages. DIR is
only read. What is taken and what is left, and why, is shown before anything is
written.`,
		Example: `  mqtunnel import ../old --dry-run
  mqtunnel import ../old`,
		Args: oneArg("DIR"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.importSetup(cmd.Context(), args[0], o) },
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "show what would be taken and left")
	f.BoolVar(&o.yes, "yes", false, "do not ask")
	f.BoolVar(&o.force, "force", false, "move a database that is here already aside")
	f.BoolVar(&o.noData, "no-data", false, "leave retained messages and sessions")
	return cmd
}

// migration is one import at work.
type migration struct {
	*session

	old     string // absolute directory of the old set-up
	options importOptions
	setup   *migrate.Setup

	running  []string       // names of the old set-up's containers that run
	database []byte         // nil for none
	taken    []migrate.Item // the token and the database
	notes    []string
}

// importSetup reads and checks everything, shows it, and writes it.
func (a *App) importSetup(ctx context.Context, dir string, o importOptions) error {
	s, err := a.here()
	if err != nil {
		return err
	}
	defer s.close()
	m := &migration{session: s, options: o}
	if m.old, err = oldDirectory(dir, s.dir); err != nil {
		return err
	}
	if err := m.needProbe(); err != nil {
		return err
	}
	if err := m.read(ctx); err != nil {
		return err
	}
	if err := m.data(ctx); err != nil {
		return left(err, leftNothing)
	}
	if _, err := m.target(ctx); err != nil {
		return err
	}
	m.progress.End()
	m.preview()
	if o.dryRun {
		return nil
	}
	if err := a.confirm(ctx, "This is written to "+s.dir+".", o.yes); err != nil {
		return err
	}
	release, err := m.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := m.write(ctx); err != nil {
		return left(err, leftHalfway)
	}
	m.progress.End()
	m.result()
	return nil
}

// oldDirectory returns the directory to read, absolute.
func oldDirectory(dir, project string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find %s: %w", dir, err)
	}
	// Compose's labels and absolute paths have the real name.
	abs, err = filepath.EvalSymlinks(abs)
	if err != nil {
		return "", remedy.Errorf(remedy.Input, "name the directory of the old set-up", "%s: %w", dir, errors.Unwrap(err))
	}
	real, err := filepath.EvalSymlinks(project)
	if err != nil {
		return "", fmt.Errorf("find the project directory: %w", err)
	}
	if abs == real {
		return "", remedy.Errorf(remedy.Input, "make a new directory and type: mqtunnel -C NEW import "+abs,
			"the old set-up is in the project directory itself")
	}
	return abs, nil
}

// oldFiles is the directory of the old set-up.
type oldFiles struct{ dir *projectdir.Dir }

// Read reads a file, through no link out of the directory.
func (f oldFiles) Read(name string, limit int64) (data []byte, found bool, err error) {
	file, err := f.dir.Read(name, limit)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		// The containers of older brokers take what is mounted for their own user.
		return nil, false, remedy.Errorf(remedy.Input, "run the command with sudo", "read %s: %w", name, fs.ErrPermission)
	}
	return file.Data, err == nil, err
}

// List lists files.
func (f oldFiles) List(name string) (names []string, err error) {
	entries, err := f.dir.List(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// read reads the old set-up.
func (m *migration) read(ctx context.Context) (err error) {
	d, err := render.ReadDirectory(m.dir)
	if err != nil {
		return err
	}
	r, err := m.renderFrom(ctx, d, false)
	if err != nil {
		return err
	}
	own := ""
	for _, svc := range r.Project.Services {
		for _, f := range svc.Files {
			if f.Path == mosquitto.ConfPath {
				own = f.Content.Reveal() // compared line by line
			}
		}
	}
	opened, err := projectdir.Open(m.old)
	if err != nil {
		return err
	}
	defer opened.Close() //nolint:errcheck // nothing was written
	if m.setup, err = migrate.Read(oldFiles{opened}, m.old, own); err != nil {
		return fmt.Errorf("%s: %w", m.old, err)
	}
	return nil
}

// tokenClash refuses a token of the old set-up where there is another one.
func (m *migration) tokenClash() error {
	held := m.settings.Token
	if !m.setup.HasToken || held.IsZero() || held.Equal(m.setup.Token.Secret()) {
		return nil
	}
	return remedy.Errorf(remedy.Input, "remove that one, mqtunnel token remove, or import into another directory",
		"there is another tunnel token already, in %s", m.settings.Entry(config.KeyToken).Source)
}

// confName is where the directives go.
const confName = render.ConfDName + "/" + migrate.Imported

// conf returns the text of the file of directives, "" for none.
func (m *migration) conf() string {
	if m.setup.Conf == "" {
		return ""
	}
	return "# From " + safeComment(m.old) + ", by mqtunnel import.\n" + m.setup.Conf
}

// safeComment is a path as a comment can hold it.
func safeComment(path string) string {
	return strings.Trim(fmt.Sprintf("%q", path), `"`)
}

// target makes the project as it is to be, in memory, and refuses what would be
// overwritten.
func (m *migration) target(ctx context.Context) (render.Rendered, error) {
	d, err := render.ReadDirectory(m.dir)
	if err != nil {
		return render.Rendered{}, err
	}
	if m.rendered() {
		before, err := m.renderFrom(ctx, d.Clone(), false)
		if err != nil {
			return render.Rendered{}, err
		}
		if err := d.CheckEdited(before); err != nil {
			return render.Rendered{}, err
		}
	}
	if err := m.tokenClash(); err != nil {
		return render.Rendered{}, err
	}
	if err := m.addConf(d); err != nil {
		return render.Rendered{}, err
	}
	for _, u := range m.setup.Users {
		if err := u.AddTo(d.Passwords, d.ACL); err != nil {
			return render.Rendered{}, err
		}
	}
	held := m.settings.Token
	if m.setup.HasToken {
		m.settings.Token = m.setup.Token.Secret()
		defer func() { m.settings.Token = held }()
	}
	return m.renderFrom(ctx, d, !held.Equal(m.settings.Token))
}

// addConf adds the file of directives to those that are there.
func (m *migration) addConf(d *render.Directory) error {
	text := m.conf()
	if text == "" {
		return nil
	}
	at, found := slices.BinarySearchFunc(d.Conf, migrate.Imported, func(f mosquitto.ConfFile, name string) int { return strings.Compare(f.Name, name) })
	if found {
		// As it was checked, without the last line end.
		if d.Conf[at].Text == strings.TrimRight(text, "\n") {
			return nil
		}
		return remedy.Errorf(remedy.Input, "remove or rename it", "%s is here already, with other directives", confName)
	}
	checked, err := mosquitto.CheckConf(slices.Insert(slices.Clone(d.Conf), at, mosquitto.ConfFile{Name: migrate.Imported, Text: text}))
	d.Conf = checked
	return err
}

// write puts the data into its volume and then the files into the directory. What an
// interruption leaves is no clash for the next import, which goes on.
func (m *migration) write(ctx context.Context) error {
	if err := m.tokenClash(); err != nil {
		return err
	}
	if m.setup.HasToken {
		if err := m.editEnv(func(env *config.EnvFile) error { return env.Set(config.KeyToken, m.setup.Token.Secret()) }); err != nil {
			return err
		}
	}
	if err := m.needProbe(); err != nil {
		return err
	}
	r, err := m.target(ctx)
	if err != nil {
		return err
	}
	if err := m.deposit(ctx, r.Project); err != nil {
		return err
	}
	var more []render.Target
	if text := m.conf(); text != "" {
		more = append(more, render.Target{Name: confName, Data: []byte(text), Mode: render.ModePrivate})
	}
	return m.store(&r, more...)
}

// deposit puts the database where up will look for it.
func (m *migration) deposit(ctx context.Context, p plan.Project) error {
	if m.database == nil {
		return nil
	}
	// Under the lock now: what was looked at before the question may have changed.
	if _, err := m.stopped(ctx); err != nil {
		return err
	}
	done, err := lifecycle.Deposit(ctx, m.engine, p, m.database, m.options.force, m.show)
	switch {
	case err != nil:
		return err
	case done == lifecycle.DepositSame:
		m.note("the database is in the project's volume already")
	case done == lifecycle.DepositMoved:
		m.note("the database that was here is in the directory before-import of the data volume")
	}
	return nil
}
