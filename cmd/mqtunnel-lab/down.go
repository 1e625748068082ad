package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
)

func newDownCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Remove a lab: its container and its network, and nothing else",
		Long: `Remove a lab: its container and its network, and nothing else. The project
directory and the images stay. Stop the project that is attached to it first.`,
		Example: "  mqtunnel-lab down --name demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			engine, err := bench.Engine()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, engine.Close()) }()
			if err := bench.Remove(cmd.Context(), engine, name); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "lab %s: removed\n", name)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "name", "demo", "name of the lab")
	return cmd
}
