package display

import (
	"regexp"
	"strings"
)

// Wrap breaks text into lines of at most width columns at its blanks; every line
// but the first begins with indent blanks. A word that is longer than a line, such
// as a path, stays whole, and so do a number with its unit and a command of mqtunnel,
// which is to be copied. Text that is no longer than a line is returned as it is.
func Wrap(text string, width, indent int) string {
	if width <= indent || len(cut(text, width)) == len(text) {
		return text
	}
	var b strings.Builder
	column := 0
	for i, word := range words(text) {
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

// number and unit match a number, and a word that may be its unit.
var (
	number = regexp.MustCompile(`^\(?[0-9][0-9.,]*$`)
	unit   = regexp.MustCompile(`^[A-Za-z]{1,12}[).,:;]*$`)
)

// ownCommand matches a command of mqtunnel, as far as it is the same for everybody.
var ownCommand = regexp.MustCompile(`\bmqtunnel( (-C|-p|--context) ('[^']*'|[^ ]+))* [a-z]+` +
	`( (add|allow|check|deny|explain|list|passwd|remove|set|show|watch))?( [A-Z]+\b)?( --[a-z-]+)*`)

// kept stands for a blank at which text is not broken.
const kept = "\x00"

// words splits text at its blanks, but those within a command and between a number and
// its unit.
func words(text string) []string {
	var list []string
	text = ownCommand.ReplaceAllStringFunc(text, func(command string) string { return strings.ReplaceAll(command, " ", kept) })
	for word := range strings.SplitSeq(text, " ") {
		word = strings.ReplaceAll(word, kept, " ")
		if last := len(list) - 1; last >= 0 && number.MatchString(list[last]) && unit.MatchString(word) {
			list[last] += " " + word
			continue
		}
		list = append(list, word)
	}
	return list
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

// argument matches a word of a shell's command line, quoted parts included.
var argument = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|\\.|[^\s'"\\])+`)

// Command returns a command as it is to be typed behind prefix: on a terminal that it
// does not fit it goes on in further lines, of which the shell makes one again.
func (s Stream) Command(prefix, command string) string {
	indent := columns(prefix)
	if !s.Terminal || indent+columns(command) <= s.Width {
		return command
	}
	const more = "    "
	margin := strings.Repeat(" ", len(prefix)-len(strings.TrimLeft(prefix, " "))) + more
	var b strings.Builder
	column := indent
	for i, word := range argument.FindAllString(command, -1) {
		size := columns(word)
		switch {
		case i == 0:
		case column+1+size+len(` \`) > s.Width:
			b.WriteString(" \\\n" + margin)
			column = len(margin)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += size
	}
	return b.String()
}
