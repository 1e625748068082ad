package lifecycle

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/secret"
)

// Prober is the Engine as far as a probe needs it.
type Prober interface {
	Inspect(ctx context.Context, id string) (plan.Details, error)
	CreateContainer(ctx context.Context, c plan.Creation) (id string, err error)
	CopyFiles(ctx context.Context, id string, files []plan.File) error
	Start(ctx context.Context, id string) error
	Remove(ctx context.Context, id string, volumes bool) error
	Logs(ctx context.Context, id string, o plan.LogOptions, each func(plan.LogLine) error) error
	Probes(ctx context.Context) ([]plan.Container, error)
}

// View is from where a probe looks and what it is to find out.
type View struct {
	Project   string // Compose project, for the label
	Connector string // container ID; "" looks from the network at once
	// Service is the connector's: its image is what the probe's container is made
	// from, and when the connector is down its networks, name servers and extra hosts
	// are what that container has.
	Service plan.Service
	Binary  secret.Text   // mqtunnel for the Engine's platform
	Request probe.Request // holds the probe account's password
}

// Place is from where a look was.
type Place string

// The places.
const (
	PlaceConnector Place = "cloudflared" // the connector's network namespace
	PlaceNetwork   Place = "network"     // the networks that the connector would have
)

// probeMemory bounds the probe's memory, in bytes.
const probeMemory = 128 << 20

// ErrRestarted says that the connector restarted while the probe was looking:
// it then sat in a dead network namespace and saw nothing but that.
var ErrRestarted = errors.New("the connector restarted meanwhile")

// errGone says that the probe's container ended and removed itself, log and all,
// before its log was opened: on a busy machine the Engine may take longer to answer
// than the probe to look.
var errGone = errors.New("its container was gone before its report was read")

// Look runs the probe once in a short-lived container and returns its report, and
// from where it looked. While the connector runs, or is paused, the probe shares
// its network namespace, and sees exactly what the connector sees; else it looks
// from the project's network. A report from a namespace that died meanwhile is
// discarded and the look is repeated once, and so is one whose report was lost.
// Probes of the project that a killed run left are removed first. When ctx ends,
// the container is removed all the same.
func Look(ctx context.Context, e Prober, v View) (probe.Report, Place, error) {
	// What cannot be removed now keeps nobody from looking: the next look tries again.
	_ = Sweep(ctx, e, v.Project, false)
	report, place, err := look(ctx, e, v)
	if errors.Is(err, ErrRestarted) || errors.Is(err, errGone) {
		report, place, err = look(ctx, e, v)
	}
	switch {
	case err == nil:
		return report, place, nil
	case ctx.Err() != nil:
		// Whatever broke did so because the caller gave up: the container goes while
		// its log is still being opened.
		return probe.Report{}, place, ctx.Err()
	default:
		return probe.Report{}, place, fmt.Errorf("look from inside the network: %w", err)
	}
}

func look(ctx context.Context, e Prober, v View) (probe.Report, Place, error) {
	if v.Connector == "" {
		report, err := inContainer(ctx, e, v, "")
		return report, PlaceNetwork, err
	}
	before, err := e.Inspect(ctx, v.Connector)
	if err != nil {
		return probe.Report{}, PlaceConnector, err
	}
	if !hasNamespace(before.State) {
		report, err := inContainer(ctx, e, v, "")
		return report, PlaceNetwork, err
	}
	report, err := inContainer(ctx, e, v, "container:"+before.ID)
	after, ierr := e.Inspect(ctx, v.Connector)
	switch {
	case ierr != nil && err == nil:
		err = ierr // nobody knows then what was looked at
	case ierr == nil && (!after.StartedAt.Equal(before.StartedAt) || !hasNamespace(after.State)):
		err = ErrRestarted
	}
	if err != nil {
		return probe.Report{}, PlaceConnector, err
	}
	return report, PlaceConnector, nil
}

