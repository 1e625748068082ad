package doctor

import (
	"slices"
	"testing"
)

// table builds checks "ID: needs" that come out as told.
func table(outcomes map[string]Outcome, rows ...[]string) []Check {
	var checks []Check
	for _, row := range rows {
		checks = append(checks, Check{
			Code: row[0], ID: row[0], Title: row[0] + " holds", Needs: row[1:],
			Judge: func(*Evidence) Outcome { return outcomes[row[0]] },
		})
	}
	return checks
}

func statuses(d Diagnosis) []string {
	var out []string
	for _, r := range d.Results {
		text := r.ID + " " + string(r.Status)
		if r.Blocker != "" {
			text += " by " + r.Blocker
		}
		out = append(out, text)
	}
	return out
}

func TestACheckWhoseNeedFailedIsSkippedAndNeverRed(t *testing.T) {
	for _, c := range []struct {
		name     string
		outcomes map[string]Outcome
		want     []string
	}{
		{
			"a chain names where it begins",
			map[string]Outcome{"a": fault("x"), "b": fault("y"), "c": fault("z"), "d": pass("")},
			[]string{"a failed", "b skipped by a", "c skipped by a", "d passed"},
		},
		{
			"a warning blocks nothing",
			map[string]Outcome{"a": warning("x"), "b": fault("y"), "c": pass(""), "d": pass("")},
			[]string{"a warning", "b failed", "c skipped by b", "d passed"},
		},
		{
			"what could not be looked at blocks nothing",
			map[string]Outcome{"a": unseen("no probe"), "b": fault("y"), "c": pass(""), "d": pass("")},
			[]string{"a skipped", "b failed", "c skipped by b", "d passed"},
		},
		{
			"a consequence gives way to a later cause",
			map[string]Outcome{"a": fault("x").because("d"), "b": pass(""), "c": pass(""), "d": fault("cause")},
			[]string{"a skipped by d", "b skipped by d", "c skipped by d", "d failed"},
		},
		{
			"a consequence of what holds stands",
			map[string]Outcome{"a": fault("x").because("d"), "b": pass(""), "c": pass(""), "d": pass("")},
			[]string{"a failed", "b skipped by a", "c skipped by a", "d passed"},
		},
		{
			"a circle is cut and one of it stands",
			map[string]Outcome{"a": fault("x").because("b"), "b": fault("y").because("a"), "c": pass(""), "d": pass("")},
			[]string{"a skipped by b", "b failed", "c skipped by b", "d passed"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := statuses(judge(table(c.outcomes, []string{"a"}, []string{"b", "a"}, []string{"c", "b"}, []string{"d"}), &Evidence{}))
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestTheTableIsSound(t *testing.T) {
	seen, layers := map[string]int{}, Layers()
	last := 0
	for i, c := range Checks() {
		for _, key := range []string{c.Code, c.ID} {
			if before, twice := seen[key]; twice {
				t.Errorf("%s stands at %d and %d", key, before, i)
			}
			seen[key] = i
		}
		at := slices.Index(layers, c.Layer)
		if at < last {
			t.Errorf("%s of layer %s stands after a later layer", c.Code, c.Layer)
		}
		last = at
		if c.Title == "" || c.Remedy == "" || c.Judge == nil {
			t.Errorf("%s has no title, remedy or judge", c.Code)
		}
	}
	for _, c := range Checks() {
		for _, need := range c.Needs {
			at, known := seen[need]
			if !known {
				t.Errorf("%s needs %s, which is no check", c.Code, need)
			} else if at > seen[c.ID] {
				t.Errorf("%s needs %s, which stands after it", c.Code, need)
			}
		}
	}
}
