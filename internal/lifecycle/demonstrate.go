package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// Demonstrator is the Engine as far as a demonstration needs it.
type Demonstrator interface {
	Prober
	Exec(ctx context.Context, id string, cmd []string, stdin secret.Text) (plan.ExecResult, error)
}

// Attempt is what a user is to try: to publish to the topic, or to subscribe to it.
type Attempt struct {
	User    string
	Publish bool
	Topic   string // without wildcards, and not the broker's own: see mosquitto.CheckTopic
}

// Where the clients of a demonstration find their options.
const (
	asUser    = "/mosquitto/config/as-user"
	asWitness = "/mosquitto/config/as-witness"
)

// Demonstrate lets the user do it on a broker of its own, in a throw-away container
// with the service's files, and reports whether the message came through. No client of
// the real broker notices anything; the user's password does not matter.
func Demonstrate(ctx context.Context, e Demonstrator, project string, s plan.Service, try Attempt) (through bool, err error) {
	if s.Files, err = staged(s.Files, try); err != nil {
		return false, err
	}
	err = onTrial(ctx, e, project, s, func(ctx context.Context, id string) (err error) {
		if try.Publish {
			through, err = heard(ctx, e, id, try.Topic)
		} else {
			through, err = hears(ctx, e, id, try.Topic)
		}
		return err
	})
	return through, err
}

// staged adds to the files what a demonstration needs: passwords that are known for
// the user and for a witness, which is the probe's account, and the witness's right to
// the topic.
func staged(files []plan.File, try Attempt) ([]plan.File, error) {
	files = slices.Clone(files)
	accounts := map[string]secret.Text{asUser: mosquitto.NewPassword(), asWitness: mosquitto.NewPassword()}
	for i, f := range files {
		switch f.Path {
		case mosquitto.PasswdPath:
			passwords, err := mosquitto.ParsePasswords(path.Base(f.Path), f.Content.Reveal()) // written again below
			if err != nil {
				return nil, err
			}
			if err := errors.Join(passwords.Set(try.User, accounts[asUser]), passwords.SetProbe(accounts[asWitness])); err != nil {
				return nil, err
			}
			files[i].Content = passwords.Render()
		case mosquitto.ACLPath:
			// A second section of an account goes on with the first.
			files[i].Content = secret.New(f.Content.Reveal() + fmt.Sprintf("\nuser %s\ntopic readwrite %s\n", mosquitto.ProbeUser, try.Topic)) // likewise
		}
	}
	for dir, name := range map[string]string{asUser: try.User, asWitness: mosquitto.ProbeUser} {
		options := fmt.Sprintf("-h 127.0.0.1\n-p 1883\n-V 311\n-u %s\n-P %s\n", name, accounts[dir].Reveal()) // clients read it from a file
		for _, program := range []string{"mosquitto_pub", "mosquitto_sub"} {
			files = append(files, plan.File{
				Path: path.Join(dir, program), UID: mosquitto.UID, GID: mosquitto.GID, Mode: 0o600, Content: secret.New(options),
			})
		}
	}
	return files, nil
}

// heard reports whether the witness gets what the user publishes. The broker sends what
// it retains in the order of the filters that are asked for: where the witness gets its
// own message first, there was no other.
func heard(ctx context.Context, e Demonstrator, id, topic string) (bool, error) {
	own := strings.TrimSuffix(mosquitto.ProbeTopics, "#") + rand.Text()
	for _, c := range []struct{ dir, topic string }{{asWitness, own}, {asUser, topic}} {
		if err := retain(ctx, e, id, c.dir, c.topic); err != nil {
			return false, err
		}
	}
	res, err := speak(ctx, e, id, asWitness, "mosquitto_sub", "-t", topic, "-t", own, "-C", "1", "-W", "10", "-F", "%t")
	if err != nil {
		return false, err
	}
	first := strings.TrimSpace(res.Output)
	if res.Code != 0 || first != topic && first != own {
		return false, fmt.Errorf("the witness got no message: exit %d: %s", res.Code, first)
	}
	return first == topic, nil
}

// exitTimeout is mosquitto_sub's exit code when the time of -W is over.
const exitTimeout = 27

// hears reports whether the user gets what the witness publishes.
func hears(ctx context.Context, e Demonstrator, id, topic string) (bool, error) {
	if err := retain(ctx, e, id, asWitness, topic); err != nil {
		return false, err
	}
	res, err := speak(ctx, e, id, asUser, "mosquitto_sub", "-t", topic, "-C", "1", "-W", "3", "-F", "%t")
	if err != nil {
		return false, err
	}
	if res.Code != 0 && res.Code != exitTimeout {
		return false, fmt.Errorf("subscribe as the user: exit %d: %s", res.Code, strings.TrimSpace(res.Output))
	}
	return res.Code == 0, nil
}

// retain publishes a message that the broker keeps, if it takes it.
func retain(ctx context.Context, e Demonstrator, id, dir, topic string) error {
	res, err := speak(ctx, e, id, dir, "mosquitto_pub", "-t", topic, "-q", "1", "-r", "-m", "demonstration")
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("publish: exit %d: %s", res.Code, strings.TrimSpace(res.Output))
	}
	return err
}

// speak runs one of Mosquitto's clients with the options of an account.
func speak(ctx context.Context, e Demonstrator, id, dir string, command ...string) (plan.ExecResult, error) {
	const as = `XDG_CONFIG_HOME=$1; export XDG_CONFIG_HOME; shift; exec "$@"`
	return e.Exec(ctx, id, append([]string{"sh", "-c", as, "sh", dir}, command...), secret.Text{})
}
