package conformance

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"mqtunnel/internal/lab/tunnelrpc"
)

// readRegistration takes a registration off the wire.
func readRegistration(args tunnelrpc.RegistrationServer_registerConnection_Params) (registration, error) {
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	auth, err := args.Auth()
	keep(err)
	options, err := args.Options()
	keep(err)
	client, err := options.Client()
	keep(err)
	r := registration{ConnIndex: args.ConnIndex(), Previous: options.NumPreviousAttempts(), Replace: options.ReplaceExisting()}
	r.AccountTag, err = auth.AccountTag()
	keep(err)
	secret, err := auth.TunnelSecret()
	keep(err)
	r.Secret = bytes.Clone(secret)
	id, err := args.TunnelId()
	keep(err)
	r.TunnelID, err = uuid.FromBytes(id)
	keep(err)
	id, err = client.ClientId()
	keep(err)
	r.ConnectorID, err = uuid.FromBytes(id)
	keep(err)
	r.Version, err = client.Version()
	keep(err)
	r.Arch, err = client.Arch()
	keep(err)
	ip, err := options.OriginLocalIp()
	keep(err)
	r.LocalIP = bytes.Clone(ip)
	features, err := client.Features()
	keep(err)
	for i := range features.Len() {
		f, err := features.At(i)
		keep(err)
		r.Features = append(r.Features, f)
	}
	return r, errors.Join(errs...)
}

// userHeaders decodes the origin's headers, which travel in one header.
func userHeaders(t *testing.T, resp *http.Response) http.Header {
	t.Helper()
	all := http.Header{}
	text := resp.Header.Get("Cf-Cloudflared-Response-Headers")
	if text == "" {
		return all
	}
	for pair := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(pair, ":")
		n, err1 := base64.RawStdEncoding.DecodeString(name)
		v, err2 := base64.RawStdEncoding.DecodeString(value)
		if err := errors.Join(err1, err2); err != nil {
			t.Fatalf("decode %q: %v", pair, err)
		}
		all.Add(string(n), string(v))
	}
	return all
}

// identity is one tunnel's credentials.
type identity struct {
	account string
	tunnel  uuid.UUID
	secret  []byte
}

func newIdentity(t *testing.T) identity {
	t.Helper()
	raw := make([]byte, 48)
	if _, err := rand.Read(raw); err != nil {
		t.Fatal(err)
	}
	return identity{account: hex.EncodeToString(raw[:16]), tunnel: uuid.New(), secret: raw[16:]}
}

func (i identity) json() string {
	text, err := json.Marshal(map[string]any{"a": i.account, "t": i.tunnel, "s": i.secret})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func (i identity) token() string { return base64.StdEncoding.EncodeToString([]byte(i.json())) }
