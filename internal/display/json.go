package display

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// SafeJSON returns JSON with the same meaning in which every character that a
// terminal could obey or hide, and that JSON allows as it is, stands as \uXXXX.
func SafeJSON(data []byte) []byte {
	text := string(data)
	if strings.IndexFunc(text, func(r rune) bool { return r >= utf8.RuneSelf && !isPlain(r, utf8.RuneLen(r)) || r == 0x7f }) < 0 {
		return data
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == 0x7f || r >= utf8.RuneSelf && r <= 0xffff && !isPlain(r, utf8.RuneLen(r)):
			fmt.Fprintf(&b, "\\u%04x", r)
		case r > 0xffff && !isPlain(r, utf8.RuneLen(r)):
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, "\\u%04x\\u%04x", high, low)
		default:
			b.WriteRune(r)
		}
	}
	return []byte(b.String())
}
