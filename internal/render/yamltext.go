package render

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quote returns s as a double-quoted YAML scalar in which Compose interpolates
// nothing. Text that is not UTF-8 has its bad bytes replaced.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '$':
			b.WriteString("$$")
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case plain(r):
			b.WriteRune(r)
		case r > 0xFFFF:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// plain reports whether r may stand in YAML as it is, and is visible.
func plain(r rune) bool { return r >= ' ' && r <= '~' || unicode.IsGraphic(r) && !unicode.IsSpace(r) }

// blockIndent is how far the lines of a block stand in: the template has them
// under a key of the third level.
const blockIndent = "      "

// literal returns text as a literal block under a key of the third level, each
// "$" doubled, ending in one line end. Text with characters that YAML forbids or
// takes for line ends comes out as a quoted scalar in one line.
func literal(text string) string {
	text = lines(text)
	if !fitsBlock(text) {
		return quote(text)
	}
	var b strings.Builder
	b.WriteByte('|')
	if strings.ContainsAny(text[:1], " \t\n") {
		b.WriteByte('2') // where the indentation cannot be told from the first line
	}
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		b.WriteByte('\n')
		if line != "" {
			b.WriteString(blockIndent)
			b.WriteString(strings.ReplaceAll(line, "$", "$$"))
		}
	}
	return b.String()
}

// lines gives text Unix line ends and exactly one at its end, as it will stand
// in the container.
func lines(text string) string {
	text = strings.ReplaceAll(text, "\r\n", "\n")
	return strings.TrimRight(text, "\n") + "\n"
}

// fitsBlock reports whether a literal block gives every character of text back.
func fitsBlock(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != '\t' && !plain(r) })
}

// doubled returns text as the value of a Compose key before interpolation.
func doubled(text string) string { return strings.ReplaceAll(lines(text), "$", "$$") }
