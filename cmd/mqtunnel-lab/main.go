// Command mqtunnel-lab is the test bench of mqtunnel: a stand-in for the part of
// the internet that a tunnel needs. It is for development and tests only.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal kills
	err := newRootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// newRootCommand joins the commands, one constructor each.
func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "mqtunnel-lab",
		Short:         "Run a lab: everything that a tunnel needs, but Cloudflare",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	for _, command := range commands() {
		root.AddCommand(command())
	}
	return root
}

// commands lists the constructors of the commands.
func commands() []func() *cobra.Command {
	return []func() *cobra.Command{
		newServeCommand,
		newImagesCommand,
		newUpCommand,
		newDownCommand,
		newFaultCommand,
		newDemoCommand,
		newProveCommand,
	}
}

// realCloudflared returns the path of a real cloudflared, "" where none was given.
func realCloudflared() string { return os.Getenv("LAB_CLOUDFLARED") }
