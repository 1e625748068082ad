package cli

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// readHidden reads lines from the console without echo and passes what has come
// so far to complete, until that says stop or a line is empty.
func readHidden(ctx context.Context, in *os.File, ask func(), complete func(soFar string) bool) (string, error) {
	ask() // a console cannot be silenced before it is read
	var text strings.Builder
	for ctx.Err() == nil {
		line, err := term.ReadPassword(int(in.Fd()))
		if err != nil {
			return "", fmt.Errorf("read from the console: %w", err)
		}
		text.Write(line)
		text.WriteByte('\n')
		if len(line) == 0 || complete(text.String()) {
			return text.String(), nil
		}
	}
	return "", ctx.Err()
}
