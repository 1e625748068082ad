package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// doctorFlags are the flags of doctor.
type doctorFlags struct {
	verbose, list, noDoH, fix, yes bool
	soak                           time.Duration
	connectTo                      []string
	bundle                         string
}

func (a *App) doctorCommand() *cobra.Command {
	var f doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor [CHECK...]",
		Short: "Find out why messages do not flow, and what to do",
		Long: `Find out why messages do not flow: everything from the Docker Engine to the
public hostname is looked at, and the one cause that the rest follows from is
named first, with what was seen of it and what to type. Nothing is changed, and
it works when everything else does not. With names of checks (codes, IDs or
layers, see --list) only those are shown and counted.

The exit code is 0 when messages flow, 3 when they do not or a fault was found,
and 5 when there is no Docker Engine to work with.`,
		Example: `  mqtunnel doctor
  mqtunnel doctor --json
  mqtunnel doctor MQT-E05 edge-tcp`,
		Args: checkNames,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return checkCompletions(), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(a.json); err != nil {
				return usageError(cmd, err)
			}
			if f.list {
				return a.listChecks(args)
			}
			return a.doctor(cmd.Context(), args, f)
		},
	}
	a.jsonFlag(cmd)
	fl := cmd.Flags()
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show every check and everything that was seen")
	fl.BoolVar(&f.list, "list", false, "list the checks and look at nothing")
	fl.BoolVar(&f.noDoH, "no-doh", false, "do not ask Cloudflare's DNS-over-HTTPS for the public hostname")
	fl.DurationVar(&f.soak, "soak", 0, "watch a quiet connection for `DURATION`, such as 5m, to see whether it is cut")
	fl.StringArrayVar(&f.connectTo, "connect-to", nil, "connect to ADDRESS:PORT for HOST:PORT, given as `HOST:PORT:ADDRESS:PORT`")
	fl.BoolVar(&f.fix, "fix", false, "mend what is safe to mend from here; shows first what would be done")
	fl.BoolVar(&f.yes, "yes", false, "do not ask before mending or writing")
	fl.StringVar(&f.bundle, "bundle", "", "write what a helper needs into `FILE`, without secrets; shows it first")
	return cmd
}

// check refuses flags that make no sense, alone or together.
func (f doctorFlags) check(json bool) error {
	switch {
	case f.soak < 0:
		return errors.New("--soak must be more than nothing, for example 5m")
	case f.fix && f.bundle != "":
		return errors.New("--fix and --bundle exclude each other")
	case json && f.bundle != "":
		return errors.New("--json and --bundle exclude each other")
	}
	return nil
}

// doctorRun is one doctor at work. Of its session, the settings are empty where
// they cannot be read, and there is an Engine only once it answered.
type doctorRun struct {
	*session

	flags     doctorFlags
	names     []string // checks that were asked for, all when empty
	project   string   // that the command line or the Engine names, "" as the settings say
	to        []probe.ConnectTo
	engineErr error // why there is no Engine, once it was tried
}

func (a *App) doctor(ctx context.Context, names []string, f doctorFlags) error {
	to, err := connectTo(f.connectTo)
	if err != nil {
		return err
	}
	if a.flags.project != "" {
		if err := config.CheckProject(a.flags.project); err != nil {
			return remedy.Errorf(remedy.Usage, remedy.HintOf(err), "-p: %w", err)
		}
	}
	dir, err := a.dir()
	if err != nil {
		return err
	}
	s := &doctorRun{
		session: &session{app: a, dir: dir, progress: display.NewProgress(a.Err, a.flags.quiet)},
		flags:   f, names: names, project: a.flags.project, to: to,
	}
	defer s.close()
	if err := s.place(ctx); err != nil {
		return err
	}
	s.noteConnectTo(to)
	return s.run(ctx)
}

// run looks, and tells what it came to; with --fix it mends and looks again.
func (s *doctorRun) run(ctx context.Context) error {
	found, err := s.look(ctx)
	if err != nil {
		return err
	}
	if s.flags.bundle != "" {
		return s.bundle(ctx, found.diagnosis, found.evidence)
	}
	if s.flags.fix {
		if !s.app.json {
			s.app.printDoctor(found, s.flags.verbose)
		}
		mended, err := s.fix(ctx, found.diagnosis, found.evidence)
		if err != nil {
			return err
		}
		if !mended && !s.app.json {
			return found.answer()
		}
		if found, err = s.look(ctx); err != nil {
			return err
		}
	}
	if s.app.json {
		if err := writeJSON(s.app.Out, found.json()); err != nil {
			return err
		}
		return found.answer()
	}
	s.app.printDoctor(found, s.flags.verbose)
	return found.answer()
}

// look looks at everything once and judges it.
func (s *doctorRun) look(ctx context.Context) (doctorReport, error) {
	began := time.Now()
	s.progress.Doing("looking at everything from the Docker Engine to the public hostname")
	s.readSettings()
	e := doctor.Gather(ctx, s.sources())
	s.progress.End()
	if ctx.Err() != nil {
		return doctorReport{}, ctx.Err()
	}
	return doctorReport{
		evidence: e, diagnosis: doctor.Judge(e), names: s.names,
		took: time.Since(began), cleaner: cleaner{hide: secretsOf(s.dir, s.app.Environ), flags: s.app.flags.again()},
	}, nil
}

