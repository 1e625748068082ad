package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mqtunnel/internal/doctor"
	"mqtunnel/internal/remedy"
)

// CommandsMarkdown returns the command reference of the README: every command
// that help shows, in the order of help, with its flags.
func CommandsMarkdown() string {
	root := new(App).rootCommand()
	root.InitDefaultHelpFlag()
	var b strings.Builder
	b.WriteString("| command | what it does |\n|---|---|\n")
	walk(root, func(c *cobra.Command) {
		if c.HasSubCommands() {
			return
		}
		usage := strings.TrimSuffix(c.UseLine(), " [flags]")
		fmt.Fprintf(&b, "| `%s` | %s%s |\n", cell(usage), cell(c.Short), flagsCell(c.LocalNonPersistentFlags()))
	})
	b.WriteString("\nOn all commands:\n\n| flag | meaning |\n|---|---|\n")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		_, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(&b, "| `%s` | %s |\n", flagText(f), cell(usage))
	})
	return b.String()
}

// ExitCodesMarkdown returns the table of exit codes of the README.
func ExitCodesMarkdown() string {
	var b strings.Builder
	b.WriteString("| exit | meaning |\n|---|---|\n")
	for _, c := range []struct {
		code    remedy.Code
		meaning string
	}{
		{remedy.OK, "done, or already so"},
		{remedy.Failed, "failed, no class fits"},
		{remedy.Usage, "the command line is wrong"},
		{remedy.No, "it works, but the answer is no: `doctor` found a fault, `status` is not healthy, `up` is not ready"},
		{remedy.Input, "you must supply or correct something: token, `.env`, an edited file, another directory's project"},
		{remedy.Engine, "the Docker Engine cannot be reached or is too old"},
		{remedy.Interrupted, "interrupted"},
	} {
		fmt.Fprintf(&b, "| %d | %s |\n", c.code, c.meaning)
	}
	return b.String()
}

// ChecksMarkdown returns the table of doctor's checks of the README.
func ChecksMarkdown() string {
	var b strings.Builder
	b.WriteString("| code | check | what holds when all is well | else |\n|---|---|---|---|\n")
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s |\n", c.Code, c.ID, cell(c.Title), cell(c.Remedy))
	}
	return b.String()
}

// walk visits the commands that help shows, parents first.
func walk(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, child := range c.Commands() {
		if child.IsAvailableCommand() || child.Name() == "help" {
			walk(child, visit)
		}
	}
}

// flagsCell lists flags behind the sentence about their command.
func flagsCell(flags *pflag.FlagSet) string {
	var list []string
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && !f.Hidden {
			list = append(list, "`"+flagText(f)+"`")
		}
	})
	if len(list) == 0 {
		return ""
	}
	return "; " + strings.Join(list, " ")
}

// flagText is a flag as it is typed: "-C, --directory DIR".
func flagText(f *pflag.Flag) string {
	text := "--" + f.Name
	if f.Shorthand != "" {
		text = "-" + f.Shorthand + ", " + text
	}
	if value, _ := pflag.UnquoteUsage(f); value != "" {
		text += " " + value
	}
	return text
}

// cell is text in a cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
