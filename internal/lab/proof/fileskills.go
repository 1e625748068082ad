package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// What files wants of kills.
const (
	killsEach = 1000 // while each of the files is written
	// stale is how old what a killed program has left must be to be removed.
	stale = 11 * time.Minute
	// stranger is a user whose directory root works in.
	stranger = 12345
)

// writing is a command that writes files.
type writing struct {
	name  string
	start string // which of the directories it begins in
	stdin string
	args  []string
}

// writings are the commands that write files of a project, each in a directory in which
// it has something to write.
func writings() []writing {
	return []writing{
		{"token set in an empty directory", "empty", tokenOf(newSecret), []string{"token", "set"}},
		{"token set", "users", tokenOf(newSecret), []string{"token", "set"}},
		{"render --write in a new directory", "token", "", []string{"render", "--write"}},
		{"render --write without a probe's password", "unprobed", "", []string{"render", "--write"}},
		{"first user add", "token", userPassword, []string{"user", "add", "new", "--topics", "own"}},
		{"user add", "users", userPassword, []string{"user", "add", "new", "--topics", "own"}},
		{"user passwd", "users", userPassword, []string{"user", "passwd", "keeps"}},
		{"user allow", "users", "", []string{"user", "allow", "keeps", "read", "more/#"}},
		{"user deny", "users", "", []string{"user", "deny", "keeps", "readwrite", "keeps/private"}},
		{"user remove", "users", "", []string{"user", "remove", "goes", "--yes"}},
		{"import", "token", "", []string{"import", "../old", "--yes", "--no-data"}},
	}
}

// starts are the directories that the commands begin in, by name.
func (b *Bench) starts(ctx context.Context, dir string) (map[string]tree, error) {
	text := "# my settings\nMQTT_HOSTNAME=mqtt.example.com # public\nCLOUDFLARE_TUNNEL_TOKEN=" + tokenOf(oldSecret) + "\nOTHER='a b'\n"
	starts := map[string]tree{"empty": {".": node{mode: os.ModeDir | 0o755}}}
	starts["token"] = tree{".": node{mode: os.ModeDir | 0o755}, envFile: {mode: 0o600, text: text}}
	work := filepath.Join(dir, "start")
	if err := starts["token"].plant(work, os.Geteuid()); err != nil {
		return nil, err
	}
	for _, c := range []writing{
		{args: []string{"render", "--write"}},
		{args: []string{"user", "add", "keeps", "--topics", "own"}, stdin: userPassword},
		{args: []string{"user", "add", "goes", "--topics", "all"}, stdin: userPassword},
	} {
		if r, err := b.write(ctx, work, c); err != nil || r.code != 0 {
			return nil, missed("mqtunnel %s: exit %d, %s: %w", strings.Join(c.args, " "), r.code, r.err, err)
		}
	}
	var err error
	if starts["users"], err = treeOf(work); err != nil {
		return nil, err
	}
	starts["unprobed"] = tree{}
	for name, n := range starts["users"] {
		if name == envFile {
			n.text = text
		}
		starts["unprobed"][name] = n
	}
	return starts, nil
}

// oldSetup is a set-up that import reads.
func oldSetup(dir string) error {
	hash, err := hashOf(userPassword)
	if err != nil {
		return err
	}
	return tree{
		".":                               {mode: os.ModeDir | 0o755},
		"mosquitto":                       {mode: os.ModeDir | 0o755},
		"mosquitto/config":                {mode: os.ModeDir | 0o755},
		"mosquitto/config/mosquitto.conf": {mode: 0o644, text: "allow_anonymous false\npassword_file /mosquitto/config/passwd\nacl_file /mosquitto/config/acl\nlistener 1883\nmax_keepalive 600\n"},
		"mosquitto/config/passwd":         {mode: 0o600, text: "alice:" + hash + "\n"},
		"mosquitto/config/acl":            {mode: 0o600, text: "user alice\ntopic readwrite alice/#\n"},
	}.plant(dir, os.Geteuid())
}

