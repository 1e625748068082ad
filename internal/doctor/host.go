package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
)

func judgeEngineNamed(e *Evidence) Outcome { return judgeEngine(e, plan.EngineUnnamed) }

func judgeEngineRunning(e *Evidence) Outcome { return judgeEngine(e, plan.EngineUnreachable) }

func judgeEngineAccess(e *Evidence) Outcome { return judgeEngine(e, plan.EngineForbidden) }

func judgeEngineVersion(e *Evidence) Outcome { return judgeEngine(e, plan.EngineUnfit) }

// judgeEngine fails with one kind of fault. What comes before it then holds, and
// the needs of the table skip what comes after.
func judgeEngine(e *Evidence, kind plan.EngineFault) Outcome {
	switch {
	case e.Engine.Fault == kind:
		return faulty(e.Engine.Err)
	case e.Engine.Fault != plan.EngineOK:
		return pass("")
	case !e.Engine.Known():
		return unseen("the Engine was not asked")
	case kind == plan.EngineUnfit:
		return pass("Engine %s at %s", e.Engine.Info.Version, e.Engine.Info.Endpoint)
	default:
		return pass("")
	}
}

// arm32 is a 32-bit ARM as the Engine calls it. The connector's published image is
// for amd64 and arm64 only (cloudflare/cloudflared#237).
const arm32 = "arm"

func judgePlatform(e *Evidence) Outcome {
	if !e.Engine.Known() || e.Files.Settings == nil || e.Project.Images == nil {
		return unseen("the Engine and its images were not seen")
	}
	image := e.Files.Settings.CloudflaredImage
	have, pulled := e.Project.Images[plan.ServiceConnector]
	published := strings.HasPrefix(image, "cloudflare/cloudflared") || strings.HasPrefix(image, "docker.io/cloudflare/cloudflared")
	foreign := pulled && have.Arch != "" && have.Arch != arm32
	if e.Engine.Info.Arch == arm32 && (foreign || published && !pulled) {
		return fault("there is no cloudflared for this machine: it is a 32-bit ARM, and %s is for 64-bit systems only", image).
			seen("the Engine says linux/" + e.Engine.Info.Arch).
			do("install a 64-bit system, which a Raspberry Pi 3 or newer can run; or set CLOUDFLARED_IMAGE in .env to an image for 32-bit ARM")
	}
	return pass("%s/%s", e.Engine.Info.OS, e.Engine.Info.Arch)
}

func judgeBoot(e *Evidence) Outcome {
	switch {
	case e.Host.Boot == "":
		return pass("")
	case e.Host.BootOfUser:
		return warning("after a restart of this machine nothing runs: this user's Docker is not enabled").
			seen(e.Host.Boot+" is wanted by nothing in systemd").
			do("enable it for this user, without a login too",
				"systemctl --user enable "+e.Host.Boot, "sudo loginctl enable-linger $(whoami)")
	default:
		return warning("after a restart of this machine nothing runs: Docker is not enabled").
			seen(e.Host.Boot+" is wanted by nothing in systemd").
			do("", "sudo systemctl enable "+e.Host.Boot)
	}
}

// clockTolerance is how far a clock may be off by a Date header: it tells whole
// seconds, and the answer came some seconds after the look began.
const clockTolerance = 90 * time.Second

