package doctor

import (
	"regexp"
	"strings"
	"testing"
)

// longestExplanation is how many characters fit a small terminal.
const longestExplanation = 800

// placeholder is what is written where something is still to come.
var placeholder = regexp.MustCompile(`(?i)\b(todo|tbd|xxx|fixme|lorem)\b|\.\.\.|[<>{}\[\]]|%[sdvq]`)

// sentenceEnd ends a sentence in the text.
var sentenceEnd = regexp.MustCompile(`\.( |$)`)

func TestEveryCheckIsExplained(t *testing.T) {
	told := map[string]string{}
	for _, c := range Checks() {
		text, ok := Explain(strings.ToLower(c.Code))
		if !ok {
			t.Errorf("%s %s is not explained", c.Code, c.ID)
			continue
		}
		if n := len(text); n > longestExplanation {
			t.Errorf("%s: %d characters", c.Code, n)
		}
		if n := len(sentenceEnd.FindAllString(text, -1)); n < 2 || n > 6 {
			t.Errorf("%s: %d sentences", c.Code, n)
		}
		if found := placeholder.FindString(text); found != "" || strings.TrimSpace(text) != text || !strings.HasSuffix(text, ".") || strings.Contains(text, "  ") {
			t.Errorf("%s: %q in %q", c.Code, found, text)
		}
		if other, twice := told[text]; twice {
			t.Errorf("%s and %s say the same", c.Code, other)
		}
		told[text] = c.Code
	}
	if n := len(explanations()); n != len(Checks()) {
		t.Errorf("%d explanations for %d checks", n, len(Checks()))
	}
	if _, ok := Explain("MQT-X99"); ok {
		t.Error("a code of no check is explained")
	}
}
