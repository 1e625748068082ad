package mosquitto

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// levels enumerates texts of one to three levels of these words.
func levels(words ...string) []string {
	var list []string
	for _, a := range words {
		list = append(list, a)
		for _, b := range words {
			list = append(list, a+"/"+b)
			for _, c := range words {
				list = append(list, a+"/"+b+"/"+c)
			}
		}
	}
	return list
}

// matches is what MQTT 5, 4.7 says of a filter and a topic, level by level.
func matches(filter, topic []string, first bool) bool {
	if first && strings.HasPrefix(topic[0], "$") && (filter[0] == "#" || filter[0] == "+") {
		return false
	}
	switch {
	case len(filter) == 0:
		return len(topic) == 0
	case filter[0] == "#":
		return true
	case len(topic) == 0:
		return false
	case filter[0] != "+" && filter[0] != topic[0]:
		return false
	}
	return matches(filter[1:], topic[1:], false)
}

func TestFiltersCoverAndOverlapAsTheirTopicsDo(t *testing.T) {
	topics := append(levels("a", "b", "c", "$s"), "a/b/c/a", "b/a/c/b", "c/c/c/c/c", "a/a/a/a")
	filters := slices.DeleteFunc(levels("a", "b", "+", "#", "$s"), func(f string) bool { return CheckFilter(f) != nil })
	sets := map[string][]bool{}
	for _, f := range filters {
		for _, topic := range topics {
			sets[f] = append(sets[f], matches(strings.Split(f, "/"), strings.Split(topic, "/"), true))
		}
	}
	for _, f := range filters {
		for _, g := range filters {
			all, some := true, false
			for i := range topics {
				all = all && (!sets[g][i] || sets[f][i])
				some = some || sets[f][i] && sets[g][i]
			}
			if got := covers(f, g); got != all {
				t.Errorf("covers(%q, %q) = %v, want %v", f, g, got, all)
			}
			if got := overlap(f, g); got != some {
				t.Errorf("overlap(%q, %q) = %v, want %v", f, g, got, some)
			}
		}
	}
}

func rules(texts ...string) []Rule {
	var list []Rule
	for _, text := range texts {
		access, filter, _ := strings.Cut(text, " ")
		list = append(list, Rule{Access(access), filter})
	}
	return list
}

func texts(list []Rule) []string {
	var out []string
	for _, r := range list {
		out = append(out, r.String())
	}
	return out
}

