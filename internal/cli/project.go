package cli

import (
	"context"
	"crypto/rand"
	"fmt"

	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/render"
)

// newRevision makes a random revision for a label.
func newRevision() string { return rand.Text()[:12] }

// renderAgain renders the project from what the directory holds now and writes
// it. The caller holds the lock.
func (s *session) renderAgain(ctx context.Context, tokenChanged bool) error {
	d, r, err := s.render(ctx, tokenChanged)
	if err != nil {
		return err
	}
	if err := d.CheckEdited(r); err != nil {
		return err
	}
	return r.Write(s.dir)
}

// checkEdited refuses a Compose file that a person edited, before anything is
// changed. What keeps the project from being rendered at all does not matter here:
// the change to come may put it right.
func (s *session) checkEdited(ctx context.Context) error {
	d, r, err := s.render(ctx, false)
	if err != nil {
		return nil //nolint:nilerr // see above
	}
	return d.CheckEdited(r)
}

// render makes the project from what the directory holds. Nothing is written.
func (s *session) render(ctx context.Context, tokenChanged bool) (*render.Directory, render.Rendered, error) {
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return nil, render.Rendered{}, err
	}
	r, err := s.renderFrom(ctx, d, tokenChanged)
	return d, r, err
}

// renderFrom is render for a directory that was read already.
func (s *session) renderFrom(ctx context.Context, d *render.Directory, tokenChanged bool) (render.Rendered, error) {
	env, err := s.environment()
	if err != nil {
		return render.Rendered{}, err
	}
	return d.Render(ctx, s.settings, env, tokenChanged, newRevision)
}

// needProbe gives the settings a password for the probe when there is none yet.
// It is written by keepProbe, once everything is checked.
func (s *session) needProbe() {
	if s.settings.ProbePassword.IsZero() {
		s.settings.ProbePassword = mosquitto.NewPassword()
	}
}

// keepProbe writes the probe's password into .env unless it is set already.
func (s *session) keepProbe() error {
	if s.settings.IsSet(config.KeyProbePassword) {
		return nil
	}
	password := s.settings.ProbePassword
	_, written, err := s.editEnv(func(env *config.EnvFile) error {
		return env.Set(config.KeyProbePassword, password)
	})
	if written.Tightened != 0 {
		s.warn(fmt.Sprintf(".env could be read by others (mode %04o); it has mode 0600 now", written.Tightened))
	}
	return err
}
