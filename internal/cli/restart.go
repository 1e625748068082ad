package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

func (a *App) restartCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "restart [SERVICE...]",
		Short: "Restart broker and connector, or one of them",
		Example: `  mqtunnel restart
  mqtunnel restart cloudflared`,
		Args:      services,
		ValidArgs: []string{plan.ServiceBroker, plan.ServiceConnector},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.restart(cmd.Context(), args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until a message flows")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for a message to flow")
	f.StringArrayVar(&o.connectTo, "connect-to", nil, "connect to ADDRESS:PORT for HOST:PORT, given as `HOST:PORT:ADDRESS:PORT`")
	return cmd
}

func (a *App) restart(ctx context.Context, only []string, o upOptions) error {
	to, err := connectTo(o.connectTo)
	if err != nil {
		return err
	}
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.needToken(ctx, true); err != nil {
		return err
	}
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	rendered, pl, err := s.planRestart(ctx, only)
	if err != nil {
		return left(err, leftNothing)
	}
	if o.dryRun {
		a.printPlan(pl)
		return nil
	}
	if err := left(lifecycle.Execute(ctx, s.engine, rendered.Project, nil, pl, s.show), leftHalfway); err != nil {
		return err
	}
	release()
	if o.noWait {
		return nil
	}
	return left(s.restarted(ctx, rendered, only, o.timeout, to), leftRunning)
}

// planRestart decides what to restart; that there is nothing is an error.
func (s *session) planRestart(ctx context.Context, only []string) (render.Rendered, plan.Plan, error) {
	var none render.Rendered
	observed, err := s.engine.Observe(ctx, plan.Query{Project: s.settings.Project})
	if err != nil {
		return none, plan.Plan{}, err
	}
	if err := lifecycle.CheckOwner(plan.Project{Name: s.settings.Project, Dir: s.dir}, observed, false); err != nil {
		return none, plan.Plan{}, err
	}
	if len(observed.Containers) == 0 {
		return none, plan.Plan{}, remedy.Errorf(remedy.No, "type: mqtunnel up", "there is nothing to restart: project %s has no containers", s.settings.Project)
	}
	_, rendered, err := s.render(ctx, false)
	if err != nil {
		return none, plan.Plan{}, err
	}
	pl := plan.RestartServices(rendered.Project, observed, only)
	if pl.Empty() {
		return none, plan.Plan{}, remedy.Errorf(remedy.No, "type: mqtunnel up", "there is nothing to restart: project %s has no such container", rendered.Project.Name)
	}
	return rendered, pl, nil
}

// restarted waits until a message flows again.
func (s *session) restarted(ctx context.Context, rendered render.Rendered, only []string, timeout time.Duration, to []probe.ConnectTo) error {
	readiness, err := s.readiness(ctx, rendered.Project, to)
	if err != nil {
		return err
	}
	readiness.Timeout = timeout
	readiness.Settled = len(only) > 0 // the other one's start is long past
	ready, err := lifecycle.Await(ctx, s.engine, readiness, s.show)
	s.progress.End()
	if err != nil {
		return s.diagnosed(ctx, err)
	}
	fmt.Fprintf(s.app.Out, "ready: %s\n", lifecycle.PublicURL(ready.Hostname))
	return nil
}
