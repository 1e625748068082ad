package config

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/joho/godotenv"

	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// EnvName is the name of the settings file in the project directory.
const EnvName = ".env"

// maxEnvBytes bounds the size of the file: real ones have a few kilobytes.
const maxEnvBytes = 1 << 20

// bom is the byte order mark that some Windows editors put in front of UTF-8.
const bom = "\ufeff"

// EnvFile is the text of a .env file and what it sets. Edits change the text in
// memory and leave everything but the edited keys as it was: comments, order,
// quotes, line ends. An EnvFile is not safe for concurrent use.
type EnvFile struct {
	text        string
	stored      string // the text as it is on disk
	exists      bool
	mode        fs.FileMode
	assignments []Assignment
	comments    []span
	values      map[string]string
}

// ParseEnv reads the text of a .env file. What Docker Compose or godotenv would
// misread or refuse is an error with its line; no error quotes the text.
func ParseEnv(text []byte) (*EnvFile, error) {
	f := &EnvFile{text: string(text), stored: string(text)}
	if err := f.parse(); err != nil {
		return nil, err
	}
	return f, nil
}

// parse renews what is derived from the text.
func (f *EnvFile) parse() error {
	sc, err := scan(f.text)
	if err != nil {
		return err
	}
	// godotenv's own errors quote the text after the fault, so only the line of
	// the first assignment that it cannot read is told.
	body := strings.TrimPrefix(f.text, bom)
	values, readErr := godotenv.Unmarshal(body)
	if readErr != nil {
		return remedy.Errorf(remedy.Input, hintLine, "%s:%d: cannot be read", EnvName, f.unreadable(sc.assignments))
	}
	for _, a := range sc.assignments {
		if _, ok := values[a.Key]; !ok {
			return remedy.Errorf(remedy.Input, hintLine, "%s:%d: cannot be read", EnvName, a.Line)
		}
	}
	f.assignments, f.comments, f.values = sc.assignments, sc.comments, values
	return nil
}

// unreadable returns the line of the first assignment at which godotenv fails.
func (f *EnvFile) unreadable(assignments []Assignment) int {
	for _, a := range assignments {
		if _, err := godotenv.Unmarshal(strings.TrimPrefix(f.text[:a.end], bom)); err != nil {
			return a.Line
		}
	}
	return strings.Count(f.text, "\n") + 1
}

// Mode returns the permission bits that the file has on disk, 0 when it did not
// exist.
func (f *EnvFile) Mode() fs.FileMode { return f.mode }

// Text returns the whole text, edits included, for a second parser to read.
func (f *EnvFile) Text() secret.Text { return secret.New(f.text) }

// Assignments returns every assignment in the order of the file.
func (f *EnvFile) Assignments() []Assignment { return slices.Clone(f.assignments) }

// Lookup returns the value of key, unquoted and expanded, and whether the file
// sets it. The last of several assignments counts.
func (f *EnvFile) Lookup(key string) (secret.Text, bool) {
	value, ok := f.values[key]
	return secret.New(value), ok
}

// assignmentsOf returns the assignments of one key.
func (f *EnvFile) assignmentsOf(key string) []Assignment {
	var out []Assignment
	for _, a := range f.assignments {
		if a.Key == key {
			out = append(out, a)
		}
	}
	return out
}

// Set gives key the value. An assignment that is there, also an empty one, is
// replaced in place, and further assignments of the same key are removed; else a
// line is added below a commented-out example of the key, or at the end. It
// refuses a value that no notation gives to godotenv and to Docker Compose alike.
func (f *EnvFile) Set(key string, value secret.Text) error {
	if !keyPattern.MatchString(key) {
		return fmt.Errorf("set in %s: %q is not a key", EnvName, key)
	}
	plain := value.Reveal() // it is going to stand in the file
	encoded, err := encodeValue(plain)
	if err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	edited := *f
	if assignments := f.assignmentsOf(key); len(assignments) > 0 {
		edited.text = f.replaced(assignments, encoded)
	} else {
		edited.text = f.inserted(key + "=" + encoded)
	}
	if err := edited.parse(); err != nil {
		return fmt.Errorf("set %s: %w", key, err)
	}
	if edited.values[key] != plain {
		return fmt.Errorf("set %s: the line would not read back", key)
	}
	*f = edited
	return nil
}

