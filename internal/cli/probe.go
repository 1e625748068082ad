package cli

import (
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/probe"
)

// linger is how long the probe's container outlives its report, so that the log
// can still be read though the Engine removes the container when it ends.
const linger = 20 * time.Second

// probeCommand runs inside the probe's container.
func (a *App) probeCommand() *cobra.Command {
	return &cobra.Command{
		Use:    probe.Command + " PATH",
		Short:  "Look from inside the project's network",
		Hidden: true,
		Args:   oneArg("the request's file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := probe.Main(ctx, args[0], a.Environ, a.Out); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
			case <-time.After(linger):
			}
			return nil
		},
	}
}
