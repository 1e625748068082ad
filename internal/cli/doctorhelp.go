package cli

import (
	"fmt"
	"slices"
	"strings"

	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
)

// checkPrefix is how the code of every check begins.
const checkPrefix = "MQT-"

// findCheck returns the check with this code or ID, in any letter case.
func findCheck(name string) (doctor.Check, bool) {
	checks := doctor.Checks()
	i := slices.IndexFunc(checks, func(c doctor.Check) bool {
		return strings.EqualFold(name, c.Code) || strings.EqualFold(name, c.ID)
	})
	if i < 0 {
		return doctor.Check{}, false
	}
	return checks[i], true
}

// explainCheck tells what a check looks at and what to do when it does not hold.
func (a *App) explainCheck(c doctor.Check) {
	out := a.Out
	fmt.Fprintf(out, "%s %s: %s\n", out.Paint(display.Bold, c.Code), c.ID, out.Fit(c.Code+" "+c.ID+": ", c.Title))
	fmt.Fprintf(out, "layer  %s\n", c.Layer)
	if len(c.Needs) > 0 {
		fmt.Fprintf(out, "needs  %s\n", out.Fit("needs  ", strings.Join(c.Needs, ", ")))
	}
	if text, ok := doctor.Explain(c.Code); ok {
		fmt.Fprintf(out, "\n%s\n", display.Wrap(text, out.Width, 0))
	}
	fmt.Fprintf(out, "\ndo: %s\n", out.Fit("do: ", c.Remedy))
	if c.Fix {
		fmt.Fprintln(out, "mqtunnel doctor --fix can do that.")
	}
}
