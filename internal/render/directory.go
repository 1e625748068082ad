package render

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"mqtunnel/compose"
	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// Names of the user's and the broker's files, relative to the project directory.
const (
	PasswdName = "mosquitto/passwd"
	ACLName    = "mosquitto/acl"
	ConfDName  = "mosquitto/conf.d"
)

// maxBrokerFile bounds what is read of one of the broker's files, in bytes: a
// password file of some ten thousand users.
const maxBrokerFile = 8 << 20

// Directory is what a project directory holds besides the settings: the users,
// what they may do, further directives, and the Compose file as it is.
type Directory struct {
	Path      string
	Passwords *mosquitto.Passwords
	ACL       *mosquitto.ACL
	Conf      []mosquitto.ConfFile // checked
	Existing  []byte               // compose.yaml, nil when there is none
}

// ReadDirectory reads and checks the files of a project directory. Missing ones
// are empty. Errors are remedy.Errors that name file and line, and hold no hash.
func ReadDirectory(dir string) (*Directory, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open project directory: %w", cause(err))
	}
	defer root.Close() //nolint:errcheck // nothing was written
	d := &Directory{Path: dir}
	passwd, err := readBounded(root, PasswdName)
	if err != nil {
		return nil, err
	}
	if d.Passwords, err = mosquitto.ParsePasswords(PasswdName, passwd); err != nil {
		return nil, err
	}
	acl, err := readBounded(root, ACLName)
	if err != nil {
		return nil, err
	}
	if d.ACL, err = mosquitto.ParseACL(ACLName, acl); err != nil {
		return nil, err
	}
	if d.Conf, err = readConfD(root); err != nil {
		return nil, err
	}
	d.Existing, err = Existing(dir)
	return d, err
}

// readBounded returns a file's text, "" when there is none.
func readBounded(root *os.Root, name string) (string, error) {
	file, err := root.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fileError("read "+name, err)
	}
	defer file.Close() //nolint:errcheck // nothing was written
	text, err := io.ReadAll(io.LimitReader(file, maxBrokerFile+1))
	if err == nil && len(text) > maxBrokerFile {
		err = errors.New("the file is too large")
	}
	if err != nil {
		return "", fileError("read "+name, err)
	}
	return string(text), nil
}

// readConfD reads the user's further directives in the order in which the broker
// would: by the bytes of their names.
func readConfD(root *os.Root) ([]mosquitto.ConfFile, error) {
	entries, err := fs.ReadDir(root.FS(), ConfDName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fileError("read "+ConfDName, err)
	}
	var files []mosquitto.ConfFile
	for _, e := range entries {
		if e.IsDir() || !strings.HasSuffix(e.Name(), ".conf") {
			continue
		}
		text, err := readBounded(root, path.Join(ConfDName, e.Name()))
		if err != nil {
			return nil, err
		}
		files = append(files, mosquitto.ConfFile{Name: e.Name(), Text: text})
	}
	slices.SortFunc(files, func(a, b mosquitto.ConfFile) int { return strings.Compare(a.Name, b.Name) })
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
	text, err := Compose(in)
	if err != nil {
		return Rendered{}, err
	}
	project, err := Load(ctx, d.Path, text, env)
	if err != nil {
		return Rendered{}, err
	}
	return Rendered{Compose: text, Passwd: []byte(in.Passwd), ACL: []byte(in.ACL), Project: project}, nil
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
	if !s.ProbePassword.IsZero() && !d.Passwords.Verify(mosquitto.ProbeUser, s.ProbePassword) {
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
	difference, _ := Diff(d.Existing, r.Compose)
	return remedy.Errorf(remedy.Input,
		"move what you changed to compose.override.yaml, which mqtunnel merges and never writes\nthen write the file anew: mqtunnel render --force",
		"%s was edited by hand:\n%s", FileName, strings.TrimRight(difference, "\n"))
}

// Write stores the project's files: users first, then the Compose file, which
// holds them too. A file that is as it should be is not touched.
func (r Rendered) Write(dir string) error {
	return Write(dir,
		Target{Name: PasswdName, Data: r.Passwd, Mode: ModePrivate},
		Target{Name: ACLName, Data: r.ACL, Mode: ModePrivate},
		Target{Name: FileName, Data: r.Compose, Mode: ModePrivate})
}

// Shown returns the Compose file as it may be shown: hashes and passwords of
// bridges are blanked.
func (r Rendered) Shown() string { return blank(r.Compose) }
