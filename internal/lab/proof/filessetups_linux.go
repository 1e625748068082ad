package proof

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

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