func judgeClock(e *Evidence) Outcome {
	off, dated := clockOffset(e)
	certificates := edgeCertificates(e)
	byEdge, wrong := certificateOffset(e.At, certificates)
	cause := connectorCause(e)
	blamed := cause.ID == cloudflared.CauseClock
	switch early := notYetValid(e); {
	case dated && off.Abs() > clockTolerance:
		return wrongClock(behind(off)).
			seen("this machine says "+stamp(e.At), "Cloudflare says "+stamp(e.At.Add(off)))
	case dated && (e.Host.Local || !blamed):
		return pass("")
	case !dated && wrong:
		return wrongClock(behind(byEdge)+" or more, by the certificates of Cloudflare's edge").
			seen("this machine says "+stamp(e.At), validity(certificates[0]))
	case !dated && len(certificates) > 0 && e.Host.Local:
		return pass("")
	case blamed:
		return fault("%s", cause.Sentence).seen(causeLine(cause)).do(cause.Hint)
	case !dated && early != nil:
		return wrongClock(behind(early.NotBefore.Sub(e.At))+" or more, by the certificate of the public hostname").
			seen("this machine says "+stamp(e.At), validity(*early))
	default:
		return unseen("nothing told the time")
	}
}

// clockOffset returns what has to be added to the clock of this machine, by an
// answer of Cloudflare's whose certificate was valid.
func clockOffset(e *Evidence) (off time.Duration, known bool) {
	for _, trip := range e.Public.Trips {
		if t := trip.Result.ServerTime; !t.IsZero() {
			return t.Sub(e.At), true
		}
	}
	return 0, false
}

// edgeCertificates returns what the edge showed to the connector's place.
func edgeCertificates(e *Evidence) []probe.Certificate {
	if e.Inside.Report == nil || e.Inside.Report.Edge == nil {
		return nil
	}
	var list []probe.Certificate
	for _, region := range e.Inside.Report.Edge.Regions {
		if region.Certificate != nil {
			list = append(list, *region.Certificate)
		}
	}
	return list
}

// certificateOffset returns the least that has to be added to the clock so that one
// of the certificates is valid, and whether that is more than clocks differ by.
func certificateOffset(at time.Time, certificates []probe.Certificate) (off time.Duration, wrong bool) {
	for i, c := range certificates {
		var need time.Duration
		switch {
		case at.Before(c.NotBefore):
			need = c.NotBefore.Sub(at)
		case at.After(c.NotAfter):
			need = c.NotAfter.Sub(at)
		}
		if i == 0 || need.Abs() < off.Abs() {
			off = need
		}
	}
	return off, off.Abs() > clockTolerance
}

// notYetValid returns the certificate of the public hostname when it begins after
// the time of this machine: nobody issues one ahead.
func notYetValid(e *Evidence) *probe.Certificate {
	for _, trip := range e.Public.Trips {
		if trip.Err != nil && trip.Err.Class == probe.ClassCertNotYet && trip.Err.Certificate != nil &&
			trip.Err.Certificate.NotBefore.Sub(e.At) > clockTolerance {
			return trip.Err.Certificate
		}
	}
	return nil
}

// wrongClock is the fault of a clock that is off by so much.
func wrongClock(how string) Outcome {
	return fault("the clock of this machine is %s", how).
		do("set the clock, and have it set by the network; a Raspberry Pi has none that runs without power",
			"sudo timedatectl set-ntp true", "timedatectl status")
}

// behind words by how much a clock is behind that has to be set forward by off.
func behind(off time.Duration) string {
	const day = 24 * time.Hour
	word, by := "behind", off.Abs()
	if off < 0 {
		word = "ahead"
	}
	if by >= 2*day {
		return fmt.Sprintf("%d days %s", by/day, word)
	}
	return fmt.Sprintf("%v %s", by.Round(time.Second), word)
}

// validity says when a certificate is valid.
func validity(c probe.Certificate) string {
	return "the certificate is valid from " + stamp(c.NotBefore) + " to " + stamp(c.NotAfter)
}

// stamp writes a time for a person.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 MST") }

// gatherEngine connects to the Engine, and returns nil when there is none to work
// with.
func gatherEngine(ctx context.Context, s Sources, e *Evidence) Engine {
	bounded, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	engine, err := s.Open(bounded)
	if err == nil {
		e.Host.Local = engine.Local()
		e.Engine.Info, err = engine.Version(bounded)
	}
	switch {
	case err == nil:
		return engine
	case ctx.Err() != nil:
		return nil // nobody waits for an answer any more
	case errors.Is(err, context.DeadlineExceeded):
		err = remedy.Errorf(remedy.Engine, "restart it: sudo systemctl restart docker",
			"the Docker Engine takes connections and does not answer within %v: %w", engineTimeout, err)
	}
	e.Engine.Info, e.Engine.Fault, e.Engine.Err = plan.EngineInfo{}, s.Fault(err), err
	return nil
}

