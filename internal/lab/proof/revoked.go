package proof

import (
	"context"
	"fmt"
	"strings"
	"time"

	"mqtunnel/internal/probe"
)

// revoked removes a user and restarts the broker in every way, by either tool.
func revoked(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "revoked", (*project).revokedStaysOut)
}

func (p *project) revokedStaysOut(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	gone, err := p.addUser(ctx, "gone")
	if err != nil {
		return "", err
	}
	stays, err := p.addUser(ctx, "stays")
	if err != nil {
		return "", err
	}
	for user, password := range map[string]string{"gone": gone, "stays": stays} {
		if err := p.roundTrip(ctx, user, password, "x/y"); err != nil {
			return "", missed("user %s cannot log in before the removal: %w", user, err)
		}
	}
	start := time.Now()
	if _, err := p.must(ctx, "user", "remove", "gone", "--yes"); err != nil {
		return "", err
	}
	if err := p.out(ctx, gone, stays); err != nil {
		return "", missed("after user remove: %w", err)
	}
	took := time.Since(start)
	ways, err := p.everyRestart(ctx, gone, stays)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("refused %v after the removal and after %d of %d ways of restarting", took.Round(10*time.Millisecond), ways, ways), nil
}

// everyRestart restarts the broker in every way and wants the removed user out
// after each.
func (p *project) everyRestart(ctx context.Context, gone, stays string) (ways int, err error) {
	for _, way := range []struct {
		name string
		run  func() error
	}{
		{"mqtunnel restart", func() error {
			_, err := p.must(ctx, "restart", "--connect-to", p.lab.ConnectTo(p.host))
			return err
		}},
		{"docker compose restart", func() error { return p.compose(ctx, "restart") }},
		{"docker compose stop and start", func() error {
			if err := p.compose(ctx, "stop"); err != nil {
				return err
			}
			return p.compose(ctx, "start")
		}},
		{"docker compose up -d --force-recreate", func() error { return p.compose(ctx, "up", "-d", "--force-recreate") }},
		{"mqtunnel down and up", func() error {
			if _, err := p.must(ctx, "down"); err != nil {
				return err
			}
			return p.up(ctx)
		}},
		{"docker compose down and up -d", func() error {
			if err := p.compose(ctx, "down"); err != nil {
				return err
			}
			return p.compose(ctx, "up", "-d")
		}},
	} {
		if err := way.run(); err != nil {
			return ways, fmt.Errorf("%s: %w", way.name, err)
		}
		if err := eventually(ctx, back, func() error { return p.roundTrip(ctx, "stays", stays, "x/y") }); err != nil {
			return ways, missed("after %s the other user cannot log in: %w", way.name, err)
		}
		if err := p.out(ctx, gone, stays); err != nil {
			return ways, missed("after %s: %w", way.name, err)
		}
		ways++
	}
	return ways, nil
}

// out wants the removed user refused as not authorised, and the other let in.
func (p *project) out(ctx context.Context, gone, stays string) error {
	err := p.roundTrip(ctx, "gone", gone, "x/y")
	if probe.ClassOf(err) != probe.ClassNotAuthorised {
		return missed("the removed user is not refused: %w", err)
	}
	err = p.roundTrip(ctx, "stays", stays, "x/y")
	return err
}

// compose runs the real Docker Compose in the project directory, as a person
// would.
func (p *project) compose(ctx context.Context, args ...string) error {
	_, err := p.askCompose(ctx, args...)
	return err
}

// askCompose is compose for a command of which the output counts.
func (p *project) askCompose(ctx context.Context, args ...string) (string, error) {
	r, err := p.b.run(ctx, command{dir: p.dir, path: p.b.composeProgram(), args: args, env: p.env()})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("docker compose %s: exit %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return r.out, err
}
