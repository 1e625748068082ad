package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// Depositor is the Engine as far as a database from elsewhere needs it.
type Depositor interface {
	Prober
	Puller
	FileReader
	CreateVolume(ctx context.Context, v plan.Volume, labels map[string]string) error
}

// depositPath is where the new database waits in the container, so that the volume
// sees it only whole.
const depositPath = "/mosquitto/config/import.db"

// depositScript puts the file in place of the database and says what it did. There is a
// database at every moment, the old or the new one, both whole. What was there before,
// with the copies that the start script judges by, is kept aside.
const depositScript = `set -u
umask 077
data=/mosquitto/data
db=$data/mosquitto.db
new=$data/.import.db
aside=
say() { echo "import: $*"; exit 0; }
fail() {
	rm -f "$new"
	if [ -n "$aside" ]; then
		[ ! -d "$aside/copies" ] || mv "$aside/copies" "$data/"
		rm -rf "$aside"
	fi
	say "failed: $*"
}
word=done
if [ -e "$db" ]; then
	cmp -s "$1" "$db" && say same
	[ "$2" = force ] || say there
	word=moved
fi
cp "$1" "$new" && sync || fail "there is no room in $data, or it cannot be written"
if [ "$word" = moved ]; then
	dir=$data/before-import n=1
	while [ -e "$dir" ]; do n=$((n + 1)) dir=$data/before-import-$n; done
	mkdir "$dir" || fail "$data cannot be written"
	aside=$dir
	ln "$db" "$aside/mosquitto.db" 2>/dev/null || cp "$db" "$aside/mosquitto.db" || fail "the old database cannot be kept aside"
	[ ! -d "$data/copies" ] || mv "$data/copies" "$aside/" || fail "the old copies cannot be kept aside"
fi
mv -f "$new" "$db" || fail "the new database cannot be put in place"
sync
say $word
`

// Deposited tells what became of a database.
type Deposited string

// What became of it.
const (
	DepositDone  Deposited = "done"
	DepositSame  Deposited = "same"  // just this one was there
	DepositMoved Deposited = "moved" // done, and another one kept aside
)

