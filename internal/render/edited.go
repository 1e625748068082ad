package render

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"

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
}

// sealRules are the secrets that a rendered file may hold: password hashes, and
// passwords of bridges. The checksum leaves them out, so that a change here makes
// every file of an earlier version look edited.
func sealRules() []rule {
	return []rule{
		// user:$7$1000$salt$hash, each "$" doubled or not.
		{regexp.MustCompile(`^(\s*[^\s:#][^:]*:)\$\$?(?:[67]|argon2\w*)\$.*$`), "${1}" + hidden},
		// Directives of the broker and keys of a mapping or list whose names say so.
		{regexp.MustCompile(`(?i)^(\s*(?:-\s*)?["']?(?:[\w.-]*[_.-])?(?:password|passwd|passphrase|psk|secret|token|credentials?)["']?(?:\s*[:=]\s*|\s+))([^\s#|>&*].*)$`), "${1}" + hidden},
		// A whole file in one line, see literal.
		{regexp.MustCompile(`^(\s*content: ").+"$`), "${1}" + hidden + `"`},
	}
}

// blankRules are the secrets that may stand in any Compose file, one made by
// hand as well.
func blankRules() []rule {
	return append(sealRules(), []rule{
		// Options of the command-line clients.
		{regexp.MustCompile(`((?:^|[\s"',\[])(?:-P|--pw|--token|--password)["']?(?:[\s,=]+["']?))([^\s"',\]]+)`), "${1}" + hidden},
		// A tunnel token wherever it stands: base64 of a JSON object.
		{regexp.MustCompile(`eyJ[A-Za-z0-9+/_-]{20,}={0,2}`), hidden},
		// Credentials within a URL.
		{regexp.MustCompile(`(://[^\s/:@]*:)[^\s/@]+@`), "${1}" + hidden + "@"},
	}...)
}

// blank returns text with Unix line ends and every secret in it hidden.
func blank(text []byte) string { return apply(blankRules(), text) }

func apply(rules []rule, text []byte) string {
	all := strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "\n")
	for i, line := range all {
		for _, r := range rules {
			line = r.find.ReplaceAllString(line, r.replace)
		}
		all[i] = line
	}
	return strings.Join(all, "\n")
}
