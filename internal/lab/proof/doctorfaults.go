package proof

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/doctor"
)

// fault is one thing that can be wrong, how it comes about and how it is mended.
type fault struct {
	name string
	code string // of the first finding, "" for what is none: doctor finds nothing
	// warns is true of what works all the same: doctor exits with 0.
	warns bool
	// of says what it is a fault of: two of one subject are never together.
	of []subject
	// stage says when it is brought about, where there are two of them.
	stage stage
	shape shape // of the project that it can happen to
	// standIn is true of what only the stand-in connector can play.
	standIn bool
	// connector is true of what a connector has a part in.
	connector bool
	// counted is what it is counted as apart from the others, "" for nothing.
	counted string

	inject act
	mend   act // what the finding's remedy says
}

// act does something to a site.
type act func(context.Context, *site) error

// by makes a method one.
func by(method func(*site, context.Context) error) act {
	return func(ctx context.Context, s *site) error { return method(s, ctx) }
}

// stage is when a fault is brought about; later ones leave earlier ones as they are.
type stage int

const (
	stageDashboard stage = iota // by a configuration, which a connector has to take
	stageUp                     // by a run of up, which may mend others
	stageEngine                 // by calls to the Engine, or at the edge
	stageFiles                  // by changes of files, which up refuses
	stageVantage                // by what surrounds doctor, without which the rest cannot be done
)

// subject is what a fault is of.
type subject string

const (
	ofEngine      subject = "engine"
	ofMachine     subject = "machine"
	ofEnv         subject = ".env"
	ofEnvironment subject = "environment"
	ofUsers       subject = "users"
	ofConf        subject = "conf.d"
	ofCompose     subject = "compose.yaml"
	ofOverride    subject = "override"
	ofDirectory   subject = "directory"
	ofTunnel      subject = "tunnel"
	ofOthers      subject = "containers of others"
	ofNetwork     subject = "network"
	ofBroker      subject = "broker"
	ofConnector   subject = "connector"
)

// Kinds of faults that are counted apart.
const (
	countedExit = "exit codes"
	countedURL  = "service URLs"
)

// faults lists every fault that doctor is tried on.
func faults() []fault {
	return slices.Concat(
		hostFaults(),
		fileFaults(),
		tokenFaults(),
		brokerFaults(),
		connectorFaults(),
		confinedFaults(),
		egressFaults(),
		ingressFaults(),
		originFaults(),
		dnsFaults(),
		edgeFaults(),
		mqttFaults(),
	)
}

// fine makes a fault none: doctor finds nothing.
func fine(f fault) fault {
	f.code = ""
	return f
}

// rank is how far upstream a fault is: faults before warnings, then by the table.
func (f fault) rank() int {
	checks := doctor.Checks()
	at := slices.IndexFunc(checks, func(c doctor.Check) bool { return c.Code == f.code })
	if f.warns {
		at += len(checks)
	}
	return at
}

// exit is what doctor ends with.
func (f fault) exit() int {
	switch {
	case slices.Contains([]string{"MQT-H01", "MQT-H02", "MQT-H03", "MQT-H04"}, f.code):
		return exitNoEngine
	case f.warns, f.code == "":
		return 0
	}
	return exitAnswerNo
}

// Exit codes of mqtunnel.
const (
	exitAnswerNo = 3
	exitNoEngine = 5
)

// named says what is wrong with a diagnosis of the fault, nil for nothing.
func (f fault) named(d diagnosis) error {
	if d.first() != f.code || d.code != f.exit() {
		return missed("%s: want %s first and exit %d: %v", f.name, f.code, f.exit(), d)
	}
	return nil
}

// verdict is how one fault came out.
type verdict struct {
	fault fault
	took  time.Duration
	err   error
}

// sites is how many sites work side by side.
const sites = 3

// onSites runs a piece of work for each item, on several sites at once. Work that
// leaves its site in no good state says so, and the next one gets a fresh project.
func onSites[T any](ctx context.Context, b *Bench, name string, items []T, work func(context.Context, *site, T) (broken bool)) error {
	if err := b.tryVantage(ctx); err != nil {
		return err
	}
	q := queue[T]{items: items}
	group, ctx := errgroup.WithContext(ctx)
	for n := range min(sites, len(items)) {
		group.Go(func() (err error) {
			s, err := b.site(ctx, fmt.Sprintf("%s%d", name, n))
			if err != nil {
				return err
			}
			defer finish(&err, s.close)
			for item, more := q.take(); more && ctx.Err() == nil; item, more = q.take() {
				if work(ctx, s, item) {
					s.files = nil
				}
			}
			return ctx.Err()
		})
	}
	return group.Wait()
}

// ready gives the site a project of the shape with which all is well.
func (s *site) ready(ctx context.Context, sh shape) error {
	if s.files != nil && s.shape == sh {
		return nil
	}
	if err := s.fresh(ctx, sh); err != nil {
		return err
	}
	return s.becomes(ctx, diagnosis.clean)
}

