// Package cloudflared knows cloudflared's interfaces: the tunnel token, the
// answers of its metrics server, the remote configuration, and what its log
// lines mean. It reads text; it neither starts nor calls anything.
//
// The facts are those of the public source of cloudflare/cloudflared 2026.8.
package cloudflared

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/google/uuid"

	"mqtunnel/internal/secret"
)

// Bounds of a token. The secret's is the one that Cloudflare asks for when a
// tunnel is made; cloudflared itself does not check when it runs.
const (
	minSecretBytes = 32
	maxTokenBytes  = 4096
)

// Token is a decoded tunnel token. Its secrets are never printed.
type Token struct {
	AccountTag string // names the Cloudflare account
	TunnelID   string // UUID in canonical lower case
	Endpoint   string // region that the token is bound to, "" for most

	text   secret.Text
	secret secret.Text
}

// Secret returns the whole token in its canonical form, the one that cloudflared
// takes: standard base64 with padding, without spaces or line ends.
func (t Token) Secret() secret.Text { return t.text }

// TunnelSecret returns the decoded secret inside the token, raw bytes, which must
// be redacted as the token is.
func (t Token) TunnelSecret() secret.Text { return t.secret }

// IsZero reports whether t is no token at all.
func (t Token) IsZero() bool { return t.text.IsZero() }

// ParseToken decodes a token strictly: the canonical form and nothing around it,
// all three fields, a UUID and a secret of full length. cloudflared takes more
// than that and then fails at the edge without a reason. Its errors are
// remedy.Errors with the Input code that wrap one of the ErrToken… values and
// hold nothing of the input.
func ParseToken(text string) (Token, error) {
	if strings.TrimSpace(text) == "" {
		return Token{}, fault(ErrTokenEmpty)
	}
	token, err := decode(text)
	if err == nil {
		return token, nil
	}
	// What stands wrong around or inside is told by the reader of pasted text.
	if _, findErr := FindToken(text); findErr != nil {
		return Token{}, findErr
	}
	return Token{}, fault(ErrTokenForm)
}

// payload is the JSON inside a token. Letter case and order of the keys do not
// matter, others are ignored, as in cloudflared.
type payload struct {
	Account  *string `json:"a"`
	Tunnel   *string `json:"t"`
	Secret   *string `json:"s"`
	Endpoint string  `json:"e"`
}

// accountTag is 32 hexadecimal digits in practice; what else an account may be
// called is Cloudflare's choice, as long as it is one word.
var accountTag = regexp.MustCompile(`^[0-9A-Za-z_-]{1,64}$`)

// decode decodes the canonical form. Its error is one of the ErrToken… values.
func decode(text string) (Token, error) {
	if len(text) > maxTokenBytes || strings.ContainsAny(text, "\r\n") {
		return Token{}, ErrTokenForm
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Token{}, ErrTokenForm
	}
	var p payload
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&p); err != nil {
		return Token{}, jsonFault(err)
	}
	if rest, err := io.ReadAll(io.MultiReader(dec.Buffered())); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return Token{}, ErrTokenTwo
	}
	token, err := p.token()
	if err != nil {
		return Token{}, err
	}
	token.text = secret.New(text)
	return token, nil
}

// jsonFault tells a cut token from text that is no JSON.
func jsonFault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return ErrTokenCut
	}
	if _, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return ErrTokenFields
	}
	return ErrTokenGarbled
}

// token checks the fields.
func (p payload) token() (Token, error) {
	if p.Account == nil || p.Tunnel == nil || p.Secret == nil {
		return Token{}, ErrTokenFields
	}
	if !accountTag.MatchString(*p.Account) {
		return Token{}, ErrTokenAccount
	}
	id, err := uuid.Parse(*p.Tunnel)
	if err != nil || id == uuid.Nil {
		return Token{}, ErrTokenUUID
	}
	raw, err := base64.StdEncoding.DecodeString(*p.Secret)
	if err != nil {
		return Token{}, ErrTokenSecret
	}
	if len(raw) < minSecretBytes {
		return Token{}, ErrTokenShort
	}
	return Token{
		AccountTag: *p.Account,
		TunnelID:   id.String(),
		Endpoint:   p.Endpoint,
		secret:     secret.New(string(raw)),
	}, nil
}
