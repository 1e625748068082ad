package render

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"mqtunnel/compose"
	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/projectdir"
	"mqtunnel/internal/remedy"
)

// Names of the user's and the broker's files, relative to the project directory.
const (
	PasswdName = "mosquitto/passwd"
	ACLName    = "mosquitto/acl"
	ConfDName  = "mosquitto/conf.d"
)

// Directory is what a project directory holds besides the settings: the users,
// what they may do, further directives, and the Compose file as it is.
type Directory struct {
	Path      string
	Passwords *mosquitto.Passwords
	ACL       *mosquitto.ACL
	Conf      []mosquitto.ConfFile // checked
	Existing  []byte               // compose.yaml, nil when there is none
}

// Faults are what is wrong with the files of a project directory, each nil when
// nothing is. They are remedy.Errors that name file and line, and hold no hash.
type Faults struct {
	Users   error // password or ACL file
	Conf    error // mosquitto/conf.d
	Compose error // compose.yaml cannot be read
}

// ReadDirectory reads and checks the files of a project directory. Missing ones
// are empty. The error is the first of the Faults.
func ReadDirectory(dir string) (*Directory, error) {
	d, f := Examine(dir)
	for _, err := range []error{f.Users, f.Conf, f.Compose} {
		if err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Examine is ReadDirectory for who wants all that is wrong. What could not be read
// is missing in the Directory.
func Examine(dir string) (*Directory, Faults) {
	d := &Directory{Path: dir}
	opened, err := projectdir.Open(dir)
	if err != nil {
		return d, Faults{Users: err, Conf: err, Compose: err}
	}
	defer opened.Close() //nolint:errcheck // nothing was written
	f := Faults{Users: d.readUsers(opened)}
	d.Conf, f.Conf = readConfD(opened)
	d.Existing, f.Compose = read(opened, FileName)
	return d, f
}

// Clone returns a copy that changes of the users of d do not touch.
func (d *Directory) Clone() *Directory {
	c := *d
	c.Passwords, c.ACL = d.Passwords.Clone(), d.ACL.Clone()
	return &c
}

// readUsers reads who may log in and what they may do.
func (d *Directory) readUsers(opened *projectdir.Dir) error {
	passwd, err := read(opened, PasswdName)
	if err != nil {
		return err
	}
	if d.Passwords, err = mosquitto.ParsePasswords(PasswdName, string(passwd)); err != nil {
		return err
	}
	acl, err := read(opened, ACLName)
	if err != nil {
		return err
	}
	d.ACL, err = mosquitto.ParseACL(ACLName, string(acl))
	return err
}

// readConfD reads the user's further directives in the order in which the broker
// would: by the bytes of their names.
func readConfD(d *projectdir.Dir) ([]mosquitto.ConfFile, error) {
	entries, err := d.List(ConfDName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var files []mosquitto.ConfFile
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		text, err := read(d, path.Join(ConfDName, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, mosquitto.ConfFile{Name: e.Name(), Text: string(text)})
	}
	return mosquitto.CheckConf(files)
}

// Rendered is a project as it is to be written and run.
type Rendered struct {
	Compose []byte
	Passwd  []byte
	ACL     []byte
	Project plan.Project
}

// Render makes the project from settings and directory. env is what Compose
// interpolates from. tokenChanged says that the connector that runs was made with
// another token; newRevision makes random revisions. Nothing is written.
func (d *Directory) Render(ctx context.Context, s config.Settings, env map[string]string, tokenChanged bool, newRevision func() string) (Rendered, error) {
	in := FromSettings(s)
	in.TokenChanged, in.NewRevision, in.Previous = tokenChanged, newRevision, d.Existing
	if err := d.brokerFiles(s, &in); err != nil {
		return Rendered{}, err
	}
	text, withoutUsers, err := composed(in)
	if err != nil {
		return Rendered{}, err
	}
	project, err := Load(ctx, d.Path, withoutUsers, env)
	if err != nil {
		return Rendered{}, err
	}
	project = withUsers(project, in)
	// The directory's own ACL file holds users only: what anonymous clients may do
	// is a setting, and stands in what the broker gets.
	return Rendered{Compose: text, Passwd: []byte(in.Passwd), ACL: []byte(d.ACL.Render(false)), Project: project}, nil
}

// brokerFiles fills in what the broker reads. The probe's account is in the
// password file whenever it has a password.
func (d *Directory) brokerFiles(s config.Settings, in *Input) error {
	tmpl, err := compose.Files.ReadFile(compose.ConfTemplate)
	if err != nil {
		return fmt.Errorf("read template: %w", err)
	}
	in.Conf, err = mosquitto.RenderConf(string(tmpl), mosquitto.ConfData{
		AllowAnonymous: s.AllowAnonymous, SaveInterval: s.SaveInterval, Files: d.Conf,
	})
	if err != nil {
		return err
	}
	script, err := compose.Files.ReadFile(compose.StartScript)
	if err != nil {
		return fmt.Errorf("read start script: %w", err)
	}
	in.StartScript = string(script)
	good := d.Passwords.Verify(mosquitto.ProbeUser, s.ProbePassword) && !slices.Contains(d.Passwords.OnlyNewer(), mosquitto.ProbeUser)
	if !s.ProbePassword.IsZero() && !good {
		if err := d.Passwords.SetProbe(s.ProbePassword); err != nil {
			return err
		}
	}
	in.Passwd = d.Passwords.Render().Reveal() // hashes, which the file holds
	in.ACL = d.ACL.Render(s.AllowAnonymous)
	return nil
}

// CheckEdited refuses when a person edited the Compose file, and shows what
// would be lost.
func (d *Directory) CheckEdited(r Rendered) error {
	if !Edited(d.Existing) {
		return nil
	}
	difference, _ := Diff(volatile(d.Existing), volatile(r.Compose))
	return remedy.Errorf(remedy.Input,
		"move what you changed to compose.override.yaml, which mqtunnel merges and never writes\nthen write the file anew: mqtunnel render --force",
		"%s was edited by hand:\n%s", FileName, strings.TrimRight(difference, "\n"))
}

// Changes returns the lines in which r differs from the Compose file that exists,
// each with "+" or "-" in front as in a difference, and with secrets blanked. What
// differs between any two renderings does not count.
func (d *Directory) Changes(r Rendered) []string {
	difference, _ := Diff(volatile(d.Existing), volatile(r.Compose))
	var changes []string
	for line := range strings.Lines(difference) {
		header := strings.HasPrefix(line, "+++ ") || strings.HasPrefix(line, "--- ")
		if sign := line[0]; !header && (sign == '+' || sign == '-') {
			changes = append(changes, strings.TrimRight(line, "\r\n"))
		}
	}
	return changes
}

// volatile blanks what differs between two renderings of the same project: the
// header's checksum and the random revisions.
func volatile(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		for _, begin := range []string{checksumPrefix, plan.LabelRevision + ": "} {
			if before, _, found := strings.Cut(l, begin); found {
				lines[i] = before + begin + "…"
			}
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

// Targets returns the project's files in the order in which they are to be written.
// At every moment in between, the users and what they may do are as before or as
// they are to be, and the same command run again still finds something to do:
//
//   - first the Compose file, which holds all of them for other tools to read;
//   - then the users, whose file has the last word. Nobody is there without the
//     rights that belong to it: these are written before a user comes and after one
//     has gone.
func (r Rendered) Targets(d *projectdir.Dir) ([]Target, error) {
	users := Target{Name: PasswdName, Data: r.Passwd, Mode: ModePrivate}
	rights := Target{Name: ACLName, Data: r.ACL, Mode: ModePrivate}
	targets := []Target{{Name: FileName, Data: r.Compose, Mode: ModePrivate}, rights, users}
	old, err := read(d, PasswdName)
	if err != nil {
		return nil, err
	}
	now := names(r.Passwd)
	for name := range names(old) {
		if !now[name] {
			targets[1], targets[2] = users, rights
		}
	}
	return targets, nil
}

// names returns the users of a password file, and its comments with them.
func names(passwd []byte) map[string]bool {
	list := map[string]bool{}
	for line := range bytes.Lines(passwd) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		list[string(name)] = true
	}
	return list
}

// Write stores the project's files, all or none.
func (r Rendered) Write(dir string) error {
	d, err := projectdir.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // nothing was written
	targets, err := r.Targets(d)
	if err != nil {
		return err
	}
	return Write(dir, targets...)
}

// Shown returns the Compose file as it may be shown: hashes and passwords of
// bridges are blanked.
func (r Rendered) Shown() string { return blank(r.Compose) }
