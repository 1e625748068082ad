package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/bench"
)

// quietRuns is how often a healthy project is looked at.
const quietRuns = 100

// freshEvery is after how many of them a fresh project is.
const freshEvery = 20

// doctorQuiet looks at healthy projects and wants nothing found.
func doctorQuiet(ctx context.Context, b *Bench) (figure string, err error) {
	if err := b.tryVantage(ctx); err != nil {
		return "", err
	}
	s, err := b.site(ctx, "quiet")
	if err != nil {
		return "", err
	}
	defer finish(&err, s.close)
	fresh, connects := 0, 0
	for run := 0; run < quietRuns; run += freshEvery {
		if err := s.fresh(ctx, shape{}); err != nil {
			return "", err
		}
		fresh++
		n, err := s.quietWhile(ctx, freshEvery)
		if err != nil {
			return "", err
		}
		connects += n
	}
	return fmt.Sprintf("%d runs on %d fresh projects, half of them with a client that connected %d times meanwhile: exit 0, nothing found", quietRuns, fresh, connects), nil
}

// quietWhile asks a number of times, from right after up, in the second half while a
// client connects again and again, and returns how often it did.
func (s *site) quietWhile(ctx context.Context, runs int) (connects int, err error) {
	for run := range runs / 2 {
		if err := s.quiet(ctx, fmt.Sprintf("run %d", run)); err != nil {
			return 0, err
		}
	}
	password, err := s.password(ctx)
	if err != nil {
		return 0, err
	}
	cctx, cancel := context.WithCancel(ctx)
	var group errgroup.Group
	group.Go(func() error {
		for cctx.Err() == nil {
			if err := s.roundTrip(cctx, user, password, "x/y"); err != nil && cctx.Err() == nil {
				return missed("the client that connects again and again: %w", err)
			}
			connects++
		}
		return nil
	})
	for run := range runs - runs/2 {
		if err = s.quiet(ctx, fmt.Sprintf("run %d, with a client", run)); err != nil {
			break
		}
	}
	cancel()
	return connects, errors.Join(err, group.Wait())
}

// quiet asks once and wants nothing found.
func (s *site) quiet(ctx context.Context, when string) error {
	d, err := s.doctor(ctx)
	if err != nil {
		return err
	}
	if !d.clean() {
		return missed("a healthy project, %s: %v", when, d)
	}
	return nil
}

// password gives the site's user a fresh password.
func (s *site) password(ctx context.Context) (string, error) {
	r, err := s.mqtunnel(ctx, "", "user", "passwd", user, "--generate")
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(r.out, "password: ")
	password, _, found := strings.Cut(rest, "\n")
	if r.code != 0 || !found {
		return "", fmt.Errorf("user passwd: exit %d: %s", r.code, r.err)
	}
	return password, nil
}

// What doctor-time wants.
const (
	timedRuns    = 10
	healthyLimit = 2 * time.Second
)

// doctorTime measures diagnoses: of a healthy project, and where there is no network.
func doctorTime(ctx context.Context, b *Bench) (figure string, err error) {
	if err := b.tryVantage(ctx); err != nil {
		return "", err
	}
	s, err := b.site(ctx, "time")
	if err != nil {
		return "", err
	}
	defer finish(&err, s.close)
	if err := s.ready(ctx, shape{}); err != nil {
		return "", err
	}
	var times []time.Duration
	for range timedRuns {
		d, err := s.doctor(ctx)
		if err != nil {
			return "", err
		}
		if !d.clean() {
			return "", missed("a healthy project: %v", d)
		}
		times = append(times, d.took)
	}
	slices.Sort(times)
	median := (times[timedRuns/2-1] + times[timedRuns/2]) / 2
	if median >= healthyLimit {
		return "", missed("healthy after %v (median of %d), want less than %v: %v", median, timedRuns, healthyLimit, times)
	}
	alone, err := s.withoutNetwork(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("healthy after %v (median of %d), without any network an answer after %v, with neither network nor Engine after %v",
		median.Round(10*time.Millisecond), timedRuns, alone[0].Round(10*time.Millisecond), alone[1].Round(10*time.Millisecond)), nil
}

// withoutNetwork asks where doctor has loopback alone, and where the lab is gone as
// well: first with the Engine, then without.
func (s *site) withoutNetwork(ctx context.Context) (took [2]time.Duration, err error) {
	if err := s.b.Engine.NetworkDisconnect(ctx, s.lab.Network, s.container(connector), true); err != nil {
		return took, err
	}
	s.vantage.alone = true
	for i := range took {
		if i == 1 {
			s.environ("DOCKER_HOST", "unix://"+s.socket())
		}
		d, err := s.doctor(ctx)
		if err != nil {
			return took, err
		}
		if d.code == 0 || d.took > doctorLimit {
			return took, missed("without any network: %v", d)
		}
		took[i] = d.took
	}
	return took, bench.RemoveProjects(ctx, s.b.Engine, s.lab.Name)
}
