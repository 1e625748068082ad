package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/diff"
)

// checksumPrefix starts the header line that tells an edited file from one of
// our own; unsealed stands there until the rest is known.
const (
	checksumPrefix = "# checksum: "
	unsealed       = "-"
	checksumBytes  = 16
)

// hidden stands in a difference for what is not shown.
const hidden = "[hidden]"

// seal writes the checksum of text into its header.
func seal(text []byte) []byte {
	return bytes.Replace(text, []byte(checksumPrefix+unsealed+"\n"), []byte(checksumPrefix+checksum(text)+"\n"), 1)
}

// checksum covers the text without its own line and without the secrets in it:
// no digest of one stands in the file, so that a copy passed on with the secrets
// blanked betrays nothing about them. Line ends do not count, since git
// may have changed them.
func checksum(text []byte) string {
	var b strings.Builder
	for line := range strings.SplitSeq(apply(sealRules(), text), "\n") {
		if !strings.HasPrefix(line, checksumPrefix) {
			b.WriteString(line)
			b.WriteByte('\n')
		}
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:checksumBytes])
}

// Edited reports whether existing, the text of a compose.yaml, is one that
// mqtunnel did not write or that was changed since: its header's checksum does
// not fit. A change of nothing but a password hash is not seen; hashes come
// from mosquitto/passwd, which has the last word. An empty file is not edited.
func Edited(existing []byte) bool {
	if len(bytes.TrimSpace(existing)) == 0 {
		return false
	}
	for line := range strings.Lines(string(existing)) {
		if sum, ok := strings.CutPrefix(line, checksumPrefix); ok {
			return strings.TrimSpace(sum) != checksum(existing)
		}
	}
	return true
}

// Diff returns the difference from existing to rendered in the unified format,
// with secrets blanked, and whether there is any. The text is empty when they
// differ only in what is hidden or in line ends.
func Diff(existing, rendered []byte) (string, bool) {
	if bytes.Equal(existing, rendered) {
		return "", false
	}
	text := diff.Diff("compose.yaml", []byte(blank(existing)), "compose.yaml (as rendered)", []byte(blank(rendered)))
	// The first line repeats the names of the two that follow.
	_, text, _ = bytes.Cut(text, []byte("\n"))
	return string(text), true
}

// rule blanks one kind of secret in a line.
type rule struct {
	find    *regexp.Regexp
	replace string
	// words are those of which a line holds one for find to match, in small letters
	// where anyCase is true: looking for them is much quicker. None stands for any line.
	words   []string
	anyCase bool
	// toEnd says that find matches the beginning of what goes on to the line's end.
	toEnd bool
}

// blank returns a line without the secret.
func (r rule) blank(line string) string {
	if !r.suspects(line) {
		return line
	}
	if !r.toEnd {
		return r.find.ReplaceAllString(line, r.replace)
	}
	match := r.find.FindStringSubmatchIndex(line)
	if match == nil {
		return line
	}
	return string(r.find.ExpandString(nil, r.replace, line, match))
}

// suspects reports whether find may match.
func (r rule) suspects(line string) bool {
	if r.anyCase {
		if strings.ContainsFunc(line, func(c rune) bool { return c >= utf8.RuneSelf }) {
			line = strings.ToUpper(line) // a long s is an s to (?i)
		}
		line = strings.ToLower(line)
	}
	return len(r.words) == 0 || slices.ContainsFunc(r.words, func(w string) bool { return strings.Contains(line, w) })
}

// sealRules are the secrets that a rendered file may hold: password hashes, and
// passwords of bridges. The checksum leaves them out, so that a change here makes
// every file of an earlier version look edited.
func sealRules() []rule {
	return []rule{
		// user:$7$1000$salt$hash, each "$" doubled or not.
		{find: regexp.MustCompile(`^(\s*[^\s:#][^:]*:)\$\$?(?:[67]|argon2\w*)\$`), replace: "${1}" + hidden, words: []string{"$"}, toEnd: true},
		// Directives of the broker and keys of a mapping or list whose names say so.
		{
			find:    regexp.MustCompile(`(?i)^(\s*(?:-\s*)?["']?(?:[\w.-]*[_.-])?(?:password|passwd|passphrase|psk|secret|token|credentials?)["']?(?:\s*[:=]\s*|\s+))([^\s#|>&*].*)$`),
			replace: "${1}" + hidden,
			words:   []string{"password", "passwd", "passphrase", "psk", "secret", "token", "credential"}, anyCase: true,
		},
		// A whole file in one line, see literal.
		{find: regexp.MustCompile(`^(\s*content: ").+"$`), replace: "${1}" + hidden + `"`, words: []string{`content: "`}},
	}
}

// blankRules are the secrets that may stand in any Compose file, one made by
// hand as well.
func blankRules() []rule {
	return append(sealRules(), []rule{
		// A directive that somebody took out for a while: one word behind its name.
		{
			find:    regexp.MustCompile(`(?i)^(\s*#[#\s]*(?:[\w.-]*[_.-])?(?:password|passphrase|psk|secret|token)(?:\s*[:=]\s*|\s+))\S+\s*$`),
			replace: "${1}" + hidden, words: []string{"password", "passphrase", "psk", "secret", "token"}, anyCase: true,
		},
		// Options of the command-line clients.
		{find: regexp.MustCompile(`((?:^|[\s"',\[])(?:-P|--pw|--token|--password)["']?(?:[\s,=]+["']?))([^\s"',\]]+)`), replace: "${1}" + hidden},
		// A tunnel token wherever it stands: base64 of a JSON object.
		{find: regexp.MustCompile(`eyJ[A-Za-z0-9+/_-]{20,}={0,2}`), replace: hidden, words: []string{"eyJ"}},
		// Credentials within a URL.
		{find: regexp.MustCompile(`(://[^\s/:@]*:)[^\s/@]+@`), replace: "${1}" + hidden + "@", words: []string{"://"}},
	}...)
}

// blank returns text with Unix line ends and every secret in it hidden.
func blank(text []byte) string { return apply(blankRules(), text) }

func apply(rules []rule, text []byte) string {
	all := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	for i, line := range all {
		for _, r := range rules {
			line = r.blank(line)
		}
		all[i] = line
	}
	return strings.Join(all, "\n")
}
