package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"mqtunnel/internal/secret"
)

func TestNoWayOfPrintingShowsTheSecret(t *testing.T) {
	const plain = "correct-horse-battery"
	type holder struct {
		Public  secret.Text
		private secret.Text
	}
	h := holder{Public: secret.New(plain), private: secret.New(plain)}

	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		fmt.Fprintf(&out, verb+"\n", h)
		fmt.Fprintf(&out, verb+"\n", &h)
		fmt.Fprintf(&out, verb+"\n", h.private)
	}
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("seen", "holder", h, "text", h.private)
	if strings.Contains(out.String(), plain) || strings.Contains(out.String(), fmt.Sprintf("%x", plain)) {
		t.Errorf("the secret stands in:\n%s", out.String())
	}
	if h.private.Reveal() != plain {
		t.Errorf("Reveal() = %q, want %q", h.private.Reveal(), plain)
	}
}

func TestZeroIsEmpty(t *testing.T) {
	var zero secret.Text
	if !zero.IsZero() || zero.Reveal() != "" || !zero.Equal(secret.New("")) {
		t.Errorf("zero Text: IsZero %v, Reveal %q", zero.IsZero(), zero.Reveal())
	}
}
