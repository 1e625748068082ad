package plan

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mqtunnel/internal/secret"
)

// Why a container is replaced when what it was made from is not any more what is
// wanted.
const (
	WhyToken         = "token changed"
	WhyConfiguration = "configuration changed"
	WhyImage         = "image changed"
)

// Options changes what Up decides.
type Options struct {
	Recreate      bool     // recreate containers that would be left alone
	RemoveOrphans bool     // remove containers of the project that are of no service
	Services      []string // only these; empty is all
}

// Up returns the steps that make what exists into the project: missing networks
// and volumes, then each service in parallel. A container that has to be
// replaced is created and filled before the old one stops, and starts before that
// one is removed, so that clients miss the shortest time; a connector even connects
// before the old one stops. A recreate that was interrupted is carried on.
func Up(p Project, o Observed, opt Options) Plan {
	var pl Plan
	ready := map[string]int{} // network or volume name -> step that makes it
	for _, n := range p.Networks {
		if !n.External && !o.hasNetwork(n.Name) {
			ready[n.Name] = pl.add(Step{Op: CreateNetwork, Subject: n.Key, Why: "does not exist", Name: n.Name})
		}
	}
	for _, v := range p.Volumes {
		if !v.External && !o.hasVolume(v.Name) {
			ready[v.Name] = pl.add(Step{Op: CreateVolume, Subject: v.Key, Why: "does not exist", Name: v.Name})
		}
	}
	for _, s := range p.Services {
		if len(opt.Services) == 0 || slices.Contains(opt.Services, s.Name) {
			pl.upService(s, o, opt, after(s, ready))
		}
	}
	pl.orphans(p, o, opt)
	return pl
}

// after lists the steps that make what the service's container is attached to.
func after(s Service, ready map[string]int) []int {
	var steps []int
	for _, n := range s.Spec.Networks {
		if i, ok := ready[n.Network]; ok {
			steps = append(steps, i)
		}
	}
	for _, m := range s.Spec.Mounts {
		if i, ok := ready[m.Source]; ok && m.Type == MountVolume {
			steps = append(steps, i)
		}
	}
	slices.Sort(steps)
	return slices.Compact(steps)
}

// upService decides for one service: which of its containers stays, what
// replaces it otherwise, and which are left over.
func (p *Plan) upService(s Service, o Observed, opt Options, deps []int) {
	existing := o.service(s.Name)
	keep, why := choose(s, o, existing, opt)
	stale := slices.DeleteFunc(slices.Clone(existing), func(c Container) bool { return keep != nil && c.ID == keep.ID })

	if keep == nil {
		p.replace(s, stale, why, deps)
		return
	}
	gone := p.clear(s.Name, stale, "left over", -1)
	renamed := -1
	if keep.Name != s.ContainerName {
		renamed = p.add(Step{Op: Rename, Subject: s.Name, Why: "name left by an interrupted recreate", ID: keep.ID, Name: s.ContainerName, After: gone})
	}
	switch keep.State {
	case StatePaused:
		p.add(Step{Op: Unpause, Subject: s.Name, Why: "paused", ID: keep.ID, After: append(gone, renamed)})
	case StateRunning:
		if changed := changedFiles(s, *keep); len(changed) > 0 {
			p.add(Step{Op: Reload, Subject: s.Name, Why: strings.Join(changed, ", ") + " changed", ID: keep.ID, After: append(gone, renamed)})
		}
	case StateRestarting:
		// It may end for what is wrong with its files, and nothing can be run in it.
		if changed := changedFiles(s, *keep); len(changed) > 0 {
			why := strings.Join(changed, ", ") + " changed"
			stopped := p.add(Step{Op: Stop, Subject: s.Name, Why: why, ID: keep.ID, After: append(gone, renamed)})
			filled := p.add(Step{Op: CopyFiles, Subject: s.Name, Why: why, ID: keep.ID, After: []int{stopped}})
			p.add(Step{Op: Start, Subject: s.Name, Why: why, ID: keep.ID, After: []int{filled}})
		}
	default:
		filled := p.add(Step{Op: CopyFiles, Subject: s.Name, Why: "not running", ID: keep.ID, After: gone})
		before := slices.Concat(gone, []int{renamed, filled}, deps)
		p.add(Step{Op: Start, Subject: s.Name, Why: "not running", ID: keep.ID, After: before})
	}
}

