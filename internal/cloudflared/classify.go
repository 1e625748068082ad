package cloudflared

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// Shapes of what people paste in place of a token.
var (
	jwtShape         = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]+\.eyJ[A-Za-z0-9_-]+\.`)
	uuidShape        = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)
	globalKeyShape   = regexp.MustCompile(`^([0-9a-f]{37}|cfk_[A-Za-z0-9_-]{20,})$`)
	originKeyShape   = regexp.MustCompile(`^v1\.0-[0-9a-f]{16,}`)
	accountTagShape  = regexp.MustCompile(`^[0-9a-f]{32}$`)
	apiTokenShape    = regexp.MustCompile(`^([A-Za-z0-9_-]{40}|cf(ut|at)_[A-Za-z0-9_-]{20,})$`)
	hostnameShape    = regexp.MustCompile(`^(?i:[a-z]+://.*|([a-z0-9-]+\.)+[a-z]{2,}(:\d+)?(/.*)?)$`)
	base64Shape      = regexp.MustCompile(`^[A-Za-z0-9+/]{24,}={0,2}$`)
	placeholderShape = regexp.MustCompile(`(?i)^(<.*>|\[.*\]|\$\{?\w+\}?|%\w+%|\{\{.*\}\}|x{3,}|\*{3,}|•{3,}|\.{3,}|…|` +
		`(replace|change|insert|paste|put|add)[ _-]?(me|this|it|here|your|the|with)\b.*|(your|my|the)[ _-].*|` +
		`([a-z]+[ _-])?(tunnel|cloudflare|cf)?[ _-]?token([ _-]here)?|todo|none|null|secret|example)$`)
	apiErrorShape = regexp.MustCompile(`"success"\s*:\s*false`)
	keyPrefix     = regexp.MustCompile(`^(?:export +|- +)?["']?[A-Za-z_][A-Za-z0-9_]{0,63}["']?(?: ?= *|: +|:$)`)
)

// classify says what a text without a valid token is. begun is what is wrong
// with the first thing in it that began like a token, or nil.
func classify(text string, begun error) error {
	trimmed := strings.Trim(text, " \n\"'`")
	switch {
	case trimmed == "":
		return ErrTokenEmpty
	case strings.Contains(text, "-----BEGIN "):
		return ErrTokenCertificate
	case strings.Contains(text, `"TunnelSecret"`):
		return ErrTokenCredentials
	case jwtShape.MatchString(text):
		return ErrTokenJWT
	case begun != nil:
		return begun
	case apiErrorShape.MatchString(text):
		return ErrTokenAPIError
	}
	if joined := strings.Join(strings.Fields(trimmed), ""); base64Shape.MatchString(joined) && isTail(joined) {
		return ErrTokenTail
	}
	whole := strings.Trim(keyPrefix.ReplaceAllString(trimmed, ""), " \n\"'`;,")
	if whole == "" {
		return ErrTokenEmpty
	}
	if err := classifyWhole(whole); err != nil {
		return err
	}
	split := func(r rune) bool { return strings.ContainsRune(" \n\"'`=,;:()<>", r) }
	for word := range strings.FieldsFuncSeq(text, split) {
		if err := classifyWord(strings.TrimRight(word, ".")); err != nil {
			return err
		}
	}
	words := strings.Fields(text)
	if placeholderShape.MatchString(strings.Trim(words[len(words)-1], "\"'`")) {
		return ErrTokenPlaceholder
	}
	return ErrTokenMissing
}

// classifyWhole looks at a text that is one thing.
func classifyWhole(whole string) error {
	if err := classifyWord(whole); err != nil {
		return err
	}
	switch {
	case placeholderShape.MatchString(whole):
		return ErrTokenPlaceholder
	case hostnameShape.MatchString(whole):
		return ErrTokenHostname
	default:
		return nil
	}
}

// classifyWord recognises other credentials and IDs.
func classifyWord(word string) error {
	switch {
	case uuidShape.MatchString(word):
		return ErrTokenTunnelID
	case globalKeyShape.MatchString(word):
		return ErrTokenAPIKey
	case accountTagShape.MatchString(word):
		return ErrTokenAccountTag
	case originKeyShape.MatchString(word):
		return ErrTokenOriginKey
	case apiTokenShape.MatchString(word) && strings.ContainsAny(word, "0123456789"):
		return ErrTokenAPIToken
	default:
		return nil
	}
}

// isTail reports whether base64 decodes to the end of a JSON object, from
// whichever of the four positions in a group it begins.
func isTail(run string) bool {
	body := strings.TrimRight(run, "=")
	for skip := range 4 {
		if skip >= len(body) {
			break
		}
		rest := body[skip:]
		if len(rest)%4 == 1 {
			continue
		}
		raw, err := base64.RawStdEncoding.DecodeString(rest)
		if err == nil && strings.HasSuffix(strings.TrimRight(string(raw), "\n "), `"}`) {
			return true
		}
	}
	return false
}