// try brings a fault about, asks, and mends it.
func (s *site) try(ctx context.Context, f fault) (v verdict) {
	v.fault = f
	if v.err = s.ready(ctx, f.shape); v.err != nil {
		v.err = fmt.Errorf("%s: before it: %w", f.name, v.err)
		return v
	}
	if v.err = f.inject(ctx, s); v.err != nil {
		v.err = fmt.Errorf("%s: bring it about: %w", f.name, v.err)
		return v
	}
	d, err := s.doctor(ctx)
	if err != nil {
		v.err = fmt.Errorf("%s: %w", f.name, err)
		return v
	}
	v.took, v.err = d.took, f.named(d)
	if err := f.mend(ctx, s); err != nil {
		v.err = errors.Join(v.err, fmt.Errorf("%s: mend it: %w", f.name, err))
		return v
	}
	gone := func(d diagnosis) bool { return d.code == 0 && (d.first() != f.code || f.warns || f.code == "") }
	if err := s.becomes(ctx, gone); err != nil {
		v.err = errors.Join(v.err, fmt.Errorf("%s: mended: %w", f.name, err))
	}
	return v
}

// prove tries faults and returns what they came to, in their order.
func (b *Bench) tryFaults(ctx context.Context, name string, list []fault) ([]verdict, error) {
	// Those of one shape together, as making a project takes longer than a fault.
	slices.SortStableFunc(list, func(a, b fault) int { return strings.Compare(fmt.Sprint(a.shape), fmt.Sprint(b.shape)) })
	var mu sync.Mutex
	var verdicts []verdict
	err := onSites(ctx, b, name, list, func(ctx context.Context, s *site, f fault) bool {
		v := s.try(ctx, f)
		mu.Lock()
		verdicts = append(verdicts, v)
		if v.err != nil {
			b.logf("FAULT %s %s: %v", f.code, f.name, v.err)
		} else {
			b.logf("fault %s %s: named first after %v", f.code, f.name, v.took.Round(10*time.Millisecond))
		}
		mu.Unlock()
		err := s.baseline(ctx)
		if err != nil && ctx.Err() == nil {
			b.logf("after %s: %v", f.name, err)
		}
		return err != nil
	})
	return verdicts, err
}

// chosen are the faults that are to be tried: all, or those that the bench names.
func (b *Bench) chosen(keep func(fault) bool) ([]fault, error) {
	all := faults()
	for _, name := range b.Faults {
		if !slices.ContainsFunc(all, func(f fault) bool { return f.name == name }) {
			return nil, fmt.Errorf("there is no fault %q", name)
		}
	}
	return slices.DeleteFunc(all, func(f fault) bool {
		return !keep(f) || len(b.Faults) > 0 && !slices.Contains(b.Faults, f.name) || f.standIn && b.Cloudflared != ""
	}), nil
}

// nameFirst tries faults and wants each named first.
func (b *Bench) nameFirst(ctx context.Context, name string, keep func(fault) bool) (string, error) {
	list, err := b.chosen(keep)
	if err != nil {
		return "", err
	}
	verdicts, err := b.tryFaults(ctx, name, list)
	if err != nil {
		return "", err
	}
	counted := map[string]int{}
	var slowest time.Duration
	var errs []error
	for _, v := range verdicts {
		counted[v.fault.counted]++
		slowest = max(slowest, v.took)
		errs = append(errs, v.err)
	}
	wrong := len(slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil }))
	figure := fmt.Sprintf("%d of %d faults named first, %d %s and %d %s among them, the slowest after %v",
		len(verdicts)-wrong, len(verdicts), counted[countedURL], countedURL, counted[countedExit], countedExit, slowest.Round(10*time.Millisecond))
	if slowest > doctorLimit {
		errs = append(errs, missed("one takes longer than %v", doctorLimit))
	}
	if err := errors.Join(errs...); err != nil {
		return "", missed("%s: %w", figure, err)
	}
	return figure, nil
}

// doctorFaults tries every fault.
func doctorFaults(ctx context.Context, b *Bench) (string, error) {
	return b.nameFirst(ctx, "faults", func(fault) bool { return true })
}

// doctorReal tries the faults that a connector has a part in, with a real one.
func doctorReal(ctx context.Context, b *Bench) (string, error) {
	if b.Cloudflared == "" {
		return "", errors.New("LAB_CLOUDFLARED names no cloudflared")
	}
	return b.nameFirst(ctx, "real", func(f fault) bool { return f.connector })
}

// doctorSample tries a few faults of every layer.
func doctorSample(ctx context.Context, b *Bench) (string, error) {
	return b.nameFirst(ctx, "sample", func(f fault) bool {
		return slices.Contains([]string{
			"engine stopped", "env world-readable", "env line broken", "token truncated", "broker stopped", "connector removed",
		}, f.name)
	})
}
