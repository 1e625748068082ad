package render

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/joho/godotenv"

	"mqtunnel/internal/config"
	"mqtunnel/internal/remedy"
)

// Difference is a line of .env that mqtunnel and Docker Compose read
// differently. It holds no value.
type Difference struct {
	Key  string // "" when it is the file as a whole that Compose cannot read
	Line int    // 0 when it is not known
	Fix  string // what to write so that both read the same
}

// String says where the difference is and for what, as errors begin.
func (d Difference) String() string {
	where := config.EnvName
	if d.Line > 0 {
		where += ":" + strconv.Itoa(d.Line)
	}
	if d.Key == "" {
		return where + ": Docker Compose cannot read this line"
	}
	return where + ": " + d.Key + ": Docker Compose reads another value than mqtunnel"
}

// Dialects compares the two readings of text, that of a .env file, for the keys
// in use. environ is the process environment, which Compose substitutes from
// where it meets a "$"; keys that environ itself sets are not compared, since
// there it is the environment that counts.
func Dialects(text []byte, keys []string, environ map[string]string) []Difference {
	source := withoutBOM(text)
	ours, err := godotenv.Unmarshal(source)
	if err != nil {
		return nil // reading the settings has said so already, with the line
	}
	theirs, err := composeEnv(source, environ)
	if err != nil {
		return []Difference{{Line: errorLine(err, source, environ), Fix: singleQuotes("KEY")}}
	}
	var out []Difference
	for _, key := range keys {
		if _, set := environ[key]; set {
			continue
		}
		a, inOurs := ours[key]
		b, inTheirs := theirs[key]
		if a == b && inOurs == inTheirs {
			continue
		}
		out = append(out, Difference{Key: key, Line: keyLine(source, key), Fix: spelling(key, source)})
	}
	slices.SortFunc(out, func(a, b Difference) int { return a.Line - b.Line })
	return out
}

// spelling says how to write the value of key for both readers. The value does
// not stand in it; whether it has a single quote decides the form.
func spelling(key, source string) string {
	line := keyLine(source, key)
	all := strings.Split(source, "\n")
	if line > 0 && line <= len(all) {
		_, value, _ := strings.Cut(all[line-1], "=")
		if strings.Contains(strings.Trim(strings.TrimSpace(value), "'"), "'") {
			return "choose a value without a single quote, and write " + key + "='…'"
		}
	}
	return singleQuotes(key)
}

// singleQuotes is the spelling in which both readers change nothing.
func singleQuotes(key string) string {
	return "put the value between single quotes: " + key + "='…'"
}

// keyLine returns the line that sets key last, counted from 1, or 0.
func keyLine(source, key string) int {
	sets := regexp.MustCompile(`^\s*(?:export\s+)?` + regexp.QuoteMeta(key) + `\s*(?:[=:]|$)`)
	last := 0
	for i, line := range strings.Split(source, "\n") {
		if sets.MatchString(line) {
			last = i + 1
		}
	}
	return last
}

// Environment returns what Compose interpolates from in a directory whose .env
// is text: the process environment environ over the file. An error names the
// line and holds nothing of the file.
func Environment(environ map[string]string, text []byte) (map[string]string, error) {
	source := withoutBOM(text)
	out, err := composeEnv(source, environ)
	if err != nil {
		return nil, remedy.Errorf(remedy.Input, singleQuotes("KEY"), "%s", Difference{Line: errorLine(err, source, environ)})
	}
	maps.Copy(out, environ)
	return out, nil
}

// Variables is Environment for Directory.Render: the token and the project come
// from the settings, whatever a flag or the reading of .env by Compose would say.
func Variables(s config.Settings, environ map[string]string, text []byte) (map[string]string, error) {
	env, err := Environment(environ, text)
	if err != nil {
		return nil, err
	}
	env[config.KeyToken] = s.Token.Reveal() // becomes the content of a file
	env[config.KeyProject] = s.Project
	return env, nil
}

// withoutBOM returns text without the byte order mark that some editors put in
// front. Compose reads past it; godotenv does not.
func withoutBOM(text []byte) string { return strings.TrimPrefix(string(text), "\ufeff") }

// composeEnv reads text as Compose does.
func composeEnv(text string, environ map[string]string) (map[string]string, error) {
	silence()
	out, err := dotenv.ParseWithLookup(strings.NewReader(text), func(key string) (string, bool) {
		value, ok := environ[key]
		return value, ok
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", config.EnvName, err)
	}
	return out, nil
}

// errorLine finds the line number of an error that compose-go has for text. What
// the error says quotes the file and is shown nowhere.
func errorLine(err error, text string, environ map[string]string) int {
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			return n
		}
	}
	// Variables are replaced without a number: it is the line behind the longest
	// beginning of the file that can be read.
	const most = 1000 // lines: the search is quadratic
	lines := strings.SplitAfter(text, "\n")
	if len(lines) > most {
		return 0
	}
	for n := len(lines) - 1; n > 0; n-- {
		if _, err := composeEnv(strings.Join(lines[:n], ""), environ); err == nil {
			return n + 1
		}
	}
	return 1
}
