package doctor

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

func judgeBrokerUnchanged(e *Evidence) Outcome    { return judgeUnchanged(e, thisBroker) }
func judgeConnectorUnchanged(e *Evidence) Outcome { return judgeUnchanged(e, thisConnector) }
func judgeBrokerConfined(e *Evidence) Outcome     { return judgeConfined(e, thisBroker) }
func judgeConnectorConfined(e *Evidence) Outcome  { return judgeConfined(e, thisConnector) }

// Unconfined returns what is to be said about how the containers of a project are
// confined: the findings of the checks on their limits and their rights. It looks at
// nothing else, and a container that it cannot look at is left out.
func Unconfined(ctx context.Context, engine lifecycle.Prober, r render.Rendered) []Result {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	st := lifecycle.Status{Details: map[string]plan.Details{}}
	for _, svc := range r.Project.Services {
		if d, err := engine.Inspect(ctx, svc.ContainerName); err == nil {
			st.Details[svc.Name] = d
		}
	}
	e := &Evidence{At: time.Now(), Files: FilesEvidence{Rendered: &r}, Project: ProjectEvidence{Name: r.Project.Name, Status: &st}}
	return Judge(e).Only([]string{
		"limits", "broker-unchanged", "broker-confined", "connector-unchanged", "connector-confined",
	}).Findings()
}

// judgeUnchanged compares the container with what the files make. Nothing that is
// changed by hand shows in the labels by which up and Compose know what to replace.
func judgeUnchanged(e *Evidence, p part) Outcome {
	d, svc, o := e.made(p)
	if o != nil {
		return *o
	}
	opened := slices.Concat(furtherRights(d, svc), e.unwanted(d.Container))
	changes := slices.Concat(opened, e.otherBounds(d, svc))
	if len(changes) == 0 {
		return pass("")
	}
	var seen []string
	for _, c := range changes {
		seen = append(seen, d.Name+" "+c)
	}
	const do = "make it anew, and find out who did that: Portainer, docker update and docker run change containers and not the files"
	const said = "%s %s, and the files do not say so: its container was made or changed by hand"
	if len(opened) == 0 {
		return warning(said, p, changes[0]).seen(seen...).do(do, "mqtunnel up --force-recreate")
	}
	return fault(said, p, changes[0]).seen(seen...).do(do, "mqtunnel up --force-recreate")
}

// made returns the service's container and what it was made from. The outcome is that of
// a check for which the two cannot be compared, nil when they can.
func (e *Evidence) made(p part) (plan.Details, plan.Service, *Outcome) {
	d, found := e.details(p)
	svc, known := e.wanted(p)
	var o Outcome
	switch {
	case !found:
		o = unknown(p)
	case !known:
		o = unseen("what %s's container should be is not known", p)
	case d.Labels[plan.LabelConfigHash] != svc.Hash:
		o = unseen("%s's container was made from other files than those that are there now", p)
	default:
		return d, svc, nil
	}
	return d, svc, &o
}

// furtherRights tells what the container may do beyond what it should.
func furtherRights(d plan.Details, svc plan.Service) []string {
	wanted := svc.Spec.Rights()
	list := slices.DeleteFunc(d.Rights.Excess(), func(s string) bool { return slices.Contains(wanted.Excess(), s) })
	if wanted.User != "" && d.Rights.User != wanted.User && !d.Rights.Root() {
		list = append(list, "runs as user "+d.Rights.User+" in place of "+wanted.User)
	}
	return list
}

// otherBounds tells which limits of the container, or which restart policy, are others
// than they should be. A limit that neither container has is one of those that the kernel
// does not enforce.
func (e *Evidence) otherBounds(d plan.Details, svc plan.Service) []string {
	var list []string
	if memory := svc.Spec.MemoryLimit; d.MemoryLimit != memory && (d.MemoryLimit > 0 || e.enforces(memoryLimit)) {
		list = append(list, "may use "+megabytes(d.MemoryLimit)+" in place of "+megabytes(memory))
	}
	if pids := max(0, svc.Spec.PidsLimit); d.PidsLimit != pids && (d.PidsLimit > 0 || e.enforces(pidsLimit)) {
		list = append(list, "may run "+processes(d.PidsLimit)+" in place of "+processes(pids))
	}
	if want, is := policy(svc.Spec.Restart), policy(d.Policy); is != want {
		list = append(list, "has the restart policy "+is+" in place of "+want)
	}
	return list
}

func memoryLimit(d plan.Details) int64 { return d.MemoryLimit }
func pidsLimit(d plan.Details) int64   { return d.PidsLimit }

// enforces reports whether the kernel is seen to enforce a limit: a container of the
// project has it.
func (e *Evidence) enforces(limit func(plan.Details) int64) bool {
	return slices.ContainsFunc([]part{thisBroker, thisConnector}, func(p part) bool {
		d, found := e.details(p)
		return found && limit(d) > 0
	})
}

func megabytes(limit int64) string {
	if limit == 0 {
		return "all memory"
	}
	return fmt.Sprintf("%d MB of memory", limit>>20)
}

func processes(limit int64) string {
	if limit == 0 {
		return "any number of processes"
	}
	return fmt.Sprintf("%d processes", limit)
}

// policy words a restart policy as Compose files have it.
func policy(r plan.Restart) string {
	switch {
	case r.Name == "":
		return "no"
	case r.Name == "on-failure" && r.MaxRetries > 0:
		return fmt.Sprintf("%s:%d", r.Name, r.MaxRetries)
	}
	return r.Name
}

// judgeConfined tells what the override file takes from the container's confinement.
func judgeConfined(e *Evidence, p part) Outcome {
	d, svc, o := e.made(p)
	if o != nil {
		return *o
	}
	is, asked := d.Rights, svc.Spec.Rights()
	is.HostNetwork = false // the check of published ports tells of that
	less := slices.DeleteFunc(is.Excess(), func(s string) bool { return !slices.Contains(asked.Excess(), s) })
	if svc.Spec.MemoryLimit == 0 && d.MemoryLimit == 0 {
		less = append(less, "has no limit of memory")
	}
	if svc.Spec.PidsLimit <= 0 && d.PidsLimit == 0 {
		less = append(less, "has no limit of processes")
	}
	if len(less) == 0 {
		return pass("%s, %s", megabytes(d.MemoryLimit), processes(d.PidsLimit))
	}
	var seen []string
	for _, l := range less {
		seen = append(seen, d.Name+" "+l)
	}
	file := e.overrideName()
	return warning("%s confines %s less than mqtunnel does: it %s", file, p, less[0]).seen(seen...).
		do("take out of "+file+" what nobody needs, and type: mqtunnel up", "mqtunnel up")
}

// overrideName is what the user's override file is called.
func (e *Evidence) overrideName() string {
	if r := e.Files.Rendered; r != nil && len(r.Project.ConfigFiles) > 1 {
		return filepath.Base(r.Project.ConfigFiles[len(r.Project.ConfigFiles)-1])
	}
	return "compose.override.yaml"
}
