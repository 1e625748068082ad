package mosquitto

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mqtunnel/internal/remedy"
)

// Words that stand for topics where a user is added.
const (
	TopicsAll = "all" // every topic, and the broker's $SYS topics to read
	TopicsOwn = "own" // the user's own first level
)

// TopicRules returns the rights that a choice of topics means for the user: "all",
// "own", or topic filters to read and write.
func TopicRules(user string, topics []string) ([]Rule, error) {
	const hint = "topics are all, own, or topic filters such as home/# or sensors/+/temperature"
	if len(topics) == 0 {
		return nil, remedy.Errorf(remedy.Input, hint, "no topics were given")
	}
	if len(topics) == 1 && topics[0] == TopicsAll {
		return everything(), nil
	}
	if len(topics) == 1 && topics[0] == TopicsOwn {
		return ownTopics(user), nil
	}
	var rules []Rule
	for _, t := range topics {
		if t == TopicsAll || t == TopicsOwn {
			return nil, remedy.Errorf(remedy.Input, hint, "%q does not go together with other topics", t)
		}
		if err := CheckFilter(t); err != nil {
			return nil, remedy.Errorf(remedy.Input, hint, "%w", err)
		}
		access := ReadWrite
		if strings.HasPrefix(t, "$SYS") {
			access = Read // the broker lets nobody write there
		}
		if rule := (Rule{access, t}); !slices.Contains(rules, rule) {
			rules = append(rules, rule)
		}
	}
	return rules, nil
}

// everything is the right to all topics. The filter # does not match $SYS.
func everything() []Rule { return []Rule{{ReadWrite, "#"}, {Read, sysTopics}} }

func ownTopics(user string) []Rule { return []Rule{{ReadWrite, user + "/#"}} }

// DescribeTopics says what rules mean for the user: "all", "own", "none", or the
// filters, each with its access where that is not readwrite, denials first.
func DescribeTopics(user string, rules []Rule) string {
	switch {
	case len(rules) == 0:
		return "none"
	case slices.Equal(rules, everything()):
		return TopicsAll
	case slices.Equal(rules, ownTopics(user)):
		return TopicsOwn
	}
	parts := make([]string, len(rules))
	for i, r := range denialsFirst(rules) {
		parts[i] = r.Filter
		if r.Access != ReadWrite {
			parts[i] += " (" + string(r.Access) + ")"
		}
	}
	return strings.Join(parts, ", ")
}

// ExampleTopic returns a topic that the user may write and read, for a line to
// try; "" when the rules allow none.
func ExampleTopic(rules []Rule) string {
	for _, r := range rules {
		if r.Access != ReadWrite {
			continue
		}
		topic := strings.ReplaceAll(r.Filter, "+", "test")
		if head, all := strings.CutSuffix(topic, "#"); all {
			topic = head + "test"
		}
		return topic
	}
	return ""
}

// CheckFilter returns an error when filter is not an MQTT topic filter (MQTT 5,
// 4.7), or is one that the ACL file cannot carry or that would not mean there what it
// says.
func CheckFilter(filter string) error {
	switch {
	case filter == "":
		return errors.New("the topic filter is empty")
	case len(filter) > maxField:
		return fmt.Errorf("the topic filter has %d bytes; MQTT carries %d", len(filter), maxField)
	case !utf8.ValidString(filter) || strings.ContainsFunc(filter, isControl):
		return fmt.Errorf("the topic filter %q contains control characters or is not UTF-8 text", filter)
	case strings.TrimSpace(filter) != filter:
		return fmt.Errorf("the topic filter %q begins or ends with a blank", filter)
	case strings.HasPrefix(filter, "$share/"):
		return fmt.Errorf("the topic filter %q is a shared subscription; give the topics behind the group", filter)
	case strings.Contains(filter, "%u") || strings.Contains(filter, "%c"):
		return fmt.Errorf("the topic filter %q holds a placeholder, which a rule of one user does not replace", filter)
	}
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		if strings.Contains(level, "#") && (level != "#" || i != len(levels)-1) {
			return fmt.Errorf("the topic filter %q: # stands alone and in the last level only", filter)
		}
		if strings.Contains(level, "+") && level != "+" {
			return fmt.Errorf("the topic filter %q: + stands alone in its level", filter)
		}
	}
	return nil
}
