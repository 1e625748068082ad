package proof

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
)

// downtimeRounds is how many pairs recreate-downtime measures of each service. The
// medians of so many tell tools apart that differ by less than a single run varies.
const downtimeRounds = 6

// recreateDowntime changes a service and has mqtunnel and Docker Compose carry the same
// change out in turns, while clients come and stay.
func recreateDowntime(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "downtime", (*project).recreatesQuickly)
}

func (p *project) recreatesQuickly(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	password, err := p.addUser(ctx, user)
	if err != nil {
		return "", err
	}
	d := &downtimes{project: p, as: account{user: user, password: password}, labels: map[string]string{}}
	var figures []string
	var failed error
	for _, service := range []string{broker, connector} {
		took, err := d.pairs(ctx, service)
		if err != nil {
			return "", fmt.Errorf("%s: %w", service, err)
		}
		us, them := median(took[ours]), median(took[theirs])
		figures = append(figures, fmt.Sprintf("%s: no new client got in for %v with mqtunnel up and for %v with docker compose up -d, connected ones were cut off for %v and for %v",
			service, us.fresh, them.fresh, us.connected, them.connected))
		if us.fresh > them.fresh+knockEvery || us.connected > them.connected+knockEvery {
			failed = missed("mqtunnel takes longer to recreate %s", service)
		}
	}
	figure = strings.Join(figures, "; ") + fmt.Sprintf(" (medians of %d pairs in alternating order, a knock every %v)", downtimeRounds, knockEvery)
	if failed != nil {
		return "", missed("%w: %s", failed, figure)
	}
	return figure, nil
}

// downtimes measures what recreating costs clients.
type downtimes struct {
	*project

	as      account
	changed int
	labels  map[string]string // lines of the override by service
}

// pairs recreates a service with one tool and the other, in alternating order.
func (d *downtimes) pairs(ctx context.Context, service string) (map[tool][]outage, error) {
	took := map[tool][]outage{}
	for round := range downtimeRounds {
		order := []tool{ours, theirs}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, by := range order {
			o, err := d.recreate(ctx, service, by)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", by, err)
			}
			d.b.logf("%s recreated by %s: no new client got in for %v, connected ones were cut off for %v", service, by, o.fresh, o.connected)
			took[by] = append(took[by], o)
		}
	}
	return took, nil
}

// recreate changes a label of the service in the override, which either tool carries out
// by making the container anew, and measures what clients see of it.
func (d *downtimes) recreate(ctx context.Context, service string, by tool) (outage, error) {
	d.changed++
	d.labels[service] = fmt.Sprintf("    labels: {com.example.change: \"%d\"}\n", d.changed)
	if err := d.override(d.labels[broker], d.labels[connector], ""); err != nil {
		return outage{}, err
	}
	before, err := d.b.Engine.ContainerInspect(ctx, d.container(service))
	if err != nil {
		return outage{}, err
	}
	o, err := d.during(ctx, d.as, func() error {
		if by == theirs {
			return d.compose(ctx, "up", "-d")
		}
		return d.up(ctx)
	})
	if err != nil {
		return outage{}, err
	}
	after, err := d.b.Engine.ContainerInspect(ctx, d.container(service))
	if err != nil || after.ID == before.ID {
		return outage{}, missed("the change made no new container: %w", err)
	}
	return o, nil
}

// median is the median of each of the two, in milliseconds.
func median(list []outage) outage {
	middle := func(of func(outage) time.Duration) time.Duration {
		times := make([]time.Duration, len(list))
		for i, o := range list {
			times[i] = of(o)
		}
		slices.Sort(times)
		half := len(times) / 2
		return ((times[(len(times)-1)/2] + times[half]) / 2).Round(time.Millisecond)
	}
	return outage{
		fresh:     middle(func(o outage) time.Duration { return o.fresh }),
		connected: middle(func(o outage) time.Duration { return o.connected }),
	}
}
