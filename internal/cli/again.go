package cli

import (
	"regexp"
	"strings"
)

// ownCommand matches a command of mqtunnel that is about a project, in text for people.
var ownCommand = regexp.MustCompile(`\bmqtunnel (down|doctor|import|logs|render|restart|status|token|up|user)\b`)

// again returns text in which each command of mqtunnel repeats the flags that say which
// project and which Engine it is about: whoever types it reaches the same.
func (a *App) again(text string) string { return repeating(text, a.flags.again()) }

// repeating returns text in which each command of mqtunnel has these flags.
func repeating(text, flags string) string {
	if flags == "" {
		return text
	}
	return ownCommand.ReplaceAllStringFunc(text, func(command string) string {
		program, name, _ := strings.Cut(command, " ")
		return program + " " + flags + " " + name
	})
}

// again returns the flags that say where to work, as they are typed.
func (f flags) again() string {
	var list []string
	for _, flag := range []struct{ name, value string }{{"-C", f.dir}, {"-p", f.project}, {"--context", f.context}} {
		if flag.value != "" {
			list = append(list, flag.name+" "+word(flag.value))
		}
	}
	return strings.Join(list, " ")
}
