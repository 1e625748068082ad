package display

import "strings"

// Wrap breaks text into lines of at most width columns at its blanks; every line
// but the first begins with indent blanks. A word that is longer than a line, such
// as a path, stays whole. Text that is no longer than a line is returned as it is.
func Wrap(text string, width, indent int) string {
	if width <= indent || len(cut(text, width)) == len(text) {
		return text
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Split(text, " ") {
		size := columns(word)
		switch {
		case i == 0:
		case column+1+size > width:
			b.WriteByte('\n')
			b.WriteString(strings.Repeat(" ", indent))
			column = indent
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += size
	}
	return b.String()
}

// columns is how many columns a word takes, rather too many than too few.
func columns(word string) int {
	n := 0
	for _, r := range word {
		n++
		if r >= firstWide && r != '…' {
			n++
		}
	}
	return n
}

// Fit is Wrap for a stream: only a person at a terminal needs lines that fit.
// prefix is what stands in front of the text on its first line.
func (s Stream) Fit(prefix, text string) string {
	if !s.Terminal {
		return text
	}
	indent := columns(prefix)
	return strings.TrimPrefix(Wrap(strings.Repeat("x", indent)+text, s.Width, min(indent, hanging)), strings.Repeat("x", indent))
}

// hanging is the indent of further lines at most: a long word in front leaves too
// little room else.
const hanging = 8
