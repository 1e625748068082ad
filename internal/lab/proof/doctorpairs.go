package proof

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
)

// drawn is how many pairs are drawn.
const drawn = 100

// pair is two faults at once, in the order in which they are brought about.
type pair [2]fault

// upstream is the one that is to be named first.
func (p pair) upstream() fault {
	if p[1].rank() < p[0].rank() {
		return p[1]
	}
	return p[0]
}

func (p pair) String() string { return p[0].name + " + " + p[1].name }

// together reports whether two faults can be at once: they are of different
// subjects and of projects of one shape, and the second can still be brought about.
func together(a, b fault) bool {
	share := slices.ContainsFunc(a.of, func(of subject) bool { return slices.Contains(b.of, of) })
	// What is brought about by up is mended by that of another, or stops it.
	return !share && a.shape == b.shape && (a.stage != stageUp || b.stage != stageUp)
}

// pairs draws different pairs of faults that can be together.
func pairs(list []fault, n int, random *rand.Rand) []pair {
	var all []pair
	for i, a := range list {
		for _, b := range list[i+1:] {
			if !together(a, b) {
				continue
			}
			both := pair{a, b}
			if b.stage < a.stage {
				both = pair{b, a}
			}
			all = append(all, both)
		}
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:min(n, len(all))]
}

// tryPair brings two faults about, asks, and mends them.
func (s *site) tryPair(ctx context.Context, p pair) error {
	if err := s.ready(ctx, p[0].shape); err != nil {
		return fmt.Errorf("%v: before it: %w", p, err)
	}
	for _, f := range p {
		if err := f.inject(ctx, s); err != nil {
			return fmt.Errorf("%v: bring about %s: %w", p, f.name, err)
		}
	}
	d, err := s.doctor(ctx)
	if err != nil {
		return fmt.Errorf("%v: %w", p, err)
	}
	want := p.upstream()
	exit := want.exit()
	if want.warns && (!p[0].warns || !p[1].warns) {
		exit = exitAnswerNo
	}
	if d.first() != want.code || d.code != exit {
		return missed("%v: want %s first and exit %d: %v", p, want.code, exit, d)
	}
	return nil
}

// mendPair mends two faults, the later one first.
func (s *site) mendPair(ctx context.Context, p pair) error {
	for _, f := range slices.Backward(p[:]) {
		if err := f.mend(ctx, s); err != nil {
			return err
		}
		if f.stage == stageVantage {
			s.vantage = s.usual()
		}
	}
	return nil
}

// doctorPairs draws pairs of faults and wants the more upstream one named first.
func doctorPairs(ctx context.Context, b *Bench) (string, error) {
	seed := b.seed("doctor-pairs")
	list, err := b.chosen(func(f fault) bool { return f.code != "" })
	if err != nil {
		return "", err
	}
	chosen := pairs(list, drawn, rand.New(rand.NewPCG(seed, seed))) //nolint:gosec // to be drawn again
	var mu sync.Mutex
	var errs []error
	err = onSites(ctx, b, "pairs", chosen, func(ctx context.Context, s *site, p pair) bool {
		err := s.tryPair(ctx, p)
		mu.Lock()
		errs = append(errs, err)
		if err != nil {
			b.logf("PAIR %v", err)
		} else {
			b.logf("pair %v: %s first", p, p.upstream().code)
		}
		mu.Unlock()
		return err != nil || s.mendPair(ctx, p) != nil || s.baseline(ctx) != nil
	})
	if err != nil {
		return "", err
	}
	wrong := len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil }))
	figure := fmt.Sprintf("%d of %d pairs with the more upstream one first, seed %d", len(errs)-wrong, len(errs), seed)
	if err := errors.Join(errs...); err != nil {
		return "", missed("%s: %w", figure, err)
	}
	return figure, nil
}