// replace creates the service's container anew. While an old one holds the
// final name the new one gets Compose's temporary name, and the final one when the
// old one is gone.
func (p *Plan) replace(s Service, stale []Container, why string, deps []int) {
	create := Step{Op: CreateContainer, Subject: s.Name, Why: why, After: deps}
	holder := slices.IndexFunc(stale, func(c Container) bool { return c.Name == s.ContainerName })
	if holder >= 0 {
		create.Name = stale[holder].ID[:min(12, len(stale[holder].ID))] + "_" + s.ContainerName
		half := slices.IndexFunc(stale, func(c Container) bool { return c.Name == create.Name })
		if half >= 0 {
			create.After = append(slices.Clone(deps), p.clear(s.Name, stale[half:half+1], "left by an interrupted recreate", -1)...)
			stale = slices.Delete(slices.Clone(stale), half, half+1)
		}
	}
	if len(stale) > 0 {
		create.Labels = []string{LabelReplace + "=" + s.ContainerName}
	}
	made := p.add(create)
	filled := p.add(Step{Op: CopyFiles, Subject: s.Name, Why: "created", Made: made, After: []int{made}})
	start := Step{Op: Start, Subject: s.Name, Why: "created", Made: made}
	var gone []int
	switch {
	case create.Name == "":
		start.After = append(p.clear(s.Name, stale, why, filled), filled)
		p.add(start)
		return
	case overlaps(s) && slices.ContainsFunc(stale, running):
		start.After = []int{filled}
		began := p.add(start)
		serves := p.add(Step{Op: Await, Subject: s.Name, Why: "the old one serves until it connects", Made: made, After: []int{began}})
		gone = p.clear(s.Name, stale, why, serves)
	default:
		ended := p.stop(s.Name, stale, why, filled)
		start.After = slices.Compact(append(ended, filled))
		began := p.add(start)
		for _, c := range stale {
			gone = append(gone, p.add(Step{Op: Remove, Subject: s.Name, Why: why, ID: c.ID, After: []int{began}}))
		}
	}
	p.add(Step{Op: Rename, Subject: s.Name, Why: "replaces the old one", Made: made, Name: s.ContainerName, After: gone})
}

// overlaps reports whether a new container of the service can run beside the old one:
// the edge takes several connectors of a tunnel. Two that want the same port, address
// or network namespace cannot.
func overlaps(s Service) bool {
	return s.Name == ServiceConnector && s.Spec.NetworkMode == "" && len(s.Spec.Ports) == 0 &&
		!slices.ContainsFunc(s.Spec.Networks, func(e Endpoint) bool { return e.IPv4 != "" })
}

// clear stops and removes containers, after the given step, and returns the
// removing steps.
func (p *Plan) clear(service string, stale []Container, why string, after int) []int {
	var gone []int
	ended := p.stop(service, stale, why, after)
	for i, c := range stale {
		gone = append(gone, p.add(Step{Op: Remove, Subject: service, Why: why, ID: c.ID, After: []int{ended[i]}}))
	}
	return gone
}

// stop stops those of the containers that run, after the given step, and returns for
// each the step after which it does not run.
func (p *Plan) stop(service string, stale []Container, why string, after int) []int {
	ended := make([]int, len(stale))
	for i, c := range stale {
		ended[i] = after
		if running(c) {
			ended[i] = p.add(Step{Op: Stop, Subject: service, Why: why, ID: c.ID, After: []int{after}})
		}
	}
	return ended
}

// choose picks the container that stays: one that matches what is wanted, first
// a running one, then one under its final name. Without one it tells why.
func choose(s Service, o Observed, existing []Container, opt Options) (*Container, string) {
	why := "does not exist"
	var best *Container
	rank := func(c Container) int {
		r := 0
		if c.State == StateRunning {
			r += 2
		}
		if c.Name == s.ContainerName {
			r++
		}
		return r
	}
	for i, c := range existing {
		reason := diverged(s, o, c)
		if reason == "" && opt.Recreate {
			reason = "recreate was asked for"
		}
		if reason != "" {
			why = reason
			continue
		}
		if best == nil || rank(c) > rank(*best) {
			best = &existing[i]
		}
	}
	return best, why
}

// diverged tells why a container is not what is wanted any more, or "".
func diverged(s Service, o Observed, c Container) string {
	switch {
	case c.State == StateDead || c.State == StateRemoving:
		return string(c.State)
	case tokenChanged(s, c):
		return WhyToken
	case c.Labels[LabelConfigHash] != s.Hash:
		return WhyConfiguration
	case imageChanged(s, o, c):
		return WhyImage
	case !o.attached(s, c):
		return "not attached to its network"
	}
	for _, m := range s.Spec.Mounts {
		if m.Type == MountVolume && m.Source != "" && !slices.Contains(c.Volumes, m.Source) {
			return "volume " + m.Source + " not mounted"
		}
	}
	return ""
}

