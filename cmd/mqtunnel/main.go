// Command mqtunnel gives a home server its own MQTT broker on the internet with
// no port open: Eclipse Mosquitto behind a Cloudflare tunnel.
package main

import (
	"os"

	"mqtunnel/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