// write runs a command that writes files, without an Engine.
func (b *Bench) write(ctx context.Context, dir string, w writing) (result, error) {
	return b.run(ctx, command{dir: dir, env: noEngine(dir), stdin: w.stdin, path: b.program(), args: w.args})
}

// undisturbed is what a command does when nothing happens to it.
type undisturbed struct {
	writing

	owner         int // of the directory
	before, after tree
	changes       []change
	again         int // the exit code when it is run once more
}

// owners are those of the directories that commands are killed in.
func owners() []int {
	if !asRoot() {
		return []int{os.Geteuid()}
	}
	return []int{0, stranger}
}

// undisturbed runs a command in a directory of an owner.
func (b *Bench) undisturbed(ctx context.Context, dir string, start tree, w writing, owner int) (*undisturbed, error) {
	u := &undisturbed{writing: w, owner: owner}
	work := filepath.Join(dir, fmt.Sprintf("%s of %d", w.name, owner))
	err := start.plant(work, owner)
	if err != nil {
		return nil, err
	}
	if u.before, err = treeOf(work); err != nil {
		return nil, err
	}
	t, err := traced(ctx, command{dir: work, env: noEngine(work), stdin: w.stdin, path: b.program(), args: w.args}, never())
	if err != nil {
		return nil, err
	}
	if t.code != 0 {
		return nil, missed("%s: exit %d: %s", w.name, t.code, t.err)
	}
	u.changes = t.changes
	if u.after, err = treeOf(work); err != nil {
		return nil, err
	}
	for name, n := range u.after {
		if n.owner != owner {
			return nil, missed("%s in a directory of %d: %s belongs to %d", w.name, owner, name, n.owner)
		}
	}
	r, err := b.write(ctx, work, w)
	u.again = r.code
	return u, err
}

// shot is one kill to come.
type shot struct {
	*undisturbed

	kill kill
}

func (s shot) String() string {
	c := s.changes[s.kill.before]
	at := fmt.Sprintf("%s, killed before its change %d (%s of %s)", s.name, s.kill.before, c.call, c.file)
	if s.kill.after > 0 {
		at += fmt.Sprintf(" and %v more", s.kill.after)
	}
	return at + fmt.Sprintf(", in a directory of %d", s.owner)
}

// shots draws the kills: one before each change of each command to each file, and at
// random moments after these until each file has its number.
func shots(list []*undisturbed, random *rand.Rand) (all []shot, each map[string]int, changes int) {
	byFile := map[string][]shot{}
	for _, u := range list {
		for i, c := range u.changes {
			byFile[c.file] = append(byFile[c.file], shot{undisturbed: u, kill: kill{before: i}})
			changes++
		}
	}
	each = map[string]int{}
	for _, file := range killedFiles() {
		for n := range max(killsEach, len(byFile[file])) {
			s := byFile[file][n%len(byFile[file])]
			if n >= len(byFile[file]) {
				s.kill.after = time.Duration(1 + random.Int64N(int64(s.rest(file))))
			}
			all = append(all, s)
			each[file]++
		}
		delete(byFile, file)
	}
	for file, list := range byFile { // directories, and what import brings
		all = append(all, list...)
		each[file] = len(list)
	}
	return all, each, changes
}

// killedFiles are those that have their number of kills each.
func killedFiles() []string { return []string{envFile, passwdFile, aclFile, composeFile} }

// rest is how long after the change of a shot a command writes the file still.
func (s shot) rest(file string) time.Duration {
	last := s.kill.before
	for i, c := range s.changes {
		if c.file == file {
			last = i
		}
	}
	const least = 200 * time.Microsecond
	return s.changes[last].at - s.changes[s.kill.before].at + least
}

