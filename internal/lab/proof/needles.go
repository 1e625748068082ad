package proof

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// needleLength is how much of the token in one piece counts as a leak.
const needleLength = 16

// needles are the texts that betray a token: every piece of it of needleLength
// characters, and of its secret in each form.
type needles map[string]string

// needlesOf takes a token apart.
func needlesOf(token string) (needles, error) {
	padded := token + strings.Repeat("=", (4-len(token)%4)%4)
	plain, err := base64.StdEncoding.DecodeString(padded)
	if err != nil {
		return nil, fmt.Errorf("decode the token: %w", err)
	}
	var parts struct {
		Secret []byte `json:"s"`
	}
	if err := json.Unmarshal(plain, &parts); err != nil {
		return nil, fmt.Errorf("decode the token: %w", err)
	}
	n := needles{}
	n.add("token", token)
	n.add("secret in hex", hex.EncodeToString(parts.Secret))
	n.add("secret in hex", strings.ToUpper(hex.EncodeToString(parts.Secret)))
	n.add("secret in base64", base64.StdEncoding.EncodeToString(parts.Secret))
	n.add("secret in base64url", base64.RawURLEncoding.EncodeToString(parts.Secret))
	n.add("secret", string(parts.Secret))
	return n, nil
}

func (n needles) add(what, text string) {
	for i := 0; i+needleLength <= len(text); i++ {
		n[text[i:i+needleLength]] = what
	}
}

// in returns what of the token stands in a text, "" for nothing.
func (n needles) in(text string) string {
	for i := 0; i+needleLength <= len(text); i++ {
		if what, found := n[text[i:i+needleLength]]; found {
			return what
		}
	}
	return ""
}

// search counts the places that were looked at and keeps the hits. It is safe for
// concurrent use.
type search struct {
	needles needles

	mu     sync.Mutex
	places int
	hits   []string
	seen   map[string]string // of processes, what was looked at last
}

// newSearch returns one that has looked nowhere yet.
func newSearch(n needles) *search { return &search{needles: n, seen: map[string]string{}} }

// look searches one place.
func (s *search) look(place, text string) {
	what := s.needles.in(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.places++
	if what != "" {
		s.hits = append(s.hits, place+" holds the "+what)
	}
}

// found returns the hits whose place begins with a text.
func (s *search) found(place string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []string
	for _, hit := range s.hits {
		if strings.HasPrefix(hit, place) {
			found = append(found, hit)
		}
	}
	return found
}

// verdict is the error for the hits, nil where there are none.
func (s *search) verdict() error {
	hits := s.found("")
	if len(hits) == 0 {
		return nil
	}
	return missed("%d hits in %d places: %s", len(hits), s.places, strings.Join(hits[:min(len(hits), 12)], "; "))
}

// processes searches every process's command line and environment. What was looked
// at before and is the same still is passed over.
func (s *search) processes() error {
	for _, file := range []string{"cmdline", "environ"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + file)
		if err != nil {
			return err
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				continue // the process has ended, or is not ours to read
			}
			s.mu.Lock()
			old, known := s.seen[path]
			s.seen[path] = string(data)
			s.mu.Unlock()
			if !known || old != string(data) {
				s.look(path, string(data))
			}
		}
	}
	return nil
}

// files searches a directory, but for .env.
func (s *search) files(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Base(path) == ".env" {
			return err
		}
		data, err := os.ReadFile(path) //nolint:gosec // the proof's own directory
		if err != nil {
			return err
		}
		s.look("file "+filepath.Base(path), string(data))
		return nil
	})
}
