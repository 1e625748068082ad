package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
)

func newFaultCommand() *cobra.Command {
	var name, tunnel string
	var clear bool
	cmd := &cobra.Command{
		Use:   "fault [KEY=VALUE…]",
		Short: "Make something go wrong in a running lab",
		Long: `Make something go wrong in a running lab. What is named replaces all faults of
the world, or of one tunnel; with nothing named there are none of them. Keys are
those of the control interface, such as registerError, publicStatus,
publicRedirect, stripUpgrade, idleTimeout, certificate, dns, dnsAnswer, dnsOver, accept,
udp, noConfig, clockSkew.`,
		Example: `  mqtunnel-lab fault udp=silent
  mqtunnel-lab fault --tunnel 6ff42ae2-765d-4adf-8112-31c55c1551ef publicStatus=503
  mqtunnel-lab fault 'registerError="Unauthorized: Invalid tunnel secret"'
  mqtunnel-lab fault --clear`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			faults, err := parseFaults(args)
			if err != nil {
				return err
			}
			engine, err := bench.Engine()
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, engine.Close()) }()
			lab, err := bench.Attach(cmd.Context(), engine, name)
			if err != nil {
				return err
			}
			switch {
			case clear:
				return lab.Control.ClearFaults(cmd.Context())
			case tunnel != "":
				return lab.Control.SetTunnelFaults(cmd.Context(), tunnel, faults)
			}
			return lab.Control.SetFaults(cmd.Context(), faults)
		},
	}
	cmd.Flags().StringVar(&name, "name", "demo", "name of the lab")
	cmd.Flags().StringVar(&tunnel, "tunnel", "", "ID of the tunnel that it happens to (default: the whole world)")
	cmd.Flags().BoolVar(&clear, "clear", false, "clear the faults of the world and of every tunnel")
	return cmd
}

// parseFaults reads KEY=VALUE where a value is JSON, or else text as it stands.
func parseFaults(args []string) (control.Faults, error) {
	values := map[string]json.RawMessage{}
	for _, arg := range args {
		key, value, found := strings.Cut(arg, "=")
		if !found || key == "" {
			return control.Faults{}, fmt.Errorf("%q is not KEY=VALUE", arg)
		}
		if !json.Valid([]byte(value)) {
			text, err := json.Marshal(value)
			if err != nil {
				return control.Faults{}, fmt.Errorf("%q: %w", arg, err)
			}
			value = string(text)
		}
		values[key] = json.RawMessage(value)
	}
	text, err := json.Marshal(values)
	if err != nil {
		return control.Faults{}, fmt.Errorf("encode faults: %w", err)
	}
	var faults control.Faults
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&faults); err != nil {
		return control.Faults{}, fmt.Errorf("read faults: %w", err)
	}
	return faults, nil
}
