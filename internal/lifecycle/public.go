package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/probe"
)

// publicRetry is the pause between two round trips that failed.
const publicRetry = time.Second

// dashboardGrace is how long a fault that only the dashboard can mend may last
// where nobody looks on: a change there takes some seconds to reach every edge.
const dashboardGrace = 10 * time.Second

// publicTry bounds one round trip.
const publicTry = 15 * time.Second

// PublicURL is what clients connect to.
func PublicURL(hostname string) string {
	return "wss://" + hostname + ":443" + cloudflared.ClientPath
}

// public sends a message through the public hostname until it comes back.
func (w *waiter) public(ctx context.Context) (hostname string, result probe.Result, err error) {
	w.emit(StageBegan{Stage: StagePublic})
	hostname = w.hostname(w.facts.view())
	target := w.Public
	target.URL = PublicURL(hostname)
	start, told := time.Now(), probe.Class("")
	for {
		result, err = w.once(ctx, target)
		if err == nil {
			w.emit(StageReached{
				Stage: StagePublic, Took: time.Since(start),
				Detail: fmt.Sprintf("a message came back through wss://%s in %v", hostname, result.Message.Round(100*time.Microsecond)),
			})
			return hostname, result, nil
		}
		fault, known := errors.AsType[*probe.Error](err)
		if ctx.Err() != nil || !known {
			return hostname, result, w.publicEnd(ctx, err)
		}
		if !w.Patient && dashboards(fault.Class) && time.Since(start) > dashboardGrace {
			return hostname, result, notReady(StagePublic, fault.Error(), fault.Hint())
		}
		if fault.Class != told || !w.Patient {
			told = fault.Class
			w.emit(Waiting{Stage: StagePublic, Saw: fault.Error(), Hint: fault.Hint()})
		}
		w.last = err
		if perr := pause(ctx, publicRetry); perr != nil {
			return hostname, result, w.publicEnd(ctx, err)
		}
	}
}

// once makes one round trip.
func (w *waiter) once(ctx context.Context, target probe.Target) (probe.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, publicTry)
	defer cancel()
	return probe.RoundTrip(ctx, target, w.Topic)
}

// publicEnd is the answer when the time is up, or the person gave up.
func (w *waiter) publicEnd(ctx context.Context, err error) error {
	if !errors.Is(context.Cause(ctx), errTimeout) {
		return context.Canceled
	}
	if w.last != nil {
		err = w.last // the one under way was only cut short
	}
	hint := ""
	if fault, ok := errors.AsType[*probe.Error](err); ok {
		hint = fault.Hint()
	}
	return notReady(StagePublic, fmt.Sprintf("%v (waited %v)", err, w.Timeout), hint)
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