// Deposit puts a database into the project's data volume, which it makes as up would
// where there is none. A database that is there already is an error, unless it is the
// very same; with force it is moved aside, into a directory before-import of the volume. The broker
// must not run: it would write over the file when it ends.
func Deposit(ctx context.Context, e Depositor, p plan.Project, database []byte, force bool, emit func(Event)) (done Deposited, err error) {
	s, m, err := dataMount(p)
	if err != nil {
		return "", err
	}
	if _, err := Images(ctx, e, []plan.Service{s}, emit); err != nil {
		return "", err
	}
	for _, v := range p.Volumes {
		if v.Name == m.Source && !v.External {
			if err := e.CreateVolume(ctx, v, plan.VolumeLabels(p, v)); err != nil {
				return "", err
			}
		}
	}
	mode := "keep"
	if force {
		mode = "force"
	}
	c := throwAway(p.Name, s, []string{"/bin/sh", "-c", depositScript, "import", depositPath, mode})
	c.Service.Spec.Mounts = []plan.Mount{m}
	file := plan.File{Path: depositPath, UID: mosquitto.UID, GID: mosquitto.GID, Mode: 0o600, Content: secret.New(string(database))}
	said := ""
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	err = inThrowAway(ctx, e, c, []plan.File{file}, func(ctx context.Context, id string) (err error) {
		said, err = lastWords(ctx, e, id)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("put the database into %s: %w", m.Source, err)
	}
	switch said, _ := strings.CutPrefix(said, "import: "); said {
	case string(DepositDone), string(DepositSame), string(DepositMoved):
		return Deposited(said), nil
	case "there":
		return "", remedy.Errorf(remedy.Input, "leave that one with --no-data, or move it aside with --force",
			"the volume %s holds a database already", m.Source)
	default:
		return "", fmt.Errorf("put the database into %s: %s", m.Source, said)
	}
}

// dataMount returns the broker's service and the mount of its data.
func dataMount(p plan.Project) (plan.Service, plan.Mount, error) {
	for _, s := range p.Services {
		for _, m := range s.Spec.Mounts {
			if s.Name == plan.ServiceBroker && m.Target == mosquitto.DataPath && m.Type != plan.MountTmpfs {
				return s, m, nil
			}
		}
	}
	return plan.Service{}, plan.Mount{}, errors.New("the broker has no volume for its data")
}

// retainedPath is where the client leaves what it got, in a directory of the broker's user.
const retainedPath = "/mosquitto/config/retained"

// maxRetained bounds what a client may write, in bytes.
const maxRetained = 256 << 20

// retainedScript asks with QoS 0: of messages with another one a broker queues no more
// than max_queued_messages for a client and drops the rest without a word (seen on 2.0 and
// 2.1: 1040 of 2500). $SYS has the number of all retained messages, its own among them.
const retainedScript = `ask() { mosquitto_sub -h 127.0.0.1 -p "$port" -i mqtunnel-import "$@"; }
port=$1
ask -q 0 -t '#' --retained-only -F "$2" -W 5 >"$3"
code=$?
all=$(ask -t '$SYS/broker/retained messages/count' -C 1 -W 3)
own=$(ask -t '$SYS/#' --retained-only -F %r -W 3 | wc -l)
case $all in '' | *[!0-9]*) all=0 ;; esac
echo "import: $code $((all - own))"
`

// Retained asks a broker that runs in another container for all its retained messages,
// as a client without a user, and returns them as mosquitto_sub prints them in format,
// with the number that the broker says it has, which is not above 0 when it does not. The
// client runs in a container of the project's broker image that shares the other one's
// network; nothing is changed there.
func Retained(ctx context.Context, e Depositor, p plan.Project, broker, port, format string, emit func(Event)) (data []byte, told int, err error) {
	s, _, err := dataMount(p)
	if err != nil {
		return nil, 0, err
	}
	if _, err := Images(ctx, e, []plan.Service{s}, emit); err != nil {
		return nil, 0, err
	}
	c := throwAway(p.Name, s, []string{"/bin/sh", "-c", retainedScript, "import", port, format, retainedPath})
	c.NetworkMode = "container:" + broker
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	err = inThrowAway(ctx, e, c, nil, func(ctx context.Context, id string) error {
		said, err := lastWords(ctx, e, id)
		if err != nil {
			return err
		}
		var code int
		// 27 is the end of the time to listen.
		if _, err := fmt.Sscanf(said, "import: %d %d", &code, &told); err != nil || code != 0 && code != 27 {
			return fmt.Errorf("it does not let a client in: %s", said)
		}
		found := false
		data, found, err = e.ReadFile(ctx, id, retainedPath, maxRetained)
		if err == nil && !found {
			err = errors.New("the client left nothing")
		}
		return err
	})
	if err != nil {
		return nil, 0, fmt.Errorf("ask the old broker for its retained messages: %w", err)
	}
	return data, told, nil
}

// throwAway is a short-lived container of the broker's image that only runs a command.
func throwAway(project string, s plan.Service, command []string) plan.Creation {
	return plan.Creation{
		Name: fmt.Sprintf("%s-import-%s", project, rand.Text()[:8]),
		Service: plan.Service{Name: "import", Image: s.Image, Platform: s.Platform, Spec: plan.Spec{
			Entrypoint:  command[:1],
			Command:     command[1:],
			User:        fmt.Sprintf("%d:%d", mosquitto.UID, mosquitto.GID),
			CapDrop:     []string{"ALL"},
			SecurityOpt: []string{"no-new-privileges:true"},
			Restart:     plan.Restart{Name: "no"},
			NetworkMode: "none",
			Health:      &plan.Health{Test: []string{"NONE"}},
			Logging:     &plan.Logging{Driver: "json-file", Options: map[string]string{"max-size": "1m", "max-file": "1"}},
			PidsLimit:   64,
		}},
		Labels: throwAwayLabels(project),
	}
}

// lastWords follows a container's log to its end and returns the last line.
func lastWords(ctx context.Context, e Depositor, id string) (string, error) {
	last := ""
	err := e.Logs(ctx, id, plan.LogOptions{Tail: -1, Follow: true}, func(l plan.LogLine) error {
		last = strings.TrimSpace(l.Text)
		return nil
	})
	if err == nil && last == "" {
		err = errors.New("the container ended without a word")
	}
	return last, err
}
