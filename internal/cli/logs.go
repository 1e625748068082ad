package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// logFlags are the flags of the logs command.
type logFlags struct {
	follow, timestamps, raw bool
	since, until, tail      string
}

func (a *App) logsCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "logs [SERVICE...]",
		Short: "Show the logs of broker and connector in time order",
		Long: `Show the logs of broker and connector, merged by time. Anything shaped like a
tunnel token or a password hash is blanked, and control characters are shown
instead of obeyed; --raw prints the lines as they are, tokens blanked all the
same.`,
		Example: `  mqtunnel logs
  mqtunnel logs -f --since 10m
  mqtunnel logs --tail 50 mosquitto`,
		Args:              services,
		ValidArgs:         []string{plan.ServiceBroker, plan.ServiceConnector},
		ValidArgsFunction: nil,
		RunE: func(cmd *cobra.Command, args []string) error {
			o, err := f.options(cmd)
			if err != nil {
				return err
			}
			return a.logs(cmd.Context(), args, f, o)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.follow, "follow", "f", false, "go on with new lines, across restarts")
	fl.StringVar(&f.since, "since", "", "lines since `TIME`: 10m, 2026-01-31T12:00:00Z or Unix seconds")
	fl.StringVar(&f.until, "until", "", "lines until `TIME`")
	fl.StringVarP(&f.tail, "tail", "n", "all", "the last `N` lines of each service")
	fl.BoolVarP(&f.timestamps, "timestamps", "t", false, "show the Engine's time stamps")
	fl.BoolVar(&f.raw, "raw", false, "print lines without prefix and as they are")
	fl.BoolVar(&a.json, "json", false, "print one JSON object a line")
	return cmd
}

// services accepts names of the two services.
func services(cmd *cobra.Command, args []string) error {
	for _, s := range args {
		if s != plan.ServiceBroker && s != plan.ServiceConnector {
			return usageError(cmd, fmt.Errorf("unknown service %q: there are %s and %s", s, plan.ServiceBroker, plan.ServiceConnector))
		}
	}
	return nil
}

// options checks the flags.
func (f logFlags) options(cmd *cobra.Command) (plan.LogOptions, error) {
	o := plan.LogOptions{Tail: -1}
	var err error
	if f.tail != "all" {
		n, perr := strconv.Atoi(f.tail)
		if perr != nil || n < 0 {
			return o, usageError(cmd, fmt.Errorf("--tail wants a number of lines or all, not %q", f.tail))
		}
		o.Tail = n
	}
	now := time.Now()
	if o.Since, err = moment(f.since, now); err != nil {
		return o, usageError(cmd, fmt.Errorf("--since: %w", err))
	}
	if o.Until, err = moment(f.until, now); err != nil {
		return o, usageError(cmd, fmt.Errorf("--until: %w", err))
	}
	if f.follow && f.until != "" {
		return o, usageError(cmd, errors.New("--follow and --until exclude each other"))
	}
	return o, nil
}

// moment reads a time: a duration before now, RFC 3339, a date, or Unix seconds.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil && s > 0 {
		return time.UnixMicro(int64(s * 1e6)), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time; use 10m, 2026-01-31T12:00:00Z or Unix seconds", text)
}

// logs prints the logs of the project, or of the only one there is.
func (a *App) logs(ctx context.Context, only []string, f logFlags, o plan.LogOptions) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	project, observed, err := s.reading(ctx)
	if err != nil {
		return err
	}
	if len(observed.Containers) == 0 && !f.follow {
		return remedy.Errorf(remedy.No, "type: mqtunnel up", "there is no container of project %s, so there are no logs", project)
	}
	out := bufio.NewWriterSize(a.Out, 32<<10)
	p := logPrinter{app: a, flags: f, out: out, live: f.follow || a.Out.Terminal}
	if f.follow {
		err = lifecycle.Follow(ctx, s.engine, project, only, o, p.print)
	} else {
		err = lifecycle.Logs(ctx, s.engine, project, only, o, p.print)
	}
	err = errors.Join(err, out.Flush())
	if f.follow && ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // Ctrl-C is how following ends
	}
	return err
}

// logPrinter prints lines with the service in front, each in its colour.
type logPrinter struct {
	app   *App
	flags logFlags
	out   *bufio.Writer
	live  bool // somebody looks on: no line waits in the buffer
}

// logJSON is the form of a line with --json, tokens blanked all the same.
type logJSON struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`
	Service string    `json:"service"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"`
}

