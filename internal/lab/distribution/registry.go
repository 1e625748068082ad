// Package distribution runs Debian's docker-registry on loopback, for tests of
// pulling: a real registry behind a front that can slow down, cut off in the
// middle of a blob, refuse, and vanish. The Engine speaks plain HTTP to
// registries on 127.0.0.0/8.
package distribution

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/images"
)

// Options says how a registry runs.
type Options struct {
	// Dir is an empty directory for the registry's files.
	Dir string
	// Username and Password guard the registry when Username is not "".
	Username, Password string
}

// Registry is a registry that runs. It is safe for concurrent use.
type Registry struct {
	address  string
	user     *url.Userinfo
	front    *front
	server   *http.Server
	program  *exec.Cmd
	group    *errgroup.Group
	upstream string
}

// Start runs a registry on a free port of 127.0.0.1 and returns when it answers.
// The caller ends it with Stop.
func Start(ctx context.Context, program images.RegistryProgram, o Options) (*Registry, error) {
	r := &Registry{group: &errgroup.Group{}}
	if o.Username != "" {
		r.user = url.UserPassword(o.Username, o.Password)
	}
	upstream, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	r.upstream = upstream
	config, err := writeConfig(o, upstream)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the registry: %w", err)
	}
	r.address = listener.Addr().String()

	// The registry outlives ctx: Stop ends it.
	r.program = exec.CommandContext(context.WithoutCancel(ctx), program.Command[0], append(program.Command[1:], "serve", config)...) //nolint:gosec // the unpacked registry
	r.program.Env = append(r.program.Environ(), "OTEL_TRACES_EXPORTER=none")
	if err := r.program.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the registry: %w", err), listener.Close())
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(&url.URL{Scheme: "http", Host: upstream})
		p.Out.Host = p.In.Host // what the registry builds its Location headers from
	}, FlushInterval: -1, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	r.front = &front{next: proxy}
	r.server = &http.Server{Handler: r.front, ReadHeaderTimeout: time.Minute}
	r.group.Go(func() error {
		if err := r.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve the registry's front: %w", err)
		}
		return nil
	})
	if err := r.waitReady(ctx); err != nil {
		return nil, errors.Join(err, r.Stop())
	}
	return r, nil
}

func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return address, nil
}

func writeConfig(o Options, address string) (string, error) {
	text := fmt.Sprintf(`version: 0.1
log:
  level: error
  accesslog:
    disabled: true
storage:
  filesystem:
    rootdirectory: %q
http:
  addr: %s
`, filepath.Join(o.Dir, "data"), address)
	if o.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(o.Password), bcrypt.MinCost)
		if err != nil {
			return "", fmt.Errorf("hash the registry's password: %w", err)
		}
		file := filepath.Join(o.Dir, "htpasswd")
		if err := os.WriteFile(file, fmt.Appendf(nil, "%s:%s\n", o.Username, hash), 0o600); err != nil {
			return "", fmt.Errorf("write the registry's users: %w", err)
		}
		text += fmt.Sprintf("auth:\n  htpasswd:\n    realm: lab\n    path: %q\n", file)
	}
	file := filepath.Join(o.Dir, "config.yml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return "", fmt.Errorf("write the registry's configuration: %w", err)
	}
	return file, nil
}

func (r *Registry) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		answer, err := r.request(ctx, http.MethodGet, "/v2/", "", nil)
		if err == nil && answer == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the registry: %w (last: status %d, %w)", ctx.Err(), answer, err)
		case <-tick.C:
		}
	}
}

// Address returns HOST:PORT, as it stands before an image's name.
func (r *Registry) Address() string { return r.address }

// request asks the registry itself, behind the front and its faults.
func (r *Registry) request(ctx context.Context, method, path, contentType string, body io.Reader) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+r.upstream+path, body)
	if err != nil {
		return 0, err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	if password, set := r.user.Password(); set {
		request.SetBasicAuth(r.user.Username(), password)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	text, readErr := io.ReadAll(io.LimitReader(answer.Body, 4096))
	err = errors.Join(readErr, answer.Body.Close())
	if answer.StatusCode >= http.StatusBadRequest {
		err = errors.Join(err, errors.New(strings.TrimSpace(string(text))))
	}
	return answer.StatusCode, err
}

// Stop ends the registry at once, as when its machine lost power: open
// transfers are cut and nothing listens any more. It may be called twice.
func (r *Registry) Stop() error {
	err := r.server.Close()
	if killErr := r.program.Process.Kill(); killErr != nil && !errors.Is(killErr, os.ErrProcessDone) {
		err = errors.Join(err, fmt.Errorf("kill the registry: %w", killErr))
	}
	var exit *exec.ExitError
	if waitErr := r.program.Wait(); waitErr != nil && !errors.As(waitErr, &exit) && r.program.ProcessState == nil {
		err = errors.Join(err, fmt.Errorf("wait for the registry: %w", waitErr))
	}
	return errors.Join(err, r.group.Wait())
}
