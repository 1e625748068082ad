package render

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/secret"
)

// Paths inside the containers of what is put there and may change while they run.
const (
	// TokenPath is where the connector reads the tunnel token.
	TokenPath = "/run/secrets/tunnel_token" //nolint:gosec // a path, not a credential
	// PasswdPath and ACLPath are where the broker reads its users.
	PasswdPath = mosquitto.PasswdPath
	ACLPath    = mosquitto.ACLPath
)

// connectorID is uid and gid of cloudflared in its image.
const connectorID = 65532

// Modes of what is put into the containers.
const (
	modePrivate fs.FileMode = 0o600 // the broker warns about files that others can read
	modeScript  fs.FileMode = 0o500
	modeToken   fs.FileMode = 0o400
	modeCompose fs.FileMode = 0o444 // as Compose does where nothing is said
)

// owned are the files of our own services by service and path: who owns them
// and who may read them. Any other file arrives as Compose would put it.
func owned(service, target string) (plan.File, bool) {
	f := plan.File{Path: target, UID: mosquitto.UID, GID: mosquitto.GID, Mode: modePrivate}
	switch {
	case service == plan.ServiceBroker && (target == mosquitto.ConfPath || target == PasswdPath || target == ACLPath):
		return f, true
	case service == plan.ServiceBroker && target == mosquitto.StartPath:
		f.Mode = modeScript
		return f, true
	case service == plan.ServiceConnector && target == TokenPath:
		return plan.File{Path: target, UID: connectorID, GID: connectorID, Mode: modeToken}, true
	}
	return plan.File{}, false
}

// references resolves the configs and secrets of a service: content becomes a
// file to put into the container, a file on the host a read-only bind mount. An
// empty content is nothing, as with Compose.
func references(p *types.Project, s types.ServiceConfig) (files []plan.File, mounts []plan.Mount) {
	add := func(ref types.FileReferenceConfig, source types.FileObjectConfig, dir string) {
		target := ref.Target
		if target == "" {
			target = ref.Source
		}
		if !path.IsAbs(target) {
			target = path.Join(dir, target)
		}
		switch {
		case source.File != "":
			mounts = append(mounts, plan.Mount{Type: plan.MountBind, Source: source.File, Target: target, ReadOnly: true})
		case source.Content != "":
			files = append(files, file(s.Name, target, ref, source.Content))
		}
	}
	for _, ref := range s.Configs {
		add(types.FileReferenceConfig(ref), types.FileObjectConfig(p.Configs[ref.Source]), "/")
	}
	for _, ref := range s.Secrets {
		add(types.FileReferenceConfig(ref), types.FileObjectConfig(p.Secrets[ref.Source]), "/run/secrets")
	}
	return files, mounts
}

func file(service, target string, ref types.FileReferenceConfig, content string) plan.File {
	f, known := owned(service, target)
	if !known {
		f = plan.File{Path: target, Mode: modeCompose}
	}
	if ref.Mode != nil {
		f.Mode = fs.FileMode(*ref.Mode) & fs.ModePerm
	}
	f.UID = number(ref.UID, f.UID)
	f.GID = number(ref.GID, f.GID)
	f.Content = secret.New(content)
	return f
}

// number returns s as a number, or fallback when it is none.
func number(s string, fallback int) int {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	return fallback
}

func mounts(p *types.Project, volumes []types.ServiceVolumeConfig) []plan.Mount {
	var out []plan.Mount
	for _, v := range volumes {
		m := plan.Mount{Type: plan.MountType(v.Type), Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
		switch v.Type {
		case types.VolumeTypeVolume:
			if known, ok := p.Volumes[v.Source]; ok {
				m.Source = known.Name
			}
			if v.Volume != nil && v.Volume.NoCopy {
				m.Options = append(m.Options, "nocopy")
			}
		case types.VolumeTypeBind:
			bind(&m, v.Bind)
		case types.VolumeTypeTmpfs:
			if v.Tmpfs != nil {
				m.TmpfsSize = int64(v.Tmpfs.Size)
				m.TmpfsMode = fs.FileMode(v.Tmpfs.Mode) & fs.ModePerm
			}
		}
		out = append(out, m)
	}
	return out
}

// bind adds the options of a bind mount; without any Compose makes a source
// that is missing.
func bind(m *plan.Mount, options *types.ServiceVolumeBind) {
	m.CreateHost = options == nil || bool(options.CreateHostPath)
	if options == nil {
		return
	}
	m.SELinux = options.SELinux
	if options.Propagation != "" {
		m.Options = append(m.Options, options.Propagation)
	}
}

func tmpfs(list []string) map[string]string {
	out := make(map[string]string, len(list))
	for _, entry := range list {
		target, options, _ := strings.Cut(entry, ":")
		out[target] = options
	}
	return out
}

// endpoints are the networks of a service in the order of connection, with the
// aliases that the user gives: those of container and service the engine adds.
func endpoints(p *types.Project, s types.ServiceConfig) []plan.Endpoint {
	if s.NetworkMode != "" {
		return nil
	}
	var out []plan.Endpoint
	for _, key := range s.NetworksByPriority() {
		e := plan.Endpoint{Network: p.Networks[key].Name}
		if c := s.Networks[key]; c != nil {
			e.Aliases, e.IPv4 = c.Aliases, c.Ipv4Address
		}
		out = append(out, e)
	}
	return out
}

func hosts(list types.HostsList) []string {
	out := list.AsList(":")
	slices.Sort(out)
	return out
}

func ports(list []types.ServicePortConfig) ([]plan.Port, error) {
	var out []plan.Port
	for _, p := range list {
		if p.Target == 0 || p.Target > 65535 {
			return nil, fmt.Errorf("ports: %d is not a port", p.Target)
		}
		out = append(out, plan.Port{HostIP: p.HostIP, HostPort: p.Published, Container: uint16(p.Target), Protocol: p.Protocol})
	}
	return out, nil
}

// expose turns "9001", "9001/udp" and "9001-9003" into one entry a port.
func expose(list []string) ([]string, error) {
	seen := map[string]struct{}{}
	for _, entry := range list {
		spread, protocol, found := strings.Cut(entry, "/")
		if !found {
			protocol = "tcp"
		}
		from, to, found := strings.Cut(spread, "-")
		if !found {
			to = from
		}
		first, err1 := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			return nil, fmt.Errorf("expose: %q is not a port", entry)
		}
		for port := first; port <= last; port++ {
			seen[strconv.FormatUint(port, 10)+"/"+protocol] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(seen)), nil
}
