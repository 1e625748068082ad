package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// doctorReport is what one look came to.
type doctorReport struct {
	evidence  *doctor.Evidence
	diagnosis doctor.Diagnosis
	names     []string // of the checks that were asked for, all when empty
	took      time.Duration
	cleaner
}

// cleaner takes out of outside text what must not be shown.
type cleaner struct {
	hide  []secret.Text // the secrets of the project
	flags string        // what commands to type repeat, see App.again
}

func (c cleaner) clean(text string) string {
	for _, s := range c.hide {
		text = strings.ReplaceAll(text, s.Reveal(), s.String()) // to know what not to show
	}
	return display.Redact(text)
}

// todo is clean for what to do and what to type.
func (c cleaner) todo(text string) string { return repeating(c.clean(text), c.flags) }

// shown is the part of the diagnosis that was asked for.
func (r doctorReport) shown() doctor.Diagnosis {
	if len(r.names) == 0 {
		return r.diagnosis
	}
	return r.diagnosis.Only(r.names)
}

// code is the exit code of the report.
func (r doctorReport) code() remedy.Code {
	for _, f := range r.shown().Results {
		switch {
		case f.Status != doctor.Failed:
		case f.Layer == doctor.LayerHost && strings.HasPrefix(f.ID, "engine-"):
			return remedy.Engine
		default:
			return remedy.No
		}
	}
	if !r.healthy() {
		return remedy.No
	}
	return remedy.OK
}

// healthy reports whether all is well: what was asked for holds, or, where everything
// was, a message flows.
func (r doctorReport) healthy() bool {
	return r.shown().Healthy() && (len(r.names) > 0 || r.diagnosis.Flows())
}

// answer is the error that sets the exit code.
func (r doctorReport) answer() error {
	if code := r.code(); code != remedy.OK {
		return &remedy.Error{Code: code, Err: errSaid}
	}
	return nil
}

// shortestSecret is the length from which a secret can be told from other text.
const shortestSecret = 8

// secretsOf returns the secrets of a project directory, as far as they can be read.
func secretsOf(dir string, environ []string) []secret.Text {
	var found []secret.Text
	add := func(t secret.Text) {
		if len(t.Reveal()) >= shortestSecret { // to be told from other text
			found = append(found, t)
		}
	}
	env, err := config.ReadEnv(dir)
	for _, s := range config.Table() {
		if !s.Secret {
			continue
		}
		if err == nil {
			value, _ := env.Lookup(s.Key)
			add(value)
		}
		for _, e := range environ {
			if value, is := strings.CutPrefix(e, s.Key+"="); is {
				add(secret.New(value))
			}
		}
	}
	return found
}

// latencies returns how long a message took through the public hostname (the
// median of the round trips) and inside the network; 0 where none came back.
func latencies(e *doctor.Evidence) (public, inside time.Duration) {
	var took []time.Duration
	for _, t := range e.Public.Trips {
		if t.Err == nil {
			took = append(took, t.Result.Message)
		}
	}
	if len(took) > 0 {
		slices.Sort(took)
		public = took[len(took)/2]
	}
	if report := e.Inside.Report; report != nil && report.RoundTrip.OK {
		inside = report.Result.Message
	}
	return public, inside
}

// milliseconds is a duration for JSON, nil where there is none.
func milliseconds(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	ms := float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
	return &ms
}

// briefly words a duration as people say it.
func briefly(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Round(time.Millisecond).Milliseconds())
}

// doctorPrinter shows a report to a person.
type doctorPrinter struct {
	doctorReport

	out     display.Stream
	verbose bool
}

// printDoctor shows a report to a person: the verdict first, then what else was
// found, then one line a layer.
func (a *App) printDoctor(r doctorReport, verbose bool) {
	p := doctorPrinter{doctorReport: r, out: a.Out, verbose: verbose}
	d := r.shown()
	if d.Healthy() {
		p.healthy(d)
	}
	for i, f := range d.Findings() {
		p.finding(f, i == 0)
	}
	switch {
	case verbose || len(r.names) > 0:
		fmt.Fprintln(p.out)
		p.checks(d)
	case !d.Healthy():
		fmt.Fprintln(p.out)
		p.layers(d)
	}
	if !d.Healthy() && !a.flags.quiet {
		p.more(d)
	}
}

// line prints outside text after a word, on lines that fit.
func (p doctorPrinter) line(style display.Style, word, text string) {
	text = p.out.Fit(word+" ", display.Safe(p.clean(text)))
	fmt.Fprintf(p.out, "%s %s\n", p.out.Paint(style, word), text)
}

