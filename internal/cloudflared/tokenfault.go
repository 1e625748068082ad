package cloudflared

import (
	"errors"

	"mqtunnel/internal/remedy"
)

// What can be wrong with a text that should hold a tunnel token. None of these
// errors shows the text.
var (
	ErrTokenEmpty       = errors.New("there is no tunnel token")
	ErrTokenMissing     = errors.New("there is no tunnel token in this text")
	ErrTokenForm        = errors.New("the tunnel token is not written as cloudflared reads it")
	ErrTokenCut         = errors.New("the tunnel token is cut: its end is missing")
	ErrTokenExtra       = errors.New("the tunnel token is whole, and characters follow it that do not belong to it")
	ErrTokenTail        = errors.New("the tunnel token is cut: its beginning is missing")
	ErrTokenGarbled     = errors.New("the tunnel token is damaged: it does not decode")
	ErrTokenURL         = errors.New("the tunnel token is in base64url, which cloudflared does not read")
	ErrTokenTwo         = errors.New("there are two different tunnel tokens in this text")
	ErrTokenFields      = errors.New("this decodes, but is no tunnel token: account, tunnel or secret is missing in it")
	ErrTokenAccount     = errors.New("the tunnel token is damaged: its account tag is not one word")
	ErrTokenUUID        = errors.New("the tunnel token is damaged: its tunnel ID is not a UUID")
	ErrTokenSecret      = errors.New("the tunnel token is damaged: its secret is not base64")
	ErrTokenShort       = errors.New("the tunnel token is damaged: its secret is too short")
	ErrTokenShortened   = errors.New("this tunnel token is shortened for display")
	ErrTokenAPIToken    = errors.New("this is a Cloudflare API token, not a tunnel token")
	ErrTokenAPIKey      = errors.New("this is a Cloudflare Global API key, not a tunnel token")
	ErrTokenOriginKey   = errors.New("this is a Cloudflare Origin CA key, not a tunnel token")
	ErrTokenTunnelID    = errors.New("this is a tunnel ID, not a tunnel token")
	ErrTokenAccountTag  = errors.New("this is an account, zone or tunnel ID, not a tunnel token")
	ErrTokenCredentials = errors.New("this is a credentials file of a locally managed tunnel, not a tunnel token")
	ErrTokenCertificate = errors.New("this is a certificate file such as cert.pem, not a tunnel token")
	ErrTokenJWT         = errors.New("this is a JSON web token, as Cloudflare Access uses, not a tunnel token")
	ErrTokenAPIError    = errors.New("this is an error answer of Cloudflare's API, not a tunnel token")
	ErrTokenHostname    = errors.New("this is a hostname or URL, not a tunnel token")
	ErrTokenPlaceholder = errors.New("this is a placeholder, not a tunnel token")
	ErrTokenTooLong     = errors.New("this text is too long to hold a tunnel token")
)

// hintCopy says where the token is found.
const hintCopy = "in the Cloudflare dashboard open Zero Trust > Networks > Tunnels (or Connectors), the tunnel, Configure: copy the whole command with the token, " +
	"which begins with eyJ, and paste it as it is"

// fault adds the remedy to one of the ErrToken… values.
func fault(err error) error {
	return &remedy.Error{Code: remedy.Input, Err: err, Hint: hintOf(err)}
}

// hintOf returns what to do about one of the ErrToken… values.
func hintOf(err error) string {
	switch {
	case errors.Is(err, ErrTokenForm):
		return "type mqtunnel token set and paste it there: quotes, spaces and line wraps are put right"
	case errors.Is(err, ErrTokenCut), errors.Is(err, ErrTokenTail), errors.Is(err, ErrTokenGarbled), errors.Is(err, ErrTokenShortened),
		errors.Is(err, ErrTokenAccount), errors.Is(err, ErrTokenUUID), errors.Is(err, ErrTokenSecret), errors.Is(err, ErrTokenShort):
		return "copy it again, with the copy button rather than by hand; " + hintCopy
	case errors.Is(err, ErrTokenExtra):
		return "take away what follows the token, or copy it again, with the copy button rather than by hand; " + hintCopy
	case errors.Is(err, ErrTokenURL):
		return "something replaced + and / by - and _; " + hintCopy
	case errors.Is(err, ErrTokenTwo):
		return "paste one of them; the tunnel's page in the dashboard shows which is in force"
	case errors.Is(err, ErrTokenAPIToken), errors.Is(err, ErrTokenAPIKey), errors.Is(err, ErrTokenOriginKey):
		return "keep it secret, mqtunnel does not need it; " + hintCopy
	case errors.Is(err, ErrTokenTunnelID), errors.Is(err, ErrTokenAccountTag):
		return "the ID names the tunnel, the token lets a connector in; " + hintCopy
	case errors.Is(err, ErrTokenCredentials):
		return "type cloudflared tunnel token NAME-OR-ID where that tunnel was made, and paste what it prints; " +
			"or make a tunnel in the dashboard"
	case errors.Is(err, ErrTokenCertificate):
		return "cert.pem is a login for making tunnels; " + hintCopy
	case errors.Is(err, ErrTokenAPIError):
		return "see the errors in the answer; the call is GET /accounts/ACCOUNT/cfd_tunnel/TUNNEL/token, or: " + hintCopy
	default:
		return hintCopy
	}
}
