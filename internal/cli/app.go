// Package cli is the command line: flags and arguments in, one call, errors
// mapped to text and exit codes. It decides nothing.
package cli

import "os"

// Main runs the command line and returns the exit code.
func Main(args []string, in, out, errOut *os.File, environ []string) int { return 0 }
