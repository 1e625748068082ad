package doctor

import (
	"fmt"
	"slices"
	"time"

	"mqtunnel/internal/probe"
)

// astrayAt reports whether a client that met this was led to another connector of
// the tunnel, where others reach the broker.
func astrayAt(err *probe.Error) bool {
	switch err.Class {
	case probe.ClassOriginFailed, probe.ClassNotAuthorised, probe.ClassNoIngress, probe.ClassCatchAll, probe.ClassSubprotocol,
		probe.ClassUpgradeRejected, probe.ClassNotMQTT:
		return err.Status == 0 || fromCloudflare(err)
	default:
		return false
	}
}

// counted returns the round trips that count: the last ones where something has
// started only just now.
func (e *Evidence) counted() []Trip {
	if trips := e.Public.Trips; e.settling() && len(trips) > firstTrips {
		return trips[firstTrips:]
	}
	return e.Public.Trips
}

func judgeOneBroker(e *Evidence) Outcome {
	p := &e.Public
	trips := e.counted()
	if len(trips) == 0 {
		return unseen("no client was tried")
	}
	astray, refused := 0, 0
	for _, t := range trips {
		if t.Err == nil || !astrayAt(t.Err) {
			continue
		}
		astray++
		if t.Err.Class == probe.ClassNotAuthorised {
			refused++
		}
	}
	through := 0
	for _, t := range trips {
		if t.Err == nil {
			through++
		}
	}
	inside := e.Inside.Report != nil && e.Inside.Report.RoundTrip.OK
	switch {
	case through > 0 && astray > 0:
		return fault("%d of %d clients reach another connector of this tunnel, which does not lead to this broker", astray, len(trips)).
			seen(p.tripLines()...)
	case inside && refused > 0 && astray > refused:
		return fault("clients reach several other connectors of this tunnel, and not this broker").seen(p.tripLines()...)
	case inside && refused == len(trips):
		return fault("clients reach another broker than this one: %s refuses an account that this broker accepts", p.Hostname).
			seen(p.tripLines()...)
	case through > 0:
		return pass("")
	default:
		return unseen("no client reached a broker")
	}
}

func judgePublicLogin(e *Evidence) Outcome {
	set := e.Files.Settings
	if set == nil {
		return unseen("the password of mqtunnel's own account is not known: .env cannot be read")
	}
	if set.ProbePassword.IsZero() {
		return unseen("mqtunnel's own account has no password yet; mqtunnel up makes one")
	}
	return judgeTrips(e, "public-login", func(err *probe.Error) Outcome {
		switch err.Class {
		case probe.ClassNotAuthorised:
			return fault("the broker refuses mqtunnel's own account from outside").because("one-broker")
		case probe.ClassBrokerBusy:
			return fault("the broker takes no more clients").because("broker-room")
		default:
			return fault("the broker refuses a connection from outside")
		}
	})
}

func judgePublicMessage(e *Evidence) Outcome {
	p := &e.Public
	if p.through() == 0 {
		return nothingBack(e)
	}
	trips := e.counted()
	var lost []*probe.Error
	for _, t := range trips {
		if t.Err != nil && !astrayAt(t.Err) && owner(t.Err) != "edge-rate" {
			lost = append(lost, t.Err)
		}
	}
	if len(lost) == 0 {
		return pass("a message came back through wss://%s in %v%s", p.Hostname, shortly(median(p.Trips)), insideTime(e))
	}
	outcome := warning("%d of %d messages through %s did not come back", len(lost), len(trips), p.Hostname)
	if 2*len(lost) >= len(trips) {
		outcome = fault("%d of %d messages through %s did not come back", len(lost), len(trips), p.Hostname)
	}
	return outcome.seen(p.tripLines()...)
}

// nothingBack is the outcome where no message came back at all.
func nothingBack(e *Evidence) Outcome {
	return judgeTrips(e, "public-message", func(err *probe.Error) Outcome {
		name := e.Public.Hostname
		switch err.Class {
		case probe.ClassClosedByBroker, probe.ClassConnectionLost:
			return fault("connections through %s are closed before a message comes back", name)
		case probe.ClassNotMQTT:
			return fault("what answers through %s is no MQTT broker", name)
		case probe.ClassSubscribeDenied, probe.ClassPublishDenied:
			return fault("mqtunnel's own account may not use its topic from outside").because("probe-topic")
		default:
			return fault("clients connect through %s, but no message comes back", name)
		}
	})
}

// median returns the median time of the messages that came back.
func median(trips []Trip) time.Duration {
	var times []time.Duration
	for _, t := range trips {
		if t.Err == nil {
			times = append(times, t.Result.Message)
		}
	}
	slices.Sort(times)
	return times[len(times)/2]
}

// insideTime tells how long a message takes inside the network.
func insideTime(e *Evidence) string {
	if r := e.Inside.Report; r != nil && r.RoundTrip.OK {
		return fmt.Sprintf(", inside the network in %v", shortly(r.Result.Message))
	}
	return ""
}

// shortly rounds a time to what a person reads.
func shortly(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func judgeIdle(e *Evidence) Outcome {
	s := e.Public.Soak
	switch {
	case s == nil:
		return unseen("only --soak looks at it")
	case s.Err == nil:
		return pass("a quiet connection stayed open for %v", s.Held.Round(time.Second))
	case s.Err.Class == probe.ClassCancelled:
		return unseen("given up after %v", s.Held.Round(time.Second))
	case s.Held == 0:
		return fault("no connection could be made that stays quiet").seen(s.Err.Error())
	case s.Held < s.Asked:
		return fault("a quiet connection was lost after %v", s.Held.Round(time.Second)).seen(s.Err.Error())
	default:
		return fault("after %v of quiet no message came back", s.Held.Round(time.Second)).seen(s.Err.Error())
	}
}
