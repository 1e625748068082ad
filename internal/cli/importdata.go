package cli

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/migrate"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// data finds the retained messages: in the directory, in the old broker's container, or,
// where it saves none, by asking it.
func (m *migration) data(ctx context.Context) error {
	s := m.setup
	if s.HasToken {
		m.taken = append(m.taken, migrate.Item{Place: s.TokenFrom, What: "tunnel token", Why: "of tunnel " + s.Token.TunnelID})
	}
	if err := m.connect(ctx); err != nil {
		wanted := !m.options.noData && (s.Database != nil || s.DatabaseUnreadable != nil)
		switch {
		case remedy.CodeOf(err) != remedy.Engine:
			return err
		case wanted:
			return remedy.Errorf(remedy.Engine, remedy.HintOf(err)+"\nor leave the retained messages: --no-data", "%w", err)
		}
		m.notes = append(m.notes, "the Engine does not answer, so nobody has looked whether the old broker runs, or has retained messages")
		return nil
	}
	broker, found, err := m.oldBroker(ctx)
	if err != nil || m.options.noData {
		return err
	}
	project, err := m.stopped(ctx)
	if err != nil {
		return err
	}
	from, err := m.find(ctx, broker, found)
	if err != nil {
		return err
	}
	live := found && broker.State == plan.StateRunning
	switch {
	case m.database == nil && live:
		from = "container " + broker.Name
		if err := m.ask(ctx, project, broker); err != nil {
			return err
		}
	case m.database == nil && s.Persistence:
		m.notes = append(m.notes, "the old broker saves its messages, and no "+s.DatabasePath+" was found; start it and import then, or they stay there")
	case live:
		m.notes = append(m.notes, fmt.Sprintf("the old broker runs, and has perhaps not saved its newest messages; stop it first, then import: (cd %s && docker compose stop %s)",
			word(m.old), word(s.Service)))
	}
	return m.judge(from)
}

// find gets the database that the old broker saved, and says where it is from.
func (m *migration) find(ctx context.Context, broker plan.Container, found bool) (from string, err error) {
	s := m.setup
	if s.Database != nil {
		m.database = s.Database
		return s.DatabaseFrom, nil
	}
	if found && s.Persistence && path.IsAbs(s.DatabasePath) {
		if m.database, _, err = m.engine.ReadFile(ctx, broker.ID, s.DatabasePath, migrate.MaxDatabase); err != nil {
			return "", err
		}
	}
	if m.database == nil && s.DatabaseUnreadable != nil {
		return "", remedy.Errorf(remedy.Input, "run the command with sudo, or leave the retained messages: --no-data", "%s: %w", m.old, s.DatabaseUnreadable)
	}
	return s.DatabasePath + " of container " + broker.Name, nil
}

// judge reads the database that was found.
func (m *migration) judge(from string) error {
	if m.database == nil {
		return nil
	}
	retained, err := migrate.CountRetained(m.database)
	if err != nil {
		return remedy.Errorf(remedy.Input, "stop the old broker, which saves it anew, or leave the retained messages: --no-data", "%s: %w", from, err)
	}
	m.taken = append(m.taken, migrate.Item{Place: from, What: fmt.Sprintf("database with %d retained messages", retained), Why: "to the project's volume"})
	return nil
}

// stopped makes sure that the project itself does not run, and returns it as it is.
func (m *migration) stopped(ctx context.Context) (plan.Project, error) {
	d, err := render.ReadDirectory(m.dir)
	if err != nil {
		return plan.Project{}, err
	}
	r, err := m.renderFrom(ctx, d, false)
	if err != nil {
		return plan.Project{}, err
	}
	o, err := m.engine.Observe(ctx, plan.Query{Project: r.Project.Name})
	if err != nil {
		return plan.Project{}, err
	}
	if err := lifecycle.CheckOwner(r.Project, o, false); err != nil {
		return plan.Project{}, err
	}
	if c, found := o.Find(plan.ServiceBroker); found && c.State != plan.StateExited && c.State != plan.StateCreated {
		return plan.Project{}, remedy.Errorf(remedy.Input, "type: mqtunnel down", "project %s runs, and its broker would write over what is imported", r.Project.Name)
	}
	return r.Project, lifecycle.Sweep(ctx, m.engine, r.Project.Name, false)
}

