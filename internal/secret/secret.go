// Package secret holds text that must not be printed by accident: tunnel
// tokens, passwords, and files that contain them.
package secret

import (
	"crypto/subtle"
	"log/slog"
)

// redacted stands wherever a Text is printed.
const redacted = "[redacted]"

// Text is a secret. The zero value is an empty one. Every way of printing or
// marshalling it shows a placeholder; Reveal gives the text. The text lives in a
// closure since fmt reads unexported fields without asking String.
// A Text is immutable and safe for concurrent use.
type Text struct {
	reveal func() string
}

// New returns a Text that holds s.
func New(s string) Text { return Text{reveal: func() string { return s }} }

// Reveal returns the secret itself. Callers are few, and each says why.
func (t Text) Reveal() string {
	if t.reveal == nil {
		return ""
	}
	return t.reveal()
}

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.Reveal() == "" }

// Equal reports whether both hold the same text, in time that does not depend
// on where they differ.
func (t Text) Equal(u Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(u.Reveal())) == 1
}

// String returns a placeholder.
func (t Text) String() string { return redacted }

// GoString returns a placeholder, for %#v.
func (t Text) GoString() string { return redacted }

// LogValue returns a placeholder, for log/slog.
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a placeholder, for encoding/json and others.
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }
