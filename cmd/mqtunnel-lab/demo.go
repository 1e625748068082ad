package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// demoHost is the public hostname of the demo.
const demoHost = "mqtt.example.com"

func newDemoCommand() *cobra.Command {
	var name string
	var down bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run a whole project in a lab and send a message through it",
		Long: `Start a lab, run mqtunnel up in it, add a user, and send a message through
wss://. The project stays up in .lab/NAME; --down removes all of it.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			root, err := images.FindRoot(".")
			if err != nil {
				return err
			}
			d := demo{cmd: cmd, root: root, name: name, dir: filepath.Join(root, ".lab", name)}
			if down {
				return d.down()
			}
			return d.run()
		},
	}
	cmd.Flags().StringVar(&name, "name", defaultDemo, "name of the lab and of the directory below .lab")
	cmd.Flags().BoolVar(&down, "down", false, "remove the project, the lab and the directory")
	return cmd
}

// demo is one demo at work.
type demo struct {
	cmd             *cobra.Command
	root, name, dir string
}

// mqtunnel runs the binary in the demo's directory, its output shown as it comes.
// What it writes to standard output is returned too.
func (d demo) mqtunnel(ctx context.Context, shown bool, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(d.root, "bin", "mqtunnel"), append([]string{"-C", d.dir}, args...)...) //nolint:gosec // the program that make built
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+filepath.Join(d.dir, "ca.pem"))                                      //nolint:forbidigo // Docker's settings are passed on
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, d.cmd.ErrOrStderr()
	if shown {
		fmt.Fprintf(d.cmd.ErrOrStderr(), "$ SSL_CERT_FILE=$PWD/.lab/%s/ca.pem bin/mqtunnel -C .lab/%s %s\n", d.name, d.name, strings.Join(args, " "))
		cmd.Stdout = d.cmd.OutOrStdout()
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("mqtunnel %s: %w", args[0], err)
	}
	return out.String(), nil
}

// run brings everything up and sends a message.
func (d demo) run() (err error) {
	ctx := d.cmd.Context()
	engine, err := bench.Engine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	f := upFlags{name: d.name, dir: d.dir, hostname: demoHost, cloudflared: realCloudflared(), broker: images.Versions()[0]}
	if err := up(d.cmd, f); err != nil {
		return err
	}
	lab, err := bench.Attach(ctx, engine, d.name)
	if err != nil {
		return err
	}
	if _, err := d.mqtunnel(ctx, true, "up", "--connect-to", lab.ConnectTo(demoHost)); err != nil {
		return err
	}
	password, err := d.user(ctx)
	if err != nil {
		return err
	}
	if err := d.message(ctx, lab, password); err != nil {
		return err
	}
	d.next(lab)
	return nil
}

// next says what can be tried now. From outside, the demo's lab stands where Cloudflare
// is otherwise, and its certificates are its own.
func (d demo) next(lab *bench.Lab) {
	out, program, to := d.cmd.ErrOrStderr(), "bin/mqtunnel -C .lab/"+d.name, "--connect-to "+lab.ConnectTo(demoHost)
	down := "make demo-down"
	if d.name != defaultDemo {
		down += " DEMO=" + d.name
	}
	fmt.Fprintf(out, "\nnext, in this directory:\n")
	for _, command := range []string{"status", "user list", "user watch " + demoUser, "logs -f"} {
		fmt.Fprintf(out, "  %s %s\n", program, command)
	}
	fmt.Fprintf(out, "what connects from outside has to be led to the lab in place of Cloudflare:\n")
	fmt.Fprintf(out, "  export SSL_CERT_FILE=$PWD/.lab/%s/ca.pem\n", d.name)
	for _, command := range []string{"up", "doctor --no-doh"} {
		fmt.Fprintf(out, "  %s %s \\\n    %s\n", program, command, to)
	}
	fmt.Fprintf(out, "and at the end:\n  %s\n", down)
}

// defaultDemo is what a demo is called where nobody says otherwise, in the Makefile too.
const defaultDemo = "demo"

// demoUser is who sends the demo's message.
const demoUser = "demo"

// user gives the demo's user a fresh password, adding the user if there is none.
func (d demo) user(ctx context.Context) (secret.Text, error) {
	list, err := d.mqtunnel(ctx, false, "user", "list", "--json")
	if err != nil {
		return secret.Text{}, err
	}
	args := []string{"user", "add", demoUser, "--topics", "all", "--generate"}
	if strings.Contains(list, `"name": "`+demoUser+`"`) {
		args = []string{"user", "passwd", demoUser, "--generate"}
	}
	out, err := d.mqtunnel(ctx, false, args...)
	if err != nil {
		return secret.Text{}, err
	}
	_, rest, _ := strings.Cut(out, "password: ")
	password, _, found := strings.Cut(rest, "\n")
	if !found {
		return secret.Text{}, errors.New("mqtunnel user shows no password")
	}
	return secret.New(password), nil
}

// message sends a message through the public hostname and says so.
func (d demo) message(ctx context.Context, lab *bench.Lab, password secret.Text) error {
	route, err := probe.ParseConnectTo(lab.ConnectTo(demoHost))
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(lab.CA)
	url := "wss://" + demoHost + ":443/mqtt"
	result, err := probe.RoundTrip(ctx, probe.Target{
		URL: url, ConnectTo: []probe.ConnectTo{route}, RootCAs: roots, Username: demoUser, Password: password,
	}, "demo/hello")
	if err != nil {
		return err
	}
	ms := float64(result.Message) / float64(time.Millisecond)
	fmt.Fprintf(d.cmd.OutOrStdout(), "demo: message came back through %s in %.2f ms\n", url, ms)
	return nil
}

// down removes everything that the demo made but for what is only a cache.
func (d demo) down() (err error) {
	ctx := d.cmd.Context()
	engine, err := bench.Engine()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	if _, serr := os.Stat(filepath.Join(d.dir, ".env")); serr == nil {
		if _, err := d.mqtunnel(ctx, true, "--quiet", "down", "--volumes", "--yes"); err != nil {
			return err
		}
	}
	if err := bench.RemoveProjects(ctx, engine, d.name); err != nil {
		return err
	}
	if err := bench.Remove(ctx, engine, d.name); err != nil {
		return err
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return fmt.Errorf("remove the demo's directory: %w", err)
	}
	fmt.Fprintln(d.cmd.OutOrStdout(), "demo: nothing is left but what the next one need not build again: the images mqtunnel-lab/* and the rest of .lab")
	return nil
}
