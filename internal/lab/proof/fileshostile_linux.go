package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// ending is how a command has to end in a set-up.
type ending string

const (
	asUsual ending = "done"    // as undisturbed
	refused ending = "refused" // with a word and a remedy, and nothing changed
	either  ending = "either"  // one of the two
)

// setup is a state of files and rights that a command meets.
type setup struct {
	name  string
	owner int // of the directory
	user  int // who runs the command
	// shell is what is typed before it, such as a umask.
	shell   string
	arrange func(*scene) error
	want    func(*undisturbed) ending
	word    string // that stands in the answer of one that is refused
	told    string // that stands in the answer of one that writes .env
}

// always wants the same of every command.
func always(v ending) func(*undisturbed) ending {
	return func(*undisturbed) ending { return v }
}

// refusedIfChanged is refused for commands that change the file, else done.
func refusedIfChanged(file string) func(*undisturbed) ending {
	return func(u *undisturbed) ending {
		if u.before[file] == u.after[file] {
			return asUsual
		}
		return refused
	}
}

// hostileSetups are all set-ups.
func hostileSetups() []setup {
	var list []setup
	for _, file := range killedFiles() {
		list = append(list, inPlaceOf(file)...)
	}
	list = append(list, rooms()...)
	return append(list, inDirectory()...)
}

// inPlaceOf are set-ups of one file.
func inPlaceOf(file string) []setup {
	linked := always(refused)
	if file == envFile {
		linked = always(asUsual)
	}
	path := func(s *scene) string { return filepath.Join(s.dir, file) }
	linkTo := func(target func(s *scene) string) func(*scene) error {
		return func(s *scene) error {
			if err := os.Rename(path(s), target(s)); err != nil {
				return err
			}
			return os.Symlink(target(s), path(s))
		}
	}
	inside := func(s *scene) string { return path(s) + ".real" }
	outside := func(s *scene) string { return filepath.Join(s.outside, "real") }
	instead := func(make func(string) error) func(*scene) error {
		return func(s *scene) error { return errors.Join(os.Remove(path(s)), make(path(s))) }
	}
	hardLink := func(s *scene) error {
		return errors.Join(os.Chown(path(s), 0, 0), os.Link(path(s), outside(s)))
	}
	return []setup{
		{name: file + " is a symbolic link to a file beside it", want: linked, arrange: linkTo(inside)},
		{name: file + " is a symbolic link out of the directory", want: linked, arrange: linkTo(outside)},
		{name: file + " is a symbolic link out of somebody's directory", owner: stranger, want: always(refused), arrange: linkTo(outside)},
		{name: file + " is a symbolic link to a file in somebody's directory", owner: stranger, want: always(refused), arrange: linkTo(inside)},
		{name: file + " is a symbolic link to nothing", want: always(refused), arrange: instead(func(path string) error {
			return os.Symlink("nothing", path)
		})},
		{name: file + " is a symbolic link to itself", want: always(refused), arrange: instead(func(path string) error {
			return os.Symlink(filepath.Base(path), path)
		})},
		{name: file + " is a hard link", want: always(asUsual), arrange: hardLink},
		{name: file + " is a hard link to a file of root in somebody's directory", owner: stranger, want: always(refused), arrange: hardLink},
		{name: file + " is a directory", want: always(refused), arrange: instead(func(path string) error { return os.Mkdir(path, 0o700) })},
		{name: file + " is a FIFO", want: always(refused), arrange: instead(func(path string) error { return unix.Mkfifo(path, 0o600) })},
		{name: file + " is a device", want: always(refused), arrange: instead(func(path string) error {
			return unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))) // /dev/null
		})},
		{name: file + " is immutable", want: refusedIfChanged(file), arrange: func(s *scene) error { return immutable(path(s)) }},
		{name: file + " is of another user", want: always(asUsual), arrange: func(s *scene) error { return os.Chown(path(s), stranger, stranger) }},
		{name: file + " cannot be read", owner: stranger, user: stranger, want: always(refused), arrange: func(s *scene) error {
			return os.Chown(path(s), 0, 0)
		}},
		{name: file + " is too large", want: always(refused), arrange: func(s *scene) error { return os.Truncate(path(s), 9<<20) }, word: "too large"},
	}
}

