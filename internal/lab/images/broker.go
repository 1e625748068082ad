package images

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Versions of Mosquitto that the lab has images of.
const (
	Mosquitto20 = "2.0" // of Debian stable
	Mosquitto21 = "2.1" // of the release after it
)

// The user that eclipse-mosquitto runs the broker as.
const brokerUID = 1883

// MosquittoRef returns the image reference of a version.
func MosquittoRef(version string) string { return "mqtunnel-lab/mosquitto:" + version }

// Mosquitto returns the image of a broker version, laid out like
// eclipse-mosquitto of that version: paths, users, volumes, entrypoint, client
// tools, and the default configuration, which 2.1 opens to everybody.
func (s *Store) Mosquitto(ctx context.Context, version string) (Image, error) {
	r, err := mosquittoRecipe(version)
	if err != nil {
		return Image{}, err
	}
	var out Image
	err = s.locked(ctx, func() error {
		out, err = s.ensure(ctx, r)
		return err
	})
	return out, err
}

// What Alpine's busybox has too, and scripts may use.
const applets = `[ ash awk basename cat chgrp chmod chown clear cmp cp cut date dd df diff dirname du echo egrep env expr
false fgrep find fold getopt grep groups gunzip gzip head hexdump hostname id kill killall ln ls md5sum mkdir mkfifo
mktemp mount mv nc netstat nl nproc nslookup od paste pidof ping printf ps pwd readlink realpath rev
rm rmdir sed seq setsid sh sha256sum sleep sort stat stty su sync tail tar tee test time timeout top touch tr true
truncate tty umount uname uniq unlink uptime usleep vi wc wget which whoami xargs xxd yes`

const users = `root:x:0:0:root:/root:/bin/sh
nobody:x:65534:65534:nobody:/:/sbin/nologin
mosquitto:x:1883:1883:mosquitto:/var/empty:/sbin/nologin
`

const groups = `root:x:0:root
nobody:x:65534:
mosquitto:x:1883:
`

// What the entrypoints of the official images do before they run the command.
const (
	entrypoint20 = `#!/bin/ash
set -e
if [ "$(id -u)" = 0 ]; then
	chown -R mosquitto:mosquitto /mosquitto || true
fi
exec "$@"
`
	entrypoint21 = `#!/bin/ash
set -e
if [ "$(id -u)" = 0 ]; then
	chown -R "${PUID:-1883}:${PGID:-1883}" /mosquitto/data || true
fi
exec "$@"
`
)

// The configurations that take effect where nobody mounts one.
const (
	defaults20 = "# No listener: local only mode.\n"
	defaults21 = `listener 1883
allow_anonymous true

listener 9883
protocol http_api
`
	noAuth = "listener 1883\nallow_anonymous true\n"
)

func mosquittoRecipe(version string) (recipe, error) {
	programs := []string{
		"usr/sbin/mosquitto", "usr/bin/mosquitto_pub", "usr/bin/mosquitto_sub", "usr/bin/mosquitto_rr",
		"usr/bin/mosquitto_passwd", "usr/bin/mosquitto_ctrl", "usr/bin/busybox", "usr/lib/mosquitto_dynamic_security.so",
	}
	suite, entrypoint, defaults := "trixie", entrypoint20, defaults20
	switch version {
	case Mosquitto20:
	case Mosquitto21:
		suite, entrypoint, defaults = "forky", entrypoint21, defaults21
		programs = append(programs, "usr/bin/mosquitto_signal", "usr/lib/mosquitto_acl_file.so",
			"usr/lib/mosquitto_password_file.so", "usr/lib/mosquitto_persist_sqlite.so", "usr/lib/mosquitto_sparkplug_aware.so")
	default:
		return recipe{}, fmt.Errorf("mosquitto %q: the lab has %s and %s", version, Mosquitto20, Mosquitto21)
	}
	return recipe{
		ref:      MosquittoRef(version),
		suite:    suite,
		packages: []string{"mosquitto", "mosquitto-clients", "busybox-static"},
		programs: programs,
		plugins:  "mosquitto_*.so",
		files:    brokerFiles(entrypoint, defaults),
		config: ocispec.ImageConfig{
			Env:          []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Entrypoint:   []string{"/docker-entrypoint.sh"},
			Cmd:          []string{"/usr/sbin/mosquitto", "-c", "/mosquitto/config/mosquitto.conf"},
			ExposedPorts: map[string]struct{}{"1883/tcp": {}},
			Volumes:      map[string]struct{}{"/mosquitto/data": {}, "/mosquitto/log": {}},
		},
	}, nil
}

func brokerFiles(entrypoint, defaults string) tree {
	t := tree{}
	t.mergeUsr()
	for name := range strings.FieldsSeq(applets) {
		t.symlink("usr/bin/"+name, "busybox")
	}
	for _, dir := range []string{"mosquitto", "mosquitto/config", "mosquitto/data", "mosquitto/log"} {
		t.dir(dir, 0o755, brokerUID)
	}
	t["mosquitto/config/mosquitto.conf"] = entry{mode: 0o644, uid: brokerUID, gid: brokerUID, data: []byte(defaults)}
	t.file("mosquitto-no-auth.conf", 0o644, []byte(noAuth))
	t.file("docker-entrypoint.sh", 0o755, []byte(entrypoint))
	t.file("etc/passwd", 0o644, []byte(users))
	t.file("etc/group", 0o644, []byte(groups))
	t.dir("root", 0o700, 0)
	t.dir("run", 0o755, 0)
	t.dir("tmp", 0o777|fs.ModeSticky, 0)
	t.dir("var/empty", 0o555, 0)
	t.symlink("var/run", "../run")
	return t
}

// Versions returns the versions of Mosquitto that there are images of, the one
// that the lab takes by itself first.
func Versions() []string { return []string{Mosquitto21, Mosquitto20} }