// shortSeen is how much evidence is shown of a finding without -v.
const shortSeen = 5

// finding shows one finding: of the first one what was seen too.
func (p doctorPrinter) finding(f doctor.Result, first bool) {
	word, style := "FAULT", display.Bad
	if f.Status == doctor.Warned {
		word, style = "warning", display.Warn
	}
	if first && f.Status == doctor.Failed || p.verbose {
		p.line(style, word, f.Code+": "+f.Sentence)
		seen := f.Seen
		if !p.verbose {
			seen = seen[:min(len(seen), shortSeen)]
		}
		for _, l := range seen {
			p.line(display.Faint, "  seen:", l)
		}
	} else {
		if f.Status == doctor.Failed {
			word = "also FAULT"
		}
		p.line(style, word, f.Code+": "+f.Sentence)
	}
	for l := range strings.SplitSeq(p.todo(remedyOf(f)), "\n") {
		p.line(display.Cyan, "  do:  ", l)
	}
	for _, c := range f.Commands {
		if strings.Contains(remedyOf(f), c) {
			continue
		}
		fmt.Fprintf(p.out, "          %s\n", display.Safe(p.todo(c))) // whole, to be copied
	}
}

// healthy says in a few lines that all is well, and how well that is known.
func (p doctorPrinter) healthy(d doctor.Diagnosis) {
	if len(p.names) > 0 {
		p.line(display.Good, "no fault", "in what was asked for: "+p.counts(d))
		return
	}
	e := p.evidence
	public, inside := latencies(e)
	if public == 0 {
		text := "but no message came back through the public hostname"
		if message, _ := d.Result("public-message"); message.Sentence != "" {
			text += ": " + message.Sentence
		}
		p.line(display.Good, "no fault found,", text)
	} else {
		text := fmt.Sprintf("a message went through %s and back in %s", lifecycle.PublicURL(e.Public.Hostname), briefly(public))
		if inside != 0 {
			text += fmt.Sprintf(" (%s inside the network)", briefly(inside))
		}
		p.line(display.Good, "healthy:", text)
	}
	p.line(display.Faint, "project", p.runs())
	if s := e.Project.Status; s != nil && len(s.Connections) > 0 {
		p.line(display.Faint, "edge", connectionsText(s))
	}
	p.line(display.Faint, "checks", p.counts(d)+p.todo("; mqtunnel doctor -v shows them"))
}

// runs says what of the project runs.
func (p doctorPrinter) runs() string {
	e := p.evidence
	text := e.Project.Name + " in " + e.Files.Dir
	if e.Project.Status == nil {
		return text
	}
	var services []string
	for _, s := range e.Project.Status.Services {
		if s.Exists {
			services = append(services, strings.TrimSpace(s.Service+" "+s.Version))
		}
	}
	return text + ": " + strings.Join(services, ", ")
}

// connectionsText says where the connector is connected.
func connectionsText(s *lifecycle.Status) string {
	var places, protocols []string
	for _, c := range s.Connections {
		if c.Location != "" && !slices.Contains(places, c.Location) {
			places = append(places, c.Location)
		}
		if !slices.Contains(protocols, c.Protocol) {
			protocols = append(protocols, c.Protocol)
		}
	}
	text := fmt.Sprintf("%d connections over %s", len(s.Connections), strings.Join(protocols, " and "))
	if len(places) > 0 {
		text += " at " + strings.Join(places, ", ")
	}
	return text
}

// counts says how the checks came out.
func (p doctorPrinter) counts(d doctor.Diagnosis) string {
	count := map[doctor.Status]int{}
	for _, r := range d.Results {
		count[r.Status]++
	}
	var parts []string
	for _, c := range []struct {
		status doctor.Status
		text   string
	}{
		{doctor.Passed, "%d passed"}, {doctor.Failed, "%d failed"}, {doctor.Warned, "%d with a warning"}, {doctor.Skipped, "%d not looked at"},
	} {
		if n := count[c.status]; n > 0 {
			parts = append(parts, fmt.Sprintf(c.text, n))
		}
	}
	return fmt.Sprintf("%s in %.1f s", strings.Join(parts, ", "), p.took.Seconds())
}

// layerWidth is the width of the longest name of a layer.
const layerWidth = len("connector")