// rooms are file systems with little room, from none to enough.
func rooms() []setup {
	var list []setup
	const enough = 14
	for pages := range enough {
		list = append(list, setup{name: fmt.Sprintf("there is room for %d blocks", pages), arrange: func(s *scene) error {
			return fill(s.root, pages)
		}}.wanting(pages == 0, pages == enough-1))
	}
	for files := range 6 {
		list = append(list, setup{name: fmt.Sprintf("there is room for %d more files", files), arrange: func(s *scene) error {
			return crowd(s.root, files)
		}}.wanting(files == 0, files == 5))
	}
	for _, blocks := range []int{0, 1, 2, 34} {
		list = append(list, setup{name: fmt.Sprintf("a file may have %d blocks", blocks), shell: fmt.Sprintf("ulimit -f %d;", blocks)}.wanting(blocks == 0, false))
	}
	return list
}

// wanting sets what is wanted.
func (s setup) wanting(refuse, succeed bool) setup {
	s.want = always(either)
	switch {
	case refuse:
		s.want = always(refused)
	case succeed:
		s.want = always(asUsual)
	}
	return s
}

// inDirectory are set-ups of the directory and of the caller.
func inDirectory() []setup {
	below := func(s *scene) string { return filepath.Join(s.dir, "mosquitto") }
	move := func(to func(s *scene) string) func(*scene) error {
		return func(s *scene) error {
			return errors.Join(os.MkdirAll(below(s), 0o700), os.Rename(below(s), to(s)), os.Symlink(to(s), below(s)))
		}
	}
	list := []setup{
		{name: "the file system is read-only", want: always(refused), arrange: func(s *scene) error {
			return unix.Mount("", s.root, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
		}},
		{name: "the directory is root's and the caller is not", user: stranger, want: always(refused)},
		{name: "the directory is of another user than the caller", owner: stranger + 1, user: stranger, want: always(refused)},
		{name: "the directory is the caller's", owner: stranger, user: stranger, want: always(asUsual)},
		{name: "the directory is somebody's and the caller is root", owner: stranger, want: always(asUsual)},
		{name: "the owner may not write into the directory", owner: stranger, user: stranger, want: always(refused), arrange: func(s *scene) error {
			return os.Chmod(s.dir, 0o555) //nolint:gosec // that is the set-up
		}},
		{name: "the owner may not write into mosquitto", owner: stranger, user: stranger, want: always(either), arrange: func(s *scene) error {
			return errors.Join(os.MkdirAll(below(s), 0o700), os.Chown(below(s), 0, 0), os.Chmod(below(s), 0o755)) //nolint:gosec // that is the set-up
		}},
		{name: "the directory is immutable", want: always(refused), arrange: func(s *scene) error { return immutable(s.dir) }},
		{name: "mosquitto is immutable", want: always(either), arrange: func(s *scene) error {
			return errors.Join(os.MkdirAll(below(s), 0o755), immutable(below(s))) //nolint:gosec // as mqtunnel makes it
		}},
		{name: "mosquitto is a link to a directory beside it", want: always(either), arrange: move(func(s *scene) string { return below(s) + ".real" })},
		{name: "mosquitto is a link out of the directory", want: always(either), arrange: move(func(s *scene) string { return filepath.Join(s.outside, "m") })},
		{name: "mosquitto is a file", want: always(either), arrange: func(s *scene) error {
			return errors.Join(os.RemoveAll(below(s)), os.WriteFile(below(s), nil, 0o600))
		}},
		{name: "mosquitto is a FIFO", want: always(either), arrange: func(s *scene) error {
			return errors.Join(os.RemoveAll(below(s)), unix.Mkfifo(below(s), 0o600))
		}},
	}
	for _, umask := range []string{"000", "022", "077", "777"} {
		list = append(list, setup{name: "the umask is " + umask, shell: "umask " + umask + ";", want: always(asUsual)})
	}
	for _, mode := range []os.FileMode{0o644, 0o666, 0o640, 0o604, 0o400} {
		s := setup{name: fmt.Sprintf("the mode of .env is %o", mode), want: always(asUsual), arrange: func(s *scene) error {
			return os.Chmod(filepath.Join(s.dir, envFile), mode)
		}}
		if mode&0o077 != 0 {
			s.told = fmt.Sprintf(".env could be read by others (mode %04o); it has mode 0600 now", mode)
		}
		list = append(list, s)
	}
	return list
}

// fill leaves room for so many pages on a file system.
func fill(root string, pages int) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(root, &stat); err != nil {
		return err
	}
	size := (int64(stat.Bfree) - int64(pages)) * stat.Bsize
	return os.WriteFile(filepath.Join(root, "filler"), make([]byte, size), 0o600)
}

