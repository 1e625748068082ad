package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// mendTimeout is how long a project is given to become ready after it was mended,
// before it is looked at again.
const mendTimeout = time.Minute

// fix mends what is safe to mend from here, and reports whether it mended anything.
// It shows first what it would do.
func (s *doctorRun) fix(ctx context.Context, d doctor.Diagnosis, e *doctor.Evidence) (mended bool, err error) {
	repairs := slices.DeleteFunc(doctor.Repairs(d, e), func(r doctor.Repair) bool { return !s.wanted(r, d) })
	if len(repairs) == 0 {
		if !d.Healthy() {
			s.note("there is nothing that can be mended from here")
		}
		return false, nil
	}
	s.showRepairs(repairs)
	if err := s.app.confirm(ctx, "Mend this?", s.flags.yes); err != nil {
		return false, err
	}
	release, err := s.lock(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	s.readSettings() // with the name of the project that is looked at
	for _, r := range repairs {
		if err := s.mend(ctx, r.Mend); err != nil {
			return false, fmt.Errorf("%s: %w", r.What, err)
		}
	}
	return true, nil
}

// wanted reports whether a repair is for one of the checks that were asked for.
func (s *doctorRun) wanted(r doctor.Repair, d doctor.Diagnosis) bool {
	if len(s.names) == 0 {
		return true
	}
	return slices.ContainsFunc(r.Checks, func(id string) bool {
		result, found := d.Result(id)
		return found && slices.ContainsFunc(s.names, result.Named)
	})
}

// showRepairs shows what would be done, why, and what it rests on.
func (s *doctorRun) showRepairs(repairs []doctor.Repair) {
	w := s.app.Err
	fmt.Fprintln(w, "what can be mended from here:")
	for i, r := range repairs {
		fmt.Fprintf(w, "%d. %s\n", i+1, r.What)
		for _, why := range r.Why {
			fmt.Fprintf(w, "   because %s\n", w.Fit("   because ", display.Safe(display.Redact(why))))
		}
		for _, seen := range r.Rests {
			fmt.Fprintf(w, "   seen: %s\n", w.Fit("   seen: ", display.Safe(display.Redact(seen))))
		}
		fmt.Fprintf(w, "   by hand: %s\n", s.app.again(strings.Join(r.Commands, "; ")))
	}
}

// mend carries one repair out. The caller holds the lock.
func (s *doctorRun) mend(ctx context.Context, m doctor.Mend) error {
	switch m {
	case doctor.MendMode:
		env, err := config.ReadEnv(s.dir)
		if err != nil {
			return err
		}
		_, err = env.Write(s.dir)
		return err
	case doctor.MendProtocol:
		err := s.editEnv(func(env *config.EnvFile) error { return env.Set(config.KeyProtocol, secret.New("http2")) })
		if err == nil {
			err = s.store(nil)
		}
		s.readSettings()
		return err
	case doctor.MendUp:
		u := &upRun{session: s.session}
		if err := u.prepare(ctx); err != nil {
			return err
		}
		if err := u.run(ctx); err != nil {
			return err
		}
		return s.settle(ctx, u.rendered.Project, false)
	case doctor.MendRestart:
		return s.restartConnector(ctx)
	}
	return nil
}

// restartConnector restarts the connector alone.
func (s *doctorRun) restartConnector(ctx context.Context) error {
	_, rendered, err := s.render(ctx, false)
	if err != nil {
		return err
	}
	observed, err := s.engine.Observe(ctx, plan.Query{Project: rendered.Project.Name})
	if err != nil {
		return err
	}
	pl := plan.RestartServices(rendered.Project, observed, []string{plan.ServiceConnector})
	if err := left(lifecycle.Execute(ctx, s.engine, rendered.Project, nil, pl, s.show), leftHalfway); err != nil {
		return err
	}
	return s.settle(ctx, rendered.Project, true)
}

// settle gives the project time to become ready. What keeps it from that is for the
// next look to say.
func (s *doctorRun) settle(ctx context.Context, p plan.Project, settled bool) error {
	readiness, err := s.readiness(ctx, p, s.to)
	if err != nil {
		return err
	}
	readiness.Timeout, readiness.Settled, readiness.Patient = mendTimeout, settled, false
	_, _ = lifecycle.Await(ctx, s.engine, readiness, s.show) // see above
	s.progress.End()
	return ctx.Err()
}
