package lifecycle

import (
	"context"
	"fmt"
	"time"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// Login is an account whose login proves that the broker has read its files.
type Login struct {
	User     string
	Password secret.Text
}

// FileReader is the Engine as far as reading injected files needs it.
type FileReader interface {
	ReadFile(ctx context.Context, id, path string, limit int64) (data []byte, found bool, err error)
}

// maxInjected bounds what is read back of an injected file, in bytes.
const maxInjected = 8 << 20

// ReadFile reads a file out of a container, running or not.
func ReadFile(ctx context.Context, e FileReader, id, name string) (secret.Text, bool, error) {
	data, found, err := e.ReadFile(ctx, id, name, maxInjected)
	if err != nil || !found {
		return secret.Text{}, false, err
	}
	return secret.New(string(data)), true, nil
}

// reloadTime bounds how long the broker may take to read its files again.
const reloadTime = 10 * time.Second

// ChangeUsers puts the project's password and ACL files into the running broker
// without a moment at which one is half there, makes it read them, and proves by
// a login that it did.
func ChangeUsers(ctx context.Context, a Actor, id string, p plan.Project, login Login) error {
	var files []plan.File
	for _, s := range p.Services {
		for _, f := range s.Files {
			if f.Path == mosquitto.PasswdPath || f.Path == mosquitto.ACLPath {
				files = append(files, f)
			}
		}
	}
	if err := Reload(ctx, a, id, files); err != nil {
		return fmt.Errorf("put the users into the broker: %w", err)
	}
	if err := proveLogin(ctx, a, id, login); err != nil {
		return fmt.Errorf("prove the change by a login: %w", err)
	}
	return nil
}

// loginScript logs in with options that the client takes from its standard input,
// as it reads them from a file otherwise: nothing that holds the password stays,
// whatever interrupts it, and no argument list shows it.
const loginScript = `d=/tmp/mqtunnel-login
mkdir -p $d && ln -sf /dev/stdin $d/mosquitto_sub &&
	head -n 5 | XDG_CONFIG_HOME=$d mosquitto_sub -t mqtunnel/login -E -W 3`

// proveLogin logs in inside the broker's container until the broker accepts.
func proveLogin(ctx context.Context, a Actor, id string, login Login) error {
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	// Five lines, which only the client reads.
	options := secret.New(fmt.Sprintf("-h 127.0.0.1\n-p 1883\n-u %s\n-P %s\n-i %s\n", login.User, login.Password.Reveal(), mosquitto.LoginID))
	for {
		res, err := a.Exec(ctx, id, []string{"sh", "-c", loginScript}, options)
		if err != nil {
			return err
		}
		if res.Code == 0 {
			return nil
		}
		if perr := pause(ctx, 100*time.Millisecond); perr != nil {
			// What the client wrote may quote the options that the password is in.
			return fmt.Errorf("the broker does not let user %s in: exit %d", login.User, res.Code)
		}
	}
}

// HeldFiles reads the named files out of a container, as far as they are there.
func HeldFiles(ctx context.Context, e FileReader, id string, names []string) (map[string]secret.Text, error) {
	held := map[string]secret.Text{}
	for _, name := range names {
		text, found, err := ReadFile(ctx, e, id, name)
		if err != nil {
			return nil, err
		}
		if found {
			held[name] = text
		}
	}
	return held, nil
}
