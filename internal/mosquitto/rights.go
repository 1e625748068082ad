package mosquitto

import (
	"fmt"
	"slices"
	"strings"

	"mqtunnel/internal/remedy"
)

// Extent is how much of what a client asks for the rules let through.
type Extent int

// The extents. Partly is possible for a subscription with wildcards alone.
const (
	Nothing Extent = iota
	Partly
	Everything
)

// String returns "nothing", "partly" or "everything".
func (e Extent) String() string {
	switch e {
	case Everything:
		return "everything"
	case Partly:
		return "partly"
	default:
		return "nothing"
	}
}

// Decision is what a user's rules say of one publish or subscription.
type Decision struct {
	Extent Extent
	// Rules are those that decide, in the order in which the broker asks them: the one
	// denial or the one right, or all that have a part in it. None means that no rule
	// speaks of the topic, which the broker denies.
	Rules []Rule
}

// Publish tells what the rules say of a message on the topic, which must not hold
// wildcards, see CheckTopic. The broker tells a client of version 3.1.1 nothing when
// it drops its message. It takes none for its own topics, whatever the rules say.
func Publish(rules []Rule, topic string) Decision {
	if Reserved(topic) {
		return Decision{Nothing, nil}
	}
	return decide(rules, Write, topic)
}

// Reserved reports whether a topic or filter is one of the broker's own, to which it
// lets nobody write.
func Reserved(topic string) bool { return topic == "$SYS" || strings.HasPrefix(topic, "$SYS/") }

// Subscribe tells which messages a subscription to the filter gets. The broker takes
// every subscription, and holds back each message that the user may not read.
func Subscribe(rules []Rule, filter string) Decision { return decide(rules, Read, filter) }

// decide goes by the broker's order: denials first, then rights; what no rule allows
// is denied (mosquitto.conf(5), acl_file).
func decide(rules []Rule, access Access, filter string) Decision {
	var denied, allowed []Rule
	for _, r := range rules {
		switch {
		case !overlap(r.Filter, filter):
		case r.Access == Deny && covers(r.Filter, filter):
			return Decision{Nothing, []Rule{r}}
		case r.Access == Deny:
			denied = append(denied, r)
		case r.Access.includes(access):
			allowed = append(allowed, r)
		}
	}
	// What one denial covers allows nothing.
	allowed = slices.DeleteFunc(allowed, func(r Rule) bool {
		return slices.ContainsFunc(denied, func(d Rule) bool { return covers(d.Filter, r.Filter) })
	})
	whole := slices.IndexFunc(allowed, func(r Rule) bool { return covers(r.Filter, filter) })
	switch {
	case len(allowed) == 0:
		return Decision{Nothing, nil}
	case whole >= 0 && len(denied) == 0:
		return Decision{Everything, allowed[whole : whole+1]}
	case whole >= 0:
		return Decision{Partly, append(denied, allowed[whole])}
	}
	return Decision{Partly, append(denied, allowed...)}
}

// includes reports whether the access holds all of another one.
func (a Access) includes(other Access) bool {
	return a == other || a == ReadWrite && other != Deny
}

// without returns what is left of an access, and whether anything is.
func (a Access) without(other Access) (Access, bool) {
	switch {
	case other.includes(a):
		return "", false
	case a == ReadWrite && other == Read:
		return Write, true
	case a == ReadWrite && other == Write:
		return Read, true
	}
	return a, true
}

// with returns both accesses.
func (a Access) with(other Access) Access {
	if a == other {
		return a
	}
	return ReadWrite
}

// Allow returns the rules with access to the topics of the filter as well, and whether
// that changes anything. A denial of just this filter goes. It refuses what a wider
// denial would take back.
func Allow(rules []Rule, access Access, filter string) (after []Rule, changed bool, err error) {
	if err := checkRule(access, filter); err != nil {
		return nil, false, err
	}
	if access.includes(Write) && Reserved(filter) {
		return nil, false, remedy.Errorf(remedy.Input, "allow read", "the broker lets nobody write to %s", filter)
	}
	for _, r := range rules {
		if r.Access == Deny && r.Filter != filter && covers(r.Filter, filter) {
			return nil, false, remedy.Errorf(remedy.Input, "allow "+r.Filter+" first, which takes that denial away, or choose other topics",
				"%q stands, and a denial beats every right", r)
		}
	}
	if wider := beyond(rules, access, filter); wider != nil {
		return nil, false, remedy.Errorf(remedy.Input, fmt.Sprintf("allow readwrite %s, or put narrower rights in place of %q", filter, *wider),
			"%q takes both away, and %q would give back more than %s", Rule{Deny, filter}, *wider, access)
	}
	merged := Rule{access, filter}
	for _, r := range rules {
		switch {
		case r.Access == Deny && r.Filter == filter:
		case r.Access == Deny:
			after = append(after, r)
		case r.Filter == filter:
			merged.Access = merged.Access.with(r.Access)
		default:
			after = append(after, r)
		}
	}
	if !slices.ContainsFunc(after, func(r Rule) bool { return r.Access.includes(merged.Access) && covers(r.Filter, filter) }) {
		after = append(after, merged)
	}
	// Rights that the new one holds say nothing any more.
	after = slices.DeleteFunc(after, func(r Rule) bool {
		return r != merged && r.Access != Deny && merged.Access.includes(r.Access) && covers(filter, r.Filter)
	})
	return after, !SameRules(rules, after), nil
}

