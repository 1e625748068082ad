package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/docker/api/types/mount"

	"mqtunnel/internal/plan"
)

// mounts translates mounts into the Engine's two forms as Compose does: strings
// for named volumes and for binds that may make their source, the structured
// form for all others.
func mounts(list []plan.Mount) (binds []string, structured []mount.Mount, err error) {
	for _, m := range list {
		switch {
		case m.Type == plan.MountVolume && m.Source != "":
			binds = append(binds, bindString(m))
		case m.Type == plan.MountVolume:
			structured = append(structured, mount.Mount{Type: mount.TypeVolume, Target: m.Target, ReadOnly: m.ReadOnly})
		case m.Type == plan.MountBind && (m.CreateHost || m.SELinux != ""):
			binds = append(binds, bindString(m))
		case m.Type == plan.MountBind:
			bind, err := bindMount(m)
			if err != nil {
				return nil, nil, err
			}
			structured = append(structured, bind)
		case m.Type == plan.MountTmpfs:
			structured = append(structured, mount.Mount{
				Type: mount.TypeTmpfs, Target: m.Target, ReadOnly: m.ReadOnly,
				TmpfsOptions: &mount.TmpfsOptions{SizeBytes: m.TmpfsSize, Mode: m.TmpfsMode},
			})
		default:
			return nil, nil, fmt.Errorf("mount %s: unknown type %q", m.Target, m.Type)
		}
	}
	return binds, structured, nil
}

// bindString writes "source:target:rw,z".
func bindString(m plan.Mount) string {
	mode := []string{"rw"}
	if m.ReadOnly {
		mode[0] = "ro"
	}
	if m.SELinux != "" {
		mode = append(mode, m.SELinux)
	}
	return m.Source + ":" + m.Target + ":" + strings.Join(append(mode, m.Options...), ",")
}

// bindMount is a bind whose source must exist. Its only options are those of
// mount propagation.
func bindMount(m plan.Mount) (mount.Mount, error) {
	bind := mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly}
	for _, option := range m.Options {
		if !slices.Contains(mount.Propagations, mount.Propagation(option)) {
			return mount.Mount{}, fmt.Errorf("mount %s: unknown option %q", m.Target, option)
		}
		bind.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(option)}
	}
	return bind, nil
}
