package proof

import (
	"context"
	"encoding/base64"
	"fmt"
	"path/filepath"
)

// files kills the program while it writes each file of a project, and gives it every
// set-up in which it cannot or must not write.
func files(ctx context.Context, b *Bench) (string, error) {
	met, err := b.inHostileSetups(ctx)
	if err != nil {
		return "", err
	}
	killed, err := b.killWhileWriting(ctx)
	if err != nil {
		return "", err
	}
	running, err := b.alone(ctx, "files", (*project).killWhileRunning)
	if err != nil {
		return "", err
	}
	return killed + "; " + running + "; " + met, nil
}

// Files of a project directory that commands write.
const (
	envFile     = ".env"
	composeFile = "compose.yaml"
)

// noEngine is the environment of a command that is to find no Engine: what it does to
// files it does without one. It collects no garbage, which costs a fifth of its time.
func noEngine(dir string) []string {
	return []string{"DOCKER_HOST=unix://" + filepath.Join(dir, "no-engine.sock"), "GOGC=off"}
}

// tokenOf returns a tunnel token with a secret.
func tokenOf(secret string) string {
	return base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"a":"0123456789abcdef0123456789abcdef","t":"11111111-2222-4333-8444-555555555555","s":"%s"}`,
		base64.StdEncoding.EncodeToString([]byte(secret))))
}

// Secrets of the tokens of a tunnel, before and after it was refreshed.
const (
	oldSecret = "the-secret-before-a-refresh-0123"
	newSecret = "the-secret-that-came-by-refresh0"
)
