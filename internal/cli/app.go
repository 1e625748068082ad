// Package cli is the command line: flags and arguments in, one call, errors
// mapped to text and exit codes. It decides nothing.
package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"mqtunnel/internal/display"
	"mqtunnel/internal/remedy"
)

// App is what the commands work with: the streams and the environment of the
// process. Nothing else of the process is read.
type App struct {
	In      *os.File
	Out     display.Stream
	Err     display.Stream
	Environ []string

	args             []string
	outFile, errFile *os.File
	flags            flags
	// json is set by a command that was asked for JSON, so that its error
	// is JSON too.
	json bool
}

// flags are those of every command.
type flags struct {
	dir     string
	project string
	context string
	noColor bool
	quiet   bool
	debug   bool
	noWait  bool // --no-wait-lock
}

// Main runs the command line and returns the exit code. The first interrupt
// cancels what is going on, the second kills.
func Main(args []string, in, out, errOut *os.File, environ []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)

	a := &App{In: in, Environ: environ, args: args, outFile: out, errFile: errOut}
	a.Out = display.NewStream(out, environ, false)
	a.Err = display.NewStream(errOut, environ, false)
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if werr := a.Out.Err(); err == nil && werr != nil && !errors.Is(werr, syscall.EPIPE) {
		err = fmt.Errorf("write the output: %w", werr)
	}
	return int(a.report(ctx, err))
}

// say prints a sentence as result, on lines that fit a terminal. What stands in it of
// others is safe to show.
func (a *App) say(format string, args ...any) { a.under("", fmt.Sprintf(format, args...)) }

// under prints text behind a prefix, as say does.
func (a *App) under(prefix, text string) {
	fmt.Fprintf(a.Out, "%s%s\n", prefix, a.Out.Fit(prefix, text))
}

// command prints a command that can be copied whole, behind a prefix.
func (a *App) command(prefix, command string) {
	fmt.Fprintf(a.Out, "%s%s\n", prefix, a.Out.Command(prefix, command))
}

// report prints an error and its hint and returns the exit code.
func (a *App) report(ctx context.Context, err error) remedy.Code {
	if err == nil {
		return remedy.OK
	}
	if errors.Is(err, errSaid) {
		return remedy.CodeOf(err)
	}
	code := remedy.CodeOf(err)
	if ctx.Err() != nil && (code == remedy.Failed || errors.Is(err, context.Canceled)) {
		code = remedy.Interrupted
	}
	message := err.Error()
	if code == remedy.Interrupted {
		message = "interrupted"
	}
	hint := a.again(remedy.HintOf(err))
	if a.json || a.asked(jsonOption) {
		_ = writeJSON(a.Out, errorJSON{Schema: schema, Error: errorDetail{Code: int(code), Message: display.Redact(message), Hint: display.Redact(hint)}}) // nothing is left to tell it to
		return code
	}
	first, rest, more := strings.Cut(display.SafeLines(display.Redact(message)), "\n")
	fmt.Fprintf(a.Err, "%s %s\n", a.Err.Paint(display.Bad, "error:"), a.Err.Fit("error: ", first))
	if more {
		fmt.Fprintln(a.Err, rest)
	}
	for l := range strings.SplitSeq(hint, "\n") {
		if l != "" {
			fmt.Fprintf(a.Err, "%s %s\n", a.Err.Paint(display.Cyan, "hint:"), a.Err.Fit("hint: ", display.Safe(l)))
		}
	}
	return code
}

// errSaid marks an error whose text the command has shown already as part of
// its result, so that only its exit code is left.
var errSaid = errors.New("said already")

// answerNo returns an error that only sets the exit code to No.
func answerNo() error { return &remedy.Error{Code: remedy.No, Err: errSaid} }

// schema is the version of every JSON output. It changes when a field does.
const schema = 1

type errorJSON struct {
	Schema int         `json:"schema"`
	Error  errorDetail `json:"error"`
}

type errorDetail struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// writeJSON writes one object, indented for people who look at it.
func writeJSON(w display.Stream, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(display.SafeJSON(b.Bytes()))
	return err
}

// interactive reports whether a person can be asked: input and error output are
// both a terminal, be it a dumb one.
func (a *App) interactive() bool {
	return a.typed() && term.IsTerminal(int(a.errFile.Fd()))
}

// typed reports whether the input comes from a terminal, so that a secret must not
// be echoed, wherever the question goes.
func (a *App) typed() bool { return term.IsTerminal(int(a.In.Fd())) }

// asked reports whether an option stands on the command line. It counts where
// parsing stopped before it.
func (a *App) asked(option string) bool {
	for _, arg := range a.args {
		switch arg {
		case "--":
			return false
		case option:
			return true
		}
	}
	return false
}

// usageError is a wrong command line.
func usageError(cmd *cobra.Command, err error) error {
	return remedy.Errorf(remedy.Usage, "type: "+cmd.CommandPath()+" --help", "%w", err)
}
