package proof

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// vantage is the surroundings of a command: a mount namespace of its own in which
// files and directories of the machine are others.
type vantage struct {
	dir    string            // whose project directory it is run in, "" for the site's
	env    map[string]string // further variables; an empty value unsets
	files  map[string]string // texts that stand in place of files
	mount  [][2]string       // paths, and those in place of which they stand, in this order
	doctor []string          // further arguments of doctor
	uid    int               // whose process it is, 0 for root's
	alone  bool              // with no network but loopback
}

// enter puts the paths named in pairs before "--" in place of others and runs the
// rest, in the namespaces that it was started in.
const enter = `set -e; while [ "$1" != -- ]; do mount --rbind "$1" "$2"; shift 2; done; shift; exec "$@"`

// enterAlone is enter in a network namespace, of which loopback is down at first.
const enterAlone = `ip link set lo up; ` + enter

// from returns the command as it is run from the vantage; texts are written to
// files in scratch.
func (v vantage) from(scratch string, c command) (command, error) {
	args := []string{"--mount", "--propagation", "private"}
	script := enter
	if v.alone {
		args, script = append(args, "--net"), enterAlone
	}
	args = append(args, "--", "sh", "-c", script, "sh")
	for i, path := range slices.Sorted(maps.Keys(v.files)) {
		text := filepath.Join(scratch, "file"+strconv.Itoa(i))
		if err := os.WriteFile(text, []byte(v.files[path]), 0o644); err != nil { //nolint:gosec // for everybody, as the file it stands for
			return command{}, err
		}
		args = append(args, text, path)
	}
	for _, pair := range v.mount {
		args = append(args, pair[0], pair[1])
	}
	args = append(args, "--")
	if v.uid != 0 {
		id := strconv.Itoa(v.uid)
		args = append(args, "setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--")
	}
	for _, name := range slices.Sorted(maps.Keys(v.env)) {
		c.env = append(c.env, name+"="+v.env[name])
	}
	c.args = append(append(args, c.path), c.args...)
	c.path = "unshare"
	if v.dir != "" {
		c.dir = v.dir
	}
	return c, nil
}

// tryVantage says why there are no vantages on this machine.
func (b *Bench) tryVantage(ctx context.Context) error {
	c, err := vantage{alone: true}.from("", command{path: "true"})
	if err != nil {
		return err
	}
	r, err := b.run(ctx, c)
	if err == nil && r.code != 0 {
		err = fmt.Errorf("exit %d: %s", r.code, r.err)
	}
	if err != nil {
		return fmt.Errorf("doctor is run in mount and network namespaces of its own, which needs root, unshare and ip: %w", err)
	}
	return nil
}
