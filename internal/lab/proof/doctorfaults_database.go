package proof

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
)

// inVolumeAs runs a script on the project's data as a user, while the broker may run.
func (s *site) inVolumeAs(ctx context.Context, uid, script string) error {
	r, err := s.b.run(ctx, command{path: "docker", args: []string{
		"run", "--rm", "--network", "none", "--user", uid, "--entrypoint", "/bin/sh", "--label", bench.LabelLab + "=" + s.lab.Name,
		"-v", s.name + "_data:/data", s.lab.Mosquitto, "-c", "cd /data && " + script,
	}})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("in the data volume: exit %d: %s", r.code, r.all())
	}
	return err
}

// stopped does something while the broker is stopped, as docker stop and start do it.
func (s *site) stopped(ctx context.Context, do func() error) error {
	if err := s.b.Engine.ContainerStop(ctx, s.container(broker), container.StopOptions{}); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return s.b.Engine.ContainerStart(ctx, s.container(broker), container.StartOptions{})
}

// withContent makes the broker hold retained messages and a copy of its database.
func (s *site) withContent(ctx context.Context) error {
	password, err := s.password(ctx)
	if err != nil {
		return err
	}
	if err := s.retain(ctx, user, password, kept); err != nil {
		return err
	}
	return s.stopped(ctx, func() error { return nil })
}

// databaseFaults are those of the broker's data.
func databaseFaults() []fault {
	// A copy is put in the place of what was lost, as in comes-back.
	const copied = "best=$(ls copies | sed -n 's/^\\([1-9][0-9]*\\)-retained-\\([0-9]*\\)\\.db$/\\2 \\1/p' | sort -n | tail -n 1) && " +
		"cp copies/${best#* }-retained-${best% *}.db mosquitto.db && rm -f copies/lost"
	damaged := func(name, script string, sh shape, wait act) fault {
		f := onEngine(name, "MQT-B08", ofBroker, func(ctx context.Context, s *site) error {
			if err := s.withContent(ctx); err != nil {
				return err
			}
			if err := s.stopped(ctx, func() error { return s.inVolumeAs(ctx, "1883:1883", script) }); err != nil {
				return err
			}
			return wait(ctx, s)
		})
		f.shape = sh
		f.mend = func(ctx context.Context, s *site) error {
			return s.stopped(ctx, func() error { return s.inVolumeAs(ctx, "1883:1883", copied) })
		}
		return f
	}
	const cut = "dd if=mosquitto.db of=cut bs=1 count=$(($(wc -c < mosquitto.db) - 20)) 2>/dev/null && cat cut > mosquitto.db && rm cut"
	runs := func(ctx context.Context, s *site) error {
		return eventually(ctx, back, func() error { return s.says(ctx, broker, " running") })
	}
	unwritable := onEngine("data directory unwritable", "MQT-B09", ofBroker, func(ctx context.Context, s *site) error {
		if err := s.inVolumeAs(ctx, "0:0", "chmod 0555 . && chown 0:0 ."); err != nil {
			return err
		}
		return s.saves(ctx)
	})
	unwritable.mend = func(ctx context.Context, s *site) error {
		if err := s.inVolumeAs(ctx, "0:0", "chown 1883:1883 . && chmod 0755 ."); err != nil {
			return err
		}
		return s.saves(ctx)
	}
	full := onEngine("disk full", "MQT-B09", ofBroker, func(ctx context.Context, s *site) error {
		if _, err := s.b.exec(ctx, s.container(broker), "sh", "-c", "dd if=/dev/zero of=/mosquitto/data/filler bs=64k 2>/dev/null; dd if=/dev/zero of=/mosquitto/data/rest bs=512 2>/dev/null; true"); err != nil {
			return err
		}
		return s.saves(ctx)
	})
	full.shape = shape{override: shapeSmallDisk}
	full.mend = func(ctx context.Context, s *site) error {
		if _, err := s.b.exec(ctx, s.container(broker), "rm", "/mosquitto/data/filler", "/mosquitto/data/rest"); err != nil {
			return err
		}
		return s.saves(ctx)
	}
	return []fault{
		damaged("database cut short, 2.0", cut, shape{mosquitto: images.Mosquitto20}, looping(broker)),
		damaged("database cut short, 2.1", cut, shape{}, runs),
		damaged("database gone", "rm mosquitto.db", shape{}, runs),
		damaged("database replaced by an empty one", ": > mosquitto.db", shape{}, runs),
		unwritable,
		full,
	}
}

// saves makes the broker save its database, whether it can or not.
func (s *site) saves(ctx context.Context) error {
	_, err := s.b.exec(ctx, s.container(broker), "kill", "-USR1", "1")
	return err
}
