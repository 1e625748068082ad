package connector

import (
	"encoding/base64"
	"encoding/json"
	"errors"

	"github.com/google/uuid"
)

// token is a tunnel token's content; the JSON names are the token's own.
type token struct {
	AccountTag string    `json:"a"`
	Secret     []byte    `json:"s"`
	TunnelID   uuid.UUID `json:"t"`
	Endpoint   string    `json:"e,omitempty"`
}

var errToken = errors.New("Provided Tunnel token is not valid.") //nolint:staticcheck // the text is cloudflared's

// parseToken is exactly as loose as cloudflared: line ends inside are passed over by the decoder, an object without
// fields is a token, and every fault is the same error.
func parseToken(text string) (token, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return token{}, errToken
	}
	var t token
	if err := json.Unmarshal(raw, &t); err != nil {
		return token{}, errToken
	}
	return t, nil
}
