package engine

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/docker/docker/api/types/versions"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
)

// pingTimeout is longer than an Engine needs that systemd starts on the first
// connection, and as long as docker waits for ssh.
const pingTimeout = 30 * time.Second

// unreachableError is below every error of a Ping that failed, so that
// IsUnavailable knows it.
type unreachableError struct {
	text  string
	fault plan.EngineFault
	err   error
}

func (e *unreachableError) Error() string { return e.text }

// Unwrap gives what the connection failed with.
func (e *unreachableError) Unwrap() error { return e.err }

// explain turns a failed ping into what was tried, what is wrong there, and what
// to do on this system.
func (c *Client) explain(err error) error {
	what, hints := c.diagnose(err)
	if c.endpoint.source != "the default" {
		hints = append(hints, fmt.Sprintf("the address came from %s", c.endpoint.source))
	}
	for _, socket := range c.otherSockets() {
		hints = append(hints, "another Engine's socket is here, to use it: export DOCKER_HOST=unix://"+socket)
	}
	text := fmt.Sprintf("no Docker Engine at %s: %s", c.Endpoint(), what)
	return &remedy.Error{
		Code: remedy.Engine, Hint: strings.Join(hints, "\n"),
		Err: &unreachableError{text: text, fault: c.fault(err), err: err},
	}
}

// fault tells what kind of fault a failed ping is.
func (c *Client) fault(err error) plan.EngineFault {
	switch {
	case c.endpoint.socket() != "" && errors.Is(err, fs.ErrPermission):
		return plan.EngineForbidden
	case isCertificate(err):
		return plan.EngineUnnamed
	case IsUnavailable(err) || errors.Is(err, context.DeadlineExceeded):
		return plan.EngineUnreachable
	default:
		return plan.EngineUnfit
	}
}

// faultError is an error of which the kind of fault is known where it arises.
type faultError struct {
	fault plan.EngineFault
	err   error
}

func (e *faultError) Error() string { return e.err.Error() }

// Unwrap gives the error itself, with its remedy.
func (e *faultError) Unwrap() error { return e.err }

// ReasonOf tells what kind of fault an error of Open, or of a Client's first call,
// is: EngineOK for nil.
func ReasonOf(err error) plan.EngineFault {
	if err == nil {
		return plan.EngineOK
	}
	if e, ok := errors.AsType[*unreachableError](err); ok {
		return e.fault
	}
	if e, ok := errors.AsType[*faultError](err); ok {
		return e.fault
	}
	if IsUnavailable(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return plan.EngineUnreachable
	}
	return plan.EngineUnfit
}

// diagnose names the fault and its usual cures.
func (c *Client) diagnose(err error) (what string, hints []string) {
	socket := c.endpoint.socket()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s", pingTimeout), []string{restartHint(socket)}
	case strings.HasPrefix(c.Endpoint(), "ssh://"):
		return reason(err), []string{"this has to work first, without a question: " + sshCommand(c.Endpoint())}
	case socket != "" && errors.Is(err, fs.ErrPermission):
		return "permission denied", permissionHints(socket)
	case socket != "" && errors.Is(err, fs.ErrNotExist):
		return "the socket does not exist", []string{startHint()}
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nothing listens there", []string{startHint()}
	case isCertificate(err):
		return reason(err), []string{"check DOCKER_CERT_PATH: its ca.pem must be the one that signed the Engine's certificate"}
	case !IsUnavailable(err):
		return clean(err).Error(), []string{"something answers there, but not as a Docker Engine does"}
	default:
		return reason(err), []string{startHint()}
	}
}

func isCertificate(err error) bool {
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	return unknown || invalid || name
}

// sshCommand is what a person types to see whether ssh works.
func sshCommand(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "ssh"
	}
	target := u.Hostname()
	if u.User.Username() != "" {
		target = u.User.Username() + "@" + target
	}
	if u.Port() != "" {
		target = "-p " + u.Port() + " " + target
	}
	return "ssh " + target + " docker version"
}

