package display

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What stands in place of a secret.
const (
	redactedToken = "[redacted token]"
	redactedHash  = "[redacted hash]"
)

// Shortest runs that are taken for a secret. The shortest tunnel token with all
// its fields is far longer, words that begin alike are shorter.
const (
	tokenMin = 40
	hashMin  = 20
)

// Safe returns one line of outside text as a terminal can show it without being
// moved, coloured or misread: control characters, escape sequences and bytes
// that are no UTF-8 stand as \x1b, bidirectional, zero-width and other invisible
// characters as U+202E. Line ends are made visible too. Text without any of
// these is returned as it is, without an allocation.
func Safe(s string) string {
	for i := 0; i < len(s); {
		r, size := rune(s[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(s[i:])
		}
		if !isPlain(r, size) {
			return makeSafe(s, i)
		}
		i += size
	}
	return s
}

// isPlain reports whether a character that takes size bytes shows as itself.
func isPlain(r rune, size int) bool {
	if r < utf8.RuneSelf {
		return r >= ' ' && r != 0x7f
	}
	if r == utf8.RuneError && size == 1 {
		return false
	}
	return unicode.IsGraphic(r) && !unicode.In(r, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point)
}

// makeSafe rewrites s, of which the first n bytes are plain.
func makeSafe(s string, n int) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:n])
	for i := n; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case isPlain(r, size):
			b.WriteString(s[i : i+size])
		case size == 1:
			b.WriteString(visibleByte(s[i]))
		default:
			fmt.Fprintf(&b, "U+%04X", r)
		}
		i += size
	}
	return b.String()
}

func visibleByte(c byte) string {
	switch c {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	default:
		return fmt.Sprintf(`\x%02x`, c)
	}
}

// Redact returns s with everything that has the shape of a tunnel token or of a
// password hash of Mosquitto ($6$, $7$, $argon2) replaced, also where a Compose
// file doubles the dollars. Text without any is returned as it is, without an
// allocation. It sees tokens as they are written: redact before text is wrapped
// or cut.
func Redact(s string) string {
	s = replace(s, redactedToken, findToken)
	return replace(s, redactedHash, findHash)
}

// replace puts placeholder where find sees something.
func replace(s, placeholder string, find func(string) (start, end int)) string {
	start, end := find(s)
	if start < 0 {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for start >= 0 {
		b.WriteString(s[:start])
		b.WriteString(placeholder)
		s = s[end:]
		start, end = find(s)
	}
	b.WriteString(s)
	return b.String()
}

// findToken returns where the first run of base64 stands that begins as a JSON
// object does, or -1.
func findToken(s string) (start, end int) {
	for from := 0; ; {
		at := strings.Index(s[from:], "eyJ")
		if at < 0 {
			return -1, -1
		}
		start = from + at
		end = start
		for end < len(s) && isBase64(s[end]) {
			end++
		}
		if end-start >= tokenMin {
			return start, end
		}
		from = end
	}
}

// findHash returns where the first password hash stands, or -1.
func findHash(s string) (start, end int) {
	for from := 0; ; {
		at := strings.IndexByte(s[from:], '$')
		if at < 0 {
			return -1, -1
		}
		start = from + at
		end = start
		for end < len(s) && s[end] == '$' {
			end++
		}
		scheme := s[end:]
		for end < len(s) && (isBase64(s[end]) || s[end] == '$' || s[end] == ',' || s[end] == '.') {
			end++
		}
		if end-start >= hashMin && isHashScheme(scheme) {
			return start, end
		}
		from = end
	}
}

func isHashScheme(s string) bool {
	return strings.HasPrefix(s, "6$") || strings.HasPrefix(s, "7$") || strings.HasPrefix(s, "argon2")
}

// isBase64 knows both alphabets and the padding.
func isBase64(c byte) bool {
	return c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' ||
		c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}
