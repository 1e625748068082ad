package engine

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/docker/cli/cli/config/configfile"
	dcontext "github.com/docker/cli/cli/context"
	"github.com/docker/cli/cli/context/docker"
	"github.com/docker/cli/cli/context/store"
	"github.com/docker/docker/client"

	"mqtunnel/internal/remedy"
)

// defaultContext is the name that Docker gives to "no context": DOCKER_HOST, or
// the usual socket.
const defaultContext = "default"

// environ is the process environment by name.
type environ map[string]string

func newEnviron(pairs []string) environ {
	env := environ{}
	for _, pair := range pairs {
		if name, value, ok := strings.Cut(pair, "="); ok {
			env[name] = value
		}
	}
	return env
}

// home is the user's directory, "" when the environment does not tell.
func (e environ) home() string {
	if home := e["HOME"]; home != "" {
		return home
	}
	return e["USERPROFILE"]
}

// configDir is where Docker's command keeps its configuration.
func (e environ) configDir() string {
	if dir := e["DOCKER_CONFIG"]; dir != "" {
		return dir
	}
	if home := e.home(); home != "" {
		return filepath.Join(home, ".docker")
	}
	return dockerconfig.Dir()
}

// loadConfig reads Docker's config.json. The docker command only warns about a
// broken one and goes on with the default Engine; that could be the wrong one.
func loadConfig(env environ) (*configfile.ConfigFile, error) {
	config, err := dockerconfig.Load(env.configDir())
	if err == nil {
		return config, nil
	}
	file := filepath.Join(env.configDir(), dockerconfig.ConfigFileName)
	if errors.Is(err, fs.ErrPermission) {
		return nil, remedy.Errorf(remedy.Engine,
			"it belongs to somebody else, often after docker was run with sudo: sudo chown -R $(id -u) "+env.configDir(),
			"read %s: permission denied", file)
	}
	return nil, remedy.Errorf(remedy.Engine,
		"correct the JSON in that file, or move it away: it names the Docker context to use",
		"read %s: %w", file, err)
}

// endpoint is where an Engine listens, and by which rule it was found.
type endpoint struct {
	docker.Endpoint
	source string // "DOCKER_HOST", `context "home" (--context)`, "the default"
}

// resolve applies the docker command's rules in their order: --context,
// DOCKER_HOST, DOCKER_CONTEXT, currentContext of config.json, the usual socket.
func resolve(flag string, env environ, config *configfile.ConfigFile) (endpoint, error) {
	name, source := flag, "--context"
	switch {
	case flag != "":
	case env["DOCKER_HOST"] != "":
		name = defaultContext
	case env["DOCKER_CONTEXT"] != "":
		name, source = env["DOCKER_CONTEXT"], "DOCKER_CONTEXT"
	case config.CurrentContext != "":
		name, source = config.CurrentContext, "docker context use"
	}
	if name == "" || name == defaultContext {
		return resolveDefault(env)
	}
	return resolveContext(name, source, env)
}

// resolveContext reads a context from Docker's store.
func resolveContext(name, source string, env environ) (endpoint, error) {
	contexts := store.New(filepath.Join(env.configDir(), "contexts"), store.NewConfig(
		func() any { return &map[string]any{} },
		store.EndpointTypeGetter(docker.DockerEndpoint, func() any { return &docker.EndpointMeta{} }),
	))
	where := fmt.Sprintf("context %q (%s)", name, source)
	meta, err := contexts.GetMetadata(name)
	if err != nil {
		if cerrdefs.IsNotFound(err) {
			return endpoint{}, remedy.Errorf(remedy.Engine, contextHint(contexts, source),
				"docker context %q from %s does not exist", name, source)
		}
		return endpoint{}, remedy.Errorf(remedy.Engine, "docker context inspect "+name+" shows what is stored",
			"read docker context %q: %w", name, err)
	}
	ep, err := docker.EndpointFromContext(meta)
	if err != nil {
		return endpoint{}, remedy.Errorf(remedy.Engine, contextHint(contexts, source),
			"docker context %q has no Docker Engine: %w", name, err)
	}
	full, err := docker.WithTLSData(contexts, name, ep)
	if err != nil {
		return endpoint{}, remedy.Errorf(remedy.Engine, "docker context inspect "+name+" shows where they should be",
			"read TLS files of docker context %q: %w", name, err)
	}
	if full.Host == "" {
		full.Host = client.DefaultDockerHost
	}
	return endpoint{Endpoint: full, source: where}, nil
}

// contextHint names the contexts that do exist.
func contextHint(contexts store.Lister, source string) string {
	names, err := store.Names(contexts)
	if err != nil || len(names) == 0 {
		return "no docker context exists here; leave " + source + " out, or make one with: docker context create"
	}
	slices.Sort(names)
	return "contexts that exist: " + defaultContext + ", " + strings.Join(names, ", ")
}

