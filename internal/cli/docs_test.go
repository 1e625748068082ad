package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
)

var update = flag.Bool("update", false, "renew README.md and testdata")

func TestTheReadmeSaysWhatTheProgramDoes(t *testing.T) {
	path := filepath.Join("..", "..", "README.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	was := string(text)
	now := was
	for name, table := range map[string]string{
		"commands": CommandsMarkdown(), "exit codes": ExitCodesMarkdown(), "settings": config.Markdown(), "checks": ChecksMarkdown(),
	} {
		begin, end := "<!-- begin: "+name+" -->\n", "<!-- end: "+name+" -->"
		before, rest, ok := strings.Cut(now, begin)
		_, after, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("README.md has no %q … %q", begin, end)
		}
		now = before + begin + table + end + after
	}
	if now == was {
		return
	}
	if *update {
		if err := os.WriteFile(path, []byte(now), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("README.md differs from the program; go test ./internal/cli -update renews it (-README +program):\n%s", cmp.Diff(was, now))
}

// Scripts of other people depend on the names of commands and flags: a new line
// in the golden file is a promise, a line that is gone breaks one.
func TestCommandsAndFlagsAreFrozen(t *testing.T) {
	root := new(App).rootCommand()
	var b strings.Builder
	walk(root, func(c *cobra.Command) {
		fmt.Fprintln(&b, c.UseLine())
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" {
				fmt.Fprintf(&b, "  %s (%s, default %q)\n", flagText(f), f.Value.Type(), f.DefValue)
			}
		})
	})
	golden := filepath.Join("testdata", "commands.txt")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("commands and flags differ from %s (-golden +program):\n%s", golden, diff)
	}
}

func TestHelpSaysWhatConventionsAskFor(t *testing.T) {
	walk(new(App).rootCommand(), func(c *cobra.Command) {
		if c.Parent() != nil && c.Parent().Name() == "completion" {
			return // cobra's own words
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q; want one sentence without full stop", c.CommandPath(), c.Short)
		}
		_, arguments, _ := strings.Cut(c.Use, " ")
		if arguments != "" && c.Example == "" {
			t.Errorf("%s takes arguments and has no Example", c.CommandPath())
		}
		for line := range strings.Lines(c.Long) {
			if len([]rune(line)) > 90 && c.Name() != "completion" {
				t.Errorf("%s: help is wider than a terminal: %q", c.CommandPath(), line)
			}
		}
	})
}

// Every example that help shows is run by a script test; those that need an
// Engine are run by the tests that have one.
func TestEveryExampleOfTheHelpIsRunByAScript(t *testing.T) {
	var scripts strings.Builder
	files, err := filepath.Glob(filepath.Join("..", "..", "cmd", "mqtunnel", "testdata", "*", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		scripts.Write(text)
	}
	walk(new(App).rootCommand(), func(c *cobra.Command) {
		if c.Parent() != nil && c.Parent().Name() == "completion" {
			return
		}
		for line := range strings.Lines(c.Example) {
			example, _, _ := strings.Cut(strings.TrimSpace(line), " < ") // testscript gives standard input with stdin
			if !strings.Contains(scripts.String(), example+"\n") {
				t.Errorf("no script runs: %s", example)
			}
		}
	})
}

func TestHelpFitsATerminal(t *testing.T) {
	const width = 80
	root := (&App{Out: display.Stream{Width: width}}).rootCommand()
	walk(root, func(c *cobra.Command) {
		c.InitDefaultHelpFlag()
		for line := range strings.Lines(c.Long + "\n" + c.UsageString()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%s: %d columns: %q", c.CommandPath(), n, line)
			}
		}
	})
}
