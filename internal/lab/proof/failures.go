package proof

import (
	"regexp"
	"slices"
	"strings"
)

// How much of a failing test run is shown.
const (
	shownTests = 6
	shownLines = 3 // of each test
)

var (
	turnLine   = regexp.MustCompile(`^=== (?:RUN|NAME|CONT) +(\S+)`)
	sourceLine = regexp.MustCompile(`\.go:\d+: |FAIL: `)
	endLine    = regexp.MustCompile(`^\s*--- (FAIL|SKIP): (\S+)`)
)

// failures picks what a person needs of what go test -v printed: which tests failed or
// were skipped, each with what it said last, and what did not even run.
func failures(out string) string {
	said := map[string][]string{}
	var ended, found []string
	current := ""
	for line := range strings.Lines(out) {
		line = strings.TrimRight(line, "\n")
		if turn := turnLine.FindStringSubmatch(line); turn != nil {
			current = turn[1]
			continue
		}
		if end := endLine.FindStringSubmatch(line); end != nil {
			ended = append(ended, end[1]+" "+end[2])
			continue
		}
		switch {
		case strings.HasPrefix(line, "panic: "), strings.Contains(line, "[build failed]"), strings.Contains(line, "[setup failed]"):
			found = append(found, line)
		case sourceLine.MatchString(line):
			said[current] = append(said[current], strings.TrimSpace(line))
		}
	}
	for _, end := range ended {
		_, name, _ := strings.Cut(end, " ")
		// One with subtests that ended so fails for theirs.
		if slices.ContainsFunc(ended, func(other string) bool { return strings.HasPrefix(other, end+"/") }) {
			continue
		}
		words := said[name]
		found = append(found, strings.Join(append([]string{end}, words[max(0, len(words)-shownLines):]...), ": "))
	}
	return strings.Join(found[:min(len(found), shownTests)], "; ")
}
