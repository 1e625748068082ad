// Package mosquitto knows the files and the log of the Eclipse Mosquitto broker:
// the password file, the ACL file, the configuration, and the lines that the
// broker and its start script write. Everything in it is pure; the file formats are
// the subset that Mosquitto 2.0 and 2.1 read alike.
package mosquitto

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// ProbeUser is the account of mqtunnel's own probe. It may use ProbeTopics and
// read the broker's $SYS topics, and nothing else.
const ProbeUser = "mqtunnel-probe"

// ProbeTopics is the topic filter below which the probe publishes and subscribes.
const ProbeTopics = "mqtunnel/probe/#"

// Where the files lie in the broker's container, and who must own them there: uid
// and gid of the image's mosquitto user. A gid without a name in the image makes
// Mosquitto up to 2.1.2 crash.
const (
	ConfPath   = "/mosquitto/config/mqtunnel.conf"
	PasswdPath = "/mosquitto/config/passwd" //nolint:gosec // the path of a file, not a password
	ACLPath    = "/mosquitto/config/acl"
	StartPath  = "/mosquitto/config/start.sh"
	DataPath   = "/mosquitto/data"
	UID        = 1883
	GID        = 1883
)

// reservedPrefix begins the names of accounts that are mqtunnel's own.
const reservedPrefix = "mqtunnel"

// maxName is the length of a username in characters.
const maxName = 64

// CheckUsername returns an error when name cannot be that of a user: it is 1 to 64
// of A-Z a-z 0-9 . _ -, and does not begin with "mqtunnel". A slash or wildcard in
// a name would reach into other users' topics, blanks and colons break the files.
func CheckUsername(name string) error {
	const hint = "a name is 1 to 64 letters (a-z, A-Z), digits, dots, dashes and underscores, e.g. phone or living-room"
	if name == "" {
		return remedy.Errorf(remedy.Input, hint, "the username is empty")
	}
	if len(name) > maxName {
		return remedy.Errorf(remedy.Input, hint, "the username has %d characters; %d are allowed", len(name), maxName)
	}
	for _, r := range name {
		if !isNameRune(r) {
			return remedy.Errorf(remedy.Input, hint, "the username %q contains %q", name, r)
		}
	}
	if strings.HasPrefix(name, "-") {
		return remedy.Errorf(remedy.Input, "choose another name", "the username %q begins with a dash, which programs take for an option", name)
	}
	if strings.HasPrefix(strings.ToLower(name), reservedPrefix) {
		return remedy.Errorf(remedy.Input, "choose another name", "the username %q is reserved: names that begin with %q are mqtunnel's own", name, reservedPrefix)
	}
	return nil
}

func isNameRune(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '_' || r == '-'
}

// CheckPassword returns an error when no client could send the password: it is
// empty, too long, not UTF-8, or holds control characters. How
// strong it is, it does not judge.
func CheckPassword(password secret.Text) error {
	text := password.Reveal() // judged by its characters, never shown
	switch {
	case text == "":
		return errors.New("the password is empty")
	case len(text) > maxPassword:
		return fmt.Errorf("the password has %d bytes, at most %d are taken", len(text), maxPassword)
	case !utf8.ValidString(text):
		return errors.New("the password is not UTF-8 text")
	case strings.ContainsFunc(text, isControl):
		return errors.New("the password contains a control character")
	}
	return nil
}

// StrongLength is how many characters a password has at least that is not Weak.
const StrongLength = 12

// Weak reports whether a password that somebody has chosen is so short that it may be
// guessed: clients are told apart by it alone, and anybody can reach the broker.
func Weak(password secret.Text) bool {
	return utf8.RuneCountInString(password.Reveal()) < StrongLength // counted, never shown
}

// maxPassword bounds a password in bytes: what Mosquitto's own clients read of a
// line of their option files is some more.
const maxPassword = 512

// maxField is the length in bytes of a string in MQTT.
const maxField = 65535

// byteOrderMark is what some editors put in front of a text. The broker takes it for
// part of the first name or word.
const byteOrderMark = "\ufeff"

var errByteOrderMark = errors.New("the file begins with a byte order mark, which the broker takes for part of its first word")

// isText reports whether a line of a file is UTF-8 without control characters.
func isText(line string) bool {
	for i := range len(line) {
		if line[i] < ' ' || line[i] > '~' {
			return utf8.ValidString(line) && !strings.ContainsFunc(line, isControl)
		}
	}
	return true
}

// isControl tells the characters that MQTT strings must not hold and that no file
// of the broker can carry in a line (MQTT 5, 1.5.4).
func isControl(r rune) bool {
	return r < 0x20 || r >= 0x7f && r <= 0x9f || r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe
}

// Generated passwords: 24 characters of an alphabet of 32 make 120 bits. The
// letters l and o and the digits 0 and 1 are left out, and all is lower case, since
// people type them into devices.
const (
	passwordAlphabet = "abcdefghijkmnpqrstuvwxyz23456789"
	passwordLength   = 24
	passwordGroup    = 6
)

// NewPassword returns a random password of 120 bits, in four groups of six
// characters joined by dashes.
func NewPassword() secret.Text {
	random := make([]byte, passwordLength)
	rand.Read(random) // never returns an error
	var b strings.Builder
	for i, r := range random {
		if i > 0 && i%passwordGroup == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(passwordAlphabet[int(r)%len(passwordAlphabet)])
	}
	return secret.New(b.String())
}
