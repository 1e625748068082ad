package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

type usersJSON struct {
	Schema int        `json:"schema"`
	Users  []userJSON `json:"users"`
}

type userJSON struct {
	Name      string     `json:"name"`
	Topics    string     `json:"topics"`
	Rules     []string   `json:"rules"`
	Connected *bool      `json:"connected,omitempty"` // absent where the log does not tell
	LastSeen  *time.Time `json:"lastSeen,omitempty"`  // a client of the user came or went
}

func (a *App) userListCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the users, what they may do, and who is connected",
		Long: `List the users and what they may do. While the broker runs, also who is
connected and when a client of a user last came or went, as far as the broker's
log goes back.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d, err := a.directory()
			if err != nil {
				return err
			}
			if s, err := a.session(d.Path); err == nil { // else which broker it is cannot be told
				s.olderBroker(d)
				s.close()
			}
			clients, known := a.presence(cmd.Context(), d.Path)
			return a.printUsers(d, clients, known)
		},
	}
	a.jsonFlag(cmd)
	return cmd
}

// presenceTime bounds how long a list of users waits for the Engine.
const presenceTime = 5 * time.Second

// presence tells who is connected to the directory's broker. It is an addition: where
// anything keeps it from being known, be it the settings or the Engine, there is none,
// and other commands tell why.
func (a *App) presence(ctx context.Context, dir string) (clients *mosquitto.Clients, known bool) {
	ctx, cancel := context.WithTimeout(ctx, presenceTime)
	defer cancel()
	s, err := a.session(dir)
	if err != nil {
		return nil, false
	}
	defer s.close()
	if err := s.connect(ctx); err != nil {
		return nil, false
	}
	managed, err := s.engine.Managed(ctx)
	if err != nil {
		return nil, false
	}
	o := plan.Observed{Containers: slices.DeleteFunc(managed, func(c plan.Container) bool { return c.Project() != s.settings.Project })}
	broker, found := o.Find(plan.ServiceBroker)
	_, elsewhere := plan.Elsewhere(plan.Project{Name: s.settings.Project, Dir: dir}, o)
	if !found || elsewhere || broker.State != plan.StateRunning {
		return nil, false
	}
	clients, err = lifecycle.Presence(ctx, s.engine, broker.ID)
	return clients, err == nil
}

// listed is what the list says of one user. clients is nil where nothing is known.
func listed(name string, rules []mosquitto.Rule, clients *mosquitto.Clients) userJSON {
	u := userJSON{Name: name, Topics: mosquitto.DescribeTopics(name, rules), Rules: []string{}}
	for _, r := range rules {
		u.Rules = append(u.Rules, r.String())
	}
	if clients == nil {
		return u
	}
	if connected := clients.Connected(name) > 0; connected || clients.Whole() {
		u.Connected = &connected
	}
	if at, seen := clients.LastSeen(name); seen {
		at = at.UTC().Truncate(time.Second)
		u.LastSeen = &at
	}
	return u
}

func (a *App) printUsers(d *render.Directory, clients *mosquitto.Clients, known bool) error {
	list := usersJSON{Schema: schema, Users: []userJSON{}}
	for _, name := range d.Passwords.Users() {
		rules, _ := d.ACL.Rules(name)
		list.Users = append(list.Users, listed(name, rules, clients))
	}
	if a.json {
		return writeJSON(a.Out, list)
	}
	if len(list.Users) == 0 {
		a.say("%s", a.again("no user yet: every client is refused. Next: mqtunnel user add NAME"))
		return nil
	}
	columns := [][]string{{"USER"}, {"LAST SEEN"}, {"TOPICS"}}
	for _, u := range list.Users {
		columns[0] = append(columns[0], u.Name)
		columns[1] = append(columns[1], u.lastSeen())
		columns[2] = append(columns[2], display.Safe(u.Topics))
	}
	if !known {
		columns = slices.Delete(columns, 1, 2)
	}
	a.printColumns(columns)
	return nil
}

// lastSeen words when the user was seen, in local time.
func (u userJSON) lastSeen() string {
	switch {
	case u.Connected != nil && *u.Connected:
		return "connected"
	case u.LastSeen != nil:
		return u.LastSeen.Local().Format("2006-01-02 15:04")
	}
	return "-"
}

// printColumns prints a table. The last column is broken on a terminal, below itself.
func (a *App) printColumns(columns [][]string) {
	last := len(columns) - 1
	for row := range columns[0] {
		var line strings.Builder
		indent := 0
		for _, column := range columns[:last] {
			width := 0
			for _, cell := range column {
				width = max(width, len(cell))
			}
			indent += width + 2
			fmt.Fprintf(&line, "%-*s  ", width, column[row])
		}
		line.WriteString(columns[last][row])
		text := line.String()
		if a.Out.Terminal {
			text = display.Wrap(text, a.Out.Width, indent)
		}
		fmt.Fprintln(a.Out, text)
	}
}