// Unset removes every assignment of key and reports whether there was one. A
// comment that stands behind a value stays, on a line of its own.
func (f *EnvFile) Unset(key string) (bool, error) {
	assignments := f.assignmentsOf(key)
	if len(assignments) == 0 {
		return false, nil
	}
	edited := *f
	edited.text = f.without(f.text, assignments)
	if err := edited.parse(); err != nil {
		return false, fmt.Errorf("unset %s: %w", key, err)
	}
	*f = edited
	return true, nil
}

// replaced returns the text with the last of the assignments given a new value
// and the others removed.
func (f *EnvFile) replaced(assignments []Assignment, encoded string) string {
	last := assignments[len(assignments)-1]
	var b strings.Builder
	tail := f.text[last.value.end:last.end]
	if comment := strings.TrimLeft(tail, " \t"); comment != "" {
		tail = " " + comment
		// Behind a bare value, godotenv takes the last # for the start of the
		// comment and Compose the first.
		if strings.Count(comment, "#") > 1 {
			b.WriteString(comment + f.lineEnd())
			tail = ""
		}
	} else {
		tail = ""
	}
	b.WriteString(f.text[last.start:last.key.end] + "=" + encoded + tail)
	text := f.text[:last.start] + b.String() + f.text[last.end:]
	return f.without(text, assignments[:len(assignments)-1])
}

// without returns the text without the lines of the assignments, which lie where
// they lie in the file's own text.
func (f *EnvFile) without(text string, assignments []Assignment) string {
	for _, a := range slices.Backward(assignments) {
		comment := strings.TrimLeft(f.text[a.value.end:a.end], " \t")
		end := a.end
		if comment == "" {
			end += len(lineEndAt(text, a.end))
		}
		text = text[:a.start] + comment + text[end:]
	}
	return text
}

// inserted returns the text with one more line.
func (f *EnvFile) inserted(line string) string {
	key, _, _ := strings.Cut(line, "=")
	example := regexp.MustCompile(`^#+[ \t]*(export[ \t]+)?` + regexp.QuoteMeta(key) + `[ \t]*=`)
	for _, c := range slices.Backward(f.comments) {
		if example.MatchString(f.text[c.start:c.end]) {
			return f.text[:c.end] + f.lineEnd() + line + orLineEnd(f.text[c.end:], f.lineEnd())
		}
	}
	text := f.text
	if text != "" && text != bom && !strings.HasSuffix(text, "\n") {
		text += f.lineEnd()
	}
	return text + line + f.lineEnd()
}

// orLineEnd returns rest, or the line end where nothing follows.
func orLineEnd(rest, lineEnd string) string {
	if rest == "" {
		return lineEnd
	}
	return rest
}

// lineEnd returns the line end that the file uses.
func (f *EnvFile) lineEnd() string {
	if i := strings.IndexByte(f.text, '\n'); i > 0 && f.text[i-1] == '\r' {
		return "\r\n"
	}
	return "\n"
}

// lineEndAt returns the line end that stands at position i, or "".
func lineEndAt(text string, i int) string {
	switch {
	case strings.HasPrefix(text[i:], "\r\n"):
		return "\r\n"
	case strings.HasPrefix(text[i:], "\n"):
		return "\n"
	default:
		return ""
	}
}

// bareValue is what means the same without quotes, everywhere.
var bareValue = regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=~-]*$`)

// encodeValue writes a value so that godotenv and Docker Compose both read it
// back: bare, between single quotes, or between double quotes where nothing in
// it is special there.
func encodeValue(value string) (string, error) {
	if bareValue.MatchString(value) {
		return value, nil
	}
	if !utf8.ValidString(value) || strings.ContainsFunc(value, isControl) {
		return "", remedy.Errorf(remedy.Input, "choose a value without control characters",
			"the value holds a control character, which cannot stand in %s", EnvName)
	}
	if !strings.Contains(value, "'") && !strings.HasSuffix(value, `\`) {
		return "'" + value + "'", nil
	}
	if !strings.ContainsAny(value, `"$\`) {
		return `"` + value + `"`, nil
	}
	return "", remedy.Errorf(remedy.Input,
		`choose a value without ', or without all of " $ and \, that does not end in \`,
		"the value mixes quotes in a way that %s cannot hold for mqtunnel and Docker Compose alike", EnvName)
}

// isControl reports whether r is an ASCII or Latin-1 control character.
func isControl(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }
