package cli

import (
	"context"
	"crypto/rand"

	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/render"
)

// newRevision makes a random revision for a label.
func newRevision() string { return rand.Text()[:12] }

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

// needProbe gives the settings a password for the probe when there is none yet, for
// store to write once everything is checked.
func (s *session) needProbe() error {
	if !s.settings.ProbePassword.IsZero() {
		return nil
	}
	password := mosquitto.NewPassword()
	err := s.editEnv(func(env *config.EnvFile) error { return env.Set(config.KeyProbePassword, password) })
	if s.settings.ProbePassword.IsZero() { // the environment hides it
		s.settings.ProbePassword = password
	}
	return err
}