// hasNamespace reports whether a container in this state has a network namespace.
func hasNamespace(s plan.State) bool { return s == plan.StateRunning || s == plan.StatePaused }

// inContainer runs the probe in a container of the given network mode, or on
// the project's network when that is empty.
func inContainer(ctx context.Context, e Prober, v View, mode string) (report probe.Report, err error) {
	request, err := v.Request.Encode()
	if err != nil {
		return probe.Report{}, err
	}
	files := []plan.File{
		{Path: probe.BinaryPath, UID: probe.UID, GID: probe.GID, Mode: probe.BinaryMode, Content: v.Binary},
		{Path: probe.RequestPath, UID: probe.UID, GID: probe.GID, Mode: probe.RequestMode, Content: request},
	}
	err = inThrowAway(ctx, e, probeContainer(v, mode), files, func(ctx context.Context, id string) (err error) {
		report, err = readReport(ctx, e, id)
		return err
	})
	return report, err
}

// maxComplaint bounds what is kept of a probe's words when it has no report, in
// bytes.
const maxComplaint = 4 << 10

// readReport waits for the lines that the probe writes.
func readReport(ctx context.Context, e Prober, id string) (probe.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, probe.MaxDuration+5*time.Second)
	defer cancel()
	var report probe.ReportLines
	var complaint []byte
	err := e.Logs(ctx, id, plan.LogOptions{Tail: -1, Follow: true}, func(l plan.LogLine) error {
		if l.Stderr {
			complaint = append(complaint, l.Text[:min(len(l.Text), maxComplaint-len(complaint))]...)
			return nil
		}
		if report.Add(l.Text) {
			return errStopped
		}
		return nil
	})
	if err != nil && !errors.Is(err, errStopped) {
		if ctx.Err() == nil && report.Empty() {
			err = fmt.Errorf("%w: %w", errGone, err)
		}
		return probe.Report{}, fmt.Errorf("read report: %w", err)
	}
	if report.Empty() && len(complaint) == 0 {
		return probe.Report{}, errGone
	}
	if report.Empty() {
		return probe.Report{}, fmt.Errorf("the probe wrote no report: %s", bytes.TrimSpace(complaint))
	}
	return report.Decode()
}

// probeContainer is what a probe's container is created with: no capability, no
// new privileges, little memory, no health check, its own log, and gone when it
// ends.
func probeContainer(v View, mode string) plan.Creation {
	name := fmt.Sprintf("%s-probe-%s", v.Project, rand.Text()[:8])
	spec := plan.Spec{
		Entrypoint:  []string{probe.BinaryPath},
		Command:     []string{probe.Command, probe.RequestPath},
		User:        fmt.Sprintf("%d:%d", probe.UID, probe.GID),
		CapDrop:     []string{"ALL"},
		SecurityOpt: []string{"no-new-privileges:true"},
		Restart:     plan.Restart{Name: "no"},
		Health:      &plan.Health{Test: []string{"NONE"}},
		Logging:     &plan.Logging{Driver: "json-file", Options: map[string]string{"max-size": "32m", "max-file": "1"}},
		MemoryLimit: probeMemory,
		PidsLimit:   64,
	}
	if mode == "" {
		own := v.Service.Spec
		mode, spec.DNS, spec.DNSSearch, spec.DNSOpt, spec.ExtraHosts = own.NetworkMode, own.DNS, own.DNSSearch, own.DNSOpt, own.ExtraHosts
		for _, e := range own.Networks {
			spec.Networks = append(spec.Networks, plan.Endpoint{Network: e.Network}) // its names and addresses stay the connector's
		}
	}
	return plan.Creation{
		Name:        name,
		Service:     plan.Service{Name: "probe", Image: v.Service.Image, Platform: v.Service.Platform, Spec: spec},
		NetworkMode: mode,
		AutoRemove:  true,
		Labels:      throwAwayLabels(v.Project),
	}
}
