package display

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
)

// Progress shows events as they come: on a terminal with a last line that is
// rewritten where it can be, elsewhere as plain lines, and not at all when quiet. Its Show is
// called by one goroutine at a time.
type Progress struct {
	out       Stream
	quiet     bool
	transient bool                 // the last line on the terminal may be rewritten
	pulled    map[string]time.Time // by image: when its pull was last told
	lastWait  string
}

// NewProgress returns a Progress that writes to out.
func NewProgress(out Stream, quiet bool) *Progress {
	return &Progress{out: out, quiet: quiet, pulled: map[string]time.Time{}}
}

// Show prints one event.
func (p *Progress) Show(e lifecycle.Event) {
	if p.quiet {
		if n, ok := e.(lifecycle.Notice); ok && n.Warning {
			p.line(Warn, "warning", Safe(n.Text))
		}
		return
	}
	switch e := e.(type) {
	case lifecycle.StepBegan:
		p.status(verb(e.Step, false))
	case lifecycle.StepDone:
		if text := verb(e.Step, true); text != "" {
			p.line(Good, "ok", text)
		}
	case lifecycle.Pulling:
		p.pulling(e.Progress)
	case lifecycle.Pulled:
		p.line(Good, "ok", fmt.Sprintf("image %s pulled in %s", Safe(e.Ref), short(e.Took)))
	case lifecycle.StageBegan:
		p.status("waiting for the " + stageName(e.Stage))
	case lifecycle.StageReached:
		p.line(Good, "ok", Safe(fmt.Sprintf("%-13s %s", stageName(e.Stage), e.Detail)))
	case lifecycle.Waiting:
		p.waiting(e)
	case lifecycle.Notice:
		if e.Warning {
			p.line(Warn, "warning", Safe(e.Text))
		} else {
			p.line(Faint, "note", Safe(e.Text))
		}
	}
}

// End clears a line that was to be rewritten.
func (p *Progress) End() {
	if p.transient {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.transient = false
	}
}

// line prints a line that stays.
func (p *Progress) line(style Style, word, text string) {
	p.End()
	fmt.Fprintf(p.out, "%s %s\n", p.out.Paint(style, word), p.out.Fit(word+" ", text))
}

// Doing shows what is going on now, where the line can be rewritten and unless quiet.
func (p *Progress) Doing(text string) {
	if !p.quiet {
		p.status(Safe(text))
	}
}

// status shows what is going on now, only where the line can be rewritten.
func (p *Progress) status(text string) {
	if !p.out.Rewrites || text == "" {
		return
	}
	p.End()
	// A line that wraps could not be rewritten, and one that is full wraps too.
	fmt.Fprint(p.out, p.out.Paint(Faint, cut("… "+text, p.out.Width-1)))
	p.transient = true
}

// firstWide is from where characters may take two columns: Hangul, the East Asian
// scripts and symbols all lie above.
const firstWide = '\u1100'

// cut shortens text to a number of columns. It rather takes a character for too
// wide than for too narrow.
func cut(text string, columns int) string {
	for i, r := range text {
		columns--
		if r >= firstWide && r != '…' {
			columns--
		}
		if columns < 0 {
			return text[:i]
		}
	}
	return text
}

// waiting shows what a stage last saw; where lines cannot be rewritten only when it
// changed.
func (p *Progress) waiting(e lifecycle.Waiting) {
	text := Safe(e.Saw)
	if p.out.Rewrites && e.Hint == "" {
		p.status(fmt.Sprintf("waiting for the %s: %s", stageName(e.Stage), text))
		return
	}
	if key := string(e.Stage) + e.Saw + e.Hint; key != p.lastWait {
		p.lastWait = key
		p.line(Warn, "waiting", fmt.Sprintf("for the %s: %s", stageName(e.Stage), text))
		for l := range strings.SplitSeq(e.Hint, "\n") {
			if l != "" {
				const indent = "        "
				fmt.Fprintf(p.out, "%s%s\n", indent, p.out.Fit(indent, Safe(l)))
			}
		}
	}
}

// pullInterval is how often a pull is reported where there is no terminal.
const pullInterval = 5 * time.Second

// pulling shows one line an image: rewritten where it can be, else every few
// seconds.
func (p *Progress) pulling(u plan.PullProgress) {
	text := "pulling " + Safe(u.Ref)
	if u.Total > 0 {
		text += fmt.Sprintf(" %s of %s", units.HumanSize(float64(u.Done)), units.HumanSize(float64(u.Total)))
	}
	if p.out.Rewrites {
		p.status(text)
		return
	}
	if last, begun := p.pulled[u.Ref]; begun && time.Since(last) < pullInterval {
		return
	}
	p.pulled[u.Ref] = time.Now()
	p.line(Faint, "note", text)
}

// verb words a step: what is being done, or what was.
func verb(s plan.Step, done bool) string {
	words := map[plan.Op][2]string{
		plan.CreateNetwork: {"creating", "created"}, plan.CreateVolume: {"creating", "created"}, plan.CreateContainer: {"creating", "created"},
		plan.Start: {"starting", "started"}, plan.Unpause: {"unpausing", "unpaused"}, plan.Stop: {"stopping", "stopped"},
		plan.Remove: {"removing", "removed"}, plan.RemoveNetwork: {"removing", "removed"}, plan.RemoveVolume: {"deleting", "deleted"},
		plan.Reload: {"reloading", "reloaded"}, plan.Await: {"waiting for", ""}, plan.Rename: {"renaming", ""}, plan.CopyFiles: {"filling", ""},
	}
	w, known := words[s.Op]
	if !known {
		return ""
	}
	word := w[0]
	if done {
		word = w[1]
	}
	if word == "" {
		return ""
	}
	kind := "container"
	switch s.Op {
	case plan.CreateNetwork, plan.RemoveNetwork:
		kind = "network"
	case plan.CreateVolume, plan.RemoveVolume:
		kind = "volume"
	default:
	}
	text := fmt.Sprintf("%s %s %s", word, kind, s.Subject)
	if !plain(s.Why) {
		text += " (" + s.Why + ")"
	}
	return Safe(text)
}

// plain reports whether a step's reason goes without saying.
func plain(why string) bool {
	switch why {
	case "does not exist", "created", "down", "restart", "not running", "its data was not to be kept", "replaces the old one":
		return true
	default:
		return false
	}
}

// stageName words a stage for a person.
func stageName(s lifecycle.Stage) string {
	if s == lifecycle.StagePublic {
		return "public side"
	}
	return string(s)
}

// short rounds a duration to what a person reads.
func short(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	default:
		return d.Round(time.Second).String()
	}
}
