package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

func (a *App) userCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "user",
		Short: "Add, list and remove users, and say what they may do",
		RunE:  group,
	}
	cmd.AddCommand(a.userAddCommand(), a.userListCommand(), a.userPasswdCommand(), a.userRemoveCommand(),
		a.userAllowCommand(), a.userDenyCommand(), a.userExplainCommand(), a.userWatchCommand())
	return cmd
}

func (a *App) userAddCommand() *cobra.Command {
	var topics []string
	var choice passwordChoice
	cmd := &cobra.Command{
		Use:   "add NAME",
		Short: "Add a user, in effect at once",
		Long: `Add a user. The password is asked for without echo (Enter alone makes one and
shows it once), read from standard input, or made by --generate; it has 12
characters or more, unless --weak is given. It takes effect at once, without a
restart, and for good.

--topics says what the user may read and write: "all" (home automation mostly
needs that), "own" (topics that begin with the user's name), or topic filters.`,
		Example: `  mqtunnel user add homeassistant --topics all
  mqtunnel user add phone --topics own --generate
  mqtunnel user add sensor --topics 'home/+/temperature' < password.txt`,
		Args: oneArg("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.userAdd(cmd.Context(), args[0], topics, choice)
		},
	}
	cmd.Flags().StringArrayVar(&topics, "topics", nil, "all, own, or topic `FILTER`s, separated by commas")
	choice.flags(cmd)
	return cmd
}

func (a *App) userAdd(ctx context.Context, name string, topics []string, choice passwordChoice) error {
	if err := mosquitto.CheckUsername(name); err != nil {
		return err
	}
	if len(topics) == 0 {
		if err := a.unknownUser(ctx, name); err != nil {
			return err
		}
		if !a.interactive() {
			return remedy.Errorf(remedy.Usage, "add --topics all, --topics own, or --topics FILTER", "what may user %s read and write", name)
		}
		answer, err := a.ask(ctx, "Which topics may "+name+" read and write?\n  all: every topic   own: "+name+"/...   or topic filters such as home/#\n> ")
		if err != nil {
			return err
		}
		topics = strings.Fields(answer)
	}
	rules, err := mosquitto.TopicRules(name, splitTopics(topics))
	if err != nil {
		return err
	}
	change := userChange{name: name, verb: "added", login: true, grants: true, topic: mosquitto.ExampleTopic(rules)}
	change.edit = func(d *render.Directory, password secret.Text) error {
		if d.Passwords.Has(name) {
			return existing(name)
		}
		return errors.Join(d.Passwords.Set(name, password), d.ACL.Set(name, rules))
	}
	return a.changeUser(ctx, change, choice)
}

// splitTopics takes lists that are separated by commas apart.
func splitTopics(lists []string) []string {
	var topics []string
	for _, l := range lists {
		for t := range strings.SplitSeq(l, ",") {
			if t != "" {
				topics = append(topics, t)
			}
		}
	}
	return topics
}

// existing says that there is such a user, and what can be done with it.
func existing(name string) error {
	return remedy.Errorf(remedy.Input,
		"change the password: mqtunnel user passwd "+name+"\nchange the topics: mqtunnel user allow "+name+", mqtunnel user deny "+name,
		"there is a user %s already", name)
}

// unknownUser refuses a name that is taken, before anything is asked.
func (a *App) unknownUser(ctx context.Context, name string) error {
	d, err := a.directory()
	if err == nil && d.Passwords.Has(name) {
		return errors.Join(existing(name), a.catchUp(ctx))
	}
	return err
}

func (a *App) userPasswdCommand() *cobra.Command {
	var choice passwordChoice
	cmd := &cobra.Command{
		Use:   "passwd NAME",
		Short: "Change a user's password, in effect at once",
		Long: `Change a user's password. It is asked for without echo (Enter alone makes one
and shows it once), read from standard input, or made by --generate. Clients
that are connected as the user are disconnected.`,
		Example: `  mqtunnel user passwd phone
  mqtunnel user passwd phone --generate`,
		Args: oneArg("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			change := userChange{name: name, verb: "changed", login: true}
			change.edit = func(d *render.Directory, password secret.Text) error {
				if !d.Passwords.Has(name) {
					return noUser(name, d)
				}
				return d.Passwords.Set(name, password)
			}
			return a.changeUser(cmd.Context(), change, choice)
		},
	}
	choice.flags(cmd)
	return cmd
}

func (a *App) userRemoveCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove a user, in effect at once",
		Long:    `Remove a user. Clients that are connected as the user are disconnected at once.`,
		Example: `  mqtunnel user remove phone`,
		Args:    oneArg("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			d, err := a.directory()
			if err != nil {
				return err
			}
			// One who is not there is refused without a question.
			if d.Passwords.Has(name) || slices.Contains(d.ACL.Users(), name) {
				if err := a.confirm(cmd.Context(), "User "+display.Safe(name)+" is removed and disconnected.", yes); err != nil {
					return err
				}
			}
			change := userChange{name: name, verb: "removed"}
			change.edit = func(d *render.Directory, _ secret.Text) error {
				inFile, inACL := d.Passwords.Remove(name), d.ACL.Remove(name)
				if !inFile && !inACL {
					return noUser(name, d)
				}
				return nil
			}
			return a.changeUser(cmd.Context(), change, passwordChoice{})
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// noUser says that there is no such user, and who there is.
func noUser(name string, d *render.Directory) error {
	users := d.Passwords.Users()
	hint := "there is no user yet: mqtunnel user add NAME"
	if len(users) > 0 {
		hint = "users: " + strings.Join(users[:min(len(users), 20)], ", ")
		if len(users) > 20 {
			hint += fmt.Sprintf(" and %d more: mqtunnel user list", len(users)-20)
		}
	}
	return remedy.Errorf(remedy.Input, hint, "there is no user %q", name)
}
