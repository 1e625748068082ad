package proof

import (
	"context"
	"regexp"
	"strings"
)

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
	line := regexp.MustCompile(`(?m)conformance: (\d+ behaviours compared with .*)$`).FindStringSubmatch(r.out)
	if r.code != 0 || line == nil {
		return "", missed("exit %d: %s", r.code, failures(r.out+r.err))
	}
	return line[1], nil
}

// failures picks what a person needs of a failing test run.
func failures(out string) string {
	found := regexp.MustCompile(`(?m)^\s*--- FAIL.*$|^FAIL.*$|^.*\.go:\d+:.*$`).FindAllString(out, 8)
	return strings.Join(found, "; ")
}
