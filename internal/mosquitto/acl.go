package mosquitto

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mqtunnel/internal/remedy"
)

// Access is what a rule lets its user do with the topics of its filter, spelled as
// in the ACL file.
type Access string

// The kinds of access. For one user a matching Deny beats every other rule; what no
// rule matches is denied.
const (
	Deny      Access = "deny"
	Read      Access = "read"
	Write     Access = "write"
	ReadWrite Access = "readwrite"
)

// Rule is one line of a user's rights.
type Rule struct {
	Access Access
	Filter string // an MQTT topic filter
}

// String returns the rule as the ACL file has it, without the word "topic".
func (r Rule) String() string { return string(r.Access) + " " + r.Filter }

// sysTopics are the broker's own figures. The filter # does not match them.
const sysTopics = "$SYS/#"

// ACL is an ACL file in which every right is a rule of one user: no rule for
// everybody, so that an account owns nothing by accident. The probe's account is not
// among the users; Render adds it. It is not safe for concurrent use.
type ACL struct {
	users    []aclUser
	trailing []string // comments after the last rule
}

type aclUser struct {
	name     string
	rules    []Rule
	comments []string
}

// aclHeader begins each rendered file.
const aclHeader = `# What each user may do; what no rule allows is denied. Written by "mqtunnel user".`

// anonymousHeader begins the rules of anonymous clients, where the setting
// MQTT_ALLOW_ANONYMOUS makes Render write them.
const anonymousHeader = "# MQTT_ALLOW_ANONYMOUS"

// ParseACL reads an ACL file. It refuses what Mosquitto 2.1 exits on, rules before
// the first user, which would be those of anonymous clients, and pattern rules. Those
// that Render writes for anonymous clients are left out: the setting alone decides.
// name stands in errors, e.g. "mosquitto/acl:3: …".
func ParseACL(name, text string) (*ACL, error) {
	p := aclParser{acl: &ACL{}, at: map[string]int{}, current: -1}
	if text == "" {
		return p.acl, nil
	}
	if strings.HasPrefix(text, byteOrderMark) {
		return nil, badRule(name, 1, errByteOrderMark)
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		if err := p.line(strings.TrimRight(line, " \r")); err != nil {
			return nil, badRule(name, i+1, err)
		}
	}
	p.acl.trailing = p.pending
	p.acl.users = slices.DeleteFunc(p.acl.users, func(u aclUser) bool { return u.name == ProbeUser })
	return p.acl, nil
}

func badRule(name string, line int, err error) error {
	return remedy.Errorf(remedy.Input, "a line is \"user NAME\" or \"topic read|write|readwrite|deny FILTER\"; \"mqtunnel user\" writes them",
		"%s:%d: %w", name, line, err)
}

// aclParser holds the comments that await their line and the user of the section.
type aclParser struct {
	acl     *ACL
	at      map[string]int // username -> index into acl.users
	current int            // index into acl.users, -1 before the first
	pending []string
	// anonymous is true behind anonymousHeader.
	anonymous bool
}

func (p *aclParser) line(line string) error {
	if line == "" || line == aclHeader {
		return nil
	}
	if line == anonymousHeader {
		p.anonymous = true
		return nil
	}
	if !isText(line) {
		return errors.New("control characters, or not UTF-8 text")
	}
	if strings.HasPrefix(line, "#") {
		p.pending = append(p.pending, line)
		return nil
	}
	word, rest, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	rest = strings.Trim(rest, " ")
	switch word {
	case "user":
		return p.user(rest)
	case "topic":
		return p.topic(rest)
	case "pattern":
		return errors.New("a pattern rule applies to every user; write the rule of each user instead")
	default:
		return fmt.Errorf("unknown word %q", word)
	}
}

func (p *aclParser) user(name string) error {
	if name == "" {
		return errors.New("the username is missing")
	}
	i, ok := p.at[name]
	if !ok {
		i = len(p.acl.users)
		p.at[name] = i
		p.acl.users = append(p.acl.users, aclUser{name: name})
	}
	p.current = i
	p.comment()
	return nil
}

