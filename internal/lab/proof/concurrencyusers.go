package proof

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// deed is one change of users, as a command and as what it does.
type deed struct {
	verb     string // add, passwd, remove, allow or deny
	name     string
	password string
	filter   string
}

// deedOf draws a deed on one of the names.
func (r *rival) deedOf(n int, names []string) deed {
	d := deed{
		verb: []string{"add", "add", "passwd", "remove", "remove", "allow", "deny"}[r.random.IntN(7)],
		name: names[r.random.IntN(len(names))], password: fmt.Sprintf("%s-%d", userPassword, n),
	}
	d.filter = fmt.Sprintf("%s/part%d/#", d.name, n)
	if d.verb == "allow" {
		d.filter = fmt.Sprintf("shared/part%d/#", n)
	}
	return d
}

// command is what is typed.
func (d deed) command() []string {
	switch d.verb {
	case "add":
		return []string{"user", "add", d.name, "--topics", "own"}
	case "remove":
		return []string{"user", "remove", d.name, "--yes"}
	case "allow":
		return []string{"user", "allow", d.name, "read", d.filter}
	case "deny":
		return []string{"user", "deny", d.name, "readwrite", d.filter}
	}
	return []string{"user", d.verb, d.name}
}

// member is a user of the model.
type member struct {
	password string
	rules    string // sorted
}

// members are the users that a round is about.
type members map[string]member

// after returns the users after a deed, and how its command ends.
func (m members) after(d deed) (members, remedy.Code, error) {
	was, there := m[d.name]
	if there == (d.verb == "add") {
		return m, remedy.Input, nil
	}
	now := maps.Clone(m)
	rules, err := rulesOf(was.rules), error(nil)
	switch d.verb {
	case "add":
		was.password = d.password
		rules, err = mosquitto.TopicRules(d.name, []string{"own"})
	case "passwd":
		was.password = d.password
	case "remove":
		delete(now, d.name)
		return now, remedy.OK, nil
	case "allow":
		rules, _, err = mosquitto.Allow(rules, mosquitto.Read, d.filter)
	case "deny":
		rules, _, err = mosquitto.Refuse(rules, mosquitto.ReadWrite, d.filter)
	}
	was.rules = sorted(rules)
	now[d.name] = was
	return now, remedy.OK, err
}

// sorted writes rules so that their order does not count.
func sorted(rules []mosquitto.Rule) string {
	var list []string
	for _, r := range rules {
		list = append(list, r.String())
	}
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// rulesOf reads what sorted wrote.
func rulesOf(text string) (rules []mosquitto.Rule) {
	for line := range strings.Lines(text) {
		access, filter, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		rules = append(rules, mosquitto.Rule{Access: mosquitto.Access(access), Filter: filter})
	}
	return rules
}

// membersOf reads the users of some names out of the files. A password is one of those
// that were given.
func membersOf(t tree, names []string, deeds []deed) (members, error) {
	passwords, err := mosquitto.ParsePasswords(passwdFile, t[passwdFile].text)
	if err != nil {
		return nil, err
	}
	acl, err := mosquitto.ParseACL(aclFile, t[aclFile].text)
	if err != nil {
		return nil, err
	}
	m := members{}
	for _, name := range names {
		rules, there := acl.Rules(name)
		if there != passwords.Has(name) {
			return nil, missed("user %s is in one of the files only", name)
		}
		if !there {
			continue
		}
		u := member{rules: sorted(rules)}
		for _, d := range append(deeds, deed{name: name, password: userPassword}) {
			if d.name == name && passwords.Verify(name, secret.New(d.password)) {
				u.password = d.password
			}
		}
		m[name] = u
	}
	return m, nil
}

// serial reports whether there is an order in which the deeds, one after the other, end
// as they did and lead from one state to the other.
func serial(from members, deeds []deed, codes []remedy.Code, to members) (bool, error) {
	if len(deeds) == 0 {
		return maps.Equal(from, to), nil
	}
	for i, d := range deeds {
		next, code, err := from.after(d)
		if err != nil {
			return false, err
		}
		if code != codes[i] {
			continue
		}
		rest := slices.Delete(slices.Clone(deeds), i, i+1)
		ended := slices.Delete(slices.Clone(codes), i, i+1)
		if found, err := serial(next, rest, ended, to); found || err != nil {
			return found, err
		}
	}
	return false, nil
}

// usersAtOnce changes users, the same and different ones, at once.
func (r *rival) usersAtOnce(ctx context.Context) error {
	var names []string
	for _, n := range []string{"a", "b", "c", "d"} {
		names = append(names, fmt.Sprintf("u%d%s", r.number, n))
	}
	if err := r.arrange(ctx, "up", "--no-wait"); err != nil {
		return err
	}
	for _, name := range names[:2] { // two are there, two are not
		added, err := r.mqtunnel(ctx, userPassword, "user", "add", name, "--topics", "own")
		if err != nil || added.code != 0 {
			return missed("user add: exit %d: %s: %w", added.code, added.err, err)
		}
	}
	var deeds []deed
	var list []attempt
	for n := range 3 + r.random.IntN(4) {
		d := r.deedOf(n, names)
		deeds = append(deeds, d)
		list = append(list, attempt{args: r.maybe(d.command()...), stdin: d.password, after: r.delay() / 2})
	}
	before, err := treeOf(r.dir)
	if err != nil {
		return err
	}
	if list, err = r.atOnce(ctx, list); err != nil {
		return err
	}
	after, err := treeOf(r.dir)
	if err != nil {
		return err
	}
	if err := r.asOneByOne(before, after, names, deeds, list); err != nil {
		return err
	}
	return r.isUp(ctx)
}

// asOneByOne wants a serial order of the commands that explains how they ended and what
// is in the files.
func (r *rival) asOneByOne(before, after tree, names []string, deeds []deed, list []attempt) error {
	from, err := membersOf(before, names, nil)
	if err != nil {
		return err
	}
	to, err := membersOf(after, names, deeds)
	if err != nil {
		return err
	}
	var did []deed
	var codes []remedy.Code
	for i, a := range list {
		if a.refusedLock() {
			continue
		}
		did, codes = append(did, deeds[i]), append(codes, remedy.Code(a.code))
	}
	found, err := serial(from, did, codes, to)
	if err != nil {
		return err
	}
	if !found {
		return missed("no order of the commands leads from %v to %v", from, to)
	}
	return nil
}
