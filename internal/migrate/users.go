package migrate

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
)

// users reads the password and the ACL file.
func (r *reader) users() error {
	passwd, passwords, err := r.referred(r.passwd, "password_file")
	if err != nil {
		return err
	}
	aclName, aclText, err := r.referred(r.acl, "acl_file")
	if err != nil {
		return err
	}
	users := r.passwords(passwd, passwords)
	rules, err := r.rules(aclName, aclText)
	if err != nil {
		return err
	}
	if len(users)*len(rules) > maxRights {
		return remedy.Errorf(remedy.Input, "fewer users or rules make it possible", "%s: %d rules for %d users are too many", aclName, len(rules), len(users))
	}
	for _, u := range users {
		u.Rules = allRights()
		if r.acl.path != "" {
			u.Rules = r.rulesOf(rules, u.Name)
		}
		r.setup.Users = append(r.setup.Users, *u)
		why := mosquitto.DescribeTopics(u.Name, u.Rules)
		if u.Newer {
			why += "; only Mosquitto 2.1 reads its hash"
		}
		r.take(passwd, "user "+u.Name, "topics: %s", why)
	}
	r.withoutPassword(rules, users)
	return nil
}

// maxRights bounds the work on users and rules.
const maxRights = 1 << 20

// allRights is what a user may do where there is no ACL file.
func allRights() []mosquitto.Rule {
	return []mosquitto.Rule{{Access: mosquitto.ReadWrite, Filter: "#"}, {Access: mosquitto.Read, Filter: "$SYS/#"}}
}

// referred reads a file that the configuration names by its path in the container.
func (r *reader) referred(ref reference, directive string) (name, text string, err error) {
	if ref.path == "" {
		return "", "", nil
	}
	name, text, err = r.first(r.candidates(ref.path))
	if err != nil {
		return "", "", err
	}
	if name == "" {
		r.leave(ref.place, directive, "%v", errOutside)
	}
	return name, text, nil
}

// passwords reads the users of a password file. As with the older broker, the last line
// of a user counts.
func (r *reader) passwords(name, text string) []*User {
	var users []*User
	for i, line := range strings.Split(text, "\n") {
		place := fmt.Sprintf("%s:%d", name, i+1)
		user, one, err := mosquitto.ReadPasswordLine(strings.TrimSuffix(line, "\r"))
		if err == nil && user == "" {
			continue
		}
		if err == nil {
			err = mosquitto.CheckUsername(user)
		}
		if err != nil {
			r.leave(place, "user", "%v%s", err, anew(line))
			continue
		}
		u := &User{Name: user, Newer: len(one.OnlyNewer()) > 0, hash: one}
		if at := slices.IndexFunc(users, func(u *User) bool { return u.Name == user }); at >= 0 {
			r.leave(place, "user "+user, "it stands there twice; the last line counts")
			users[at] = u
			continue
		}
		users = append(users, u)
	}
	return users
}

// anew says how the user of a line that cannot be taken gets a password, where the line
// names one.
func anew(line string) string {
	user, _, named := strings.Cut(line, ":")
	user = strings.Trim(user, " ")
	if !named || mosquitto.CheckUsername(user) != nil {
		return ""
	}
	return "; give it a password here: mqtunnel user add " + user
}

// aclRule is a rule with its place. user is "" for a pattern.
type aclRule struct {
	place, user string
	pattern     bool
	rule        mosquitto.Rule
}

// rules reads an ACL file. Rules of anonymous clients are left, and so are rights that
// cannot be said; a denial that cannot be said is an error, since without it a user
// could do more than before.
func (r *reader) rules(name, text string) (rules []aclRule, err error) {
	user := ""
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, " \r")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		place := fmt.Sprintf("%s:%d", name, i+1)
		word, rest, _ := strings.Cut(line, " ")
		rest = strings.Trim(rest, " ")
		switch {
		case !utf8.ValidString(line) || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c >= 0x7f && c < 0xa0 }):
			r.leave(place, "line", "control characters, or not UTF-8 text")
		case word == "user" && rest != "":
			user = rest
		case word == "topic" && user == "":
			r.leave(place, "rule "+rest, "it is one of anonymous clients, which mqtunnel lets in with MQTT_ALLOW_ANONYMOUS only")
		case word == "topic":
			rules, err = r.addRule(rules, aclRule{place: place, user: user}, rest)
		case word == "pattern":
			rules, err = r.addRule(rules, aclRule{place: place, pattern: true}, rest)
		default:
			r.leave(place, "line", "the broker does not know its first word")
		}
		if err != nil {
			return nil, err
		}
	}
	return rules, nil
}

