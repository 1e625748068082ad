package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

func (a *App) downCommand() *cobra.Command {
	var volumes, yes, dryRun, adopt bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop and remove the containers, keep the data",
		Long: `Stop and remove the project's containers and its network. Retained messages,
sessions and users stay; --volumes deletes the broker's data too.`,
		Example: `  mqtunnel down
  mqtunnel down --volumes`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.down(cmd.Context(), downOptions{volumes: volumes, yes: yes, dryRun: dryRun, adopt: adopt})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&volumes, "volumes", false, "delete the broker's data too: retained messages and sessions")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&dryRun, "dry-run", false, "print what would be done")
	f.BoolVar(&adopt, "adopt", false, "act on a project of this name that belongs to another directory")
	return cmd
}

// stillUsed adds what to do when somebody else's container holds the network or
// the data.
func stillUsed(err error) error {
	if remedy.HintOf(err) == "" && strings.Contains(err.Error(), "still in use by ") {
		return remedy.Errorf(remedy.Failed, "stop those containers, or take them off it, then: mqtunnel down", "%w", err)
	}
	return err
}

type downOptions struct{ volumes, yes, dryRun, adopt bool }

func (a *App) down(ctx context.Context, o downOptions) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()

	project := plan.Project{Name: s.settings.Project, Dir: s.dir}
	observed, err := s.engine.Observe(ctx, plan.Query{Project: project.Name})
	if err != nil {
		return left(err, leftNothing)
	}
	if err := lifecycle.CheckOwner(project, observed, o.adopt); err != nil {
		return err
	}
	pl := plan.Down(observed, o.volumes)
	if o.dryRun {
		a.printPlan(pl)
		return nil
	}
	if pl.Empty() {
		fmt.Fprintf(a.Out, "nothing to do: project %s has no containers\n", project.Name)
		return lifecycle.Sweep(ctx, s.engine, project.Name, true)
	}
	if o.volumes {
		if err := a.confirm(ctx, fmt.Sprintf("The data of project %s is deleted: retained messages, sessions and their copies.", project.Name), o.yes); err != nil {
			return err
		}
	}
	if err := lifecycle.Sweep(ctx, s.engine, project.Name, true); err != nil {
		return left(err, leftHalfway)
	}
	if err := left(lifecycle.Execute(ctx, s.engine, project, nil, pl, s.show), leftHalfway); err != nil {
		return stillUsed(err)
	}
	s.progress.End()
	if a.flags.quiet {
		return nil
	}
	if o.volumes {
		a.say("project %s is down and its data deleted; the token and the users are still in %s", project.Name, s.dir)
		return nil
	}
	fmt.Fprintf(a.Out, "project %s is down; its data is kept\n", project.Name)
	return nil
}
