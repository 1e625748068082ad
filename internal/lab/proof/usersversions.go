package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// vectorPassword is the password of the vectors.
const vectorPassword = "s3cret"

// vector is a hash of vectorPassword that a mosquitto_passwd wrote elsewhere.
type vector struct {
	user, hash string
	newer      bool // a salt of 64 bytes, which 2.0 does not read
}

// vectors are of 2.0.11 with its default, with -I 5000 and with -H sha512, and of 2.1.2.
func vectors() []vector {
	return []vector{
		{"vector-default", "$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ==", false},
		{"vector-5000", "$7$5000$NGSQuEEHCfKBbT3m$v7neXrSO903zHsldudDuwKN80RNEDyXO4sFLR8ujzV+qWqunakfZtO5RwJEjM5Pv3W/07LM9zUtpL6ndqyNDNg==", false},
		{"vector-sha512", "$6$5qqPfBQ+9DyF7ht5$QP4XSNUNK6005m7tMGJmU8REnBRzlGM5LIueRXq9Oe7pORDSFd7NPB4L5sNKTP9Jq90RUKgDcmTxw1Zm+qHJHg==", false},
		{"vector-newer", "$7$1000$2luQ8Y/rTPQa8v2/c+ewNfnO8thqR9J+aNFWi+moeM3j/QXBTepr4O3O04Ktpne32wKVXP3Mrvo1x6VEjELCBg==" +
			"$UX1pQceRtECr5QYk6sMp/vnQPY0kVZCkJgXcRzkzzlmXr/KR0B9aMFzeSKXQ8NZZ8RMNOgabd4jMkNY3eyooGw==", true},
	}
}

// userRight is what a user may or may not do with a topic.
type userRight struct {
	user, topic string
	class       probe.Class // of a message there and back, "" when it comes
}

// userRights are those of the users that the proof makes: all topics, their own ones, and
// filters with denials.
func userRights() []userRight {
	return []userRight{
		{"everywhere", "any/where", ""},
		{"homely", "homely/x", ""},
		{"homely", "everywhere/x", probe.ClassPublishDenied},
		{"picky", "home/kitchen/temperature", ""},
		{"picky", "sensors/a/b", ""},
		{"picky", "home/lock/state", probe.ClassPublishDenied},
		{"picky", "home/kitchen/humidity", probe.ClassPublishDenied},
	}
}

// userPassword is the password of the users that the proof makes.
const userPassword = "correct horse battery"

// usersVersions gives the same users to every version of the broker.
func usersVersions(ctx context.Context, b *Bench) (figure string, err error) {
	return b.onVersions(ctx, "versions", sameUsersOn)
}

func sameUsersOn(ctx context.Context, list []onVersion) (figure string, err error) {
	var first, last *project
	logins, hashes := 0, 0
	for _, p := range list {
		if first == nil {
			first = p.project
			err = p.makeUsers(ctx)
		} else {
			err = p.takeUsers(first)
		}
		if err == nil {
			err = p.upWith(ctx, p.version)
		}
		if err != nil {
			return "", fmt.Errorf("mosquitto %s: %w", p.version, err)
		}
		n, err := p.logins(ctx, p.version)
		if err != nil {
			return "", fmt.Errorf("mosquitto %s: %w", p.version, err)
		}
		made, err := p.hashesOf(ctx, p.image)
		if err != nil {
			return "", fmt.Errorf("mosquitto_passwd of %s: %w", p.version, err)
		}
		last, logins, hashes = p.project, logins+n, hashes+made
	}
	if err := sameUsers(first, last); err != nil {
		return "", err
	}
	return fmt.Sprintf("the same files in mosquitto %s: %d of %d logins and rights as they should be, 2.0 without the user whose salt is of 64 bytes, "+
		"of whom up and user list warn; %d of %d hashes of their mosquitto_passwd verify", strings.Join(images.Versions(), " and "), logins, logins, hashes, hashes), nil
}

// makeUsers makes the users by the commands, before the broker runs, and adds those of
// the vectors by hand.
func (p *project) makeUsers(ctx context.Context) error {
	for _, args := range [][]string{
		{"add", "everywhere", "--topics", "all"},
		{"add", "homely", "--topics", "own"},
		{"add", "picky", "--topics", "home/+/temperature,home/lock/#,sensors/#"},
		{"deny", "picky", "readwrite", "home/lock/#"},
	} {
		r, err := p.mqtunnel(ctx, userPassword+"\n", append([]string{"user"}, args...)...)
		if err == nil && r.code != 0 {
			err = missed("mqtunnel user %s: exit %d: %s", strings.Join(args, " "), r.code, r.all())
		}
		if err != nil {
			return err
		}
	}
	name := filepath.Join(p.dir, "mosquitto", "passwd")
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	for _, v := range vectors() {
		text = append(text, v.user+":"+v.hash+"\n"...)
	}
	if err := os.WriteFile(name, text, 0o600); err != nil { //nolint:gosec // the proof's own directory
		return err
	}
	for _, v := range vectors() {
		if _, err := p.must(ctx, "user", "allow", v.user, "readwrite", "vectors/#"); err != nil {
			return err
		}
	}
	return nil
}

