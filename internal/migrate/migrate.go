// Package migrate reads a Mosquitto set-up that somebody made by hand, above all one of
// a Compose file with a broker and a Cloudflare connector, and decides what of it a
// project of mqtunnel takes over. It is pure: it reads through an interface, changes
// nothing, and says for everything that it leaves why.
package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
)

// Files is the directory of the old set-up. Names are relative, with slashes. No
// method may follow a link out of the directory.
type Files interface {
	// Read returns a file of at most limit bytes, and whether it is there.
	Read(name string, limit int64) (data []byte, found bool, err error)
	// List returns the names of the files in a directory in byte order, none when it
	// does not exist.
	List(name string) ([]string, error)
}

// Limits of what is read, in bytes.
const (
	maxText = 1 << 20
)

// MaxDatabase bounds a database that is taken over, in bytes: it goes through memory.
const MaxDatabase = 128 << 20

// Setup is what the old set-up has and what becomes of it.
type Setup struct {
	Files []string // names of the files that were read, in the order of reading

	Token     cloudflared.Token
	HasToken  bool
	TokenFrom string // name of the file

	Conf  string // text for a file of mosquitto/conf.d, "" for nothing; it may hold the password of a bridge
	Users []User
	// Anonymous says that the old broker lets clients in without a user.
	Anonymous bool
	// Restricted says that the old broker has an ACL file, so that not everybody may
	// read everything.
	Restricted bool

	// Database is the database as it is in the directory, nil when there is none.
	Database     []byte
	DatabaseFrom string // name of the file
	// DatabaseUnreadable is why a database that is there could not be read, else nil.
	DatabaseUnreadable error
	Persistence        bool   // whether the old broker saves its database at all
	DatabasePath       string // in the broker's container
	Service            string // of the broker in the Compose file, "" when unknown
	Port               string // of plain MQTT in the broker's container

	Taken []Item
	Left  []Item
}

// User is a user to take over: the name, the hash and the rights.
type User struct {
	Name  string
	Rules []mosquitto.Rule
	// Newer says that Mosquitto 2.0 cannot read the hash.
	Newer bool

	hash *mosquitto.Passwords // this one user
}

// AddTo gives the user, hash as it is and rights, to a password and an ACL file. A user
// of the name that is there already with another hash or other rights is an error, and
// nothing is changed then; the very same one is none.
func (u User) AddTo(p *mosquitto.Passwords, acl *mosquitto.ACL) error {
	rules, ruled := acl.Rules(u.Name)
	same := p.SameHash(u.hash, u.Name)
	if (p.Has(u.Name) && !same) || (ruled && !mosquitto.SameRules(rules, u.Rules)) {
		return remedy.Errorf(remedy.Input, "remove that one, mqtunnel user remove "+u.Name+", or import into another directory",
			"user %s is here already, with another password or other rights", u.Name)
	}
	if err := acl.Set(u.Name, u.Rules); err != nil {
		return err
	}
	return p.Adopt(u.hash, u.Name)
}

// Item is one thing of the old set-up that is taken over or left. Its texts hold words
// of outside and no secrets.
type Item struct {
	Place string // FILE or FILE:LINE
	What  string
	Why   string // for what is taken: what becomes of it
}

// reader is one reading of a set-up.
type reader struct {
	files Files
	root  string // absolute path of the directory
	own   []string
	setup *Setup

	mounts []mount
	conf   confFile
	passwd reference
	acl    reference
	data   reference // persistence_location
	dbFile string
}

// reference is a file that the configuration names.
type reference struct{ place, path string }

// Read reads a set-up. root is the absolute path of the directory, own the
// configuration that mqtunnel's broker has anyway. It is an error when there is nothing
// of a broker or a tunnel, or when a file cannot be read.
func Read(files Files, root, own string) (*Setup, error) {
	r := &reader{files: files, root: root, own: strings.Split(own, "\n"), setup: &Setup{Port: mosquitto.PortMQTT}}
	for _, step := range []func() error{r.compose, r.configuration, r.users, r.database, r.token} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	s := r.setup
	r.inOrder(s.Taken)
	r.inOrder(s.Left)
	if !s.HasToken && len(s.Files) == 0 && s.Database == nil {
		return nil, remedy.Errorf(remedy.Input, "name the directory that has them, or their Compose file",
			"there is no Mosquitto set-up: no Compose file, no .env, no mosquitto.conf")
	}
	return s, nil
}

