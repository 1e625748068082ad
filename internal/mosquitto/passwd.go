package mosquitto

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Hashes as both broker versions read them: a salt of exactly 12 bytes, a key of
// exactly 64. The broker has one thread, hashes in it, and verifies every connected
// client again on SIGHUP, so that a high count of iterations would let anybody stall it.
const (
	saltBytes     = 12
	keyBytes      = sha512.Size
	iterations    = 1000
	maxIterations = 10_000_000
)

// Passwords is a password file. Comments and the order of lines survive. It is not
// safe for concurrent use.
type Passwords struct {
	lines []passwordLine
}

// passwordLine is a user's line, or a comment or blank one when user is "". The
// text is a secret by type since hashes are worth guessing at.
type passwordLine struct {
	user string
	text secret.Text
	hash passwordHash
}

// passwordHash is a decoded hash; kind is 6 or 7.
type passwordHash struct {
	kind       int
	iterations int
	salt, key  []byte
}

// ParsePasswords reads a password file as strictly as Mosquitto 2.1 does, which
// exits on a bad line, and refuses what the two versions read differently. name
// stands in errors, e.g. "mosquitto/passwd:3: …"; they never quote a hash.
func ParsePasswords(name, text string) (*Passwords, error) {
	p := &Passwords{}
	seen := map[string]int{}
	if text == "" {
		return p, nil
	}
	if strings.HasPrefix(text, byteOrderMark) {
		return nil, badPassword(name, 1, errByteOrderMark)
	}
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		line = strings.TrimSuffix(line, "\r")
		parsed, err := parsePasswordLine(line)
		if err != nil {
			return nil, badPassword(name, i+1, err)
		}
		if first, ok := seen[parsed.user]; ok && parsed.user != "" {
			return nil, badPassword(name, i+1, fmt.Errorf("user %q stands in line %d already", parsed.user, first))
		}
		seen[parsed.user] = i + 1
		p.lines = append(p.lines, parsed)
	}
	return p, nil
}

func badPassword(name string, line int, err error) error {
	return remedy.Errorf(remedy.Input, "correct or delete that line; \"mqtunnel user add\" writes a good one",
		"%s:%d: %w", name, line, err)
}

func parsePasswordLine(line string) (passwordLine, error) {
	if strings.HasPrefix(line, "#") || strings.Trim(line, " ") == "" {
		return passwordLine{text: secret.New(line)}, nil
	}
	if !isText(line) {
		return passwordLine{}, errors.New("control characters, or not UTF-8 text")
	}
	user, encoded, ok := strings.Cut(line, ":")
	user, encoded = strings.Trim(user, " "), strings.Trim(encoded, " ")
	switch {
	case !ok:
		return passwordLine{}, errors.New("no colon: a line is USER:HASH")
	case user == "":
		return passwordLine{}, errors.New("the username is empty")
	case len(user) > maxField:
		return passwordLine{}, errors.New("the username is too long")
	case encoded == "":
		return passwordLine{}, fmt.Errorf("user %q has no password hash", user)
	}
	hash, err := parseHash(encoded)
	if err != nil {
		return passwordLine{}, fmt.Errorf("user %q: %w", user, err)
	}
	return passwordLine{user: user, text: secret.New(user + ":" + encoded), hash: hash}, nil
}

func parseHash(encoded string) (passwordHash, error) {
	fields := strings.Split(encoded, "$")
	if len(fields) < 2 || fields[0] != "" {
		return passwordHash{}, errors.New("a plain password instead of a hash")
	}
	h := passwordHash{iterations: 1}
	switch {
	case fields[1] == "6" && len(fields) == 4:
		h.kind = 6
	case fields[1] == "7" && len(fields) == 5:
		h.kind = 7
		n, err := strconv.Atoi(fields[2])
		if err != nil || n < 1 || n > maxIterations || fields[2] != strconv.Itoa(n) {
			return passwordHash{}, fmt.Errorf("the hash has a bad number of iterations; 1 to %d are allowed", maxIterations)
		}
		h.iterations = n
	case strings.HasPrefix(fields[1], "argon2"):
		return passwordHash{}, errors.New("an argon2 hash, which the official image does not read")
	default:
		return passwordHash{}, errors.New("the hash is neither $6$SALT$HASH nor $7$ITERATIONS$SALT$HASH")
	}
	var err error
	h.salt, err = base64.StdEncoding.Strict().DecodeString(fields[len(fields)-2])
	if err != nil || len(h.salt) != saltBytes && len(h.salt) != keyBytes {
		return passwordHash{}, fmt.Errorf("the salt of the hash is not %d or %d bytes in base64", saltBytes, keyBytes)
	}
	h.key, err = base64.StdEncoding.Strict().DecodeString(fields[len(fields)-1])
	if err != nil || len(h.key) != keyBytes {
		return passwordHash{}, fmt.Errorf("the hash is not %d bytes in base64", keyBytes)
	}
	return h, nil
}