// crowd leaves room for so many files on a file system.
func crowd(root string, files int) error {
	var stat unix.Statfs_t
	if err := unix.Statfs(root, &stat); err != nil {
		return err
	}
	for n := range int64(stat.Ffree) - int64(files) {
		if err := os.WriteFile(filepath.Join(root, fmt.Sprintf("filler%d", n)), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// immutable makes a file or directory one that not even root changes.
func immutable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	const flag = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	return errors.Join(unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, flag), file.Close())
}

// apart runs f on a thread that sees mounts of its own, which are gone when f returns,
// or this process ends, however that may be. The programs that f starts see them.
func apart(f func() error) error {
	result := make(chan error, 1)
	var group errgroup.Group
	group.Go(func() error {
		runtime.LockOSThread() // and never unlocked: the thread ends here
		err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = f()
		}
		result <- err
		return nil
	})
	return errors.Join(group.Wait(), <-result)
}

// hostile is the trial of all set-ups. Several are tried at once.
type hostile struct {
	*Bench

	dir     string // with the program, and where file systems are mounted
	secrets secrets

	mu            sync.Mutex
	done, refused int
	failed        []error
}

// inHostileSetups runs every command that writes in every set-up.
func (b *Bench) inHostileSetups(ctx context.Context) (figure string, err error) {
	if !asRoot() {
		return "", errors.New("make hostile set-ups: only root can")
	}
	dir, remove, err := b.filesDir()
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	starts, err := b.starts(ctx, dir)
	if err != nil {
		return "", err
	}
	h := &hostile{Bench: b, dir: dir}
	if err := h.copyProgram(); err != nil {
		return "", err
	}
	if h.secrets, err = secretsOf(starts); err != nil {
		return "", err
	}
	var list []*undisturbed
	for _, w := range writings() {
		if w.start == "empty" || w.name == "import" {
			continue // no file of theirs is there to be in the way, or one too many
		}
		u, err := b.undisturbed(ctx, dir, starts[w.start], w, os.Geteuid())
		if err != nil {
			return "", err
		}
		list = append(list, u)
	}
	setups := hostileSetups()
	if err := h.all(ctx, setups, list); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d hostile set-ups, %d commands in each: %d ended as undisturbed, %d were refused with a word, a remedy and exit 1 or 4, and nothing was changed",
		len(setups), len(list), h.done, h.refused), nil
}

// copyProgram puts the program where every user can run it.
func (h *hostile) copyProgram() (err error) {
	from, err := os.Open(h.Bench.program())
	if err != nil {
		return err
	}
	defer finish(&err, from.Close)
	to, err := os.OpenFile(h.program(), os.O_CREATE|os.O_WRONLY, 0o755) //nolint:gosec // every user is to run it
	if err != nil {
		return err
	}
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Close())
}

func (h *hostile) program() string { return filepath.Join(h.dir, "mqtunnel") }

// all tries all set-ups.
func (h *hostile) all(ctx context.Context, setups []setup, list []*undisturbed) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.NumCPU())
	for _, s := range setups {
		group.Go(func() error {
			for _, u := range list {
				if err := h.try(ctx, s, u); err != nil {
					if ctx.Err() != nil {
						return err
					}
					h.mu.Lock()
					h.failed = append(h.failed, fmt.Errorf("%s, %s: %w", s.name, u.name, err))
					h.mu.Unlock()
				}
			}
			return nil
		})
	}
	return errors.Join(group.Wait(), errors.Join(h.failed...))
}

// scene is where a set-up is arranged: a file system of its own.
type scene struct {
	root    string // of the file system
	dir     string // the project directory
	outside string // a directory beside it
}

// try runs one command in one set-up.
func (h *hostile) try(ctx context.Context, s setup, u *undisturbed) (err error) {
	root, err := os.MkdirTemp(h.dir, "root-")
	if err != nil {
		return err
	}
	defer finish(&err, func() error { return os.Remove(root) })
	return apart(func() error {
		const options = "size=1m,nr_inodes=64,mode=0755"
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, options); err != nil {
			return fmt.Errorf("mount a file system: %w", err)
		}
		at := &scene{root: root, dir: filepath.Join(root, "project"), outside: filepath.Join(root, "outside")}
		if err := u.before.plant(at.dir, s.owner); err != nil {
			return err
		}
		if err := os.Mkdir(at.outside, 0o700); err != nil {
			return err
		}
		if s.arrange != nil {
			err := s.arrange(at)
			if errors.Is(err, os.ErrNotExist) {
				return nil // the command begins without the file that this is about
			}
			if err != nil {
				return fmt.Errorf("arrange it: %w", err)
			}
		}
		return h.judge(ctx, at, s, u)
	})
}

