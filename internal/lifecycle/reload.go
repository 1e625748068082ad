package lifecycle

import (
	"context"
	"fmt"
	"strings"

	"mqtunnel/internal/plan"
)

// Reload puts files into a running broker and makes it read them again. An
// upload is not atomic, so each file arrives under another name; one command
// inside the container moves them all and sends SIGHUP. The signal does not come
// from the Engine: its kill call marks the container as stopped by hand, whatever
// the signal, and no restart policy starts it again after a crash or a reboot
// (seen on 20.10: moby's killWithSignal sets HasBeenManuallyStopped).
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
	res, err := a.Exec(ctx, id, []string{"sh", "-c", script.String()})
	if err != nil {
		return fmt.Errorf("move the new files: %w", err)
	}
	if res.Code != 0 {
		return fmt.Errorf("move the new files: exit %d: %s", res.Code, strings.TrimSpace(res.Output))
	}
	return nil
}
