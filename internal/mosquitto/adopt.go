package mosquitto

import "fmt"

// ReadPasswordLine reads one line of somebody else's password file as a file of its
// own, and returns its user, "" for a comment or a blank line. The error says what is
// wrong with the line, without its place and without the hash.
func ReadPasswordLine(line string) (user string, file *Passwords, err error) {
	parsed, err := parsePasswordLine(line)
	if err != nil {
		return "", nil, err
	}
	return parsed.user, &Passwords{lines: []passwordLine{parsed}}, nil
}

// Adopt takes a user with its hash over from another file. It refuses names that
// CheckUsername refuses.
func (p *Passwords) Adopt(from *Passwords, user string) error {
	if err := CheckUsername(user); err != nil {
		return err
	}
	i := from.find(user)
	if i < 0 {
		return fmt.Errorf("user %q has no password", user)
	}
	if at := p.find(user); at >= 0 {
		p.lines[at] = from.lines[i]
	} else {
		p.lines = append(p.lines, from.lines[i])
	}
	return nil
}

// SameHash reports whether both files have the user, with the same hash.
func (p *Passwords) SameHash(other *Passwords, user string) bool {
	i, j := p.find(user), other.find(user)
	return i >= 0 && j >= 0 && p.lines[i].text.Equal(other.lines[j].text)
}
