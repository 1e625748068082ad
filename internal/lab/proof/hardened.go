package proof

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// promise is what is promised of a service's container.
type promise struct {
	user      string
	uid       int
	pids      int64
	memory    int64
	listening []string // addresses on which it may accept connections
	files     map[string]os.FileMode
}

// promises are those of both services.
func promises() map[string]promise {
	const memory = 256 << 20
	return map[string]promise{
		broker: {
			user: "1883:1883", uid: 1883, pids: 64, memory: memory, listening: []string{"0.0.0.0:1883", "0.0.0.0:9001", "[::]:1883", "[::]:9001"},
			files: map[string]os.FileMode{"/mosquitto/config/passwd": 0o600, "/mosquitto/config/acl": 0o600, "/mosquitto/config/mqtunnel.conf": 0o600},
		},
		connector: {
			user: "65532:65532", uid: 65532, pids: 256, memory: memory, listening: []string{"127.0.0.1:20241"},
			files: map[string]os.FileMode{"/run/secrets/tunnel_token": 0o400},
		},
	}
}

// hardened looks at running containers, with either version of the broker, for what is
// promised of them.
func hardened(ctx context.Context, b *Bench) (figure string, err error) {
	return b.onVersions(ctx, "hardened", hardenedOn)
}

func hardenedOn(ctx context.Context, list []onVersion) (figure string, err error) {
	looked, processes := 0, 0
	for _, p := range list {
		if err := p.up(ctx); err != nil {
			return "", err
		}
		for service, want := range promises() {
			n, err := p.keeps(ctx, service, want)
			if err != nil {
				return "", fmt.Errorf("mosquitto %s: %s: %w", p.version, service, err)
			}
			looked, processes = looked+1, processes+n
		}
	}
	return fmt.Sprintf("%d containers with %d processes as promised: uid, no capability, no_new_privs, seccomp, no core, limits, no published port, listening sockets, file modes, log rotation",
		looked, processes), nil
}

// keeps compares a service's container with the promise, and returns how many
// processes run in it.
func (p *project) keeps(ctx context.Context, service string, want promise) (processes int, err error) {
	c, err := p.b.Engine.ContainerInspect(ctx, p.container(service))
	if err != nil {
		return 0, err
	}
	if err := created(c, want); err != nil {
		return 0, err
	}
	top, err := p.b.Engine.ContainerTop(ctx, c.ID, []string{"-eo", "pid"})
	if err != nil {
		return 0, err
	}
	for _, row := range top.Processes {
		if err := asProcess(row[0], want); err != nil {
			return 0, fmt.Errorf("process %s: %w", row[0], err)
		}
	}
	listening, err := listeners(strconv.Itoa(c.State.Pid))
	if err != nil {
		return 0, err
	}
	for _, address := range listening {
		if !slices.Contains(want.listening, address) {
			return 0, missed("it listens on %s", address)
		}
	}
	if len(listening) == 0 {
		return 0, missed("it listens nowhere: %s was looked at in vain", p.container(service))
	}
	for path, mode := range want.files {
		stat, err := p.b.Engine.ContainerStatPath(ctx, c.ID, path)
		if err != nil {
			return 0, err
		}
		if stat.Mode.Perm() != mode {
			return 0, missed("%s has mode %04o, want %04o", path, stat.Mode.Perm(), mode)
		}
	}
	return len(top.Processes), nil
}

// created compares what a container was created with.
func created(c container.InspectResponse, want promise) error {
	h := c.HostConfig
	rotates := h.LogConfig.Type == "json-file" && h.LogConfig.Config["max-size"] == "10m" && h.LogConfig.Config["max-file"] == "3"
	var mounts []string
	for _, m := range c.Mounts {
		if m.Type == "bind" {
			mounts = append(mounts, m.Source)
		}
	}
	for _, check := range []struct {
		what  string
		holds bool
	}{
		{"user " + c.Config.User, c.Config.User == want.user},
		{fmt.Sprintf("capabilities dropped %v, added %v", h.CapDrop, h.CapAdd), slices.Equal(h.CapDrop, []string{"ALL"}) && len(h.CapAdd) == 0},
		{fmt.Sprintf("security options %v", h.SecurityOpt), slices.Equal(h.SecurityOpt, []string{"no-new-privileges:true"})},
		{"privileged, or shares a namespace of the host", !h.Privileged && h.NetworkMode != "host" && h.PidMode == "" && h.IpcMode != "host" && h.UTSMode == ""},
		{fmt.Sprintf("devices %v", h.Devices), len(h.Devices) == 0},
		{fmt.Sprintf("ports %v", h.PortBindings), len(h.PortBindings) == 0 && !h.PublishAllPorts},
		{fmt.Sprintf("directories of the host %v", mounts), len(mounts) == 0},
		{fmt.Sprintf("memory %d", h.Memory), h.Memory == want.memory},
		{"no limit of processes", h.PidsLimit != nil && *h.PidsLimit == want.pids},
		{fmt.Sprintf("restart policy %s", h.RestartPolicy.Name), h.RestartPolicy.Name == container.RestartPolicyUnlessStopped},
		{fmt.Sprintf("log %+v", h.LogConfig), rotates},
	} {
		if !check.holds {
			return missed("%s", check.what)
		}
	}
	return nil
}

// asProcess compares a running process, as the kernel of this machine shows it.
func asProcess(pid string, want promise) error {
	text, err := os.ReadFile(filepath.Join("/proc", pid, "status"))
	if err != nil {
		return err
	}
	status := map[string]string{}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(line, ":")
		status[key] = strings.Join(strings.Fields(value), " ")
	}
	id := strconv.Itoa(want.uid)
	four := strings.Join([]string{id, id, id, id}, " ")
	const none = "0000000000000000"
	for key, value := range map[string]string{
		"Uid": four, "Gid": four, "NoNewPrivs": "1", "Seccomp": "2",
		"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none,
	} {
		if status[key] != value {
			return missed("%s is %q, want %q", key, status[key], value)
		}
	}
	limits, err := os.ReadFile(filepath.Join("/proc", pid, "limits"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(limits)) {
		if rest, core := strings.CutPrefix(line, "Max core file size"); core && !slices.Equal(strings.Fields(rest), []string{"0", "0", "bytes"}) {
			return missed("it may write core dumps: %s", strings.TrimSpace(rest))
		}
	}
	return nil
}

// listeners returns the addresses on which the network namespace of a process accepts
// TCP connections.
func listeners(pid string) ([]string, error) {
	const listening = "0A" // TCP_LISTEN
	var addresses []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(filepath.Join("/proc", pid, "net", table))
		if errors.Is(err, os.ErrNotExist) {
			continue // a machine without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if len(fields) < 4 || fields[3] != listening {
				continue
			}
			address, err := kernelAddress(fields[1])
			if err != nil {
				return nil, err
			}
			// Docker's own name server, in every container of a network.
			if !strings.HasPrefix(address, "127.0.0.11:") {
				addresses = append(addresses, address)
			}
		}
	}
	return addresses, nil
}

// kernelAddress reads HEXADDRESS:HEXPORT of /proc/net/tcp: words of four bytes, each in
// the order of this machine, which is little-endian.
func kernelAddress(text string) (string, error) {
	address, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(address)
	n, perr := strconv.ParseUint(port, 16, 16)
	if err := errors.Join(err, perr); err != nil {
		return "", fmt.Errorf("address %q: %w", text, err)
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	ip, ok := netip.AddrFromSlice(raw)
	if !ok {
		return "", fmt.Errorf("address %q is none", text)
	}
	return netip.AddrPortFrom(ip, uint16(n)).String(), nil
}
