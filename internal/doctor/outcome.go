package doctor

import "fmt"

// pass is the outcome of a check that holds. found tells what was seen, and may be
// empty.
func pass(found string, args ...any) Outcome {
	return outcome(Passed, found, args...)
}

// fault is the outcome of a check that does not hold.
func fault(wrong string, args ...any) Outcome {
	return outcome(Failed, wrong, args...)
}

// warning is the outcome of a check that holds well enough for messages to flow.
func warning(wrong string, args ...any) Outcome {
	return outcome(Warned, wrong, args...)
}

// unseen is the outcome of a check for which there is no evidence.
func unseen(why string, args ...any) Outcome {
	return outcome(Skipped, why, args...)
}

func outcome(status Status, format string, args ...any) Outcome {
	if len(args) == 0 {
		return Outcome{Status: status, Sentence: format, literal: format}
	}
	return Outcome{Status: status, Sentence: fmt.Sprintf(format, args...)}
}

// seen adds evidence.
func (o Outcome) seen(lines ...string) Outcome {
	for _, l := range lines {
		if l != "" {
			o.Seen = append(o.Seen, l)
		}
	}
	return o
}

// do sets what to do about it, and what to type.
func (o Outcome) do(remedy string, commands ...string) Outcome {
	o.Remedy, o.Commands = remedy, append(o.Commands, commands...)
	return o
}

// because makes the outcome one that follows from another check.
func (o Outcome) because(id string) Outcome {
	o.Because = id
	return o
}
