package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// subject is the connector under test.
type subject struct {
	path string
	name string
}

// process is a running connector.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	out     buffer
	err     buffer
	metrics string
	done    chan struct{}
	code    int
}

// buffer collects output while others read it.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String is all that was written so far.
func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// launch is how a connector is started: nothing of the test's own environment reaches it.
type launch struct {
	args []string
	env  []string
	bare bool // nothing but what a process needs, and env
}

// start runs the connector in a mount namespace of its own, in which the bench's resolver is the system's.
func (s subject) start(b *bench, l launch) *process {
	b.t.Helper()
	p := &process{t: b.t, done: make(chan struct{}), metrics: fmt.Sprintf("%s%d:20241", b.prefix, 100+b.starts.Add(1))}
	wrap := []string{"-m"}
	if os.Geteuid() != 0 {
		wrap = []string{"-rm"}
	}
	script := `mount --bind "$1" /etc/resolv.conf && shift && exec "$@"`
	wrap = append(wrap, "--", "sh", "-c", script, "sh", b.resolv, s.path)
	p.cmd = exec.Command("unshare", append(wrap, l.args...)...)
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.t.TempDir()}
	if !l.bare {
		p.cmd.Env = append(p.cmd.Env, "TUNNEL_CACERT="+b.caFile, "TUNNEL_METRICS="+p.metrics,
			"TUNNEL_TRANSPORT_PROTOCOL=http2", "TUNNEL_NO_PRECHECKS=true", "NO_AUTOUPDATE=true")
	}
	p.cmd.Env = append(p.cmd.Env, l.env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.err
	if err := p.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		err := p.cmd.Wait()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			p.code = exit.ExitCode()
		} else if err != nil {
			p.code = -2
		}
	}()
	b.t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it may have ended
		<-p.done
		if b.t.Failed() {
			b.t.Logf("stdout:\n%s\nstderr:\n%s", head(p.out.String()), p.err.String())
		}
	})
	return p
}

// closing closes what the other side may have closed already.
func closing(c io.Closer) { _ = c.Close() }

func head(s string) string {
	if len(s) > 800 {
		return s[:800] + "…"
	}
	return s
}

// run starts the connector with a token in its environment, as most behaviours need it.
func (s subject) run(b *bench, id identity, env ...string) *process {
	b.t.Helper()
	return s.start(b, launch{args: []string{"tunnel", "--ha-connections", "1", "run"}, env: append([]string{"TUNNEL_TOKEN=" + id.token()}, env...)})
}

// wait is the exit code.
func (p *process) wait() int {
	p.t.Helper()
	return p.waitWithin(patience)
}

func (p *process) waitWithin(limit time.Duration) int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.code
	case <-time.After(limit):
		p.t.Fatalf("still running after %s", limit)
		return 0
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// running says whether the process has not ended yet.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// expect waits for lines that match the patterns, in this order, others between them allowed.
func (p *process) expect(patterns ...string) {
	p.t.Helper()
	p.expectWithin(patience, patterns...)
}

func (p *process) expectWithin(limit time.Duration, patterns ...string) {
	p.t.Helper()
	eventuallyWithin(p.t, limit, strings.Join(patterns, " -> "), func() (bool, string) {
		rest := p.err.String()
		for _, pattern := range patterns {
			at := regexp.MustCompile("(?m)" + pattern).FindStringIndex(rest)
			if at == nil {
				return false, "no " + pattern + " in the remaining log"
			}
			rest = rest[at[1]:]
		}
		return true, ""
	})
}

// count is how often a pattern stands in the log.
func (p *process) count(pattern string) int {
	return len(regexp.MustCompile("(?m)"+pattern).FindAllString(p.err.String(), -1))
}

// get asks the metrics server.
func (p *process) get(path string) (int, string) {
	resp, err := (&http.Client{Timeout: patience}).Get("http://" + p.metrics + path)
	if err != nil {
		return 0, err.Error()
	}
	defer closing(resp.Body)
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// awaitGet asks until the answer has the wanted status.
func (p *process) awaitGet(path string, status int) string {
	p.t.Helper()
	var body string
	eventually(p.t, fmt.Sprintf("%d from %s", status, path), func() (bool, string) {
		code, text := p.get(path)
		body = text
		return code == status, fmt.Sprint(code, " ", text)
	})
	return body
}

// findSubject is the connector to test: a given one, or the stand-in, built now.
func findSubject(t *testing.T) subject {
	t.Helper()
	path := os.Getenv("LAB_CLOUDFLARED")
	if path == "" {
		path = filepath.Join(t.TempDir(), "cloudflared")
		build := exec.Command("go", "build", "-o", path, "mqtunnel/cmd/mqtunnel-lab/connector")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build the stand-in: %v\n%s", err, text)
		}
	}
	text, err := exec.Command(path, "version").Output()
	if err != nil {
		t.Fatalf("%s version: %v", path, err)
	}
	name := strings.TrimSpace(string(text))
	if os.Getenv("LAB_CLOUDFLARED") == "" {
		name = "the stand-in for " + name
	}
	return subject{path: path, name: name}
}