// inOrder sorts by file, as they were read, and line.
func (r *reader) inOrder(items []Item) {
	slices.SortStableFunc(items, func(a, b Item) int {
		fileA, lineA := position(a.Place)
		fileB, lineB := position(b.Place)
		return cmp.Or(slices.Index(r.setup.Files, fileA)-slices.Index(r.setup.Files, fileB), lineA-lineB)
	})
}

// position splits FILE:LINE.
func position(place string) (file string, line int) {
	at := strings.LastIndexByte(place, ':')
	if at < 0 {
		return place, 0
	}
	line, err := strconv.Atoi(place[at+1:])
	if err != nil {
		return place, 0
	}
	return place[:at], line
}

// maxShown bounds what an item quotes, in bytes.
const maxShown = 120

// shortened cuts a word of outside.
func shortened(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

func (r *reader) take(place, what, format string, args ...any) {
	r.setup.Taken = append(r.setup.Taken, Item{place, shortened(what), fmt.Sprintf(format, args...)})
}

func (r *reader) leave(place, what, format string, args ...any) {
	r.setup.Left = append(r.setup.Left, Item{place, shortened(what), fmt.Sprintf(format, args...)})
}

// text reads a text file and notes that it was read.
func (r *reader) text(name string) (text string, found bool, err error) {
	data, found, err := r.files.Read(name, maxText)
	if err != nil || !found {
		return "", false, err
	}
	if !slices.Contains(r.setup.Files, name) {
		r.setup.Files = append(r.setup.Files, name)
	}
	return string(data), true, nil
}

// first reads the first of the named files that is there.
func (r *reader) first(names []string) (name, text string, err error) {
	for _, name := range names {
		text, found, err := r.text(name)
		if err != nil || found {
			return name, text, err
		}
	}
	return "", "", nil
}

// token finds the tunnel token in .env, else in the Compose file, where it stands in
// the command of many a hand-made project.
func (r *reader) token() error {
	env, found, err := r.text(".env")
	if err != nil {
		return err
	}
	var fault error
	if found {
		token, err := cloudflared.FindToken(env)
		if err == nil {
			r.setup.Token, r.setup.HasToken, r.setup.TokenFrom = token, true, ".env"
			return nil
		}
		fault = err
	}
	for _, name := range composeNames() {
		text, found, err := r.files.Read(name, maxText)
		if err != nil {
			return err
		}
		if token, err := cloudflared.FindToken(string(text)); found && err == nil {
			r.setup.Token, r.setup.HasToken, r.setup.TokenFrom = token, true, name
			return nil
		}
	}
	switch {
	case fault != nil:
		r.leave(".env", "tunnel token", "%s; mqtunnel token set takes one", fault)
	case len(r.setup.Files) > 0:
		r.leave(r.setup.Files[0], "tunnel token", "there is none in .env or the Compose file; mqtunnel token set takes one")
	}
	return nil
}

// database finds the file that the broker saves.
func (r *reader) database() error {
	s := r.setup
	location := cmp.Or(r.data.path, mosquitto.DataPath)
	s.DatabasePath = path.Join(location, cmp.Or(r.dbFile, "mosquitto.db"))
	if !s.Persistence {
		return nil
	}
	for _, name := range r.candidates(s.DatabasePath) {
		data, found, err := r.files.Read(name, MaxDatabase)
		if err != nil {
			s.DatabaseFrom, s.DatabaseUnreadable = name, err
			return nil //nolint:nilerr // a broker's file is often the broker's alone; there may be another way to it
		}
		if found {
			s.Database, s.DatabaseFrom = data, name
			return nil
		}
	}
	return nil
}

// errOutside is about a path that does not lie in the directory.
var errOutside = errors.New("it does not lie in that directory")
