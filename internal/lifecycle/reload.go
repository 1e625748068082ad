package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// Reload puts files into a running broker and makes it read them again. An
// upload is not atomic, so each file arrives under another name; one command
// inside the container moves them all and sends SIGHUP. The signal does not come
// from the Engine: its kill call marks the container as stopped by hand, whatever
// the signal, and no restart policy starts it again after a crash or a reboot
// (seen on 20.10: moby's killWithSignal sets HasBeenManuallyStopped). It returns
// when the broker's log tells of the reload; where the log cannot be read, at once.
func Reload(ctx context.Context, a Actor, id string, files []plan.File) error {
	const suffix = ".new"
	fresh := make([]plan.File, len(files))
	var script strings.Builder
	for i, f := range files {
		fresh[i] = f
		fresh[i].Path += suffix
		fmt.Fprintf(&script, "mv -f %s%s %s && ", f.Path, suffix, f.Path)
	}
	script.WriteString("kill -HUP 1")
	if err := a.CopyFiles(ctx, id, fresh); err != nil {
		return err
	}
	last, legible := lastLine(ctx, a, id)
	res, err := a.Exec(ctx, id, []string{"sh", "-c", script.String()}, secret.Text{})
	if err != nil {
		return fmt.Errorf("move the new files: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("move the new files: exit %d: %s", res.Code, strings.TrimSpace(res.Output))
	}
	if !legible {
		return ctx.Err()
	}
	return awaitReload(ctx, a, id, last)
}

// lastLine returns when a container last wrote a line, by the Engine's clock, and
// whether its log can be read at all.
func lastLine(ctx context.Context, a Actor, id string) (at time.Time, legible bool) {
	err := a.Logs(ctx, id, plan.LogOptions{Tail: 1}, func(l plan.LogLine) error { at = l.Time; return nil })
	return at, err == nil
}

// awaitReload waits until the broker says that it reads its files, later than the
// line at that time. It does so before it serves anybody again.
func awaitReload(ctx context.Context, a Actor, id string, last time.Time) error {
	wait, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	var reader mosquitto.LogReader
	err := a.Logs(wait, id, plan.LogOptions{Tail: -1, Since: last, Follow: true}, func(l plan.LogLine) error {
		if l.Time.After(last) && reader.Event(mosquitto.ParseLine(l.Text)).Kind == mosquitto.EventReloading {
			return errStopped
		}
		return nil
	})
	switch {
	case errors.Is(err, errStopped):
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case wait.Err() != nil:
		return fmt.Errorf("the broker has not read its files again within %v", reloadTime)
	case err == nil:
		return errors.New("the broker ended when it was to read its files again")
	}
	return fmt.Errorf("wait for the broker to read its files again: %w", err)
}
