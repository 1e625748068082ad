// Package connector is the lab's stand-in for cloudflared 2026.8: test equipment for machines that cannot get the real
// image. It takes the same arguments and environment, speaks the same protocol to the edge, writes the same log lines
// and serves the same metrics endpoints, as far as mqtunnel and its tests read them.
//
// What it does not do, and answers with an error or nothing at all: locally configured tunnels, quick tunnels, private
// networks, bastion and socks services, Access tokens (every request to a guarded rule is refused), IPv6 fallback,
// post-quantum strictness, remote diagnostics and updates.
//
// The conformance suite in internal/lab/conformance says what it must do; where this package and a real cloudflared
// differ there, the real one is right.
package connector
