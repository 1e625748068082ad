package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

func (a *App) userAllowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "allow NAME read|write|readwrite TOPIC",
		Short: "Let a user read or write more topics, in effect at once",
		Long: `Let a user read or write the topics of a filter as well. Clients that are
connected as the user stay connected. A denial of just that filter is taken
away.`,
		Example: `  mqtunnel user allow phone read 'home/#'
  mqtunnel user allow phone write home/garage/door`,
		Args: rightArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeRights(cmd.Context(), args, mosquitto.Allow, true)
		},
	}
}

func (a *App) userDenyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "deny NAME read|write|readwrite TOPIC",
		Short: "Take topics away from a user, in effect at once",
		Long: `Take the topics of a filter away from a user. Clients that are connected as the
user stay connected, and get nothing more of them.

A denial beats every right, also of more topics. The broker can deny a topic
only whole: reading alone, or writing alone, can be taken from rights to just
these topics or fewer.`,
		Example: `  mqtunnel user deny phone readwrite 'home/lock/#'
  mqtunnel user deny phone write 'home/#'`,
		Args: rightArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeRights(cmd.Context(), args, mosquitto.Refuse, false)
		},
	}
}

// rightArgs wants a user, an access and a topic filter.
func rightArgs(cmd *cobra.Command, args []string) error {
	if len(args) != 3 {
		return remedy.Errorf(remedy.Usage, "for example: "+cmd.CommandPath()+" phone read 'home/#'",
			"%s takes a user's name, read, write or readwrite, and a topic", cmd.CommandPath())
	}
	if access := mosquitto.Access(args[1]); access != mosquitto.Read && access != mosquitto.Write && access != mosquitto.ReadWrite {
		return remedy.Errorf(remedy.Usage, "it is read, write or readwrite", "unknown access %q", args[1])
	}
	return nil
}

// changeRights gives or takes rights, and says what the user has then.
func (a *App) changeRights(
	ctx context.Context, args []string, by func([]mosquitto.Rule, mosquitto.Access, string) ([]mosquitto.Rule, bool, error), grants bool,
) error {
	name, access, filter := args[0], mosquitto.Access(args[1]), args[2]
	var after []mosquitto.Rule
	changed := false
	change := userChange{name: name, verb: "changed", grants: grants}
	change.edit = func(d *render.Directory, _ secret.Text) error {
		rules, known := d.ACL.Rules(name)
		if !known && !d.Passwords.Has(name) || name == mosquitto.ProbeUser {
			return noUser(name, d)
		}
		var err error
		if after, changed, err = by(rules, access, filter); err != nil {
			return err
		}
		return d.ACL.Set(name, after)
	}
	// A look, so that what is so already costs nothing.
	d, err := a.directory()
	if err != nil {
		return err
	}
	if err := change.edit(d, secret.Text{}); err != nil {
		return err
	}
	if !changed {
		a.say("user %s has these rights already: %s", name, rightsOf(name, after))
		return a.catchUp(ctx)
	}
	if err := a.changeUser(ctx, change, passwordChoice{}); err != nil {
		return err
	}
	a.under("now: ", rightsOf(name, after))
	return nil
}

// rightsOf words all rights of a user, made safe to show.
func rightsOf(name string, rules []mosquitto.Rule) string {
	return display.Safe(mosquitto.DescribeTopics(name, rules))
}

type explainJSON struct {
	Schema  int      `json:"schema"`
	User    string   `json:"user"`
	Action  string   `json:"action"` // publish or subscribe
	Topic   string   `json:"topic"`
	Allowed string   `json:"allowed"` // everything, partly or nothing
	Rules   []string `json:"rules"`   // those that decide
	Live    *bool    `json:"live,omitempty"`
}

