package cloudflared

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"unicode"
)

// maxPasteBytes bounds the text in which a token is looked for.
const maxPasteBytes = 64 << 10

// tokenStart is how every token begins: base64 of {" and what follows.
const tokenStart = "eyJ"

// FindToken finds the tunnel token in what a person pasted: the token alone, a
// command line of docker or cloudflared, KEY=value, YAML, Markdown, the answer of
// Cloudflare's API; with quotes, line wraps and invisible characters in it.
// Missing padding is put back, since it can be nothing else. The same token twice
// is one. Its errors are as those of ParseToken.
func FindToken(text string) (Token, error) {
	if len(text) > maxPasteBytes {
		return Token{}, fault(ErrTokenTooLong)
	}
	clean := cleaned(text)
	found := search(clean)
	switch {
	case len(found.tokens) == 1:
		return found.tokens[0], nil
	case len(found.tokens) > 1:
		return Token{}, fault(ErrTokenTwo)
	}
	return Token{}, fault(classify(clean, found.fault))
}

// Complete reports whether the text read so far holds a complete token, so that
// a prompt need not read on.
func Complete(text string) bool {
	return len(text) <= maxPasteBytes && len(search(cleaned(text)).tokens) > 0
}

// found is the result of a search: the different tokens, and what is wrong with
// the first thing that began like one.
type found struct {
	tokens []Token
	fault  error
}

// search looks at every place where a token begins.
func search(text string) found {
	var f found
	for at := 0; at < len(text); {
		i := strings.Index(text[at:], tokenStart)
		if i < 0 {
			break
		}
		start := at + i
		if start > at && isTokenByte(text[start-1]) && text[start-1] != '=' {
			at = start + len(tokenStart)
			continue
		}
		token, length, err := candidate(text[start:])
		if err == nil {
			f.add(token)
		} else if f.fault == nil {
			f.fault = err
		}
		at = start + max(length, len(tokenStart))
	}
	return f
}

// add adds a token that is not there yet.
func (f *found) add(token Token) {
	for _, t := range f.tokens {
		if t.text.Equal(token.text) {
			return
		}
	}
	f.tokens = append(f.tokens, token)
}

// piece is a run of base64 as it may stand in a token, of either alphabet.
var piece = regexp.MustCompile(`^[A-Za-z0-9+/_-]+={0,2}`)

// wrap is what a line wrap puts between two pieces: white space, a continuation
// mark, a quotation mark or frame at the beginning of the next line.
var wrap = regexp.MustCompile("^[\\s\\\\`^>|│]+")

// candidate decodes the token that begins the text. A token that runs over
// several pieces is complete as soon as one more piece makes it decode, since its
// JSON ends with its last brace. It returns how much of the text belongs to it.
func candidate(text string) (Token, int, error) {
	run := piece.FindString(text)
	token, err := repair(run)
	if err == nil {
		return token, len(run), nil
	}
	if token, length, ok := glued(run); ok {
		return token, length, nil
	}
	verdict, used, at := err, len(run), len(run)
	for joined := run; len(joined) <= maxTokenBytes && errors.Is(err, ErrTokenCut); {
		gap := wrap.FindString(text[at:])
		next := piece.FindString(text[at+len(gap):])
		if gap == "" || next == "" || strings.HasPrefix(next, tokenStart) || strings.HasSuffix(joined, "=") {
			break
		}
		at += len(gap) + len(next)
		joined += next
		if token, err = repair(joined); err == nil {
			return token, at, nil
		}
		// Words that follow a cut token decode to nothing; a whole object that is
		// no token has something to say.
		if !errors.Is(err, ErrTokenCut) && !errors.Is(err, ErrTokenGarbled) && !errors.Is(err, ErrTokenForm) {
			verdict, used = err, at
		}
	}
	if shortened.MatchString(text[used:]) {
		verdict = ErrTokenShortened
	}
	return Token{}, used, verdict
}

// glued splits a run in which one token follows another with nothing between.
func glued(run string) (Token, int, bool) {
	for at := 1; at < len(run); at++ {
		if strings.HasPrefix(run[at:], tokenStart) {
			if token, err := repair(run[:at]); err == nil {
				return token, at, true
			}
		}
	}
	return Token{}, 0, false
}

// shortened is how programs show that they left out the rest.
var shortened = regexp.MustCompile(`^(…|\.\.\.|\*{3,}|•{3,}|\[)`)

// repair decodes a token whose padding may be missing.
func repair(run string) (Token, error) {
	if len(run) > maxTokenBytes {
		return Token{}, ErrTokenForm
	}
	body := strings.TrimRight(run, "=")
	std := strings.NewReplacer("-", "+", "_", "/").Replace(body)
	if overlong(std) {
		return Token{}, ErrTokenExtra
	}
	if len(body)%4 == 1 {
		return Token{}, ErrTokenCut
	}
	token, err := decode(padded(std))
	if errors.Is(err, ErrTokenForm) {
		// Bits are left over in the last character: cut within a group of four.
		return Token{}, ErrTokenCut
	}
	if err == nil && std != body {
		return Token{}, ErrTokenURL
	}
	return token, err
}

// overlong reports whether base64 begins with a whole token and goes on: the token's
// JSON ends with its last brace.
func overlong(body string) bool {
	even := body
	if len(body)%4 == 1 {
		even = body[:len(body)-1] // six bits hold no byte
	}
	raw, err := base64.RawStdEncoding.DecodeString(even)
	if err != nil {
		return false
	}
	var p payload
	dec := json.NewDecoder(bytes.NewReader(raw))
	if dec.Decode(&p) != nil {
		return false
	}
	whole := (8*int(dec.InputOffset()) + 5) / 6
	if whole >= len(body) {
		return false
	}
	_, err = decode(padded(body[:whole]))
	return err == nil
}

// padded returns base64 with the padding that its length asks for.
func padded(body string) string { return body + strings.Repeat("=", (4-len(body)%4)%4) }

// isTokenByte reports whether b may stand in a token.
func isTokenByte(b byte) bool {
	return 'a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || strings.IndexByte("+/=-_", b) >= 0
}

// cleaned returns the text without invisible characters, with ordinary spaces
// and quotes in place of typographic ones.
func cleaned(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case unicode.IsSpace(r), r == 0x2800:
			return ' '
		case unicode.In(r, unicode.Cf, unicode.Cc), r == 0x034f, 0xfe00 <= r && r <= 0xfe0f:
			return -1
		case strings.ContainsRune("“”„‟«»″＂", r):
			return '"'
		case strings.ContainsRune("‘’‚‛‹›′", r):
			return '\''
		case strings.ContainsRune("‐‑", r):
			return '-'
		default:
			return r
		}
	}, text)
}