// hangs is how long a command may take before it counts as one that hangs.
const hangs = time.Minute

// judge runs the command and wants the right end.
func (h *hostile) judge(ctx context.Context, at *scene, s setup, u *undisturbed) error {
	before, err := treeOf(at.root)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, hangs)
	defer cancel()
	script := s.shell + ` exec "$0" "$@"`
	r, err := h.run(ctx, command{
		dir: "/", env: append(noEngine(at.dir), "HOME="+at.dir), user: s.user, stdin: u.stdin,
		path: "/bin/sh", args: append([]string{"-c", script, h.program(), "-C", at.dir}, u.args...),
	})
	if err != nil {
		return err
	}
	if what := h.secrets.in(r.all()); what != "" {
		return missed("the answer holds the %s", what)
	}
	after, err := treeOf(at.root)
	if err != nil {
		return err
	}
	want := s.want(u)
	switch {
	case r.code == 0 && want != refused:
		err = u.completed(at, s, before)
		if u.before[envFile] != u.after[envFile] && !strings.Contains(r.err, s.told) {
			err = missed("it does not say %q: %s", s.told, r.err)
		}
		h.count(&h.done, err)
	case (r.code == 1 || r.code == 4) && want != asUsual:
		err = refusedWell(s, r, before, after)
		h.count(&h.refused, err)
	default:
		err = missed("want it %s: exit %d: %s", want, r.code, r.all())
	}
	return err
}

func (h *hostile) count(counter *int, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		*counter++
	}
}

// completed wants the files as after the undisturbed command, whatever links lead to them.
func (u *undisturbed) completed(at *scene, s setup, before tree) error {
	for name, n := range u.after {
		path := filepath.Join(at.dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		was, there := before[filepath.Join("project", name)]
		owner := s.owner
		if there && n.mode.IsRegular() && was.owner != 0 {
			owner = was.owner
		}
		if !n.mode.IsRegular() {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if alike(string(text), u.before[name].text) != alike(n.text, u.before[name].text) {
			return missed("%s has another text than after the undisturbed command", name)
		}
		changed := n.text != u.before[name].text
		if changed && info.Mode() != n.mode || ownerOf(info) != owner {
			return missed("%s: %v of %d, want %v of %d", name, info.Mode(), ownerOf(info), n.mode, owner)
		}
	}
	now, err := treeOf(at.root)
	if err != nil {
		return err
	}
	for name := range now {
		if strings.Contains(name, newMark) {
			return missed("%s is left", name)
		}
	}
	return nil
}

// refusedWell wants one line that says what is wrong, one that says what to do, and
// nothing changed.
func refusedWell(s setup, r result, before, after tree) error {
	var wrong, remedies int
	for line := range strings.Lines(r.err) {
		switch {
		case strings.HasPrefix(line, "error: "):
			wrong++
		case strings.HasPrefix(line, "hint: "):
			remedies++
		case !strings.HasPrefix(line, "note "):
			return missed("a line that is none of an answer: %s", r.err)
		}
	}
	if wrong != 1 || remedies == 0 || r.out != "" || !strings.Contains(r.err, s.word) {
		return missed("exit %d without a clear word, or without a remedy: %s", r.code, r.all())
	}
	if changed := before.difference(after, before); changed != "" {
		return missed("refused (%s), and yet %s", strings.TrimSpace(r.err), changed)
	}
	return nil
}

// secrets are texts that no answer holds.
type secrets struct {
	tokens []needles
	texts  []string
}

// secretsOf are those of the directories that commands begin in.
func secretsOf(starts map[string]tree) (s secrets, err error) {
	for _, token := range []string{tokenOf(oldSecret), tokenOf(newSecret)} {
		n, err := needlesOf(token)
		if err != nil {
			return s, err
		}
		s.tokens = append(s.tokens, n)
	}
	s.texts = append(s.texts, userPassword)
	for name, n := range starts["users"] {
		if name == envFile || name == passwdFile {
			s.texts = append(s.texts, word.FindAllString(n.text, -1)...)
		}
	}
	s.texts = slices.DeleteFunc(s.texts, func(t string) bool { return strings.Contains(t, "PASSWORD") || strings.Contains(t, "TOKEN") })
	return s, nil
}

// in names what of the secrets stands in a text, "" for nothing.
func (s secrets) in(text string) string {
	for _, n := range s.tokens {
		if what := n.in(text); what != "" {
			return what
		}
	}
	for _, t := range s.texts {
		if strings.Contains(text, t) {
			return "password or hash"
		}
	}
	return ""
}
