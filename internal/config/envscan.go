package config

import (
	"regexp"
	"strings"

	"mqtunnel/internal/remedy"
)

// Assignment is one KEY=VALUE of a .env file and where it stands.
type Assignment struct {
	Key  string
	Line int // first line, counted from 1

	start, end int // of the line or lines, without the line end
	key, value span
}

// span is a piece of the text.
type span struct{ start, end int }

// Hints for lines that cannot be read.
const (
	hintLine  = "write KEY=value on a line of its own, or put # in front of what is a comment"
	hintQuote = "close the quote on the same line, with nothing but a comment after it"
)

// keyPattern is a key that godotenv and Docker Compose both accept.
var keyPattern = regexp.MustCompile(`^[A-Za-z0-9_.]+$`)

// assignmentStart is what stands in a line before the value. YAML's colon is
// accepted by both parsers.
var assignmentStart = regexp.MustCompile(`^[ \t]*(?:export[ \t]+)?([A-Za-z0-9_.]+)[ \t]*[=:][ \t]*`)

// otherSpace is the white space before a value that godotenv skips and Compose
// does not.
var otherSpace = regexp.MustCompile("^[\\v\\f\u0085\u00a0]")

// scanner finds the assignments of a .env file. It accepts the subset of the
// dialects of godotenv and Docker Compose in which both see the same statements.
type scanner struct {
	text        string
	line        int
	assignments []Assignment
	comments    []span
}

// scan splits the text into assignments and comments.
func scan(text string) (*scanner, error) {
	s := &scanner{text: text, line: 1}
	if err := s.encoding(); err != nil {
		return nil, err
	}
	at := 0
	if strings.HasPrefix(text, bom) {
		at = len(bom)
	}
	for at < len(text) {
		next, err := s.statement(at)
		if err != nil {
			return nil, err
		}
		s.line += strings.Count(text[at:next], "\n")
		at = next
	}
	return s, nil
}

// encoding refuses what is no text in UTF-8 with usual line ends.
func (s *scanner) encoding() error {
	if strings.HasPrefix(s.text, "\xff\xfe") || strings.HasPrefix(s.text, "\xfe\xff") || strings.ContainsRune(s.text, 0) {
		return remedy.Errorf(remedy.Input, "save it as UTF-8", "%s is not text in UTF-8", EnvName)
	}
	for i := range len(s.text) {
		if s.text[i] == '\r' && !strings.HasPrefix(s.text[i:], "\r\n") {
			s.line = 1 + strings.Count(s.text[:i], "\n")
			return s.fault("save the file with usual line ends", "a carriage return stands in the line")
		}
	}
	return nil
}

// fault makes the error of the current line.
func (s *scanner) fault(hint, what string) error {
	return remedy.Errorf(remedy.Input, hint, "%s:%d: %s", EnvName, s.line, what)
}

// statement reads the line at position at, with the lines over which a quoted
// value runs, and returns where the next one begins.
func (s *scanner) statement(at int) (int, error) {
	end := lineEndAfter(s.text, at)
	line := s.text[at:end]
	trimmed := strings.TrimLeft(line, " \t")
	switch {
	case trimmed == "":
		return end + len(lineEndAt(s.text, end)), nil
	case trimmed[0] == '#':
		s.comments = append(s.comments, span{end - len(trimmed), end})
		return end + len(lineEndAt(s.text, end)), nil
	}
	m := assignmentStart.FindStringSubmatchIndex(line)
	if m == nil {
		return 0, s.fault(hintLine, "this is not KEY=value")
	}
	a := Assignment{
		Key: line[m[2]:m[3]], Line: s.line, start: at,
		key: span{at + m[2], at + m[3]}, value: span{at + m[1], end},
	}
	if rest := line[m[1]:]; rest != "" && (rest[0] == '"' || rest[0] == '\'') {
		closed, err := s.closingQuote(a.value.start)
		if err != nil {
			return 0, err
		}
		a.value.end = closed + 1
		end = lineEndAfter(s.text, a.value.end)
		after := strings.TrimLeft(s.text[a.value.end:end], " \t")
		if after != "" && after[0] != '#' {
			return 0, s.fault(hintQuote, "there is text after the closing quote")
		}
	} else {
		if otherSpace.MatchString(rest) {
			return 0, s.fault("remove it", "a no-break space or another unusual space stands before the value")
		}
		a.value.end = a.value.start + bareLength(rest)
	}
	a.end = end
	s.assignments = append(s.assignments, a)
	return end + len(lineEndAt(s.text, end)), nil
}

// closingQuote returns where the quote that opens at position open is closed.
func (s *scanner) closingQuote(open int) (int, error) {
	quote := s.text[open]
	backslashes := 0
	for i := open + 1; i < len(s.text); i++ {
		switch s.text[i] {
		case '\\':
			backslashes++
			continue
		case quote:
			if backslashes == 0 {
				return i, nil
			}
			// godotenv takes one backslash for an escape, Compose counts them.
			if backslashes%2 == 0 {
				return 0, s.fault("use the other kind of quote", "backslashes before a quote read differently in Docker Compose")
			}
		}
		backslashes = 0
	}
	return 0, s.fault(hintQuote, "a quote is not closed")
}

// bareLength returns how much of the rest of a line is the unquoted value; the
// remainder is white space and a comment.
func bareLength(rest string) int {
	comment := len(rest)
	for i := range len(rest) {
		if rest[i] == '#' && (i == 0 || rest[i-1] == ' ' || rest[i-1] == '\t') {
			comment = i
			break
		}
	}
	return len(strings.TrimRight(rest[:comment], " \t"))
}

// lineEndAfter returns the position of the line end at or after position at.
func lineEndAfter(text string, at int) int {
	i := strings.IndexByte(text[at:], '\n')
	switch {
	case i < 0:
		return len(text)
	case i > 0 && text[at+i-1] == '\r':
		return at + i - 1
	default:
		return at + i
	}
}
