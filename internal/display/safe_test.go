package display_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"mqtunnel/internal/display"
)

const (
	tokenJSON = `{"a":"0123456789abcdef0123456789abcdef","t":"6ff42ae2-765d-4adf-8112-31c55c1551ef","s":"c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHM="}`
	plainLine = `2026-08-30T10:00:00Z INF Registered tunnel connection connIndex=0 connection=4a1f event=0 ip=198.41.192.57 location=fra08 protocol=quic`
)

func TestOutsideTextIsSafeForATerminal(t *testing.T) {
	for text, want := range map[string]string{
		"":                          "",
		plainLine:                   plainLine,
		"Küche/温度 🌡":                "Küche/温度 🌡",
		"a\x1b[31mred":              `a\x1b[31mred`,
		"\x1b]0;title\x07":          `\x1b]0;title\x07`,
		"one\ntwo\r\tthree\x00\x7f": `one\ntwo\r\tthree\x00\x7f`,
		"\u009b31m":                 "U+009B31m",
		"user\u202egpj.exe":         "userU+202Egpj.exe",
		"\u2066x\u2069":             "U+2066xU+2069",
		"ze\u200bro\ufeff\u00ad":    "zeU+200BroU+FEFFU+00AD",
		"line\u2028para\u2029":      "lineU+2028paraU+2029",
		"tag\U000E0041":             "tagU+E0041",
		"fill\u3164\u115f\u034f":    "fillU+3164U+115FU+034F",
		"sel\ufe0f\U000E0100":       "selU+FE0FU+E0100",
		"bad\xff\xc3(":              `bad\xff\xc3(`,
		"cut\xe6\xb8":               `cut\xe6\xb8`,
		"\xed\xa0\x80 surrogate":    `\xed\xa0\x80 surrogate`,
		"replacement \ufffd":        "replacement \ufffd",
		"private \ue000":            "private U+E000",
	} {
		if got := display.Safe(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNothingShapedLikeASecretIsShown(t *testing.T) {
	padded := base64.StdEncoding.EncodeToString([]byte(tokenJSON))
	unpadded := strings.TrimRight(padded, "=")
	const hash7 = "$7$101$bXF0dW5uZWwtdGVz$" + "q0R1yPlmB7UoSpn2u/9q6dTZ1Hf+G0eJw=="
	for text, want := range map[string]string{
		"":                                   "",
		plainLine:                            plainLine,
		padded:                               "[redacted token]",
		"TUNNEL_TOKEN=" + unpadded + " next": "TUNNEL_TOKEN=[redacted token] next",
		`run --token "` + padded + `" and ` + unpadded:            `run --token "[redacted token]" and [redacted token]`,
		"glued:" + padded + ":" + padded:                          "glued:[redacted token]:[redacted token]",
		strings.NewReplacer("+", "-", "/", "_").Replace(unpadded): "[redacted token]",
		padded[:60]:         "[redacted token]",
		"eyJ is no token":   "eyJ is no token",
		"eyJhIjoi…":         "eyJhIjoi…",
		"eyJa eyJ" + padded: "eyJa [redacted token]",
		"phone:" + hash7:    "phone:[redacted hash]",
		"phone:" + strings.ReplaceAll(hash7, "$", "$$") + "\n":            "phone:[redacted hash]\n",
		"a:$6$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA==;b":                "a:[redacted hash];b",
		"c:$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo d": "c:[redacted hash] d",
		"$SYS/broker/uptime costs $6$ and $77":                            "$SYS/broker/uptime costs $6$ and $77",
		"$share/group/home/livingroom/temperature/outside":                "$share/group/home/livingroom/temperature/outside",
	} {
		if got := display.Redact(text); got != want {
			t.Errorf("%q\n got %q\nwant %q", text, got, want)
		}
	}
}

func TestPlainTextCostsNoAllocation(t *testing.T) {
	for _, text := range []string{plainLine, "Küche/温度 $SYS/broker eyJ"} {
		if n := testing.AllocsPerRun(100, func() { _ = display.Redact(display.Safe(text)) }); n != 0 {
			t.Errorf("%q: %v allocations", text, n)
		}
	}
}

func FuzzSafe(f *testing.F) {
	for _, text := range []string{plainLine, "\x1b[31m", "\u202e", "\xff", "温度"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		safe := display.Safe(text)
		if !utf8.ValidString(safe) {
			t.Fatalf("%q: %q is no UTF-8", text, safe)
		}
		for _, r := range safe {
			if !unicode.IsGraphic(r) {
				t.Fatalf("%q: %q shows U+%04X", text, safe, r)
			}
		}
		if again := display.Safe(safe); again != safe {
			t.Fatalf("%q: %q, again %q", text, safe, again)
		}
	})
}

func FuzzRedact(f *testing.F) {
	padded := base64.StdEncoding.EncodeToString([]byte(tokenJSON))
	for _, text := range []string{plainLine, padded, "x" + padded[:50] + "$7$101$abc$abcdefghijklm"} {
		f.Add(text, "a", "b")
	}
	f.Fuzz(func(t *testing.T, text, before, after string) {
		redacted := display.Redact(text)
		if again := display.Redact(redacted); again != redacted {
			t.Fatalf("%q: %q, again %q", text, redacted, again)
		}
		if got := display.Redact(before + " " + padded + " " + after); strings.Contains(got, padded[10:26]) && !strings.Contains(before+after, padded[10:26]) {
			t.Fatalf("between %q and %q: %q", before, after, got)
		}
	})
}

func BenchmarkLogLine(b *testing.B) {
	lines := map[string]string{
		"plain":     plainLine,
		"non-ASCII": strings.ReplaceAll(plainLine, "INF", "Küche/温度"),
		"token":     plainLine + " token=" + base64.StdEncoding.EncodeToString([]byte(tokenJSON)),
		"escape":    plainLine + " \x1b[31m\u202e",
	}
	for name, line := range lines {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				_ = display.Redact(display.Safe(line))
			}
		})
	}
}
