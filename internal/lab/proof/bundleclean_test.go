package proof

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestAFactIsFoundHoweverItIsWritten(t *testing.T) {
	const fact = "annas sensor/7?"
	for _, before := range []string{"", "x", "xy", "xyz"} {
		for _, after := range []string{"", "x", "xy"} {
			text := before + fact + after
			for _, written := range []string{
				text, hex.EncodeToString([]byte(text)), url.QueryEscape(text),
				base64.StdEncoding.EncodeToString([]byte(text)), base64.RawURLEncoding.EncodeToString([]byte(text)),
			} {
				if !slices.ContainsFunc(forms(fact), func(form string) bool { return strings.Contains(written, form) }) {
					t.Errorf("not found in %q", written)
				}
			}
		}
	}
}

func TestWhatATerminalObeysIsNotPlain(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "a\rb", "a\u202eb", "a\u2028b", "a\u200bb", "a\x85b", "a\u0085b", "\xff"} {
		if plainText(text) == nil {
			t.Errorf("%q is called plain", text)
		}
	}
	if err := plainText("ähnlich \uFFFD U+202E\n\\x1b[2J"); err != nil {
		t.Error(err)
	}
}
