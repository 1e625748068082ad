package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/probe"
)

const (
	// publicRetry is the pause between two round trips that failed.
	publicRetry = time.Second
	// publicTry bounds one round trip.
	publicTry = 15 * time.Second
	// dashboardGrace is how long a fault that only the dashboard can mend may last
	// where nobody looks on: a change there takes some seconds to reach every edge.
	dashboardGrace = 10 * time.Second
)

// PublicURL is what clients connect to.
func PublicURL(hostname string) string {
	return "wss://" + hostname + ":443" + cloudflared.ClientPath
}

// public sends a message through the public hostname until it comes back.
func (w *waiter) public(ctx context.Context) (hostname string, result probe.Result, err error) {
	w.begin(StagePublic)
	start := time.Now()
	var last error
	for {
		v := w.facts.view()
		w.furtherConnections(v)
		if name := w.hostname(v); name != "" {
			hostname = name // the dashboard may change it meanwhile
		}
		result, err = w.once(ctx, hostname)
		w.furtherConnections(w.facts.view())
		if err == nil {
			w.emit(StageReached{
				Stage: StagePublic, Took: time.Since(start),
				Detail: fmt.Sprintf("a message came back through wss://%s in %v", hostname, result.Message.Round(100*time.Microsecond)),
			})
			return hostname, result, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // one that was only cut short tells less than the one before
		}
		if ctx.Err() == nil {
			fault, known := errors.AsType[*probe.Error](err)
			if !known {
				return hostname, result, err
			}
			if !w.Patient && dashboards(fault.Class) && time.Since(start) > dashboardGrace {
				return hostname, result, notReadyFor(StagePublic, fault, fault.Hint())
			}
			w.tell(StagePublic, trouble{saw: fault.Error(), hint: fault.Hint()}, "")
		}
		if pause(ctx, publicRetry) != nil {
			return hostname, result, publicEnd(ctx, last, w.Timeout)
		}
	}
}

// once makes one round trip.
func (w *waiter) once(ctx context.Context, hostname string) (probe.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, publicTry)
	defer cancel()
	target := w.Public
	target.URL = PublicURL(hostname)
	return probe.RoundTrip(ctx, target, w.Topic)
}

// publicEnd is the answer when the time is up, or the person gave up: last is how
// the last round trip failed.
func publicEnd(ctx context.Context, last error, waited time.Duration) error {
	if !errors.Is(context.Cause(ctx), errTimeout) {
		return ctx.Err()
	}
	hint := ""
	if fault, ok := errors.AsType[*probe.Error](last); ok {
		hint = fault.Hint()
	}
	return notReadyFor(StagePublic, fmt.Errorf("%w (waited %v)", last, waited), hint)
}

// dashboards reports whether a fault stays until somebody changes something in
// the dashboard.
func dashboards(c probe.Class) bool {
	switch c {
	case probe.ClassNameUnknown, probe.ClassTunnelUnknown, probe.ClassNoIngress, probe.ClassCatchAll, probe.ClassForbidden,
		probe.ClassAccessLogin, probe.ClassRedirect, probe.ClassUpgradeStripped, probe.ClassUpgradeInvalid, probe.ClassUpgradeRejected,
		probe.ClassSubprotocol, probe.ClassStatus, probe.ClassCertName, probe.ClassCertAuthority, probe.ClassCertExpired,
		probe.ClassCertNotYet, probe.ClassCertOther, probe.ClassTLSAlert, probe.ClassNotAuthorised, probe.ClassOriginFailed:
		return true
	default:
		return false
	}
}