// oldBroker finds the containers of the old set-up, by the directory that Compose wrote
// on them, and the broker's among them.
func (m *migration) oldBroker(ctx context.Context) (broker plan.Container, found bool, err error) {
	all, err := m.engine.All(ctx)
	if err != nil {
		return plan.Container{}, false, err
	}
	for _, c := range all {
		dir := c.Labels[plan.LabelWorkingDir]
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		if dir != m.old {
			continue
		}
		if c.State == plan.StateRunning || c.State == plan.StateRestarting {
			m.running = append(m.running, c.Name)
		}
		if c.Service() == m.setup.Service && (!found || c.State == plan.StateRunning) {
			broker, found = c, true
		}
	}
	return broker, found, nil
}

// ask gets the retained messages out of a broker that runs and keeps none on disk.
func (m *migration) ask(ctx context.Context, p plan.Project, broker plan.Container) error {
	if !m.setup.Anonymous || m.setup.Restricted {
		m.notes = append(m.notes, "the old broker has no database that can be read, and tells nobody all its retained messages: they stay there")
		return nil
	}
	if m.options.dryRun {
		m.notes = append(m.notes, "the old broker will be asked for its retained messages")
		return nil
	}
	text, told, err := lifecycle.Retained(ctx, m.engine, p, broker.ID, m.setup.Port, migrate.RetainedFormat, m.show)
	if err != nil {
		return remedy.Errorf(remedy.Failed, "leave the retained messages: --no-data", "%w", err)
	}
	data, retained, err := migrate.FromRetained(string(text))
	if err != nil {
		return err
	}
	if retained > 0 {
		m.database = data
		m.notes = append(m.notes, "the retained messages were asked out of the running broker: they have QoS 0 and do not expire, and clients' sessions stay there")
	}
	if told > retained {
		m.notes = append(m.notes, fmt.Sprintf("the old broker says that it has %d retained messages, and sent %d", told, retained))
	}
	return nil
}

// preview shows what is taken and what is left.
func (m *migration) preview() {
	a, s := m.app, m.setup
	a.say("from %s: %s", display.Safe(m.old), display.Safe(strings.Join(s.Files, ", ")))
	for _, item := range append(m.taken, s.Taken...) {
		a.under("  take   ", shownItem(item))
	}
	for _, item := range s.Left {
		a.under("  leave  ", a.again(shownItem(item)))
	}
	if s.Anonymous {
		m.notes = append(m.notes, "the old broker lets everybody in; here every client needs a user: mqtunnel user add NAME. MQTT_ALLOW_ANONYMOUS=true in .env would be as before")
	}
	if len(m.running) > 0 {
		m.notes = append(m.notes, "the old set-up runs: "+strings.Join(m.running, ", "))
	}
	for _, n := range m.notes {
		a.under("  note   ", display.Safe(a.again(n)))
	}
}

func shownItem(i migrate.Item) string {
	return display.Safe(display.Redact(fmt.Sprintf("%s: %s: %s", i.Place, i.What, i.Why)))
}

// result says what to do now.
func (m *migration) result() {
	a := m.app
	a.say("imported into %s", display.Safe(m.dir))
	if a.flags.quiet {
		return
	}
	fmt.Fprintln(a.Out, "\nnext:")
	// Two connectors of a tunnel share its clients, and the names are the same.
	if m.setup.Service == "" {
		fmt.Fprintln(a.Out, "  stop the old broker and its connector: both cannot run at once")
	} else {
		fmt.Fprintf(a.Out, "  (cd %s && docker compose down)   # both cannot run at once\n", word(m.old))
	}
	if !m.setup.HasToken {
		fmt.Fprintln(a.Out, a.again("  mqtunnel token set"))
	}
	fmt.Fprintln(a.Out, a.again("  mqtunnel up"))
	if len(m.setup.Users) == 0 {
		fmt.Fprintln(a.Out, a.again("  mqtunnel user add NAME   # for each client"))
	}
	fmt.Fprintln(a.Out)
	a.say("clients keep their URL, wss://HOSTNAME:443/mqtt, and need the name and password of a user")
}