// addRule adds what stands behind the word topic or pattern of a line, if it can be said.
func (r *reader) addRule(rules []aclRule, a aclRule, text string) ([]aclRule, error) {
	what := "topic " + text
	if a.pattern {
		what = "pattern " + text
	}
	var err error
	if a.rule, err = parseRule(text); err != nil {
		r.leave(a.place, what, "%v", err)
		return rules, nil
	}
	denial, filter := a.rule.Access == mosquitto.Deny, a.rule.Filter
	if denial {
		a.rule.Filter = wider(filter, a.pattern)
	}
	why := inexpressible(a)
	switch {
	case why != "" && denial:
		return nil, remedy.Errorf(remedy.Input, "correct the line in a copy of the directory, and import that", "%s: this denial cannot be taken over: %s", a.place, why)
	case why != "":
		r.leave(a.place, what, "%s", why)
		return rules, nil
	case a.rule.Filter != filter:
		r.take(a.place, what, "as %s, which denies more", a.rule)
	}
	return append(rules, a), nil
}

// wider makes a denial one that rules of users can say: a level with a placeholder that
// they cannot replace becomes every level.
func wider(filter string, pattern bool) string {
	levels := strings.Split(filter, "/")
	for i, level := range levels {
		own := pattern && level == "%u"
		if !own && (strings.Contains(level, "%u") || strings.Contains(level, "%c")) {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// parseRule reads "[ACCESS] FILTER".
func parseRule(text string) (mosquitto.Rule, error) {
	word, filter, ok := strings.Cut(text, " ")
	switch access := mosquitto.Access(word); access {
	case mosquitto.Deny, mosquitto.Read, mosquitto.Write, mosquitto.ReadWrite:
		if ok {
			return mosquitto.Rule{Access: access, Filter: strings.Trim(filter, " ")}, nil
		}
	}
	if text == "" || ok {
		return mosquitto.Rule{}, fmt.Errorf("unknown access %q", word)
	}
	return mosquitto.Rule{Access: mosquitto.ReadWrite, Filter: text}, nil
}

// placeholder stands for a username while a pattern is judged.
const placeholder = "x"

// inexpressible tells why no rule of a user is what the line says, or "".
func inexpressible(a aclRule) string {
	filter := a.rule.Filter
	if a.pattern {
		if strings.Contains(filter, "%c") {
			return "mqtunnel's rules go by users, not by client IDs"
		}
		for level := range strings.SplitSeq(filter, "/") {
			if level != "%u" && strings.Contains(level, "%u") {
				return "%u is not alone in its level, which Mosquitto 2.1 never matches"
			}
		}
		filter = strings.ReplaceAll(filter, "%u", placeholder)
	}
	if err := mosquitto.CheckFilter(filter); err != nil {
		return err.Error()
	}
	return ""
}

// rulesOf returns the rights of a user: its own, and the patterns in its name. A denial
// of a pattern becomes one of the user, which is never less strict.
func (r *reader) rulesOf(rules []aclRule, user string) []mosquitto.Rule {
	var own []mosquitto.Rule
	for _, a := range rules {
		rule := a.rule
		switch {
		case a.pattern:
			rule.Filter = strings.ReplaceAll(rule.Filter, "%u", user)
		case a.user != user:
			continue
		}
		if !slices.Contains(own, rule) {
			own = append(own, rule)
		}
	}
	return own
}

// withoutPassword tells of rules that have nobody to go to.
func (r *reader) withoutPassword(rules []aclRule, users []*User) {
	known, told := map[string]bool{}, map[string]bool{}
	for _, u := range users {
		known[u.Name] = true
	}
	for _, a := range rules {
		switch {
		case a.pattern && len(users) == 0:
			r.leave(a.place, "pattern "+a.rule.String(), "there are no users with a password yet; mqtunnel user add NAME --topics own is like %%u/#")
		case a.pattern || known[a.user] || told[a.user]:
		default:
			told[a.user] = true
			r.leave(a.place, "user "+a.user, "it has no password that can be taken; mqtunnel user add makes one")
		}
	}
}
