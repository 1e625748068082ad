package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/world"
)

// edgeAddresses is how many addresses the edge has: two in each region, so that
// the four connections of a connector have one each.
const edgeAddresses = 4

// serveFlags are the flags of serve.
type serveFlags struct {
	options   world.Options
	addresses []string
	public    string
	bind      string
	noAlias   bool
	iface     string
	caFile    string
	debug     bool
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve a lab world until interrupted",
		Long: `Serve a lab world until interrupted: edge, public side, DNS and control interface.

In a container with NET_ADMIN the edge takes four more addresses at the top of
the interface's subnet. Elsewhere name addresses that exist already.`,
		Example: `  mqtunnel-lab serve
  mqtunnel-lab serve --no-alias --addresses 127.0.0.1,127.0.0.2,127.0.0.3,127.0.0.4 \
    --dns-port 5300 --public-port 8443 --dot-port 8853`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.addresses, "addresses", nil, "addresses of the edge; the first half is region 1")
	flags.BoolVar(&f.noAlias, "no-alias", false, "add no addresses to the interface; needs --addresses")
	flags.StringVar(&f.iface, "interface", "eth0", "interface that gets the edge's addresses")
	flags.StringVar(&f.public, "public", "", "address that DNS gives for public hostnames (default: the interface's, or the first of --addresses)")
	flags.StringVar(&f.bind, "bind", "", "address for everything but the edge (default: every address)")
	flags.StringVar(&f.caFile, "ca-file", "", "also write the lab's CA certificate to this file")
	flags.Uint16Var(&f.options.EdgePort, "edge-port", 7844, "TCP and UDP port of the edge")
	flags.Uint16Var(&f.options.DNSPort, "dns-port", 53, "UDP and TCP port of DNS")
	flags.Uint16Var(&f.options.DNSOverTLSPort, "dot-port", 853, "port of DNS over TLS")
	flags.Uint16Var(&f.options.PublicPort, "public-port", 443, "port of the public side")
	flags.Uint16Var(&f.options.ControlPort, "control-port", 8001, "port of the control interface")
	flags.IntVar(&f.options.QUICPercentage, "quic-percentage", 100, "share of connectors that DNS sends to QUIC")
	flags.BoolVar(&f.debug, "debug", false, "log more")
	return cmd
}

func serve(cmd *cobra.Command, f serveFlags) error {
	level := slog.LevelInfo
	if f.debug {
		level = slog.LevelDebug
	}
	f.options.Log = slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
	if err := f.place(); err != nil {
		return err
	}
	w, err := world.Open(cmd.Context(), f.options)
	if err != nil {
		return err
	}
	if f.caFile != "" {
		if err := os.WriteFile(f.caFile, w.CA(), 0o644); err != nil { //nolint:gosec // a certificate, for everybody to trust
			return fmt.Errorf("write the CA's certificate: %w", err)
		}
	}
	f.options.Log.Info("serving", "control", w.ControlURL(), "public", w.PublicAddress(), "dns", w.DNSAddress(),
		"edge", fmt.Sprint(f.options.Addresses), "edgePort", w.EdgePort())
	return w.Serve(cmd.Context())
}

// place decides on the addresses.
func (f *serveFlags) place() error {
	for _, text := range f.addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("read --addresses: %w", err)
		}
		f.options.Addresses = append(f.options.Addresses, a)
	}
	switch {
	case f.noAlias && len(f.options.Addresses) == 0:
		return errors.New("--no-alias needs --addresses")
	case len(f.options.Addresses) > 0:
		f.options.Public = f.options.Addresses[0]
	default:
		own, aliases, err := world.AddAliases(f.iface, edgeAddresses)
		if err != nil {
			return err
		}
		f.options.Addresses, f.options.Public = aliases, own
	}
	for _, a := range []struct {
		flag, text string
		into       *netip.Addr
	}{{"--public", f.public, &f.options.Public}, {"--bind", f.bind, &f.options.Bind}} {
		if a.text == "" {
			continue
		}
		parsed, err := netip.ParseAddr(a.text)
		if err != nil {
			return fmt.Errorf("read %s: %w", a.flag, err)
		}
		*a.into = parsed
	}
	return nil
}
