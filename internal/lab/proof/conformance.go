package proof

import (
	"context"
	"regexp"
	"strconv"
)

// fewest is how many behaviours are compared at least: a suite that has lost some
// shows less than it says.
const fewest = 120

// conformance runs the conformance suite against the connector in use.
func conformance(ctx context.Context, b *Bench) (string, error) {
	env := []string{"GOFLAGS=-count=1"}
	if b.Cloudflared != "" {
		env = append(env, "LAB_CLOUDFLARED="+b.Cloudflared)
	}
	r, err := b.run(ctx, command{dir: b.Root, env: env, path: "go", args: []string{"test", "-v", "./internal/lab/conformance"}})
	if err != nil {
		return "", err
	}
	line := regexp.MustCompile(`(?m)conformance: ((\d+) behaviours compared with .*)$`).FindStringSubmatch(r.out)
	if r.code != 0 || line == nil {
		return "", missed("exit %d: %s", r.code, failures(r.out+r.err))
	}
	if n, err := strconv.Atoi(line[2]); err != nil || n < fewest {
		return "", missed("%s, at least %d are wanted", line[1], fewest)
	}
	return line[1], nil
}
