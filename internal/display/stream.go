// Package display is how things look: where colour is used, how progress is
// shown on a terminal, in a file or not at all, and how outside text is made
// safe to print.
package display

import (
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/term"
)

// Stream is an output with what it can show. It keeps the first error of its
// writes, so that writing need not be checked line by line.
type Stream struct {
	*output

	Terminal bool // a person looks at it
	Rewrites bool // its last line can be rewritten
	Color    bool
	Width    int // columns; 80 where unknown
}

// defaultWidth is that of the terminals that people resize least.
const defaultWidth = 80

// output remembers that it broke.
type output struct {
	mu  sync.Mutex // lines of several goroutines stay whole
	to  io.Writer
	err error
}

// Write writes unless an earlier write failed. It is safe for concurrent use.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	n, err := o.to.Write(p)
	o.err = err
	return n, err
}

// Err returns the first error of a write.
func (o *output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// NewStream tells what f can show. Colour and lines that are rewritten need a terminal,
// and are off when the environment sets NO_COLOR or TERM=dumb, or when noColor says so:
// then nothing but text is written.
func NewStream(f *os.File, environ []string, noColor bool) Stream {
	s := Stream{output: &output{to: f}, Width: defaultWidth}
	fd := int(f.Fd())
	if !term.IsTerminal(fd) {
		return s
	}
	s.Terminal = true
	s.Color = !noColor && lookup(environ, "TERM") != "dumb" && lookup(environ, "NO_COLOR") == ""
	s.Rewrites = s.Color // what reads no colour reads no other control sequence
	if w, _, err := term.GetSize(fd); err == nil && w > 0 {
		s.Width = w
	}
	return s
}

// lookup returns a variable of the environment, in which the last one counts.
func lookup(environ []string, key string) string {
	for _, e := range slices.Backward(environ) {
		if value, found := strings.CutPrefix(e, key+"="); found {
			return value
		}
	}
	return ""
}

// Style is a meaning that colour may carry; it always stands with a word.
type Style string

// The styles, as SGR parameters.
const (
	Bold    Style = "1"
	Faint   Style = "2"
	Good    Style = "32"
	Warn    Style = "33"
	Bad     Style = "31"
	Cyan    Style = "36"
	Magenta Style = "35"
)

// Paint returns s in a style, or unchanged where there is no colour.
func (s Stream) Paint(style Style, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
