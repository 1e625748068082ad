package proof

import (
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// corruption is one way in which a file of the users is damaged. Either change or place
// is set.
type corruption struct {
	name string
	file string
	// cause stands in the error; "" is a file in which nothing is wrong.
	cause string
	// change returns another text of the file, and the number of the bad line, 0 for
	// none.
	change func(text string) (string, int)
	// place puts something else in place of the file.
	place func(path string) error
	// weak runs commands without the capability to read everything.
	weak bool
}

// plainPassword is one that stands in clear where a hash should be.
const plainPassword = "hunter2hunter2"

// Hashes of which each is wrong in one place are made of these. The key is that of no
// password.
func saltAndKey() (salt, key string) {
	return base64.StdEncoding.EncodeToString([]byte("twelve bytes")), base64.StdEncoding.EncodeToString([]byte(strings.Repeat("sixteen bytes ok", 4)))
}

// corruptions lists what is tried.
func corruptions() []corruption {
	return slices.Concat(hashCorruptions(), passwdCorruptions(), aclCorruptions(), placeCorruptions(passwdFile), placeCorruptions(aclFile), undamaged())
}

// appended adds lines, of which the last is the bad one.
func appended(lines ...string) func(string) (string, int) {
	return func(text string) (string, int) {
		text += strings.Join(lines, "\n") + "\n"
		return text, strings.Count(text, "\n")
	}
}

// begun puts a bad line first.
func begun(line string) func(string) (string, int) {
	return func(text string) (string, int) { return line + "\n" + text, 1 }
}

// edited changes the line that begins with a word, which is bad then.
func edited(begins string, change func(string) string) func(string) (string, int) {
	return func(text string) (string, int) {
		lines := strings.Split(text, "\n")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, begins) })
		lines[i] = change(lines[i])
		return strings.Join(lines, "\n"), i + 1
	}
}

// whole changes the whole text, in which then nothing is wrong.
func whole(change func(string) string) func(string) (string, int) {
	return func(text string) (string, int) { return change(text), 0 }
}

// hashCorruptions are lines of the password file with a hash that is none.
func hashCorruptions() []corruption {
	const salted, keyed, iterated, kind = "the salt of the hash", "the hash is not 64 bytes", "bad number of iterations", "the hash is neither"
	salt, key := saltAndKey()
	dashed := strings.NewReplacer("/", "_", "+", "-", "c", "-").Replace(key)
	var all []corruption
	for _, c := range []struct{ name, cause, hash string }{
		{"a plain password", "a plain password instead of a hash", plainPassword},
		{"no hash", "has no password hash", ""},
		{"a salt that is no base64", salted, "$7$1000$!" + salt[1:] + "$" + key},
		{"a salt of 16 bytes", salted, "$7$1000$" + base64.StdEncoding.EncodeToString([]byte("sixteen bytes ok")) + "$" + key},
		{"an empty salt", salted, "$7$1000$$" + key},
		{"a key that is no base64", keyed, "$7$1000$" + salt + "$!" + key[1:]},
		{"a key of 32 bytes", keyed, "$7$1000$" + salt + "$" + base64.StdEncoding.EncodeToString(make([]byte, 32))},
		{"a key of 65 bytes", keyed, "$7$1000$" + salt + "$" + base64.StdEncoding.EncodeToString(make([]byte, 65))},
		{"a key without padding", keyed, "$7$1000$" + salt + "$" + strings.TrimRight(key, "=")},
		{"a key in the alphabet of URLs", keyed, "$7$1000$" + salt + "$" + dashed},
		{"an empty key", keyed, "$7$1000$" + salt + "$"},
		{"no iterations", iterated, "$7$0$" + salt + "$" + key},
		{"iterations below nothing", iterated, "$7$-5$" + salt + "$" + key},
		{"iterations in words", iterated, "$7$many$" + salt + "$" + key},
		{"iterations with a nought in front", iterated, "$7$0101$" + salt + "$" + key},
		{"iterations without end", iterated, "$7$99999999999$" + salt + "$" + key},
		{"iterations left out", kind, "$7$" + salt + "$" + key},
		{"iterations where there are none", kind, "$6$1000$" + salt + "$" + key},
		{"a field too many", kind, "$7$1000$" + salt + "$" + key + "$" + key},
		{"another kind of hash", kind, "$5$" + salt + "$" + key},
		{"a hash of bcrypt", kind, "$2y$10$abcdefghijklmnopqrstuuFqWqWqWqWqWqWqWqWqWqWqWqWqWqWqW"},
		{"a hash of argon2", "argon2", "$argon2id$v=19$m=47104,t=1,p=1$" + salt + "$" + key},
	} {
		all = append(all, corruption{name: c.name, file: passwdFile, cause: c.cause, change: appended("bob:" + c.hash)})
	}
	return all
}

