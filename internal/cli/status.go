package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

func (a *App) statusCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how broker, tunnel and users are",
		Long: `Show how broker, tunnel and users are. Connections are read from the connector's
recent log; --live asks the connector itself and sends a message inside the
network. The exit code is 3 when something is not healthy.`,
		Example: `  mqtunnel status
  mqtunnel status --live --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.status(cmd.Context(), live) },
	}
	a.jsonFlag(cmd)
	cmd.Flags().BoolVar(&live, "live", false, "look from inside the network")
	return cmd
}

// statusJSON is the frozen form of --json.
type statusJSON struct {
	Schema    int           `json:"schema"`
	Project   string        `json:"project"`
	Directory string        `json:"directory"`
	Healthy   bool          `json:"healthy"`
	Services  []serviceJSON `json:"services"`
	Tunnel    tunnelJSON    `json:"tunnel"`
	URL       string        `json:"url,omitempty"`
	Users     []string      `json:"users"`
	Anonymous bool          `json:"anonymous"`
	Warnings  []string      `json:"warnings"`
	Problems  []problemJSON `json:"problems"`
}

type serviceJSON struct {
	Service   string     `json:"service"`
	Container string     `json:"container,omitempty"`
	Image     string     `json:"image,omitempty"`
	Version   string     `json:"version,omitempty"`
	State     string     `json:"state"`
	Health    string     `json:"health,omitempty"`
	Since     *time.Time `json:"since,omitempty"`
	Restarts  int        `json:"restarts"`
	ExitCode  *int       `json:"exitCode,omitempty"`
}

type tunnelJSON struct {
	ID                   string           `json:"id,omitempty"`
	ConnectorID          string           `json:"connectorId,omitempty"`
	Connections          []connectionJSON `json:"connections"`
	ConfigurationVersion *int             `json:"configurationVersion,omitempty"`
	Hostnames            []hostnameJSON   `json:"hostnames"`
}

type connectionJSON struct {
	Index    int    `json:"index"`
	Location string `json:"location,omitempty"`
	Protocol string `json:"protocol"`
	Address  string `json:"address,omitempty"`
}

type hostnameJSON struct {
	Hostname string `json:"hostname"`
	Service  string `json:"service"`
	Broker   bool   `json:"broker"`
}

type problemJSON struct {
	Code     string   `json:"code,omitempty"`
	Text     string   `json:"text"`
	Evidence []string `json:"evidence,omitempty"`
	Hint     string   `json:"hint,omitempty"`
}

func (a *App) status(ctx context.Context, live bool) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	project, observed, err := s.reading(ctx)
	if err != nil {
		return err
	}
	e := doctor.Glance(ctx, s.atHand(project))
	if live || e.Project.Status == nil {
		q := lifecycle.Inquiry{Project: project, Observed: observed}
		if live {
			if q.Live, err = s.liveView(ctx); err != nil {
				return err
			}
		}
		asked, err := lifecycle.Inquire(ctx, s.engine, q)
		if err != nil {
			return err
		}
		// What the connector itself told is newer than its log.
		e.Project.Status, e.Inside = &asked, doctor.InsideEvidence{Report: asked.Inside, Err: asked.InsideErr, From: plan.ServiceConnector}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	st := *e.Project.Status
	out, err := s.statusJSON(project, observed, st)
	if err != nil {
		return err
	}
	out.judge(doctor.Judge(e), cleaner{hide: secretsOf(s.dir, a.Environ), flags: a.flags.again()})
	if st.InsideErr != nil {
		out.Problems = append(out.Problems, problemJSON{Text: st.InsideErr.Error(), Hint: a.again("without a look from inside: mqtunnel status")})
	}
	out.Healthy = len(out.Problems) == 0
	if a.json {
		if err := writeJSON(a.Out, out); err != nil {
			return err
		}
	} else {
		a.printStatus(out)
	}
	if !out.Healthy {
		return answerNo()
	}
	return nil
}

// judge takes over what the checks found. What is wrong with the files is a warning
// here: it says nothing of what runs.
func (s *statusJSON) judge(d doctor.Diagnosis, c cleaner) {
	for _, r := range d.Findings() {
		f := findingOf(r, c)
		switch {
		case r.Status == doctor.Warned:
			s.Warnings = append(s.Warnings, f.Sentence)
		case r.Layer == doctor.LayerFiles:
			s.Warnings = append(s.Warnings, f.Sentence+": "+f.Remedy)
		default:
			s.Problems = append(s.Problems, problemJSON{Code: f.Code, Text: f.Sentence, Evidence: f.Evidence, Hint: f.hint()})
		}
	}
}

// liveView says how to look from inside.
func (s *session) liveView(ctx context.Context) (*lifecycle.View, error) {
	_, r, err := s.render(ctx, false)
	if err != nil {
		return nil, err
	}
	v, err := s.view(ctx, r.Project)
	if err != nil {
		return nil, err
	}
	return &v, nil
}

// statusJSON gathers what is shown in both forms.
func (s *session) statusJSON(project string, observed plan.Observed, st lifecycle.Status) (statusJSON, error) {
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return statusJSON{}, err
	}
	out := statusJSON{
		Schema: schema, Project: project, Directory: s.dir,
		Anonymous: s.settings.AllowAnonymous, Users: append([]string{}, d.Passwords.Users()...),
		Warnings: []string{}, Problems: []problemJSON{},
	}
	for _, svc := range st.Services {
		out.Services = append(out.Services, serviceOf(svc))
		if svc.LogErr != nil {
			out.Warnings = append(out.Warnings, fmt.Sprintf("the log of %s could not be read, and what it would tell is not known: %v", svc.Service, svc.LogErr))
		}
	}
	out.Tunnel = tunnelOf(observed, st)
	if names := st.Hostnames(brokerService); s.settings.Hostname != "" {
		out.URL = lifecycle.PublicURL(s.settings.Hostname)
	} else if len(names) > 0 {
		out.URL = lifecycle.PublicURL(names[0])
	}
	return out, nil
}

func serviceOf(svc lifecycle.ServiceStatus) serviceJSON {
	j := serviceJSON{
		Service: svc.Service, Container: svc.Container, Image: svc.Image, Version: svc.Version,
		State: string(svc.State), Health: string(svc.Health), Restarts: svc.Restarts,
	}
	if !svc.Exists {
		j.State = "missing"
		return j
	}
	if !svc.Since.IsZero() && svc.Since.Year() > 1 {
		since := svc.Since.UTC()
		j.Since = &since
	}
	if svc.State != plan.StateRunning {
		j.Health = "" // the Engine keeps the last one, which says nothing now
	}
	if svc.State != plan.StateRunning && svc.State != plan.StatePaused {
		code := svc.ExitCode
		j.ExitCode = &code
	}
	return j
}

func tunnelOf(observed plan.Observed, st lifecycle.Status) tunnelJSON {
	t := tunnelJSON{ConnectorID: st.ConnectorID, Connections: []connectionJSON{}, Hostnames: []hostnameJSON{}}
	if c, found := observed.Find(plan.ServiceConnector); found {
		t.ID = c.Labels[plan.LabelTunnel]
	}
	for _, c := range st.Connections {
		t.Connections = append(t.Connections, connectionJSON{Index: c.Index, Location: c.Location, Protocol: c.Protocol, Address: c.IP})
	}
	if !st.Ingress.Received() {
		return t
	}
	version := st.Ingress.Version
	t.ConfigurationVersion = &version
	ours := st.Hostnames(brokerService)
	for _, r := range st.Ingress.Rules {
		if r.Hostname == "" {
			continue
		}
		h := hostnameJSON{Hostname: r.Hostname, Service: r.Service}
		for _, name := range ours {
			h.Broker = h.Broker || name == r.Hostname
		}
		t.Hostnames = append(t.Hostnames, h)
	}
	return t
}

// printStatus shows the status to a person.
func (a *App) printStatus(s statusJSON) {
	out := a.Out
	verdict := out.Paint(display.Good, "healthy")
	if !s.Healthy {
		verdict = out.Paint(display.Bad, "not healthy")
	}
	head := fmt.Sprintf("project %s in %s: ", s.Project, s.Directory)
	fmt.Fprintf(out, "%s%s\n", out.Fit("", head), verdict)
	for _, p := range s.Problems {
		text := p.Text
		if p.Code != "" {
			text = p.Code + ": " + text
		}
		fmt.Fprintf(out, "%s %s\n", out.Paint(display.Bad, "problem:"), out.Fit("problem: ", display.Safe(text)))
		for _, l := range p.Evidence {
			fmt.Fprintf(out, "%s %s\n", out.Paint(display.Faint, "seen:"), out.Fit("seen: ", display.Safe(l)))
		}
		for l := range strings.SplitSeq(p.Hint, "\n") {
			if l != "" {
				fmt.Fprintf(out, "%s %s\n", out.Paint(display.Cyan, "hint:"), out.Fit("hint: ", display.Safe(l)))
			}
		}
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(out, "%s %s\n", out.Paint(display.Warn, "warning:"), out.Fit("warning: ", display.Safe(w)))
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tSTATE\tHEALTH\tSINCE\tRESTARTS\tVERSION")
	for _, svc := range s.Services {
		since, state := "-", svc.State
		if svc.Since != nil {
			since = units.HumanDuration(time.Since(*svc.Since))
		}
		if svc.ExitCode != nil {
			state = fmt.Sprintf("%s (%d)", state, *svc.ExitCode)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\n", svc.Service, state, dash(svc.Health), since, svc.Restarts, dash(display.Safe(svc.Version)))
	}
	_ = w.Flush() // the stream is the terminal or a pipe; a broken one ends the program anyway
	fmt.Fprintln(out)
	a.printTunnel(s)
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// printTunnel shows tunnel, address and users.
func (a *App) printTunnel(s statusJSON) {
	out := a.Out
	fmt.Fprintf(out, "tunnel       %s\n", dash(display.Safe(s.Tunnel.ID)))
	if s.Tunnel.ConnectorID != "" {
		fmt.Fprintf(out, "connector    %s\n", display.Safe(s.Tunnel.ConnectorID))
	}
	for _, c := range s.Tunnel.Connections {
		fmt.Fprintf(out, "connection   %d at %s over %s\n", c.Index, dash(display.Safe(c.Location+at(c.Address))), c.Protocol)
	}
	if v := s.Tunnel.ConfigurationVersion; v != nil {
		fmt.Fprintf(out, "configured   version %d\n", *v)
	}
	for _, h := range s.Tunnel.Hostnames {
		if h.Broker {
			fmt.Fprintf(out, "hostname     %s -> %s\n", display.Safe(h.Hostname), display.Safe(h.Service))
		}
	}
	if s.URL != "" {
		fmt.Fprintf(out, "clients use  %s\n", display.Safe(s.URL))
	}
	switch {
	case len(s.Users) > 0:
		a.under("users        ", strings.Join(s.Users, ", "))
	case !s.Anonymous:
		a.under("users        ", a.again("none yet: every client is refused. Next: mqtunnel user add NAME"))
	}
}

func at(address string) string {
	if address == "" {
		return ""
	}
	return " (" + address + ")"
}