// layers shows one line for each layer.
func (p doctorPrinter) layers(d doctor.Diagnosis) {
	for _, layer := range doctor.Layers() {
		results := slices.DeleteFunc(slices.Clone(d.Results), func(r doctor.Result) bool { return r.Layer != layer })
		if len(results) == 0 {
			continue
		}
		style, text := layerText(results)
		name := fmt.Sprintf("%-*s", layerWidth, layer)
		text = p.out.Fit(name+"  ", display.Safe(p.clean(text)))
		word, _, _ := strings.Cut(text, " ")
		fmt.Fprintf(p.out, "%s  %s%s\n", name, p.out.Paint(style, word), text[len(word):])
	}
}

// layerText says in one line how the checks of a layer came out.
func layerText(results []doctor.Result) (display.Style, string) {
	var parts []string
	style := display.Good
	for _, s := range []struct {
		status doctor.Status
		word   string
		style  display.Style
	}{{doctor.Failed, "FAULT", display.Bad}, {doctor.Warned, "warning", display.Warn}} {
		var codes []string
		for _, r := range results {
			if r.Status == s.status {
				codes = append(codes, r.Code)
			}
		}
		if len(codes) > 0 {
			if len(parts) == 0 {
				style = s.style
			}
			parts = append(parts, s.word+" "+strings.Join(codes, " "))
		}
	}
	if len(parts) > 0 {
		return style, strings.Join(parts, ", ")
	}
	blocked := slices.IndexFunc(results, func(r doctor.Result) bool { return r.Blocker != "" })
	passed := slices.ContainsFunc(results, func(r doctor.Result) bool { return r.Status == doctor.Passed })
	switch {
	case passed && blocked >= 0:
		return display.Good, "ok as far as looked (" + results[blocked].Sentence + ")"
	case passed:
		return display.Good, "ok"
	case blocked >= 0:
		return display.Faint, "skipped (" + results[blocked].Sentence + ")"
	default:
		return display.Faint, "not looked at (" + results[0].Sentence + ")"
	}
}

// checks shows every check.
func (p doctorPrinter) checks(d doctor.Diagnosis) {
	for _, r := range d.Results {
		word, style, text := "ok", display.Good, r.Sentence
		switch r.Status {
		case doctor.Failed:
			word, style = "FAULT", display.Bad
		case doctor.Warned:
			word, style = "warning", display.Warn
		case doctor.Skipped:
			word, style = "skipped", display.Faint
		case doctor.Passed:
			if text == "" {
				text = r.Title
			}
		}
		if r.Status == doctor.Skipped {
			text = r.Title + ": " + text
		}
		head := fmt.Sprintf("%-7s %s %s: ", word, r.Code, r.ID)
		text = p.out.Fit(head, display.Safe(p.clean(text)))
		fmt.Fprintf(p.out, "%s%s%s\n", p.out.Paint(style, word), head[len(word):], text)
	}
}

// more says where there is more to read.
func (p doctorPrinter) more(d doctor.Diagnosis) {
	first := d.Findings()[0]
	text := fmt.Sprintf("mqtunnel help %s explains it", first.Code)
	if first.Fix {
		text += ", mqtunnel doctor --fix mends it"
	}
	if !p.verbose {
		text += ", mqtunnel doctor -v shows every check"
	}
	fmt.Fprintln(p.out)
	p.line(display.Faint, "more:", p.todo(text))
}

// checkListJSON is the frozen form of doctor --list --json.
type checkListJSON struct {
	Schema int               `json:"schema"`
	Checks []listedCheckJSON `json:"checks"`
}

type listedCheckJSON struct {
	Code   string   `json:"code"`
	ID     string   `json:"id"`
	Layer  string   `json:"layer"`
	Title  string   `json:"title"`
	Needs  []string `json:"needs"`
	Remedy string   `json:"remedy"`
	Fix    bool     `json:"fix"`
}

// listChecks shows which checks there are, all or those with these names.
func (a *App) listChecks(names []string) error {
	list := checkListJSON{Schema: schema}
	for _, c := range doctor.Checks() {
		if len(names) > 0 && !slices.ContainsFunc(names, c.Named) {
			continue
		}
		list.Checks = append(list.Checks, listedCheckJSON{
			Code: c.Code, ID: c.ID, Layer: string(c.Layer), Title: c.Title, Needs: append([]string{}, c.Needs...), Remedy: c.Remedy, Fix: c.Fix,
		})
	}
	if a.json {
		return writeJSON(a.Out, list)
	}
	columns := [][]string{{"CODE"}, {"ID"}, {"LAYER"}, {"HOLDS WHEN ALL IS WELL"}}
	for _, c := range list.Checks {
		for i, cell := range []string{c.Code, c.ID, c.Layer, c.Title} {
			columns[i] = append(columns[i], cell)
		}
	}
	a.printColumns(columns)
	return nil
}