// killWhileWriting kills commands while they write, and wants every file whole, and the
// same command to end then as it does undisturbed.
func (b *Bench) killWhileWriting(ctx context.Context) (figure string, err error) {
	dir, remove, err := b.filesDir()
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	if err := oldSetup(filepath.Join(dir, "old")); err != nil {
		return "", err
	}
	starts, err := b.starts(ctx, dir)
	if err != nil {
		return "", err
	}
	var list []*undisturbed
	for _, w := range writings() {
		for _, owner := range owners() {
			u, err := b.undisturbed(ctx, dir, starts[w.start], w, owner)
			if err != nil {
				return "", err
			}
			list = append(list, u)
		}
	}
	seed := b.seed("files")
	all, each, changes := shots(list, rand.New(rand.NewPCG(seed, seed))) //nolint:gosec // to be drawn again
	k := killing{Bench: b, dir: dir}
	if err := k.fire(ctx, all); err != nil {
		return "", missed("seed %d: %w", seed, err)
	}
	var counts []string
	for _, file := range killedFiles() {
		counts = append(counts, fmt.Sprintf("%d of %s", each[file], file))
	}
	return fmt.Sprintf("%d commands killed while writing (%s): before each of their %d changes to files and at random moments, seed %d; "+
		"every file was the old or the new one, whole, with mode and owner; %d left a temporary file, which the next run removed; "+
		"run again each ended as undisturbed",
		k.killed, strings.Join(counts, ", "), changes, seed, k.left), nil
}

// filesDir makes a directory that every user can go through, with its real name, and
// returns what removes it.
func (b *Bench) filesDir() (dir string, remove func() error, err error) {
	if dir, err = os.MkdirTemp("", "mqtunnel-files-"); err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	real, err := filepath.EvalSymlinks(dir)
	if err == nil {
		err = os.Chmod(real, 0o755) //nolint:gosec // see above
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return real, remove, nil
}

// seed is what a proof draws with.
func (b *Bench) seed(name string) uint64 {
	seed := b.Seed
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // any number will do
	}
	b.logf("%s: seed %d", name, seed)
	return seed
}

// killing counts what happens. Several kill at once.
type killing struct {
	*Bench

	dir string

	mu           sync.Mutex
	killed, left int
	failed       []error
}

// fire carries the kills out.
func (k *killing) fire(ctx context.Context, all []shot) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.NumCPU()) // they wait for the disk
	for n, s := range all {
		group.Go(func() error {
			err := k.one(ctx, filepath.Join(k.dir, fmt.Sprint(n)), s)
			if err == nil || ctx.Err() != nil {
				return err
			}
			k.mu.Lock()
			defer k.mu.Unlock()
			k.failed = append(k.failed, fmt.Errorf("%v: %w", s, err))
			const enough = 5
			if len(k.failed) >= enough {
				return errors.Join(k.failed...)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return errors.Join(k.failed...)
}

// one kills a command once.
func (k *killing) one(ctx context.Context, dir string, s shot) (err error) {
	if err := s.before.plant(dir, s.owner); err != nil {
		return err
	}
	defer finish(&err, func() error { return os.RemoveAll(dir) })
	t, err := traced(ctx, command{dir: dir, env: noEngine(dir), stdin: s.stdin, path: k.program(), args: s.args}, s.kill)
	if err != nil {
		return err
	}
	if !t.killed {
		s.kill.after /= 2 // it was done already
		return errors.Join(os.RemoveAll(dir), k.one(ctx, dir, s))
	}
	now, err := treeOf(dir)
	if err != nil {
		return err
	}
	if torn := now.torn(s.before, s.after); torn != "" {
		return missed("%s", torn)
	}
	left, err := age(dir, now)
	if err != nil {
		return err
	}
	r, err := k.write(ctx, dir, s.writing)
	if err != nil {
		return err
	}
	then, err := treeOf(dir)
	if err != nil {
		return err
	}
	if changed := s.after.difference(then, s.before); changed != "" {
		return missed("run again (exit %d) it ends differently: %s: %s", r.code, changed, r.err)
	}
	if whole := now.difference(s.after, s.before) == ""; r.code != 0 && (!whole || r.code != s.again) {
		return missed("run again: exit %d: %s", r.code, r.err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.killed++
	if left {
		k.left++
	}
	return nil
}

// age makes what is left under temporary names old, and reports whether there is any.
func age(dir string, t tree) (left bool, err error) {
	then := time.Now().Add(-stale)
	for name := range t {
		if strings.Contains(name, newMark) {
			left = true
			err = errors.Join(err, os.Chtimes(filepath.Join(dir, name), then, then))
		}
	}
	return left, err
}
