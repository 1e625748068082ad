package render

import (
	"regexp"
	"strings"

	"github.com/compose-spec/compose-go/v2/consts"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"mqtunnel/internal/remedy"
)

// checkVariables refuses a variable in a document of the override file that env
// does not set and that has no default. Compose takes it for blank with a
// warning; what gets lost so is mostly a value, or half a password with a "$".
func checkVariables(name string, n *yaml.Node, env map[string]string) error {
	if n.Tag == "!reset" {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		if variable := unset(n.Value, types.Mapping(env)); variable != "" {
			variable = blank([]byte(variable)) // a token can look like a name
			return remedy.Errorf(remedy.Input,
				"set it in .env; or write ${"+variable+":-} if blank is meant, and $$ for a dollar sign",
				"%s:%d: the variable %s is not set", name, n.Line, variable)
		}
	}
	for i, child := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // Compose replaces nothing in keys
		}
		if err := checkVariables(name, child, env); err != nil {
			return err
		}
	}
	return nil
}

// unset returns the first variable in text that Compose would take for blank
// because env does not set it, or "".
func unset(text string, env types.Mapping) string {
	for _, found := range template.DefaultPattern.FindAllString(text, -1) {
		if found == "$$" {
			continue
		}
		// The pattern is greedy: behind a default it goes on to the last brace.
		head, rest := found, ""
		if end := closingBrace(found); end > 0 {
			head, rest = found[:end], found[end:]
		}
		if variable := unsetIn(head, env); variable != "" {
			return variable
		}
		if variable := unset(rest, env); variable != "" {
			return variable
		}
	}
	return ""
}

// unsetIn is unset for one reference, such as $NAME or ${NAME:-$OTHER}.
func unsetIn(reference string, env types.Mapping) string {
	parts := regexp.MustCompile(`(?s)^\$\{?(\w+)(:?[-+?])?(.*?)\}?$`).FindStringSubmatch(reference)
	if parts == nil {
		return "" // Compose refuses it
	}
	name, operator, operand := parts[1], parts[2], parts[3]
	value, set := env.Resolve(name)
	if strings.HasPrefix(operator, ":") {
		set = set && value != ""
	}
	switch strings.TrimPrefix(operator, ":") {
	case "":
		if !set && name != consts.ComposeProjectName { // which Compose sets itself
			return name
		}
	case "-":
		if !set {
			return unset(operand, env)
		}
	case "+":
		if set {
			return unset(operand, env)
		}
	}
	return "" // "?" is an error of its own
}

// closingBrace returns the position behind the brace that closes the first one
// that opens in s, or 0.
func closingBrace(s string) int {
	open := 0
	for i := range len(s) {
		switch s[i] {
		case '{':
			open++
		case '}':
			if open--; open == 0 {
				return i + 1
			}
		}
	}
	return 0
}
