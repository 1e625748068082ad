package doctor

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/plan"
)

// systems are the operating systems and machines that images and programs are for.
func systems() []string {
	return []string{"linux", "windows", "darwin", "freebsd", "amd64", "arm64", "arm", "386", "riscv64", "ppc64le", "s390x"}
}

func bundleSystem(e *Evidence, p Program) object {
	info := e.Engine.Info
	return object{
		"mqtunnel": object{"version": programVersion(p.Version), "os": word(p.OS, systems()...), "arch": word(p.Arch, systems()...)},
		"kernel":   shape(versionShape, p.Kernel),
		"engine": object{
			"version": shape(versionShape, info.Version), "api": shape(versionShape, info.API),
			"os": word(info.OS, systems()...), "arch": word(info.Arch, systems()...), "local": e.Host.Local,
			"fault":        word(e.Engine.Fault, plan.EngineUnnamed, plan.EngineUnreachable, plan.EngineForbidden, plan.EngineUnfit),
			"startsAtBoot": e.Host.Boot == "",
		},
		"containers": bundleContainers(e),
		"settings":   bundleSettings(e.Files.Settings),
		"files":      bundleFiles(e.Files),
		"plan":       bundlePlan(e.Project.Plan),
	}
}

// developVersion is how a program names itself that is no release.
var developVersion = regexp.MustCompile(`^devel(-[0-9a-f]{1,12})?(\+dirty)?$`)

func programVersion(version string) string {
	if developVersion.MatchString(version) {
		return version
	}
	return shape(versionShape, version)
}

func bundleContainers(e *Evidence) object {
	services := object{}
	if e.Project.Status == nil {
		return services
	}
	for _, p := range []part{thisBroker, thisConnector} {
		service := object{"exists": false, "image": bundleImage(e.Project.Images[string(p)], e.Files.Settings, p)}
		if d, found := e.details(p); found {
			service["exists"] = true
			service["state"] = word(d.State, plan.StateCreated, plan.StateRunning, plan.StatePaused, plan.StateRestarting, plan.StateRemoving, plan.StateExited, plan.StateDead)
			service["health"] = word(d.Health, plan.HealthStarting, plan.HealthHealthy, plan.HealthUnhealthy)
			service["exitCode"], service["restarts"], service["outOfMemory"] = d.ExitCode, d.RestartCount, d.OOMKilled
			service["restartPolicy"] = word(d.Policy.Name, "no", "always", "unless-stopped", "on-failure")
			service["startedSecondsAgo"] = secondsAgo(e.At, d.StartedAt)
			service["unhealthySeconds"] = int(d.Failing.Seconds())
			service["engineError"] = d.Error != ""
			service["networks"] = len(d.Networks)
		}
		services[string(p)] = service
	}
	for _, s := range e.Project.Status.Services {
		if service, ours := services[s.Service].(object); ours {
			service["version"] = shape(versionShape, s.Version)
		}
	}
	return services
}

// secondsAgo is nil for a time that nobody knows.
func secondsAgo(now, then time.Time) any {
	if then.IsZero() {
		return nil
	}
	return int(now.Sub(then).Seconds())
}

// bundleImage tells an official image by its tag and every image by its digest.
func bundleImage(i plan.Image, s *config.Settings, p part) object {
	image := object{"os": word(i.OS, systems()...), "arch": word(i.Arch, systems()...)}
	if s != nil {
		reference := s.MosquittoImage
		if p == thisConnector {
			reference = s.CloudflaredImage
		}
		image["reference"] = shape(imageShape, reference)
	}
	var digests []string
	for _, d := range i.RepoDigests {
		digests = append(digests, shape(digestShape, d))
	}
	image["digests"] = digests
	return image
}

// bundleSettings tells of each setting where it comes from, and its value where that
// is a number or one of a few words.
func bundleSettings(s *config.Settings) object {
	if s == nil {
		return nil
	}
	lan := "none"
	switch {
	case !s.LAN.Enabled():
	case s.LAN.Address.IsUnspecified():
		lan = "all addresses"
	case s.LAN.Address.IsLoopback():
		lan = "loopback"
	default:
		lan = "one address"
	}
	values := object{
		config.KeyAllowAnonymous: s.AllowAnonymous,
		config.KeyLANListen:      lan,
		config.KeySaveInterval:   int(s.SaveInterval.Seconds()),
		config.KeyGracePeriod:    int(s.GracePeriod.Seconds()),
		config.KeyProtocol:       word(s.Protocol, "auto", "quic", "http2"),
		config.KeyEdgeIPVersion:  word(s.EdgeIPVersion, "auto", "4", "6"),
		config.KeyLogLevel:       word(s.LogLevel, "debug", "info", "warn", "error", "fatal"),
		config.KeyHostname:       bundleHostname(s.Hostname),
	}
	settings := object{}
	for _, known := range config.Table() {
		from := "default"
		switch s.Entry(known.Key).Source.Kind {
		case config.FromFile:
			from = config.EnvName
		case config.FromEnvironment:
			from = "environment"
		case config.FromDefault:
		}
		setting := object{"from": from, "overridden": s.Entry(known.Key).Overridden}
		if v, told := values[known.Key]; told {
			setting["value"] = v
		}
		settings[known.Key] = setting
	}
	return settings
}

// bundleHostname tells how many levels a name has: Cloudflare's free certificate
// covers three.
func bundleHostname(name string) object {
	if name == "" {
		return nil
	}
	levels := strings.Count(name, ".") + 1
	return object{"levels": levels, "belowSecondLevel": levels > 3}
}

func bundleFiles(f FilesEvidence) object {
	files := object{
		"envMissing": f.EnvMissing, "envUnreadable": f.EnvErr != nil, "envMode": fmt.Sprintf("%04o", f.EnvMode.Perm()),
		"linesWrong": f.LinesErr != nil, "dialects": len(f.Dialects), "settingsWrong": f.SettingsErr != nil,
		"usersWrong": f.UsersErr != nil, "confWrong": f.ConfErr != nil, "overrideWrong": f.OverrideErr != nil,
		"edited": f.EditedErr != nil, "gitWarnings": len(f.GitWarnings), "token": f.Token != nil,
	}
	if f.Rendered != nil {
		files["users"] = bytes.Count(f.Rendered.Passwd, []byte("\n"))
		rules := 0
		for line := range bytes.Lines(f.Rendered.ACL) {
			if bytes.HasPrefix(line, []byte("topic ")) || bytes.HasPrefix(line, []byte("pattern ")) {
				rules++
			}
		}
		files["rules"] = rules
	}
	return files
}

// bundlePlan counts what up would do, by operation.
func bundlePlan(p *plan.Plan) map[string]int {
	if p == nil {
		return nil
	}
	count := map[string]int{}
	for _, s := range p.Steps {
		count[word(
			s.Op, plan.CreateNetwork, plan.CreateVolume, plan.CreateContainer, plan.CopyFiles, plan.Start, plan.Unpause, plan.Stop,
			plan.Remove, plan.Rename, plan.Reload, plan.Await, plan.RemoveNetwork, plan.RemoveVolume,
		)]++
	}
	return count
}