// resolveDefault is the Engine without a context: DOCKER_HOST with the TLS
// variables, or the usual socket.
func resolveDefault(env environ) (endpoint, error) {
	ep := endpoint{source: "the default"}
	secured := env["DOCKER_TLS"] != "" || env["DOCKER_TLS_VERIFY"] != ""
	host := strings.TrimSpace(env["DOCKER_HOST"])
	if host != "" {
		ep.source = "DOCKER_HOST"
	}
	var err error
	if ep.Host, err = normaliseHost(host, secured); err != nil {
		return endpoint{}, remedy.Errorf(remedy.Engine,
			"set DOCKER_HOST to unix:///PATH, ssh://USER@HOST or tcp://HOST:PORT with TLS",
			"DOCKER_HOST %q: %w", host, err)
	}
	if !secured || ep.socket() != "" {
		return ep, nil
	}
	ep.SkipTLSVerify = env["DOCKER_TLS_VERIFY"] == ""
	dir := env["DOCKER_CERT_PATH"]
	if dir == "" {
		dir = env.configDir()
	}
	ep.TLSData, err = tlsFiles(dir)
	if err != nil {
		return endpoint{}, remedy.Errorf(remedy.Engine,
			"DOCKER_TLS or DOCKER_TLS_VERIFY is set: put ca.pem, cert.pem and key.pem into DOCKER_CERT_PATH",
			"read TLS files for %s: %w", ep.Host, err)
	}
	return ep, nil
}

// tlsFiles reads the three files of a certificate directory; a missing one is
// left out, as the docker command does.
func tlsFiles(dir string) (*dcontext.TLSData, error) {
	present := func(name string) string {
		file := filepath.Join(dir, name)
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return ""
		}
		return file
	}
	return dcontext.TLSDataFromFiles(present("ca.pem"), present("cert.pem"), present("key.pem"))
}

// normaliseHost fills in what a DOCKER_HOST may leave out.
func normaliseHost(host string, secured bool) (string, error) {
	if host == "" {
		if secured {
			return "tcp://localhost:2376", nil
		}
		return client.DefaultDockerHost, nil
	}
	scheme, rest, ok := strings.Cut(host, "://")
	if !ok {
		scheme, rest = "tcp", host
	}
	switch scheme {
	case "unix", "npipe":
		if rest == "" {
			return client.DefaultDockerHost, nil
		}
		return scheme + "://" + rest, nil
	case "ssh":
		return host, nil
	case "tcp":
		return normaliseTCP(rest, secured)
	default:
		return "", fmt.Errorf("%q is no scheme for a Docker Engine", scheme)
	}
}

// normaliseTCP adds localhost and Docker's port where they are missing.
func normaliseTCP(address string, secured bool) (string, error) {
	u, err := url.Parse("tcp://" + address)
	if err != nil {
		return "", errors.New("not a host and port")
	}
	name, port := u.Hostname(), u.Port()
	if name == "" {
		name = "localhost"
	}
	if port == "" {
		port = "2375"
		if secured {
			port = "2376"
		}
	}
	return "tcp://" + net.JoinHostPort(name, port) + u.Path, nil
}

// socket returns the path of the endpoint's socket or pipe, "" when it is none.
func (e endpoint) socket() string {
	for _, scheme := range []string{"unix://", "npipe://"} {
		if path, ok := strings.CutPrefix(e.Host, scheme); ok {
			return path
		}
	}
	return ""
}

// refusePlainTCP refuses an Engine to which everything would go unencrypted
// through a network.
func (e endpoint) refusePlainTCP() error {
	if e.TLSData != nil || e.SkipTLSVerify {
		return nil
	}
	u, err := url.Parse(e.Host)
	if err != nil || (u.Scheme != "tcp" && u.Scheme != "http") {
		return nil //nolint:nilerr // what is no URL is a socket path, and no network
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback()) {
		return nil
	}
	return remedy.Errorf(remedy.Engine,
		"use ssh instead, it needs nothing on the other side: DOCKER_HOST=ssh://USER@"+u.Hostname()+
			"\nor protect that Engine with TLS and set DOCKER_TLS_VERIFY=1 and DOCKER_CERT_PATH",
		"the Docker Engine at %s (from %s) is plain TCP to another machine: the tunnel token would cross the network in clear",
		e.Host, e.source)
}

// endpointError is about an endpoint that no client can be made for.
func endpointError(e endpoint, err error) error {
	return remedy.Errorf(remedy.Engine, "it came from "+e.source,
		"use the Docker Engine at %s: %w", e.Host, clean(err))
}