// derive computes the key of a password under the hash's salt. $6$ is one SHA-512
// of password and salt, $7$ is PBKDF2 with HMAC-SHA-512.
func (h passwordHash) derive(password secret.Text) ([]byte, error) {
	plain := password.Reveal() // hashed, nowhere kept
	if h.kind == 6 {
		sum := sha512.Sum512(append([]byte(plain), h.salt...))
		return sum[:], nil
	}
	return pbkdf2.Key(sha512.New, plain, h.salt, h.iterations, keyBytes)
}

// Set gives the user a password, and adds the user if there is none of the name. It
// refuses names that CheckUsername refuses and passwords that CheckPassword refuses.
func (p *Passwords) Set(user string, password secret.Text) error {
	if err := CheckUsername(user); err != nil {
		return err
	}
	return p.set(user, password)
}

// SetProbe gives the probe's own account its password.
func (p *Passwords) SetProbe(password secret.Text) error {
	return p.set(ProbeUser, password)
}

func (p *Passwords) set(user string, password secret.Text) error {
	if err := CheckPassword(password); err != nil {
		return fmt.Errorf("user %q: %w", user, err)
	}
	h := passwordHash{kind: 7, iterations: iterations, salt: make([]byte, saltBytes)}
	rand.Read(h.salt) // never returns an error
	key, err := h.derive(password)
	if err != nil {
		return fmt.Errorf("user %q: hash the password: %w", user, err)
	}
	h.key = key
	line := passwordLine{user: user, hash: h, text: secret.New(fmt.Sprintf("%s:$7$%d$%s$%s", user, h.iterations,
		base64.StdEncoding.EncodeToString(h.salt), base64.StdEncoding.EncodeToString(h.key)))}
	if i := p.find(user); i >= 0 {
		p.lines[i] = line
	} else {
		p.lines = append(p.lines, line)
	}
	return nil
}

// Remove takes the user out and reports whether there was one.
func (p *Passwords) Remove(user string) bool {
	i := p.find(user)
	if i < 0 {
		return false
	}
	p.lines = slices.Delete(p.lines, i, i+1)
	return true
}

// Clone returns a copy that changes to p do not touch.
func (p *Passwords) Clone() *Passwords { return &Passwords{lines: slices.Clone(p.lines)} }

// Has reports whether there is a user of the name, the probe's included.
func (p *Passwords) Has(user string) bool { return p.find(user) >= 0 }

func (p *Passwords) find(user string) int {
	if user == "" {
		return -1
	}
	return slices.IndexFunc(p.lines, func(l passwordLine) bool { return l.user == user })
}

// Users returns the names in the order of the file, without the probe's.
func (p *Passwords) Users() []string {
	var users []string
	for _, l := range p.lines {
		if l.user != "" && l.user != ProbeUser {
			users = append(users, l.user)
		}
	}
	return users
}

// OnlyNewer returns the users whose hash Mosquitto 2.0 drops: those with a salt of
// 64 bytes, as the mosquitto_passwd of 2.1 writes them.
func (p *Passwords) OnlyNewer() []string {
	var users []string
	for _, l := range p.lines {
		if l.user != "" && len(l.hash.salt) != saltBytes {
			users = append(users, l.user)
		}
	}
	return users
}

// Verify reports whether the password is the user's, as the broker would judge.
func (p *Passwords) Verify(user string, password secret.Text) bool {
	i := p.find(user)
	if i < 0 {
		return false
	}
	key, err := p.lines[i].hash.derive(password)
	return err == nil && subtle.ConstantTimeCompare(key, p.lines[i].hash.key) == 1
}

// Render returns the file. It holds every user's hash.
func (p *Passwords) Render() secret.Text {
	var b bytes.Buffer
	for _, l := range p.lines {
		b.WriteString(l.text.Reveal()) // into the file, which is where hashes belong
		b.WriteByte('\n')
	}
	return secret.New(b.String())
}