// startHint says how an Engine is started on this system.
func startHint() string {
	if runtime.GOOS != "linux" {
		return "start Docker Desktop, or whatever runs the Engine here, and wait until it is up"
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		return "start it: sudo systemctl start docker (what it says: journalctl -u docker)\n" +
			"not installed yet: https://docs.docker.com/engine/install/"
	}
	return "start it: sudo service docker start\nnot installed yet: https://docs.docker.com/engine/install/"
}

// restartHint is for an Engine that accepts a connection and says nothing.
func restartHint(socket string) string {
	if socket != "" && runtime.GOOS == "linux" {
		return "it accepts connections and does not answer: sudo systemctl restart docker"
	}
	return "it accepts connections and does not answer: restart it"
}

// otherSockets lists the usual sockets that exist, without the one that failed.
func (c *Client) otherSockets() []string {
	var found []string
	for _, socket := range usualSockets(c.env) {
		if socket == c.endpoint.socket() {
			continue
		}
		if info, err := os.Stat(socket); err == nil && info.Mode()&fs.ModeSocket != 0 {
			found = append(found, socket)
		}
	}
	return found
}

// usualSockets is where Engines listen that people run: the packaged one,
// rootless, Docker Desktop, colima, OrbStack, Rancher Desktop and Podman.
func usualSockets(env environ) []string {
	list := []string{"/var/run/docker.sock"}
	runtimes := []string{env["XDG_RUNTIME_DIR"]}
	if runtimes[0] == "" {
		runtimes[0] = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	// Under sudo the rootless Engine is that of the person who typed it.
	if uid := env["SUDO_UID"]; uid != "" {
		runtimes = append(runtimes, filepath.Join("/run/user", uid))
	}
	for _, dir := range runtimes {
		list = append(list, filepath.Join(dir, "docker.sock"))
	}
	if home := env.home(); home != "" {
		for _, name := range []string{
			".docker/run/docker.sock", ".docker/desktop/docker.sock", ".colima/default/docker.sock",
			".colima/docker.sock", ".orbstack/run/docker.sock", ".rd/docker.sock",
		} {
			list = append(list, filepath.Join(home, name))
		}
	}
	for _, dir := range runtimes {
		list = append(list, filepath.Join(dir, "podman/podman.sock"))
	}
	return append(list, "/run/podman/podman.sock")
}

// refuseUnsuitable refuses an Engine that answers but cannot do the work.
func (c *Client) refuseUnsuitable(info plan.EngineInfo) error {
	switch {
	case info.API == "":
		return unfit("the address came from "+c.endpoint.source,
			"what answers at %s is not a Docker Engine", c.Endpoint())
	case versions.LessThan(info.API, minAPI):
		return unfit("update the Engine: https://docs.docker.com/engine/install/",
			"the Docker Engine at %s is too old: it speaks API %s, needed is %s (Engine 20.10)", c.Endpoint(), info.API, minAPI)
	case info.OS != "" && info.OS != "linux":
		return unfit("in the menu of Docker Desktop: Switch to Linux containers",
			"the Docker Engine at %s runs %s containers, needed are linux ones", c.Endpoint(), info.OS)
	case !c.pinnedVersionFits(info):
		return &faultError{plan.EngineUnnamed, remedy.Errorf(remedy.Engine, "unset DOCKER_API_VERSION: the version is agreed on with the Engine",
			"DOCKER_API_VERSION is %s, but the Docker Engine at %s speaks at most %s", c.docker.ClientVersion(), c.Endpoint(), info.API)}
	}
	return nil
}

// unfit makes the error of an Engine that cannot do the work.
func unfit(hint, format string, args ...any) error {
	return &faultError{plan.EngineUnfit, remedy.Errorf(remedy.Engine, hint, format, args...)}
}

// pinnedVersionFits reports whether DOCKER_API_VERSION, if set, is one that the
// Engine speaks.
func (c *Client) pinnedVersionFits(info plan.EngineInfo) bool {
	return c.env["DOCKER_API_VERSION"] == "" || !versions.GreaterThan(c.docker.ClientVersion(), info.API)
}
