package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// trialTime bounds how long a broker may take to say that it runs or why it
// does not.
const trialTime = 30 * time.Second

// Try starts the broker's service with its files in a throw-away container and waits
// until it runs or fails. A broker of version 2.1 that fails to start empties its
// database, so a configuration is never tried on the real one.
func Try(ctx context.Context, e Prober, project string, s plan.Service) error {
	return onTrial(ctx, e, project, s, func(context.Context, string) error { return nil })
}

// onTrial runs the broker's service without volumes, without a network and without
// published ports until use, which gets the container's ID, is done. Bind mounts
// stay, read-only: a directive may name a file in one.
func onTrial(ctx context.Context, e Prober, project string, s plan.Service, use func(ctx context.Context, id string) error) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	s.Spec.Mounts = trialMounts(s.Spec.Mounts)
	s.Spec.Ports = nil
	s.Spec.Networks = nil
	s.Spec.NetworkMode = "none"
	s.Spec.Restart = plan.Restart{Name: "no"}
	s.Spec.Health = &plan.Health{Test: []string{"NONE"}}
	c := plan.Creation{Name: fmt.Sprintf("%s-trial-%s", project, rand.Text()[:8]), Service: s, Labels: throwAwayLabels(project)}
	conf := ""
	for _, f := range s.Files {
		if f.Path == mosquitto.ConfPath {
			conf = f.Content.Reveal() // to find the line that the broker names
		}
	}
	var found error // by the broker, or by use
	err := inThrowAway(ctx, e, c, s.Files, func(ctx context.Context, id string) error {
		if found = verdict(ctx, e, id, s.Spec.TTY, conf); found == nil {
			found = use(ctx, id)
		}
		return nil
	})
	if err != nil {
		err = fmt.Errorf("try the broker's configuration: %w", err)
	}
	return errors.Join(found, err)
}

// trialMounts returns what a trial may see of the broker's mounts.
func trialMounts(mounts []plan.Mount) []plan.Mount {
	var kept []plan.Mount
	for _, m := range mounts {
		if m.Type == plan.MountBind && m.Target != mosquitto.DataPath && !strings.HasPrefix(m.Target, mosquitto.DataPath+"/") {
			m.ReadOnly = true
			kept = append(kept, m)
		}
	}
	return kept
}

// verdict reads the trial's log until the broker runs or ends. conf is the
// configuration that is tried.
func verdict(ctx context.Context, e Prober, id string, terminal bool, conf string) error {
	var lines []mosquitto.Line
	runs := false
	err := e.Logs(ctx, id, plan.LogOptions{Tail: -1, Follow: true, TTY: terminal}, func(l plan.LogLine) error {
		line := mosquitto.ParseLine(l.Text)
		lines = keep(lines, line)
		if serving(line) {
			runs = true
			return errStopped
		}
		return nil
	})
	last := "it wrote nothing"
	if n := len(lines); n > 0 {
		last = strings.TrimSpace(lines[n-1].Text)
	}
	switch {
	case runs:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return remedy.Errorf(remedy.Failed, "is this machine very busy? try again: mqtunnel up",
			"try the broker's configuration: the broker did not run within %v; last seen: %s", trialTime, last)
	case err != nil:
		return fmt.Errorf("try the broker's configuration: %w", err)
	}
	if fault, found := mosquitto.FindFault(lines); found {
		if place := mosquitto.FindPlace(lines, conf); place != "" {
			return remedy.Errorf(remedy.Input, fault.Hint, "%s: the broker refuses this line: %s", place, fault.Line)
		}
		return remedy.Errorf(remedy.Input, fault.Hint, "the broker refuses its configuration: %s", fault.Line)
	}
	return remedy.Errorf(remedy.Input, "look at the files in mosquitto/conf.d", "the broker does not start with its configuration: %s", last)
}