// takeUsers takes over the files of another project, and the probe's password with them.
func (p *project) takeUsers(from *project) error {
	if err := os.CopyFS(filepath.Join(p.dir, "mosquitto"), os.DirFS(filepath.Join(from.dir, "mosquitto"))); err != nil {
		return err
	}
	env, err := os.ReadFile(filepath.Join(from.dir, config.EnvName))
	if err != nil {
		return err
	}
	for line := range bytes.Lines(env) {
		if bytes.HasPrefix(line, []byte(config.KeyProbePassword+"=")) {
			own, err := os.ReadFile(filepath.Join(p.dir, config.EnvName))
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(p.dir, config.EnvName), append(own, line...), 0o600) //nolint:gosec // the proof's own directory
		}
	}
	return errors.New("the other project has no password of the probe")
}

// sameUsers wants the files of two projects the same.
func sameUsers(one, other *project) error {
	for _, name := range []string{passwdFile, aclFile} {
		first, err := os.ReadFile(filepath.Join(one.dir, name))
		if err != nil {
			return err
		}
		second, err := os.ReadFile(filepath.Join(other.dir, name))
		if err != nil {
			return err
		}
		if !bytes.Equal(first, second) {
			return missed("the versions do not have the same %s any more", name)
		}
	}
	return nil
}

// upWith brings the project up, and wants the user whom a version leaves out told by up
// and user list, in one line.
func (p *project) upWith(ctx context.Context, version string) error {
	for _, args := range [][]string{{"up", "--timeout", "90s", "--connect-to", p.lab.ConnectTo(p.host)}, {"user", "list"}} {
		r, err := p.mqtunnel(ctx, "", args...)
		if err == nil && r.code != 0 {
			err = missed("mqtunnel %s: exit %d: %s", args[0], r.code, r.err)
		}
		if err != nil {
			return err
		}
		told := 0
		for line := range strings.Lines(r.err) {
			if strings.Contains(line, "warning ") && strings.Contains(line, "vector-newer") && strings.Contains(line, "mqtunnel user passwd") {
				told++
			}
		}
		want := 0
		if version == images.Mosquitto20 {
			want = 1
		}
		if told != want {
			return missed("%s tells %d times of the user with a salt of 64 bytes, want %d: %s", args[0], told, want, r.err)
		}
	}
	return nil
}

// logins tries every user, with the right password and a wrong one, and what it may do.
func (p *project) logins(ctx context.Context, version string) (n int, err error) {
	want := func(user, password, topic string, class probe.Class) error {
		err := p.roundTrip(ctx, user, password, topic)
		if got := probe.ClassOf(err); got != class {
			return missed("user %s, topic %s: class %q, want %q: %w", user, topic, got, class, err)
		}
		n++
		return nil
	}
	for _, r := range userRights() {
		if err := want(r.user, userPassword, r.topic, r.class); err != nil {
			return n, err
		}
		if err := want(r.user, userPassword+" ", r.topic, probe.ClassNotAuthorised); err != nil {
			return n, err
		}
	}
	for _, v := range vectors() {
		class := probe.Class("")
		if v.newer && version == images.Mosquitto20 {
			class = probe.ClassNotAuthorised
		}
		if err := want(v.user, vectorPassword, "vectors/x", class); err != nil {
			return n, err
		}
		if err := want(v.user, strings.ToUpper(vectorPassword), "vectors/x", probe.ClassNotAuthorised); err != nil {
			return n, err
		}
	}
	return n, nil
}

// hashesOf lets the mosquitto_passwd of an image write hashes, and wants each verified
// by what mqtunnel judges passwords with.
func (p *project) hashesOf(ctx context.Context, image string) (n int, err error) {
	ways := []string{"", "-H sha512", "-I 1", "-I 20000"}
	for _, way := range ways {
		r, err := p.b.run(ctx, command{path: "docker", args: []string{
			"run", "--rm", "--network", "none", "--user", "1883:1883", "--entrypoint", "/bin/sh", "--label", bench.LabelLab + "=" + p.lab.Name,
			image, "-c", "cd /mosquitto/data && mosquitto_passwd -c -b " + way + " file alice '" + userPassword + "' >&2 && cat file",
		}})
		if err == nil && r.code != 0 {
			err = fmt.Errorf("%q: exit %d: %s", way, r.code, r.err)
		}
		if err != nil {
			return n, err
		}
		passwords, err := mosquitto.ParsePasswords("passwd", r.out)
		if err != nil {
			return n, missed("%q: %w", way, err)
		}
		if !passwords.Verify("alice", secret.New(userPassword)) || passwords.Verify("alice", secret.New(vectorPassword)) {
			return n, missed("%q: the hash does not verify as the broker does it", way)
		}
		n++
	}
	return n, nil
}
