package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mqtunnel/internal/config"
)

// probeLine is the line of .env that up stores.
var probeLine = regexp.MustCompile(`(?m)^MQTUNNEL_PROBE_PASSWORD=.*\n`)

// killWhileRunning kills commands on a project that runs, before each of their changes
// since the first file took its place, and wants the running broker to have what the files say once they were run
// again.
func (p *project) killWhileRunning(ctx context.Context) (figure string, err error) {
	if p.dir, err = filepath.EvalSymlinks(p.dir); err != nil {
		return "", err
	}
	if err := p.up(ctx); err != nil {
		return "", err
	}
	for _, name := range []string{"keeps", "goes"} {
		if r, err := p.mqtunnel(ctx, userPassword, "user", "add", name, "--topics", "own"); err != nil || r.code != 0 {
			return "", missed("user add: exit %d, %s: %w", r.code, r.err, err)
		}
	}
	whole, err := treeOf(p.dir)
	if err != nil {
		return "", err
	}
	killed := 0
	for _, w := range []writing{
		{name: "up", args: []string{"up", "--no-wait"}},
		{name: "user add", args: []string{"user", "add", "new", "--topics", "own"}, stdin: userPassword},
		{name: "user deny", args: []string{"user", "deny", "keeps", "readwrite", "keeps/private"}},
		{name: "user remove", args: []string{"user", "remove", "goes", "--yes"}},
	} {
		start := whole
		if w.name == "up" {
			start = whole.without(envFile, probeLine)
		}
		n, err := p.killEverywhere(ctx, start, w)
		if err != nil {
			return "", fmt.Errorf("%s on a running project: %w", w.name, err)
		}
		killed += n
	}
	return fmt.Sprintf("on a running project %d commands killed between its files, up that stores the probe's password among them: "+
		"run again, the broker had the users of the files each time", killed), nil
}

// without returns the tree with something taken out of a file.
func (t tree) without(file string, what *regexp.Regexp) tree {
	less := tree{}
	for name, n := range t {
		if name == file {
			n.text = what.ReplaceAllString(n.text, "")
		}
		less[name] = n
	}
	return less
}

// killEverywhere kills a command before each of its changes, from the first file that
// takes its place on.
func (p *project) killEverywhere(ctx context.Context, start tree, w writing) (killed int, err error) {
	u := &undisturbed{writing: w, owner: os.Geteuid()}
	if err := p.restore(ctx, start); err != nil {
		return 0, err
	}
	if u.before, err = treeOf(p.dir); err != nil {
		return 0, err
	}
	t, err := traced(ctx, p.writing(w), never())
	if err != nil {
		return 0, err
	}
	if t.code != 0 {
		return 0, missed("exit %d: %s", t.code, t.err)
	}
	if u.after, err = treeOf(p.dir); err != nil {
		return 0, err
	}
	for i, c := range t.changes {
		if i < slices.IndexFunc(t.changes, func(c change) bool { return c.call == "renameat" }) {
			continue // no file has another text yet
		}
		if err := p.killOnce(ctx, u, kill{before: i}); err != nil {
			return killed, fmt.Errorf("killed before its change %d (%s of %s): %w", i, c.call, c.file, err)
		}
		killed++
	}
	return killed, nil
}

// writing is the command in the project directory.
func (p *project) writing(w writing) command {
	return command{dir: p.dir, env: []string{"SSL_CERT_FILE=" + filepath.Join(p.dir, "ca.pem")}, stdin: w.stdin, path: p.b.program(), args: w.args}
}

// restore makes the directory what it was, and the running project with it.
func (p *project) restore(ctx context.Context, t tree) error {
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(filepath.Join(p.dir, e.Name())))
	}
	if err := errors.Join(err, t.plant(p.dir, os.Geteuid())); err != nil {
		return err
	}
	if !strings.Contains(t[envFile].text, config.KeyProbePassword+"=") {
		return nil // up is what is to be killed
	}
	_, err = p.must(ctx, "up", "--no-wait")
	return err
}

// killOnce kills the command once, and runs it again.
func (p *project) killOnce(ctx context.Context, u *undisturbed, k kill) error {
	if err := p.restore(ctx, u.before); err != nil {
		return err
	}
	t, err := traced(ctx, p.writing(u.writing), k)
	if err != nil {
		return err
	}
	now, err := treeOf(p.dir)
	if err != nil {
		return err
	}
	if torn := now.torn(u.before, u.after); torn != "" || !t.killed {
		return missed("killed: %v, exit %d: %s", t.killed, t.code, torn)
	}
	if _, err := age(p.dir, now); err != nil {
		return err
	}
	r, err := p.b.run(ctx, p.writing(u.writing))
	if err != nil {
		return err
	}
	then, err := treeOf(p.dir)
	if err != nil {
		return err
	}
	if changed := u.after.difference(then, u.before); changed != "" {
		return missed("run again (exit %d) it ends differently: %s: %s", r.code, changed, r.err)
	}
	if whole := now.difference(u.after, u.before) == ""; r.code != 0 && !whole {
		return missed("run again: exit %d: %s", r.code, r.err)
	}
	return p.inForce(ctx, then)
}

// inForce wants the running broker to hold the users and rights of a directory.
func (p *project) inForce(ctx context.Context, t tree) error {
	for _, file := range []string{passwdFile, aclFile} {
		held, err := p.b.exec(ctx, p.container(broker), "cat", "/mosquitto/config/"+filepath.Base(file))
		if err != nil {
			return err
		}
		if held != t[file].text {
			return missed("the running broker has another %s than the directory", file)
		}
	}
	return nil
}
