package proof

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// somebody is a user of the machine without any rights.
const somebody = 23456

// hostFaults are those of the machine and its Engine.
func hostFaults() []fault {
	host := func(name, code string, inject, mend act) fault {
		return fault{name: name, code: code, of: []subject{ofEngine}, stage: stageVantage, inject: inject, mend: mend}
	}
	boot := host("Docker not enabled at boot", "MQT-H06", by((*site).systemdWithoutDocker), by((*site).enableDocker))
	boot.of, boot.warns = []subject{ofMachine}, true
	arm := host("32-bit ARM", "MQT-H05", by((*site).become32Bit), func(ctx context.Context, s *site) error {
		if err := s.truthful(ctx); err != nil {
			return err
		}
		return s.up(ctx)
	})
	arm.of = []subject{ofEngine, ofConnector}
	return []fault{
		host("engine stopped", "MQT-H02", func(ctx context.Context, s *site) error {
			return s.noEngine(ctx, false)
		}, by((*site).engineAgain)),
		host("engine socket missing", "MQT-H02", func(_ context.Context, s *site) error {
			s.environ("DOCKER_HOST", "unix://"+s.socket())
			return nil
		}, by((*site).engineAgain)),
		host("engine silent", "MQT-H02", func(ctx context.Context, s *site) error {
			return s.noEngine(ctx, true)
		}, func(ctx context.Context, s *site) error {
			if err := s.release(); err != nil {
				return err
			}
			return s.engineAgain(ctx)
		}),
		host("engine socket forbidden", "MQT-H03", func(ctx context.Context, s *site) error {
			return s.asSomebody(ctx, 0o600)
		}, func(_ context.Context, s *site) error {
			return os.Chmod(s.socket(), 0o666) //nolint:gosec // what the group docker gives
		}),
		host("engine too old", "MQT-H04", func(ctx context.Context, s *site) error {
			v, err := s.b.Engine.ServerVersion(ctx)
			if err != nil {
				return err
			}
			return s.doubled(ctx, map[string]string{v.APIVersion: "1.39"})
		}, by((*site).truthful)),
		host("context missing", "MQT-H01", func(_ context.Context, s *site) error {
			s.environ("DOCKER_HOST", "")
			s.environ("DOCKER_CONTEXT", "no-such-context")
			return nil
		}, by((*site).usually)),
		host("engine address wrong", "MQT-H01", func(_ context.Context, s *site) error {
			s.environ("DOCKER_HOST", "unx:/var/run/docker.sock")
			return nil
		}, by((*site).usually)),
		host("engine over plain tcp", "MQT-H01", func(_ context.Context, s *site) error {
			s.environ("DOCKER_HOST", "tcp://192.0.2.1:2375")
			return nil
		}, by((*site).usually)),
		arm,
		boot,
	}
}

// socket is where the Engine of some faults listens.
func (s *site) socket() string { return filepath.Join(s.parent, "docker.sock") }

// usually mends what is wrong with the environment.
func (s *site) usually(context.Context) error {
	s.vantage = s.usual()
	return nil
}

// noEngine makes the Engine one that has ended, or that never answers.
func (s *site) noEngine(ctx context.Context, listening bool) error {
	c, err := silentSocket(ctx, s.socket(), listening)
	if err != nil {
		return err
	}
	s.hold(c)
	s.environ("DOCKER_HOST", "unix://"+s.socket())
	return nil
}

// engineAgain starts the Engine.
func (s *site) engineAgain(ctx context.Context) error {
	d, err := s.b.double(ctx, s.socket(), 0o600, nil)
	if err == nil {
		s.hold(d)
	}
	return err
}

// doubled makes the Engine say other words.
func (s *site) doubled(ctx context.Context, changes map[string]string) error {
	d, err := s.b.double(ctx, s.socket(), 0o600, changes)
	if err != nil {
		return err
	}
	s.hold(d)
	s.environ("DOCKER_HOST", "unix://"+s.socket())
	return nil
}

// truthful makes the Engine say what it is.
func (s *site) truthful(context.Context) error {
	for _, c := range s.held {
		if d, ok := c.(*engineDouble); ok {
			d.truthful()
		}
	}
	return nil
}

// become32Bit makes the Engine one of a machine for which there is no connector, and
// so has none.
func (s *site) become32Bit(ctx context.Context) error {
	v, err := s.b.Engine.ServerVersion(ctx)
	if err != nil {
		return err
	}
	if err := s.removeContainer(ctx, s.container(connector)); err != nil {
		return err
	}
	return s.doubled(ctx, map[string]string{v.Arch: "arm", "x86_64": "armv7l", "aarch64": "armv7l"})
}

// asSomebody makes doctor the process of a user to whom the project belongs, with
// a socket of the Engine of that mode.
func (s *site) asSomebody(ctx context.Context, mode os.FileMode) error {
	d, err := s.b.double(ctx, s.socket(), mode, nil)
	if err != nil {
		return err
	}
	s.hold(d)
	dir := s.dir
	s.hold(closer(func() error { return own(dir, 0) }))
	s.environ("DOCKER_HOST", "unix://"+s.socket())
	s.environ("HOME", s.dir)
	s.vantage.uid = somebody
	return own(s.dir, somebody)
}

// own gives a directory with all that is in it to a user.
func own(dir string, uid int) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	err = fs.WalkDir(root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return root.Lchown(path, uid, uid)
	})
	return errors.Join(err, root.Close())
}

// units is systemd's directory of what the machine starts.
const units = "/etc/systemd/system"

// systemdWithoutDocker makes the machine one that systemd runs, and on which it does
// not start Docker.
func (s *site) systemdWithoutDocker(context.Context) error {
	etc, lib, run := filepath.Join(s.parent, "units"), filepath.Join(s.parent, "lib"), filepath.Join(s.parent, "run")
	for _, dir := range []string{filepath.Join(etc, "multi-user.target.wants"), lib, filepath.Join(run, "systemd", "system")} {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as systemd has it
			return err
		}
	}
	socket := filepath.Join(run, "docker.sock")
	s.vantage.mount = [][2]string{
		{"/run/docker.sock", socket}, // the Engine's stays where it is
		{run, "/run"},
		{etc, units},
		{lib, "/lib/systemd/system"},
	}
	return errors.Join(
		os.WriteFile(socket, nil, 0o600),
		os.WriteFile(filepath.Join(lib, "docker.service"), []byte("[Install]\nWantedBy=multi-user.target\n"), 0o644), //nolint:gosec // as systemd has it
	)
}

// enableDocker is what systemctl enable docker does.
func (s *site) enableDocker(context.Context) error {
	link := filepath.Join(s.parent, "units", "multi-user.target.wants", "docker.service")
	s.hold(closer(func() error { return os.Remove(link) }))
	return os.Symlink("/lib/systemd/system/docker.service", link)
}