func TestRightsAreGivenAndTaken(t *testing.T) {
	for _, c := range []struct {
		name   string
		have   []string
		do     string // "allow read a", "deny readwrite a/#"
		want   []string
		same   bool
		refuse string // part of the error
	}{
		{name: "first right", do: "allow read home/#", want: []string{"read home/#"}},
		{name: "both together", have: []string{"read home/#"}, do: "allow write home/#", want: []string{"readwrite home/#"}},
		{name: "already so", have: []string{"readwrite #"}, do: "allow read home/#", want: []string{"readwrite #"}, same: true},
		{name: "wider takes in", have: []string{"read home/a", "write home/b", "read office"}, do: "allow readwrite home/#", want: []string{"read office", "readwrite home/#"}},
		{name: "wider of one kind", have: []string{"readwrite home/a"}, do: "allow read home/#", want: []string{"readwrite home/a", "read home/#"}},
		{name: "takes its denial away", have: []string{"deny home/lock", "readwrite home/#"}, do: "allow readwrite home/lock", want: []string{"readwrite home/#"}},
		{name: "more than was asked", have: []string{"deny home/lock", "readwrite home/#"}, do: "allow write home/lock", refuse: "would give back more than write"},
		{name: "no more than was asked", have: []string{"deny home/lock", "read home/#"}, do: "allow read home/lock", want: []string{"read home/#"}},
		{name: "against every denial", have: []string{"deny +/#"}, do: "allow read #", refuse: `"deny +/#" stands`},
		{name: "against a wider denial", have: []string{"deny home/#"}, do: "allow read home/lock", refuse: `"deny home/#" stands`},
		{name: "above a narrower denial", have: []string{"deny home/lock"}, do: "allow read home/#", want: []string{"deny home/lock", "read home/#"}},
		{name: "write to $SYS", do: "allow write $SYS/#", refuse: "nobody write"},
		{name: "bad filter", do: "allow read a/#/b", refuse: "last level"},
		{name: "bad access", do: "allow deny a", refuse: "unknown access"},

		{name: "denied of more", have: []string{"readwrite #"}, do: "deny readwrite home/lock", want: []string{"readwrite #", "deny home/lock"}},
		{name: "denied for the future", do: "deny readwrite home/lock", want: []string{"deny home/lock"}},
		{name: "denied already", have: []string{"deny home/#"}, do: "deny readwrite home/lock", want: []string{"deny home/#"}, same: true},
		{name: "denied of just that", have: []string{"readwrite home/#", "read office"}, do: "deny readwrite home/#", want: []string{"read office", "deny home/#"}},
		{name: "wider denial", have: []string{"deny home/a", "readwrite #"}, do: "deny readwrite home/#", want: []string{"readwrite #", "deny home/#"}},
		{name: "writing of just that", have: []string{"readwrite home/#"}, do: "deny write home/#", want: []string{"read home/#"}},
		{name: "reading of narrower", have: []string{"readwrite home/a", "read home/b", "write home/c"}, do: "deny read home/#", want: []string{"write home/a", "write home/c"}},
		{name: "writing that was not allowed", have: []string{"read #"}, do: "deny write home/lock", want: []string{"read #"}, same: true},
		{name: "writing of more", have: []string{"readwrite #"}, do: "deny write home/lock", refuse: "only whole"},
		{name: "writing of some of it", have: []string{"write +/lock"}, do: "deny write home/#", refuse: "only whole"},
	} {
		verb, rest, _ := strings.Cut(c.do, " ")
		access, filter, _ := strings.Cut(rest, " ")
		change := map[string]func([]Rule, Access, string) ([]Rule, bool, error){"allow": Allow, "deny": Refuse}[verb]
		have := rules(c.have...)
		got, changed, err := change(have, Access(access), filter)
		switch {
		case c.refuse != "":
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.refuse)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case changed == c.same:
			t.Errorf("%s: changed %v", c.name, changed)
		}
		if diff := cmp.Diff(c.want, texts(got)); c.refuse == "" && diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
		if diff := cmp.Diff(c.have, texts(have)); diff != "" {
			t.Errorf("%s changes what it was given:\n%s", c.name, diff)
		}
	}
}

func TestTheDecidingRuleIsNamed(t *testing.T) {
	have := rules("deny home/lock/#", "readwrite home/#", "read office/+", "readwrite $SYS/#", "deny shed/a", "read shed/a")
	for ask, want := range map[string]Decision{
		"publish home/a":          {Everything, rules("readwrite home/#")},
		"publish home":            {Everything, rules("readwrite home/#")},
		"publish home/lock/front": {Nothing, rules("deny home/lock/#")},
		"publish home/lock":       {Nothing, rules("deny home/lock/#")},
		"publish office/a":        {Nothing, nil},
		"publish garage":          {Nothing, nil},
		"publish $SYS/x":          {Nothing, nil},
		"subscribe office/a":      {Everything, rules("read office/+")},
		"subscribe office/#":      {Partly, rules("read office/+")},
		"subscribe home/a/#":      {Everything, rules("readwrite home/#")},
		"subscribe home/#":        {Partly, rules("deny home/lock/#", "readwrite home/#")},
		"subscribe #":             {Partly, rules("deny home/lock/#", "deny shed/a", "readwrite home/#", "read office/+")},
		"subscribe $SYS/broker":   {Everything, rules("readwrite $SYS/#")},
		"subscribe garage/#":      {Nothing, nil},
		"publish $SYS/broker/x":   {Nothing, nil},
		"subscribe shed/+":        {Nothing, nil},
		"subscribe home/lock/+":   {Nothing, rules("deny home/lock/#")},
	} {
		verb, topic, _ := strings.Cut(ask, " ")
		got := map[string]func([]Rule, string) Decision{"publish": Publish, "subscribe": Subscribe}[verb](have, topic)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ask, diff)
		}
	}
}