func (p *aclParser) topic(rest string) error {
	if p.current < 0 {
		if p.anonymous && slices.ContainsFunc(everything(), func(r Rule) bool { return r.String() == rest }) {
			return nil
		}
		return errors.New("a rule before the first user is one for anonymous clients; the setting for that is MQTT_ALLOW_ANONYMOUS")
	}
	rule := Rule{Access: ReadWrite, Filter: rest}
	if word, filter, ok := strings.Cut(rest, " "); ok {
		rule = Rule{Access: Access(word), Filter: strings.Trim(filter, " ")}
	}
	switch rule.Access {
	case Deny, Read, Write, ReadWrite:
	default:
		return fmt.Errorf("unknown access %q", rule.Access)
	}
	if err := CheckFilter(rule.Filter); err != nil {
		return err
	}
	u := &p.acl.users[p.current]
	u.rules = append(u.rules, rule)
	p.comment()
	return nil
}

func (p *aclParser) comment() {
	u := &p.acl.users[p.current]
	u.comments = append(u.comments, p.pending...)
	p.pending = nil
}

func (a *ACL) find(user string) int {
	return slices.IndexFunc(a.users, func(u aclUser) bool { return u.name == user })
}

// Users returns the names in the order of the file, without the probe's.
func (a *ACL) Users() []string {
	var names []string
	for _, u := range a.users {
		names = append(names, u.name)
	}
	return names
}

// Rules returns a copy of what stands for the user, and whether the user stands
// there at all.
func (a *ACL) Rules(user string) ([]Rule, bool) {
	i := a.find(user)
	if i < 0 {
		return nil, false
	}
	return slices.Clone(a.users[i].rules), true
}

// Set makes rules the rights of the user, in place of those before. It refuses names
// that CheckUsername and filters that CheckFilter refuses. No rules means no rights.
func (a *ACL) Set(user string, rules []Rule) error {
	if err := CheckUsername(user); err != nil {
		return err
	}
	for _, r := range rules {
		if err := CheckFilter(r.Filter); err != nil {
			return err
		}
	}
	i := a.find(user)
	if i < 0 {
		a.users = append(a.users, aclUser{name: user})
		i = len(a.users) - 1
	}
	a.users[i].rules = slices.Clone(rules)
	return nil
}

// Clone returns a copy that changes to a do not touch.
func (a *ACL) Clone() *ACL {
	return &ACL{users: slices.Clone(a.users), trailing: slices.Clone(a.trailing)}
}

// Remove takes the user and its rules out and reports whether there were any.
func (a *ACL) Remove(user string) bool {
	i := a.find(user)
	if i < 0 {
		return false
	}
	a.users = slices.Delete(a.users, i, i+1)
	return true
}

// Render returns the file for the project directory and for the broker. The probe's
// rights always stand first, so that the file is never empty; a user's denials stand
// before the rest, in the order in which the broker applies them. With anonymous,
// clients without a name may read and write everything.
func (a *ACL) Render(anonymous bool) string {
	var b strings.Builder
	b.WriteString(aclHeader + "\n")
	if anonymous {
		b.WriteString("\n" + anonymousHeader + "\n")
		writeRules(&b, everything())
	}
	fmt.Fprintf(&b, "\nuser %s\n", ProbeUser)
	writeRules(&b, []Rule{{ReadWrite, ProbeTopics}, {Read, sysTopics}})
	for _, u := range a.users {
		b.WriteByte('\n')
		for _, c := range u.comments {
			b.WriteString(c + "\n")
		}
		b.WriteString("user " + u.name + "\n")
		writeRules(&b, u.rules)
	}
	for _, c := range a.trailing {
		b.WriteString(c + "\n")
	}
	return b.String()
}

// denialsFirst returns rules in the order in which the broker applies them.
func denialsFirst(rules []Rule) []Rule {
	rank := func(r Rule) int {
		if r.Access == Deny {
			return 0
		}
		return 1
	}
	return slices.SortedStableFunc(slices.Values(rules), func(a, b Rule) int { return rank(a) - rank(b) })
}

// writeRules writes the rules of a user.
func writeRules(b *strings.Builder, rules []Rule) {
	for _, r := range denialsFirst(rules) {
		b.WriteString("topic " + r.String() + "\n")
	}
}
