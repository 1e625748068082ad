package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/lab/proof"
)

func newProveCommand() *cobra.Command {
	var list, quick, verbose bool
	var only, faults []string
	var seed uint64
	cmd := &cobra.Command{
		Use:   "prove",
		Short: "Run the proofs and print a line each",
		Long: `Run the proofs and print a line each: "ok NAME: figure", or "FAIL NAME: figure,
bar". The exit code is 1 when any fails.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			chosen, err := choose(only, quick)
			if err != nil {
				return err
			}
			if list {
				for _, p := range chosen {
					fmt.Fprintf(cmd.OutOrStdout(), "%-22s %s (%v)\n", p.Name, p.Says, p.Usually)
				}
				return nil
			}
			return prove(cmd, chosen, proof.Bench{Faults: faults, Seed: seed, Verbose: verbose})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&list, "list", false, "list the proofs with a sentence and the usual duration")
	f.BoolVar(&quick, "quick", false, "only those that usually take under a minute")
	f.BoolVarP(&verbose, "verbose", "v", false, "tell how each gets on")
	f.StringSliceVar(&only, "only", nil, "only the proofs of these `NAME`s")
	f.StringArrayVar(&faults, "fault", nil, "of the faults of doctor only the one of this `NAME`; can be repeated")
	f.Uint64Var(&seed, "seed", 0, "what is drawn at random is drawn with (default: another one each time)")
	return cmd
}

// choose picks the proofs to run.
func choose(only []string, quick bool) ([]proof.Proof, error) {
	all := proof.All()
	for _, name := range only {
		if !slices.ContainsFunc(all, func(p proof.Proof) bool { return p.Name == name }) {
			return nil, fmt.Errorf("there is no proof %q; --list lists them", name)
		}
	}
	return slices.DeleteFunc(all, func(p proof.Proof) bool {
		if len(only) == 0 && p.Name == "doctor-real" && realCloudflared() == "" {
			return true
		}
		return len(only) > 0 && !slices.Contains(only, p.Name) || quick && !p.Quick()
	}), nil
}

// prove runs the proofs one after the other.
func prove(cmd *cobra.Command, chosen []proof.Proof, b proof.Bench) (err error) {
	ctx := cmd.Context()
	root, err := images.FindRoot(".")
	if err != nil {
		return err
	}
	engine, err := bench.Engine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if err := bench.Sweep(ctx, engine); err != nil {
		return err
	}
	b.Root, b.Log, b.Engine, b.Cloudflared = root, cmd.ErrOrStderr(), engine, realCloudflared()
	failed := 0
	for _, p := range chosen {
		if b.Verbose {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", p.Name, p.Says)
		}
		start := time.Now()
		figure, err := p.Run(ctx, &b)
		if ctx.Err() != nil {
			return errors.Join(ctx.Err(), err) // interrupted: it says nothing of the proof
		}
		if err != nil {
			failed++
			fmt.Fprintf(cmd.OutOrStdout(), "FAIL %s: %s\n", p.Name, strings.ReplaceAll(err.Error(), "\n", " "))
			continue
		}
		fmt.Fprintf(cmd.OutOrStdout(), "ok %s: %s (%v)\n", p.Name, figure, time.Since(start).Round(time.Second))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d proofs failed", failed, len(chosen))
	}
	return nil
}
