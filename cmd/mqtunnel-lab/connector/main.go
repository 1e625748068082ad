// Command connector is the lab's stand-in for cloudflared, built under that name into the lab's connector image.
package main

import (
	"os"

	"mqtunnel/internal/lab/connector"
)

func main() { os.Exit(connector.Main(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }
