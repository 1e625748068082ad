package config

import (
	"fmt"
	"strings"
)

// Sample returns the text of .env.sample: every setting with what it does, all
// but the token commented out. Its readings by godotenv and Docker Compose agree.
func Sample() string {
	var b strings.Builder
	b.WriteString("# Settings of mqtunnel. `mqtunnel token set` makes the file .env by itself; copy this one\n" +
		"# there to set more. The environment wins over the file. Comments need their own lines.\n")
	for _, s := range Table() {
		value, mark := s.Example, "# "
		if value == "" {
			value = s.Default
		}
		if s.Key == KeyToken {
			mark = ""
		}
		fmt.Fprintf(&b, "\n# %s.\n%s%s=%s\n", s.Doc, mark, s.Key, value)
	}
	return b.String()
}

// Markdown returns the settings table of the README.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n|---|---|---|\n")
	for _, s := range Table() {
		value := "none"
		if s.Default != "" {
			value = "`" + s.Default + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", s.Key, value, strings.ReplaceAll(s.Doc, "|", `\|`))
	}
	return b.String()
}
