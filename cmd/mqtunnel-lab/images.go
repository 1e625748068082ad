package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
)

func newImagesCommand() *cobra.Command {
	cloudflared := realCloudflared()
	cmd := &cobra.Command{
		Use:   "images",
		Short: "Build the lab's images where they are missing or out of date",
		Long: `Build the lab's images where they are missing or out of date: Mosquitto 2.1 and
2.0 from Debian's packages, the connector, the world. No registry is asked.`,
		Example: `  mqtunnel-lab images
  LAB_CLOUDFLARED=/path/to/cloudflared mqtunnel-lab images`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return buildImages(cmd, cloudflared) },
	}
	cmd.Flags().StringVar(&cloudflared, "cloudflared", cloudflared, "also make the image of this real cloudflared")
	return cmd
}

func buildImages(cmd *cobra.Command, cloudflared string) (err error) {
	root, err := images.FindRoot(".")
	if err != nil {
		return err
	}
	engine, err := bench.Engine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	store, err := images.Open(cmd.Context(), engine, root, logTo(cmd.ErrOrStderr()))
	if err != nil {
		return err
	}
	makers := []func(context.Context) (images.Image, error){store.World, store.StandIn}
	for _, version := range images.Versions() {
		makers = append(makers, func(ctx context.Context) (images.Image, error) { return store.Mosquitto(ctx, version) })
	}
	if cloudflared != "" {
		makers = append(makers, func(ctx context.Context) (images.Image, error) { return store.Real(ctx, cloudflared) })
	}
	for _, maker := range makers {
		image, err := maker(cmd.Context())
		if err != nil {
			return err
		}
		what := "up to date"
		if image.Built {
			what = "built"
		}
		if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s %s\n", image.Ref, what, image.ID); err != nil {
			return err
		}
	}
	return nil
}

// logTo writes lines about what is being done.
func logTo(w io.Writer) images.Logf {
	return func(format string, args ...any) {
		// Progress that nobody can see is no reason to stop.
		_, _ = fmt.Fprintf(w, format+"\n", args...)
	}
}
