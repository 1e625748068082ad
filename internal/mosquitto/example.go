package mosquitto

import "strings"

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