// passwdCorruptions are other damages of the password file.
func passwdCorruptions() []corruption {
	const control = "control characters, or not UTF-8 text"
	salt, key := saltAndKey()
	good := "$7$1000$" + salt + "$" + key
	return []corruption{
		{name: "a line cut in the key", file: passwdFile, cause: "the hash is not 64 bytes", change: edited(user+":", func(l string) string { return l[:len(l)-9] })},
		{name: "a line cut in the salt", file: passwdFile, cause: "the hash is neither", change: edited(user+":", func(l string) string { return l[:len(user)+14] })},
		{name: "a line cut in the name", file: passwdFile, cause: "no colon", change: edited(user+":", func(l string) string { return l[:3] })},
		{name: "an empty name", file: passwdFile, cause: "the username is empty", change: appended(":" + good)},
		{name: "a name of blanks", file: passwdFile, cause: "the username is empty", change: appended("  :" + good)},
		{name: "a name of 70000 characters", file: passwdFile, cause: "the username is too long", change: appended(strings.Repeat("n", 70_000) + ":" + good)},
		{name: "a user twice", file: passwdFile, cause: `"` + user + `" stands in line`, change: appended(user + ":" + good)},
		{name: "a user twice, once between blanks", file: passwdFile, cause: `"` + user + `" stands in line`, change: appended(" " + user + " : " + good)},
		{name: "NUL", file: passwdFile, cause: control, change: appended("bo\x00b:" + good)},
		{name: "a tab", file: passwdFile, cause: control, change: appended("bob:\t" + good)},
		{name: "an escape character", file: passwdFile, cause: control, change: appended("\x1b[31mbob:" + good)},
		{name: "what is not UTF-8", file: passwdFile, cause: control, change: appended("b\xf6b:" + good)},
		{name: "a carriage return within", file: passwdFile, cause: control, change: appended("bob:" + good + "\rx")},
		{name: "a byte order mark", file: passwdFile, cause: "byte order mark", change: edited("", func(l string) string { return "\ufeff" + l })},
	}
}

// aclCorruptions are damages of the ACL file.
func aclCorruptions() []corruption {
	const control = "control characters, or not UTF-8 text"
	return []corruption{
		{name: "an unknown word", file: aclFile, cause: "unknown word", change: appended("topics read x")},
		{name: "a line cut in the word", file: aclFile, cause: "unknown word", change: edited("topic", func(l string) string { return l[:4] })},
		{name: "a pattern", file: aclFile, cause: "a pattern rule", change: appended("pattern readwrite %u/#")},
		{name: "a rule before the first user", file: aclFile, cause: "a rule before the first user", change: begun("topic readwrite #")},
		{name: "a user without a name", file: aclFile, cause: "the username is missing", change: appended("user")},
		{name: "an unknown access", file: aclFile, cause: "unknown access", change: appended("user bob", "topic reed x")},
		{name: "no filter", file: aclFile, cause: "filter", change: appended("user bob", "topic")},
		{name: "a # that is not the end", file: aclFile, cause: "filter", change: appended("user bob", "topic read a/#/b")},
		{name: "a + within a level", file: aclFile, cause: "filter", change: appended("user bob", "topic read a/b+/c")},
		{name: "a filter of 70000 characters", file: aclFile, cause: "filter", change: appended("user bob", "topic read "+strings.Repeat("t", 70_000))},
		{name: "a tab", file: aclFile, cause: control, change: appended("user bob", "topic\tread x")},
		{name: "NUL", file: aclFile, cause: control, change: appended("user bob", "topic read x\x00")},
		{name: "what is not UTF-8", file: aclFile, cause: control, change: appended("user b\xf6b")},
		{name: "a carriage return within", file: aclFile, cause: control, change: appended("user bob", "topic read a\rb")},
		{name: "a byte order mark", file: aclFile, cause: "byte order mark", change: edited("", func(l string) string { return "\ufeff" + l })},
	}
}

// placeCorruptions are things that stand where a file should be.
func placeCorruptions(file string) []corruption {
	return []corruption{
		{name: "a directory in its place", file: file, cause: "not a regular file", place: func(path string) error { return os.Mkdir(path, 0o700) }},
		{name: "a link out of the project", file: file, cause: "out of the project directory", place: func(path string) error { return os.Symlink("/etc/passwd", path) }},
		{name: "a link to itself", file: file, cause: "link", place: func(path string) error { return os.Symlink(filepath.Base(path), path) }},
		{name: "a socket", file: file, cause: "not a regular file", place: socket},
		{name: "no right to read it", file: file, cause: "permission denied", weak: true, place: func(path string) error { return os.WriteFile(path, nil, 0) }},
		{name: "9 MiB in it", file: file, cause: "too large", place: func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("# nothing\n", 9<<20/10)), 0o600)
		}},
	}
}

// socket leaves a socket that nobody listens on.
func socket(path string) error {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	return l.Close()
}

// undamaged are changes that leave a file fine.
func undamaged() []corruption {
	crlf := whole(func(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") })
	endless := whole(func(text string) string { return strings.TrimRight(text, "\n") })
	return []corruption{
		{name: "CRLF", file: passwdFile, change: crlf},
		{name: "no end of its last line", file: passwdFile, change: endless},
		{name: "comments and blank lines", file: passwdFile, change: whole(func(text string) string { return "# mine\n\n" + text + "\n  \n# end" })},
		{name: "blanks around the names", file: passwdFile, change: whole(func(text string) string { return strings.ReplaceAll(text, ":$7", " : $7") })},
		{name: "CRLF", file: aclFile, change: crlf},
		{name: "no end of its last line", file: aclFile, change: endless},
		{name: "a user in two places", file: aclFile, change: whole(func(text string) string { return text + "user " + user + "\ntopic read again/#\n" })},
		{name: "a topic without its access", file: aclFile, change: whole(func(text string) string { return text + "user " + user + "\ntopic read\n" })},
	}
}
