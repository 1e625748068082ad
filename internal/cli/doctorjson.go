package cli

import (
	"strings"

	"mqtunnel/internal/doctor"
)

// doctorJSON is the frozen form of doctor --json.
type doctorJSON struct {
	Schema    int           `json:"schema"`
	Project   string        `json:"project"`
	Directory string        `json:"directory"`
	Hostname  string        `json:"hostname"`
	Healthy   bool          `json:"healthy"`
	ExitCode  int           `json:"exitCode"`
	Verdict   *string       `json:"verdict"` // code of the first fault
	Findings  []findingJSON `json:"findings"`
	Checks    []checkJSON   `json:"checks"`
	Latency   latencyJSON   `json:"latency"`
	TookMS    int64         `json:"tookMs"`
}

// findingJSON is a fault or a warning.
type findingJSON struct {
	Code     string   `json:"code"`
	ID       string   `json:"id"`
	Layer    string   `json:"layer"`
	Status   string   `json:"status"`
	Title    string   `json:"title"`
	Sentence string   `json:"sentence"`
	Evidence []string `json:"evidence"`
	Remedy   string   `json:"remedy"`
	Commands []string `json:"commands"`
}

// checkJSON is how one check came out.
type checkJSON struct {
	Code     string `json:"code"`
	ID       string `json:"id"`
	Layer    string `json:"layer"`
	Status   string `json:"status"`
	Sentence string `json:"sentence"`
	Blocker  string `json:"blocker,omitempty"`
}

// latencyJSON tells how long a message took, absent where none came back.
type latencyJSON struct {
	PublicMS *float64 `json:"publicMs"`
	InsideMS *float64 `json:"insideMs"`
}

// json is the report as one object.
func (r doctorReport) json() doctorJSON {
	d := r.shown()
	out := doctorJSON{
		Schema: schema, Project: r.clean(r.evidence.Project.Name), Directory: r.evidence.Files.Dir,
		Hostname: r.clean(r.evidence.Public.Hostname), Healthy: r.healthy(), ExitCode: int(r.code()),
		Findings: []findingJSON{}, Checks: []checkJSON{}, TookMS: r.took.Milliseconds(),
	}
	for _, f := range d.Findings() {
		j := findingOf(f, r.cleaner)
		if f.Status == doctor.Failed && out.Verdict == nil {
			out.Verdict = &j.Code
		}
		out.Findings = append(out.Findings, j)
	}
	for _, c := range d.Results {
		out.Checks = append(out.Checks, checkJSON{
			Code: c.Code, ID: c.ID, Layer: string(c.Layer), Status: string(c.Status),
			Sentence: r.clean(c.Sentence), Blocker: c.Blocker,
		})
	}
	public, inside := latencies(r.evidence)
	out.Latency = latencyJSON{PublicMS: milliseconds(public), InsideMS: milliseconds(inside)}
	return out
}

// findingOf is a finding with everything in it made clean.
func findingOf(f doctor.Result, c cleaner) findingJSON {
	j := findingJSON{
		Code: f.Code, ID: f.ID, Layer: string(f.Layer), Status: string(f.Status), Title: f.Title,
		Sentence: c.clean(f.Sentence), Remedy: c.todo(remedyOf(f)), Evidence: []string{}, Commands: []string{},
	}
	for _, l := range f.Seen {
		j.Evidence = append(j.Evidence, c.clean(l))
	}
	for _, command := range f.Commands {
		j.Commands = append(j.Commands, c.todo(command))
	}
	return j
}

// remedyOf is what to do about a finding: what was found out, else what holds for
// the check in general.
func remedyOf(f doctor.Result) string {
	if f.Outcome.Remedy != "" {
		return f.Outcome.Remedy
	}
	return f.Check.Remedy
}

// hint is what to do and what to type, one line each.
func (f findingJSON) hint() string {
	lines := []string{f.Remedy}
	for _, c := range f.Commands {
		if !strings.Contains(f.Remedy, c) {
			lines = append(lines, "type: "+c)
		}
	}
	return strings.Join(lines, "\n")
}