func (p *logPrinter) printJSON(e lifecycle.LogEntry) error {
	line := logJSON{Schema: schema, Time: e.Line.Time.UTC(), Service: e.Service, Stream: "stdout", Text: display.Redact(e.Line.Text)}
	if e.Line.Stderr {
		line.Stream = "stderr"
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(line); err != nil {
		return err
	}
	if _, err := p.out.Write(display.SafeJSON(b.Bytes())); err != nil {
		return err
	}
	if p.live {
		return p.out.Flush()
	}
	return nil
}

func (p *logPrinter) print(e lifecycle.LogEntry) error {
	if p.app.json {
		return p.printJSON(e)
	}
	if !p.flags.raw {
		style := display.Cyan
		if e.Service == plan.ServiceBroker {
			style = display.Magenta
		}
		const width = len(plan.ServiceConnector)
		p.out.WriteString(p.app.Out.Paint(style, fmt.Sprintf("%-*s |", width, display.Safe(e.Service)))) //nolint:errcheck // a bufio.Writer keeps its error for the flush
		p.out.WriteByte(' ')                                                                             //nolint:errcheck // likewise
	}
	if p.flags.timestamps {
		p.out.WriteString(e.Line.Time.UTC().Format("2006-01-02T15:04:05.000000000Z ")) //nolint:errcheck // likewise
	}
	text := display.Redact(e.Line.Text)
	if !p.flags.raw {
		text = display.Safe(text)
		if e.Service == plan.ServiceBroker && ownCheck(e.Line.Text) {
			text += p.app.Out.Paint(display.Faint, "  (mqtunnel's own check)")
		}
	}
	p.out.WriteString(text) //nolint:errcheck // likewise
	if err := p.out.WriteByte('\n'); err != nil {
		return err
	}
	if p.live {
		return p.out.Flush()
	}
	return nil
}

// ownCheck reports whether a line of the broker is about a connection of its
// container's health check, which comes without a password and is refused. Others
// cannot borrow the remark: they do not come from the container itself.
func ownCheck(text string) bool {
	e := mosquitto.NewLogReader("").Event(mosquitto.ParseLine(text))
	return e.Kind == mosquitto.EventRefused && e.ClientID == mosquitto.HealthID && strings.HasPrefix(e.Address, "127.0.0.1:")
}

// elsewhere says so when the running project of this name belongs to another
// directory, and goes by the settings of that one.
func (s *session) elsewhere(project string, o plan.Observed) {
	dir, found := plan.Elsewhere(plan.Project{Name: project, Dir: s.dir}, o)
	if !found {
		return
	}
	s.warn(fmt.Sprintf("project %s belongs to the directory %s, not to %s", project, dir, s.dir))
	if there, err := s.app.session(dir); err == nil {
		s.dir, s.settings = dir, there.settings
	}
}

// reading finds the project that a reading command is about: the one of this
// directory, or, typed elsewhere, the only one on the Engine, which is said.
func (s *session) reading(ctx context.Context) (project string, o plan.Observed, err error) {
	project = s.settings.Project
	if o, err = s.engine.Observe(ctx, plan.Query{Project: project}); err != nil {
		return "", o, err
	}
	here := s.rendered() || s.app.flags.project != "" || s.app.flags.dir != "" || s.settings.EnvMode != 0
	if here {
		s.elsewhere(project, o)
		return project, o, nil
	}
	running, err := s.running(ctx)
	if err != nil {
		return "", o, err
	}
	switch len(running) {
	case 0:
		return "", o, remedy.Errorf(remedy.Input, "go to the project's directory, or name it with -C",
			"%s is no project directory, and no mqtunnel project runs on this Engine", s.dir)
	case 1:
		for name, dir := range running {
			s.note(fmt.Sprintf("this is no project directory; showing project %s in %s", name, dir))
			project = name
			if elsewhere, lerr := s.app.session(dir); lerr == nil && dir != "" {
				s.dir, s.settings = dir, elsewhere.settings
				s.app.flags.dir = dir // what is to be typed names it
			}
		}
		o, err = s.engine.Observe(ctx, plan.Query{Project: project})
		return project, o, err
	default:
		return "", o, severalProjects(s.dir, running)
	}
}

// running returns the mqtunnel projects on the Engine, each with its directory as
// far as its containers tell.
func (s *session) running(ctx context.Context) (map[string]string, error) {
	managed, err := s.engine.Managed(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, c := range managed {
		found[c.Project()] = c.Labels[plan.LabelWorkingDir]
	}
	return found, nil
}

// severalProjects is about a directory without a project on an Engine with several.
func severalProjects(dir string, running map[string]string) error {
	return remedy.Errorf(remedy.Input, "name one with -C DIR or -p NAME",
		"%s is no project directory, and several projects run on this Engine: %s", dir, strings.Join(slices.Sorted(maps.Keys(running)), ", "))
}
