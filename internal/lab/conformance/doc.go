// Package conformance says, as one table of behaviours, what a connector does as seen from outside: its arguments, exit
// codes, log lines, metrics server, and its conversation with the edge. The lab's stand-in and a real cloudflared must
// both pass it.
//
// By default the tests build the stand-in. With LAB_CLOUDFLARED=/path/to/cloudflared they run against that binary.
package conformance
