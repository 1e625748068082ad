package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/render"
)

func (a *App) renderCommand() *cobra.Command {
	var write, force bool
	cmd := &cobra.Command{
		Use:   "render",
		Short: "Print or write the Compose project",
		Long: `Print the Compose project as it is to be, secrets blanked, or write it with
--write. What it writes runs with plain docker compose up -d.`,
		Example: `  mqtunnel render
  mqtunnel render --write`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.here()
			if err != nil {
				return err
			}
			defer s.close()
			if write || force {
				return s.writeProject(cmd.Context(), force)
			}
			return s.printProject(cmd.Context())
		},
	}
	a.jsonFlag(cmd)
	cmd.Flags().BoolVar(&write, "write", false, "write the files into the project directory")
	cmd.Flags().BoolVar(&force, "force", false, "write them over a compose.yaml that was edited by hand")
	return cmd
}

// safeYAML makes text safe to show and leaves the tabs of the start script.
func safeYAML(text string) string {
	parts := strings.Split(text, "\t")
	for i, p := range parts {
		parts[i] = display.SafeLines(p)
	}
	return strings.Join(parts, "\t")
}

// renderJSON is the form of the project with --json, secrets blanked.
type renderJSON struct {
	Schema    int    `json:"schema"`
	Project   string `json:"project"`
	Directory string `json:"directory"`
	Compose   string `json:"compose"`
}

// printProject shows the Compose file as it is to be.
func (s *session) printProject(ctx context.Context) error {
	if err := s.needProbe(); err != nil {
		return err
	}
	_, r, err := s.render(ctx, false)
	if err != nil {
		return err
	}
	if s.app.json {
		return writeJSON(s.app.Out, renderJSON{Schema: schema, Project: r.Project.Name, Directory: s.dir, Compose: r.Shown()})
	}
	fmt.Fprint(s.app.Out, safeYAML(r.Shown()))
	return nil
}

// writeProject writes the project's files, over a Compose file that was edited
// by hand only with force.
func (s *session) writeProject(ctx context.Context, force bool) error {
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if err := s.needProbe(); err != nil {
		return err
	}
	d, r, err := s.render(ctx, false)
	if err != nil {
		return err
	}
	if !force {
		if err := d.CheckEdited(r); err != nil {
			return err
		}
	}
	if err := s.store(&r); err != nil {
		return err
	}
	if !s.app.flags.quiet {
		s.app.say("written: %s, %s, %s in %s", render.FileName, render.PasswdName, render.ACLName, s.dir)
	}
	return nil
}
