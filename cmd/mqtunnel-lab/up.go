package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/joho/godotenv"
	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
)

// upFlags are the flags of up.
type upFlags struct {
	name, dir, project string
	connector, broker  string
	cloudflared        string
	hostname           string
	none               bool
}

// The two connectors that a lab can run with.
const (
	connectorStandIn = "standin"
	connectorReal    = "real"
)

func newUpCommand() *cobra.Command {
	f := upFlags{cloudflared: realCloudflared()}
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a lab and prepare a project directory for it",
		Long: `Start a lab on the Docker Engine, make a tunnel in it, and prepare a project
directory whose connector meets the lab instead of Cloudflare.

The directory gets .env, compose.override.yaml, ca.pem, and lab.env with what
clients on this machine need: CONNECT_TO, SSL_CERT_FILE, CONTROL, TUNNEL_ID.
A lab that runs already, from the same image, is used as it is.`,
		Example: `  mqtunnel-lab up --name demo --dir .lab/demo
  LAB_CLOUDFLARED=/path/to/cloudflared mqtunnel-lab up --name demo --dir .lab/demo --connector real`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return up(cmd, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "demo", "name of the lab")
	flags.StringVar(&f.dir, "dir", "", "project directory (default .lab/NAME in the work tree)")
	flags.StringVar(&f.project, "project", "", "Compose project name (default mqtunnel-NAME)")
	flags.StringVar(&f.connector, "connector", "", "standin or real (default real where there is a real one)")
	flags.StringVar(&f.cloudflared, "cloudflared", f.cloudflared, "path of the real cloudflared, for --connector real")
	flags.StringVar(&f.broker, "mosquitto", images.Versions()[0], "version of Mosquitto: 2.1 or 2.0")
	flags.StringVar(&f.hostname, "hostname", "mqtt.example.com", "public hostname of the tunnel")
	flags.BoolVar(&f.none, "no-public-hostname", false, "the tunnel has no public hostname yet")
	return cmd
}

func up(cmd *cobra.Command, f upFlags) (err error) {
	ctx := cmd.Context()
	options, err := f.options()
	if err != nil {
		return err
	}
	options.Log = logTo(cmd.ErrOrStderr())
	engine, err := bench.Engine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	lab, err := bench.Start(ctx, engine, options)
	if err != nil {
		return err
	}
	if f.dir == "" {
		f.dir = filepath.Join(options.Root, ".lab", f.name)
	}
	if f.project == "" {
		f.project = "mqtunnel-" + f.name
	}
	tunnel, err := f.prepare(ctx, lab)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), `lab %s: control %s, public side 127.0.0.1:%d
tunnel %s: https://%s, images %s and %s
project %s: %s
`, lab.Name, lab.ControlURL(), lab.PublicPort, tunnel, f.hostname, lab.Mosquitto, lab.Cloudflared, f.project, f.dir)
	return err
}

func (f upFlags) options() (bench.Options, error) {
	root, err := images.FindRoot(".")
	if err != nil {
		return bench.Options{}, err
	}
	o := bench.Options{Name: f.name, Root: root, Mosquitto: f.broker, Cloudflared: f.cloudflared}
	switch f.connector {
	case "":
	case connectorStandIn:
		o.Cloudflared = ""
	case connectorReal:
		if f.cloudflared == "" {
			return bench.Options{}, errors.New("no real cloudflared: name one by --cloudflared or LAB_CLOUDFLARED")
		}
	default:
		return bench.Options{}, fmt.Errorf("connector %q is neither %s nor %s", f.connector, connectorStandIn, connectorReal)
	}
	return o, nil
}

// prepare writes the project directory and returns the tunnel's ID. The tunnel
// that the directory has already is kept if this lab knows it.
func (f upFlags) prepare(ctx context.Context, lab *bench.Lab) (string, error) {
	labFile := filepath.Join(f.dir, "lab.env")
	known, err := godotenv.Read(labFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", labFile, err)
	}
	hasToken, err := bench.HasToken(f.dir)
	if err != nil {
		return "", err
	}
	project := bench.ProjectOptions{Name: f.project}
	id := known["TUNNEL_ID"]
	if _, err := lab.Control.Tunnel(ctx, id); !hasToken || id == "" || err != nil {
		request := control.TunnelRequest{Name: f.name}
		if !f.none {
			request.Hostnames = []control.Rule{{Hostname: f.hostname, Service: "http://mosquitto:9001"}}
		}
		tunnel, err := lab.Control.CreateTunnel(ctx, request)
		if err != nil {
			return "", err
		}
		id, project.Token = tunnel.TunnelID, tunnel.Token
	}
	if err := lab.WriteProject(f.dir, project); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return "", fmt.Errorf("name the project directory: %w", err)
	}
	text := fmt.Sprintf("CONNECT_TO=%s\nSSL_CERT_FILE=%q\nCONTROL=%s\nTUNNEL_ID=%s\n",
		lab.ConnectTo(f.hostname), filepath.Join(dir, "ca.pem"), lab.ControlURL(), id)
	if err := os.WriteFile(labFile, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write %s: %w", labFile, err)
	}
	return id, nil
}