// beyond returns a right that allows more than access to the topics of the filter once
// the denial of just these is gone, nil where there is no such denial or right.
func beyond(rules []Rule, access Access, filter string) *Rule {
	if !slices.Contains(rules, Rule{Deny, filter}) {
		return nil
	}
	i := slices.IndexFunc(rules, func(r Rule) bool {
		return r.Access != Deny && !access.includes(r.Access) && overlap(r.Filter, filter)
	})
	if i < 0 {
		return nil
	}
	return &rules[i]
}

// Refuse returns the rules without access to the topics of the filter, and whether that
// changes anything. Reading alone, or writing alone, can be taken from whole rights
// only: the broker knows denials of both.
func Refuse(rules []Rule, access Access, filter string) (after []Rule, changed bool, err error) {
	if err := checkRule(access, filter); err != nil {
		return nil, false, err
	}
	for _, r := range rules {
		switch {
		case r.Access == Deny || !overlap(r.Filter, filter):
			after = append(after, r)
		case covers(filter, r.Filter):
			if left, some := r.Access.without(access); some {
				after = append(after, Rule{left, r.Filter})
			}
		case access != ReadWrite && r.Access.with(access) == r.Access:
			return nil, false, remedy.Errorf(remedy.Input,
				fmt.Sprintf("deny readwrite %s, or put narrower rights in place of %q", filter, r),
				"%q allows more than that, and the broker can deny a topic only whole, not %s alone", r, access)
		default:
			after = append(after, r)
		}
	}
	denial := Rule{Deny, filter}
	if access == ReadWrite && !slices.ContainsFunc(after, func(r Rule) bool { return r.Access == Deny && covers(r.Filter, filter) }) {
		after = append(slices.DeleteFunc(after, func(r Rule) bool { return r.Access == Deny && covers(filter, r.Filter) }), denial)
	}
	return after, !SameRules(rules, after), nil
}

func checkRule(access Access, filter string) error {
	if access != Read && access != Write && access != ReadWrite {
		return remedy.Errorf(remedy.Input, "it is read, write or readwrite", "unknown access %q", string(access))
	}
	if err := CheckFilter(filter); err != nil {
		return remedy.Errorf(remedy.Input, "a topic filter is e.g. home/# or sensors/+/temperature", "%w", err)
	}
	return nil
}

// SameRules compares without the order, which decides nothing.
func SameRules(a, b []Rule) bool {
	contains := func(list []Rule) func(Rule) bool { return func(r Rule) bool { return !slices.Contains(list, r) } }
	return !slices.ContainsFunc(a, contains(b)) && !slices.ContainsFunc(b, contains(a))
}

// CheckTopic returns an error when text is not a topic that a message can have.
func CheckTopic(text string) error {
	const hint = "a topic is e.g. home/kitchen/temperature"
	if strings.ContainsAny(text, "+#") {
		return remedy.Errorf(remedy.Input, hint, "a message has one topic: %q holds a wildcard", text)
	}
	if err := CheckFilter(text); err != nil {
		return remedy.Errorf(remedy.Input, hint, "%w", err)
	}
	return nil
}

// covers reports whether filter matches every topic that other, a filter or a topic,
// stands for (MQTT 5, 4.7).
func covers(filter, other string) bool {
	a, b := strings.Split(every(filter), "/"), strings.Split(every(other), "/")
	if hidden(a[0], b[0]) {
		return false
	}
	for i, level := range a {
		switch {
		case level == "#":
			return true
		case i == len(b):
			return false
		case b[i] == "#" || level != "+" && level != b[i]:
			return false
		}
		if i == len(b)-1 && len(a) == len(b)+1 && a[i+1] == "#" {
			return true // a/# matches a too
		}
	}
	return len(a) == len(b)
}

// every writes +/#, which matches what # does, as that.
func every(filter string) string {
	if filter == "+/#" {
		return "#"
	}
	return filter
}

// overlap reports whether there is a topic that both filters match.
func overlap(one, other string) bool {
	a, b := strings.Split(one, "/"), strings.Split(other, "/")
	if hidden(a[0], b[0]) || hidden(b[0], a[0]) {
		return false
	}
	for i := 0; ; i++ {
		switch {
		case i < len(a) && a[i] == "#", i < len(b) && b[i] == "#":
			return true
		case i == len(a) && i == len(b):
			return true
		case i == len(a):
			return len(b) == i+1 && b[i] == "#"
		case i == len(b):
			return len(a) == i+1 && a[i] == "#"
		case a[i] != b[i] && a[i] != "+" && b[i] != "+":
			return false
		}
	}
}

// hidden reports whether a wildcard in the first level does not match what begins with
// a dollar sign (MQTT 5, 4.7.2).
func hidden(first, other string) bool {
	return (first == "#" || first == "+") && strings.HasPrefix(other, "$")
}