func (a *App) userExplainCommand() *cobra.Command {
	var live bool
	cmd := &cobra.Command{
		Use:   "explain NAME publish|subscribe TOPIC",
		Short: "Tell whether a user may publish or subscribe, and by which rule",
		Long: `Tell from the files whether a user may publish to a topic or gets the messages
of a subscription, and which rule decides. Exit code 3 says no.

It answers "connected, but nothing arrives": the broker accepts every
subscription and drops what the user may not read or write, and a client of MQTT
3.1.1 is not told.

--live also lets the user try it: in a throw-away container, on a broker of the
same image with the users and rights that the running one has. No client of the
running broker notices.`,
		Example: `  mqtunnel user explain phone publish home/lock
  mqtunnel user explain phone subscribe 'home/#'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 || args[1] != "publish" && args[1] != "subscribe" {
				return remedy.Errorf(remedy.Usage, "for example: "+cmd.CommandPath()+" phone publish home/lock",
					"%s takes a user's name, publish or subscribe, and a topic", cmd.CommandPath())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.userExplain(cmd.Context(), args[0], args[1], args[2], live)
		},
	}
	cmd.Flags().BoolVar(&live, "live", false, "let the user try it on a broker of its own with the files in force")
	a.jsonFlag(cmd)
	return cmd
}

func (a *App) userExplain(ctx context.Context, name, action, topic string, live bool) error {
	d, err := a.directory()
	if err != nil {
		return err
	}
	rules, known := d.ACL.Rules(name)
	if !known && !d.Passwords.Has(name) || name == mosquitto.ProbeUser {
		return noUser(name, d)
	}
	decide, check := mosquitto.Subscribe, mosquitto.CheckFilter
	if action == "publish" {
		decide = mosquitto.Publish
	}
	if action == "publish" {
		check = mosquitto.CheckTopic
	}
	if live && check(topic) == nil && mosquitto.CheckTopic(topic) != nil {
		return remedy.Errorf(remedy.Input, "give one topic, or leave out --live", "--live tries one topic, and %q stands for many", topic)
	}
	if err := check(topic); err != nil {
		return remedy.Errorf(remedy.Input, "a topic is e.g. home/kitchen/temperature", "%w", err)
	}
	decision := decide(rules, topic)
	var through *bool
	if live {
		if through, err = a.demonstrated(ctx, lifecycle.Attempt{User: name, Publish: action == "publish", Topic: topic}); err != nil {
			return err
		}
	}
	if a.json {
		j := explainJSON{
			Schema: schema, User: name, Action: action, Topic: topic, Allowed: decision.Extent.String(), Rules: []string{}, Live: through,
		}
		for _, r := range decision.Rules {
			j.Rules = append(j.Rules, r.String())
		}
		err = writeJSON(a.Out, j)
	} else {
		a.printDecision(name, action, topic, decision)
	}
	if err == nil && through != nil {
		err = a.compared(decision, *through)
	}
	if err == nil && decision.Extent == mosquitto.Nothing {
		return answerNo()
	}
	return err
}

// demonstrated lets a user try something on a broker that has the files of the running
// one, or those of the project where none runs.
func (a *App) demonstrated(ctx context.Context, try lifecycle.Attempt) (*bool, error) {
	if strings.HasPrefix(try.Topic, "$") {
		return nil, remedy.Errorf(remedy.Input, "leave out --live", "topics that begin with $ are the broker's own: nobody can be let try them")
	}
	s, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.needProbe(); err != nil {
		return nil, err
	}
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return nil, err
	}
	rendered, err := s.renderFrom(ctx, d, false)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(rendered.Project.Services, func(svc plan.Service) bool { return svc.Name == plan.ServiceBroker })
	service := rendered.Project.Services[i] // a project without its broker is not rendered
	broker, running, err := s.runningBroker(ctx, rendered.Project)
	if err != nil {
		return nil, err
	}
	if running {
		held, err := lifecycle.HeldFiles(ctx, s.engine, broker.ID, []string{mosquitto.PasswdPath, mosquitto.ACLPath})
		if err != nil {
			return nil, err
		}
		for i, f := range service.Files {
			if text, found := held[f.Path]; found {
				service.Files[i].Content = text
			}
		}
	} else {
		s.note("the broker does not run, so the files of the project are tried")
	}
	through, err := lifecycle.Demonstrate(ctx, s.engine, rendered.Project.Name, service, try)
	s.progress.End()
	if err != nil {
		return nil, err
	}
	return &through, nil
}

// compared tells whether the broker did what the rules say.
func (a *App) compared(decision mosquitto.Decision, through bool) error {
	words := map[bool]string{true: "let it through", false: "dropped it"}
	if through != (decision.Extent == mosquitto.Everything) {
		return remedy.Errorf(remedy.No, "make the files those in force: mqtunnel up", "the broker %s: the running one has other rules than the files", words[through])
	}
	if !a.json {
		a.under("  ", "tried: a broker with the users and rights in force "+words[through])
	}
	return nil
}

// printDecision words a decision for a person.
func (a *App) printDecision(name, action, topic string, decision mosquitto.Decision) {
	shown := display.Safe(topic)
	switch {
	case decision.Extent == mosquitto.Everything && action == "publish":
		a.say("yes: %s may publish to %s", name, shown)
	case decision.Extent == mosquitto.Everything:
		a.say("yes: %s gets every message of %s", name, shown)
	case decision.Extent == mosquitto.Partly:
		a.say("partly: %s gets only those messages of %s that these rules allow", name, shown)
	case action == "publish":
		a.say("no: what %s publishes to %s is dropped, and a client of MQTT 3.1.1 is not told", name, shown)
	default:
		a.say("no: %s can subscribe to %s and gets nothing", name, shown)
	}
	for _, r := range decision.Rules {
		fmt.Fprintf(a.Out, "  by the rule: %s\n", display.Safe(r.String()))
	}
	if decision.Extent != mosquitto.Nothing {
		return
	}
	if len(decision.Rules) == 0 {
		fmt.Fprintf(a.Out, "  no rule of %s speaks of it\n", name)
	}
	access := mosquitto.Read
	if action == "publish" {
		access = mosquitto.Write
	}
	if command := allowing(name, access, topic, decision); command != "" {
		a.command("  to allow it: ", a.again(command))
	}
}

// allowing is the command that allows what the rules let nothing through of, "" where
// none does.
func allowing(name string, access mosquitto.Access, filter string, d mosquitto.Decision) string {
	switch {
	case d.Extent != mosquitto.Nothing, access == mosquitto.Write && mosquitto.Reserved(filter):
		return ""
	case len(d.Rules) > 0: // a denial, which goes as a whole
		access, filter = mosquitto.ReadWrite, d.Rules[0].Filter
	}
	end := ""
	if strings.HasPrefix(filter, "-") {
		end = "-- " // no flag, whatever a client calls its topic
	}
	return fmt.Sprintf("mqtunnel user allow %s %s %s%s", name, access, end, word(filter))
}

// word writes a topic as one word of a shell's command line, plain where it can be.
func word(topic string) string {
	if topic != "" && strings.Trim(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return topic
	}
	return shellQuote(topic)
}