// readSettings reads the settings as far as they can be read: what is wrong with
// them is for the checks to say.
func (s *doctorRun) readSettings() {
	settings, err := config.Load(s.dir, s.app.Environ)
	if err != nil {
		settings = config.Settings{}
	}
	s.settings = settings
	if s.project != "" {
		s.settings.Project = s.project
	}
}

// sources says where to look.
func (s *doctorRun) sources() doctor.Sources {
	from := s.atHand(s.project)
	from.Open = s.openEngine
	from.View = func(ctx context.Context, _ doctor.Engine, settings config.Settings, p plan.Project) (lifecycle.View, error) {
		with := *s.session
		with.settings = settings
		return with.view(ctx, p)
	}
	from.Public, from.DoH, from.Soak = s.publicTarget(s.to), !s.flags.noDoH, s.flags.soak
	return from
}

// atHand says where to glance, on the Engine that the session is connected to.
func (s *session) atHand(project string) doctor.Sources {
	return doctor.Sources{
		Dir: s.dir, Environ: s.app.Environ, Project: project, Root: "/", Service: brokerService,
		Open:  func(context.Context) (doctor.Engine, error) { return s.engine, nil },
		Fault: engine.ReasonOf,
	}
}

// openEngine connects to the Engine, once.
func (s *doctorRun) openEngine(ctx context.Context) (doctor.Engine, error) {
	if s.engine == nil && s.engineErr == nil {
		s.engineErr = s.connect(ctx)
	}
	if s.engineErr != nil {
		return nil, s.engineErr
	}
	return s.engine, nil
}

// findTimeout bounds how long the Engine is asked for the project.
const findTimeout = 8 * time.Second

// place finds the project that is meant: that of this directory, or, typed
// elsewhere, the only one that runs on the Engine. Without any, it is this
// directory all the same, in which the checks will find nothing.
func (s *doctorRun) place(ctx context.Context) error {
	if s.app.flags.dir != "" || projectDirectory(s.dir) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	if _, err := s.openEngine(ctx); err != nil {
		return nil // that there is no Engine is for the checks to say
	}
	running, err := s.running(ctx)
	if err != nil {
		return nil // likewise
	}
	if s.project != "" {
		maps.DeleteFunc(running, func(name, _ string) bool { return name != s.project })
	}
	switch len(running) {
	case 0:
	case 1:
		for project, dir := range running {
			s.note(fmt.Sprintf("this is no project directory; looking at project %s in %s", project, dir))
			s.project = project
			if dir != "" {
				s.dir, s.app.flags.dir = dir, dir // what is to be typed names it
			}
		}
	default:
		return severalProjects(s.dir, running)
	}
	return nil
}

// projectDirectory reports whether a directory holds something of a project, be it
// readable or not.
func projectDirectory(dir string) bool {
	return slices.ContainsFunc([]string{config.EnvName, render.FileName}, func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	})
}

// checkNames wants names of checks as arguments.
func checkNames(cmd *cobra.Command, args []string) error {
	for _, name := range args {
		if !slices.ContainsFunc(doctor.Checks(), func(c doctor.Check) bool { return c.Named(name) }) {
			return unknownCheck(cmd, name)
		}
	}
	return nil
}

// unknownCheck is about a name that no check has.
func unknownCheck(cmd *cobra.Command, name string) error {
	root := cmd.Root().Name()
	hint := "type: " + root + " doctor --list"
	if similar := similarChecks(name); len(similar) > 0 {
		hint = "did you mean: " + strings.Join(similar, ", ") + "; " + root + " doctor --list has them all"
	}
	return remedy.Errorf(remedy.Usage, hint, "there is no check %q", name)
}

// similarChecks returns what a mistyped name may have meant. Cobra knows what is
// alike, in names of commands. Codes are so much alike that one slip is the most.
func similarChecks(name string) []string {
	codes, ids := &cobra.Command{SuggestionsMinimumDistance: 1}, &cobra.Command{SuggestionsMinimumDistance: 2}
	add := func(to *cobra.Command, name string) {
		to.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	for _, c := range doctor.Checks() {
		add(codes, c.Code)
		add(ids, c.ID)
	}
	similar := slices.Concat(codes.SuggestionsFor(name), ids.SuggestionsFor(name))
	begins := func(s string) int {
		if strings.HasPrefix(strings.ToLower(s), strings.ToLower(name)) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(similar, func(a, b string) int { return begins(a) - begins(b) })
	const few = 5
	return similar[:min(len(similar), few)]
}

// checkCompletions lists what a shell may complete a name of a check to.
func checkCompletions() []cobra.Completion {
	var list []cobra.Completion
	for _, l := range doctor.Layers() {
		list = append(list, cobra.CompletionWithDesc(string(l), "the checks of the layer "+string(l)))
	}
	for _, c := range doctor.Checks() {
		list = append(list, cobra.CompletionWithDesc(c.ID, c.Title), cobra.CompletionWithDesc(c.Code, c.Title))
	}
	return list
}