// gatherHost looks at this machine, as far as the Engine is its own.
func gatherHost(s Sources, e *Evidence) {
	if !e.Host.Local {
		return
	}
	if addresses, err := net.InterfaceAddrs(); err == nil {
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
				e.Host.Addresses = append(e.Host.Addresses, prefix.Addr())
			}
		}
	}
	e.Host.Boot, e.Host.BootOfUser = disabledUnit(s, e.Engine.Info.Endpoint)
}

// gatherLAN finds out whether the port of MQTT_LAN_LISTEN is taken by something
// that is no container of the project. It needs the project's containers.
func gatherLAN(e *Evidence) {
	r, o := e.Files.Rendered, e.Project.Observed
	if r == nil || o == nil || !e.Host.Local {
		return
	}
	// A paused container holds its port like one that runs.
	for _, c := range o.Containers {
		if c.State == plan.StatePaused {
			return
		}
	}
	published := lifecycle.CheckPorts(r.Project, e.Project.All)
	taken := lifecycle.CheckHostPorts(r.Project, *o, net.Listen)
	e.Host.PortTaken = published != nil || errors.Is(taken, syscall.EADDRINUSE)
}

// userSocket is where the Engine of a user without root listens.
var userSocket = regexp.MustCompile(`^unix:///run/user/\d+/docker\.sock$`)

// Directories of systemd in which units are, and links to those that are enabled.
const (
	systemUnits = "etc/systemd/system lib/systemd/system usr/lib/systemd/system usr/local/lib/systemd/system run/systemd/system"
	userUnits   = "etc/systemd/user lib/systemd/user usr/lib/systemd/user usr/local/lib/systemd/user"
)

// disabledUnit returns the systemd unit of the Engine at endpoint when that is not
// started with the machine, and whether it is one of the user's own systemd. It is
// "" where something is not known. docker.socket does not count: it starts Docker
// when somebody connects, and no container before that.
func disabledUnit(s Sources, endpoint string) (unit string, ofUser bool) {
	if _, err := os.Stat(filepath.Join(s.Root, "run/systemd/system")); err != nil {
		return "", false // systemd is not what starts the machine
	}
	dirs, units := strings.Fields(systemUnits), []string{"docker.service", "snap.docker.dockerd.service"}
	switch {
	case endpoint == "unix:///var/run/docker.sock" || endpoint == "unix:///run/docker.sock":
	case userSocket.MatchString(endpoint):
		ofUser = true
		dirs, units = append(strings.Fields(userUnits), userConfig(s.Environ)), units[:1]
	default:
		return "", false
	}
	for _, u := range units {
		if !found(s.Root, dirs, u) {
			continue
		}
		if found(s.Root, dirs, filepath.Join("*.wants", u)) || found(s.Root, dirs, filepath.Join("*.requires", u)) {
			return "", false
		}
		unit = cmp.Or(unit, u)
	}
	return unit, ofUser
}

// userConfig is where a user's own units are.
func userConfig(environ []string) string {
	vars := variables(environ)
	return filepath.Join(cmp.Or(vars["XDG_CONFIG_HOME"], filepath.Join(vars["HOME"], ".config")), "systemd/user")
}

// found reports whether one of the directories below root has what the pattern says.
func found(root string, dirs []string, pattern string) bool {
	for _, dir := range dirs {
		if matches, err := filepath.Glob(filepath.Join(root, dir, pattern)); err == nil && len(matches) > 0 {
			return true
		}
	}
	return false
}
