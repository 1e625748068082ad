package doctor

// judge lets each check look at the evidence, then skips those whose needs do not
// hold and those that only follow from another one.
func judge(checks []Check, e *Evidence) Diagnosis {
	r := resolution{index: map[string]int{}, state: make([]state, len(checks))}
	for i, c := range checks {
		r.index[c.ID] = i
		r.results = append(r.results, Result{Check: c, Outcome: c.Judge(e)})
	}
	for i := range checks {
		r.resolve(i)
	}
	return Diagnosis{Results: r.results}
}

// resolution is the work on one diagnosis.
type resolution struct {
	index   map[string]int
	results []Result
	state   []state
}

// state is how far a result is resolved.
type state int

const (
	untouched state = iota
	underway
	resolved
)

// resolve settles one result after those that it depends on. A circle of causes
// is cut where it closes: the one that stands there stays.
func (r *resolution) resolve(i int) {
	if r.state[i] != untouched {
		return
	}
	r.state[i] = underway
	result := &r.results[i]
	if cause := result.Because; cause != "" && r.blocks(cause) {
		r.skip(result, cause)
	} else {
		for _, need := range result.Needs {
			if r.blocks(need) {
				r.skip(result, need)
				break
			}
		}
	}
	r.state[i] = resolved
}

// blocks reports whether what needs this check, or follows from it, means nothing:
// it failed, or was itself skipped for one that did.
func (r *resolution) blocks(id string) bool {
	i, known := r.index[id]
	if !known {
		return false
	}
	r.resolve(i)
	other := r.results[i]
	return other.Status == Failed && r.state[i] == resolved || other.Status == Skipped && other.Blocker != ""
}

// skip names as blocker the check at which the chain begins.
func (r *resolution) skip(result *Result, id string) {
	blocker := id
	if other := r.results[r.index[id]]; other.Blocker != "" {
		blocker = other.Blocker
	}
	result.Outcome = Outcome{Status: Skipped, Sentence: "needs: " + r.results[r.index[blocker]].Title}
	result.Blocker = blocker
}
