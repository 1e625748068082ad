package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// maxInput bounds what is read from standard input or a file in place of a
// prompt: more than any token, password or pasted command line has.
const maxInput = 64 << 10

// askHidden asks on the terminal without echo.
func (a *App) askHidden(ctx context.Context, question string, complete func(string) bool) (secret.Text, error) {
	text, err := readHidden(ctx, a.In, func() { fmt.Fprint(a.Err, question) }, complete)
	fmt.Fprintln(a.Err)
	return secret.New(text), err
}

// oneLine is the complete function of a prompt for a single line.
func oneLine(string) bool { return true }

// ask asks on the terminal and returns the answer without surrounding blanks.
// The answer is read in a goroutine of its own, so that an interrupt ends the
// question; it stays behind only while the process ends.
func (a *App) ask(ctx context.Context, question string) (string, error) {
	fmt.Fprint(a.Err, question)
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(a.In).ReadString('\n')
		got <- answer{line, err}
	}()
	select {
	case r := <-got:
		if r.err != nil && r.line == "" {
			fmt.Fprintln(a.Err)
			return "", context.Canceled
		}
		return strings.TrimSpace(r.line), nil
	case <-ctx.Done():
		fmt.Fprintln(a.Err)
		return "", ctx.Err()
	}
}

// confirm asks a question that destroys something. Without a terminal --yes is
// required instead.
func (a *App) confirm(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if !a.interactive() {
		return remedy.Errorf(remedy.Usage, "add --yes", "this wants a yes, and there is no terminal to ask on: %s", strings.TrimSuffix(question, "."))
	}
	answer, err := a.ask(ctx, a.Err.Fit("", question+" Type yes to go on:")+" ")
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "yes":
		return nil
	case "", "n", "no":
		return remedy.Errorf(remedy.Failed, "", "nothing was changed")
	}
	return remedy.Errorf(remedy.Failed, "type the command again, and the whole word yes at the question; or add --yes",
		"nothing was changed: the answer was not yes")
}

// readAll reads a bounded secret from r.
func readAll(r io.Reader) (secret.Text, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return secret.Text{}, err
	}
	if len(data) > maxInput {
		return secret.Text{}, errors.New("the input is too long")
	}
	return secret.New(string(data)), nil
}
