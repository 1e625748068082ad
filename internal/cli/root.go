package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/remedy"
)

// Groups of the help: what people type every day first.
const (
	groupEveryday = "everyday"
	groupMore     = "more"
)

// rootCommand builds the whole command line.
func (a *App) rootCommand() *cobra.Command {
	cobra.EnableCommandSorting = false // the order below is by how often people type them
	root := &cobra.Command{
		Use:   "mqtunnel",
		Short: "Your own MQTT broker on the internet with no port open",
		Long: `mqtunnel runs Eclipse Mosquitto behind a Cloudflare tunnel: no open port, no
public address, and clients connect to wss://YOUR-HOSTNAME:443/mqtt.

Begin with: mqtunnel token set, then mqtunnel up.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.ArbitraryArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.applyFlags() },
		RunE:              group,
	}
	root.AddGroup(&cobra.Group{ID: groupEveryday, Title: "Everyday commands:"}, &cobra.Group{ID: groupMore, Title: "More commands:"})
	root.SetHelpCommandGroupID(groupMore)
	root.SetCompletionCommandGroupID(groupMore)
	root.SetFlagErrorFunc(usageError)
	// Flags fit the terminal; in a file they are as wide as the rest of the help.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), "Flags.FlagUsages", fmt.Sprintf("Flags.FlagUsagesWrapped %d", a.Out.Width)))

	f := root.PersistentFlags()
	f.StringVarP(&a.flags.dir, "directory", "C", "", "project `DIR`ectory (default: the current one)")
	f.StringVarP(&a.flags.project, "project", "p", "", "project `NAME`, for several projects on one host")
	f.StringVar(&a.flags.context, "context", "", "Docker context `NAME`")
	f.BoolVar(&a.flags.noColor, "no-color", false, "plain text: no colour, and no line that is rewritten")
	f.BoolVarP(&a.flags.quiet, "quiet", "q", false, "print results and errors only")
	f.BoolVar(&a.flags.noWait, "no-wait-lock", false, "stop when another mqtunnel is at work here, do not wait for it")
	f.BoolVar(&a.flags.debug, "debug", false, "show the calls to the Docker Engine")

	everyday := []*cobra.Command{a.upCommand(), a.downCommand(), a.statusCommand(), a.logsCommand(), a.userCommand(), a.doctorCommand(), a.tokenCommand()}
	for _, c := range everyday {
		c.GroupID = groupEveryday
	}
	more := []*cobra.Command{a.restartCommand(), a.renderCommand(), a.importCommand(), a.versionCommand()}
	for _, c := range more {
		c.GroupID = groupMore
	}
	root.AddCommand(everyday...)
	root.AddCommand(more...)
	root.AddCommand(a.probeCommand())
	root.SetHelpCommand(a.helpCommand(root))
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = nil, group
			for _, shell := range c.Commands() {
				shell.Args = noArgs
				shell.Long = wrapLines(shell.Long, a.Out.Width)
			}
		}
	}
	return root
}

// wrapLines breaks the lines of a text of somebody else's.
func wrapLines(text string, width int) string {
	lines := strings.Split(text, "\n")
	for i, l := range lines {
		lines[i] = display.Wrap(l, width, 0)
	}
	return strings.Join(lines, "\n")
}

// group is what a command does that only has others below it: it shows them.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	return unknownCommand(cmd, args[0])
}

// unknownCommand is about a name that no command below cmd has.
func unknownCommand(cmd *cobra.Command, name string) error {
	cmd.SuggestionsMinimumDistance = 2
	hint := "type: " + cmd.CommandPath() + " --help"
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		hint = "did you mean: " + cmd.CommandPath() + " " + strings.Join(similar, ", ")
	}
	return remedy.Errorf(remedy.Usage, hint, "unknown command %q", name)
}

// helpCommand is cobra's, with an exit code for what there is no help about.
func (a *App) helpCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", GroupID: groupMore,
		Short: "Show the help of a command, or explain a check of doctor",
		Example: `  mqtunnel help token set
  mqtunnel help MQT-S03`,
		RunE: func(_ *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if (err != nil || len(rest) > 0) && len(args) == 1 {
				if c, found := findCheck(args[0]); found {
					a.explainCheck(c)
					return nil
				}
				if strings.HasPrefix(strings.ToUpper(args[0]), checkPrefix) {
					return unknownCheck(root, args[0])
				}
			}
			if err != nil || len(rest) > 0 {
				return unknownCommand(about, args[len(args)-max(len(rest), 1)])
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	}
}

// applyFlags takes over what the global flags say about the streams.
func (a *App) applyFlags() error {
	if a.flags.noColor {
		a.Out = display.NewStream(a.outFile, a.Environ, true)
		a.Err = display.NewStream(a.errFile, a.Environ, true)
	}
	return nil
}

// noArgs refuses arguments with our exit code.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError(cmd, fmt.Errorf("%s takes no argument", cmd.CommandPath()))
	}
	return nil
}

// oneArg wants exactly one argument, named what in the message.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(cmd, fmt.Errorf("%s takes one argument: %s", cmd.CommandPath(), what))
		}
		return nil
	}
}
