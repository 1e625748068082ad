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