// imageChanged compares by the list call where the tag has not moved, else by
// the label against every digest that means the same image.
func imageChanged(s Service, o Observed, c Container) bool {
	img, known := o.Images[s.Image]
	if !known {
		return strings.HasPrefix(c.Image, "sha256:") && c.Image != s.Image
	}
	label := c.Labels[LabelImage]
	return label != img.ID && !slices.Contains(img.Digests, label)
}

// attached reports whether the container is on every network of the service, on
// the very one that exists now. One that was stopped does not start when its network
// was made anew under the same name (seen on 20.10); one that never ran has a name
// and no ID, and joins what there is.
func (o Observed) attached(s Service, c Container) bool {
	for _, want := range s.Spec.Networks {
		id, on := c.Networks[want.Network]
		if !on {
			return false
		}
		// None is known of what never ran, and of a network that is outside the project.
		i := slices.IndexFunc(o.Networks, func(n ObservedNetwork) bool { return n.Name == want.Network })
		if id != "" && (i < 0 || o.Networks[i].ID != "" && o.Networks[i].ID != id) {
			return false
		}
	}
	return true
}

// tokenChanged reports whether the connector runs with another token file than
// the one wanted. Where the file was not read, nothing is known.
func tokenChanged(s Service, c Container) bool {
	return s.Name == ServiceConnector && len(changedFiles(s, c)) > 0
}

// changedFiles lists the base names of files that differ from what the
// container holds, as far as they were read.
func changedFiles(s Service, c Container) []string {
	var changed []string
	for _, f := range s.Files {
		if held, read := c.Files[f.Path]; read && !held.Equal(f.Content) {
			changed = append(changed, f.Path[strings.LastIndexByte(f.Path, '/')+1:])
		}
	}
	return changed
}

// Holds reports whether a service's files, as far as they were read out of its
// container, are as wanted.
func Holds(p Project, service string, files map[string]secret.Text) bool {
	i := slices.IndexFunc(p.Services, func(s Service) bool { return s.Name == service })
	return i >= 0 && len(changedFiles(p.Services[i], Container{Files: files})) == 0
}

func (p *Plan) orphans(project Project, o Observed, opt Options) {
	for _, c := range o.Containers {
		if slices.ContainsFunc(project.Services, func(s Service) bool { return s.Name == c.Service() }) {
			continue
		}
		p.Orphans = append(p.Orphans, c)
		if opt.RemoveOrphans {
			p.clear(c.Service(), []Container{c}, "no service of this project", -1)
		}
	}
}

func (o Observed) hasNetwork(name string) bool {
	return slices.ContainsFunc(o.Networks, func(n ObservedNetwork) bool { return n.Name == name })
}

func (o Observed) hasVolume(name string) bool {
	return slices.ContainsFunc(o.Volumes, func(v ObservedVolume) bool { return v.Name == name })
}

// service lists the containers of one service by ascending number, then name.
func (o Observed) service(name string) []Container {
	var list []Container
	for _, c := range o.Containers {
		if c.Service() == name {
			list = append(list, c)
		}
	}
	slices.SortFunc(list, func(a, b Container) int {
		na, _ := strconv.Atoi(a.Labels[LabelNumber]) // a missing or foreign number sorts first
		nb, _ := strconv.Atoi(b.Labels[LabelNumber]) // likewise
		if na != nb {
			return na - nb
		}
		return strings.Compare(a.Name, b.Name)
	})
	return list
}

// Find returns the container of a service that stands for it: a running one if
// there is one, under its final name if there is one.
func (o Observed) Find(service string) (Container, bool) {
	list := o.service(service)
	if len(list) == 0 {
		return Container{}, false
	}
	best := list[0]
	for _, c := range list[1:] {
		if score(c) > score(best) {
			best = c
		}
	}
	return best, true
}

func score(c Container) int {
	n := 0
	if running(c) {
		n += 2
	}
	if !TemporaryName(c.Name) {
		n++
	}
	return n
}

var temporaryName = regexp.MustCompile(`^[0-9a-f]{12}_`)

// TemporaryName reports whether a container's name is one that a recreate gives
// before it renames, so that it is seen only after an interruption.
func TemporaryName(name string) bool { return temporaryName.MatchString(name) }
