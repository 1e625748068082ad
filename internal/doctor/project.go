package doctor

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/config"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// gatherProject looks at what the Engine has of the project. What it cannot see
// stays unseen, and keeps nothing else from being looked at.
func gatherProject(ctx context.Context, s Sources, engine Engine, e *Evidence) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	p := &e.Project
	if all, err := engine.All(ctx); err == nil {
		p.All = all
	}
	p.Name = projectName(s, e.Files, p.All)
	o, st := inquire(ctx, engine, e)
	if o == nil {
		return
	}
	p.Observed, p.Status = o, st
	p.Environment = environments(st)
}

// gatherHeld reads back what the containers were filled with, which the Engine takes
// its time for, and returns what adds to the evidence how that compares with what is
// asked for. Until that is called the evidence is only read.
func gatherHeld(ctx context.Context, engine Engine, e *Evidence) (add func()) {
	p := &e.Project
	if p.Observed == nil {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	o := *p.Observed
	var where string
	var g errgroup.Group // every look fills a part of its own, and returns no error
	held := make([]map[string]secret.Text, len(o.Containers))
	for i, c := range o.Containers {
		g.Go(func() error { held[i] = heldFiles(ctx, engine, c); return nil })
	}
	g.Go(func() error { where = place(ctx, engine, o, p.Status); return nil })
	_ = g.Wait() // see above

	return func() {
		for i := range o.Containers {
			o.Containers[i].Files = held[i]
		}
		p.Place, p.TokenHeld = where, tokenHeld(e.Files.Token, o)
		if r := e.Files.Rendered; r != nil {
			steps := plan.Up(r.Project, o, plan.Options{})
			p.Plan, p.Images = &steps, imagesOf(r.Project, o)
		}
	}
}

// gatherTrial tries what the user has added to the broker's configuration where it is
// newer than what runs: up would stop at a line that the broker refuses.
func gatherTrial(ctx context.Context, engine Engine, e *Evidence) {
	svc, known := e.wanted(thisBroker)
	if !known || e.Project.Plan == nil || !e.Files.Added {
		return
	}
	renewed := slices.ContainsFunc(e.Project.Plan.Steps, func(s plan.Step) bool {
		return s.Op == plan.CreateContainer && s.Subject == plan.ServiceBroker && s.Why == plan.WhyConfiguration
	})
	if !renewed {
		return
	}
	if err := lifecycle.Try(ctx, engine, e.Project.Name, svc); remedy.CodeOf(err) == remedy.Input {
		e.Files.ConfErr = err
	}
}

// gatherContainers looks into containers: what the broker's user can do in its own,
// and which show a token.
func gatherContainers(ctx context.Context, engine Engine, e *Evidence) {
	ctx, cancel := context.WithTimeout(ctx, engineTimeout)
	defer cancel()
	p := &e.Project
	var g errgroup.Group // as above
	g.Go(func() error { p.Showing = showing(ctx, engine, p.Name, e.Files.Token, p.All); return nil })
	if p.Observed != nil {
		g.Go(func() error { p.Broker = lookIntoBroker(ctx, engine, *p.Observed); return nil })
	}
	_ = g.Wait() // none returns an error
}

// defaultProject is what a project is called that nothing names.
const defaultProject = "mqtunnel"

// projectName finds out which project is meant: the one that was asked for, that
// of the files, else the one that was made from the directory.
func projectName(s Sources, f FilesEvidence, all []plan.Container) string {
	made := ""
	for _, c := range all {
		if c.Labels[plan.LabelRole] != "" && c.Labels[plan.LabelWorkingDir] == f.Dir {
			made = c.Project()
		}
	}
	switch {
	case s.Project != "":
		return s.Project
	case f.EnvMissing && made != "":
		return made // its name may have stood in .env
	case f.Rendered != nil:
		return f.Rendered.Project.Name
	case f.Settings != nil:
		return f.Settings.Project
	}
	for _, variable := range s.Environ {
		if name, found := strings.CutPrefix(variable, config.KeyProject+"="); found && name != "" {
			return name
		}
	}
	if made != "" {
		return made
	}
	return defaultProject
}

// A container that changed a moment ago may be on its way up: somebody restarts it.
const (
	changeGrace = 2 * time.Second
	changePause = 200 * time.Millisecond
)

// inquire observes the project and asks how its services are, again as long as one
// of them has changed a moment ago.
func inquire(ctx context.Context, engine Engine, e *Evidence) (*plan.Observed, *lifecycle.Status) {
	for {
		o, err := engine.Observe(ctx, query(e))
		if err != nil {
			return nil, nil
		}
		st, err := lifecycle.Inquire(ctx, engine, lifecycle.Inquiry{Project: e.Project.Name, Observed: o})
		switch {
		case err != nil:
			return &o, nil
		case !changing(st.Details):
			return &o, &st
		}
		select {
		case <-time.After(changePause):
		case <-ctx.Done():
			return &o, &st
		}
	}
}

// changing reports whether a container that does not run was made or ended well a
// moment ago. With an Engine whose clock differs nothing is.
func changing(details map[string]plan.Details) bool {
	for _, d := range details {
		since := time.Since(d.FinishedAt)
		switch {
		case d.State == plan.StateCreated && d.Error == "":
			since = time.Since(d.Created)
		case d.State != plan.StateExited || !endedWell(d):
			continue
		}
		if since >= 0 && since < changeGrace {
			return true
		}
	}
	return false
}

// query is what an observation of the project looks for.
func query(e *Evidence) plan.Query {
	q := plan.Query{Project: e.Project.Name}
	if r := e.Files.Rendered; r != nil {
		for _, svc := range r.Project.Services {
			q.Names, q.Images = append(q.Names, svc.ContainerName), append(q.Images, svc.Image)
		}
		for _, n := range r.Project.Networks {
			q.Networks = append(q.Networks, n.Name)
		}
		for _, v := range r.Project.Volumes {
			q.Volumes = append(q.Volumes, v.Name)
		}
		return q
	}
	for _, c := range e.Project.All {
		for name := range c.Networks {
			if c.Project() == e.Project.Name {
				q.Networks = append(q.Networks, name)
			}
		}
	}
	return q
}

// heldFiles reads back what a container was filled with, as far as a change of it
// has to be noticed.
func heldFiles(ctx context.Context, engine Engine, c plan.Container) map[string]secret.Text {
	var names []string
	switch c.Service() {
	case plan.ServiceConnector:
		names = []string{render.TokenPath}
	case plan.ServiceBroker:
		names = []string{render.PasswdPath, render.ACLPath}
	}
	held, err := lifecycle.HeldFiles(ctx, engine, c.ID, names)
	if err != nil {
		return nil
	}
	return held
}

// tokenHeld reports whether the connector holds the token; nil when either is
// unknown.
func tokenHeld(token *cloudflared.Token, o plan.Observed) *bool {
	c, found := o.Find(plan.ServiceConnector)
	held, read := c.Files[render.TokenPath]
	if token == nil || !found || !read {
		return nil
	}
	same := held.Equal(token.Secret())
	return &same
}

// environments returns what each service's container was created with.
func environments(st *lifecycle.Status) map[string][]string {
	env := map[string][]string{}
	if st != nil {
		for service, d := range st.Details {
			env[service] = d.Env
		}
	}
	return env
}

// imagesOf returns what the Engine has of each service's image.
func imagesOf(p plan.Project, o plan.Observed) map[string]plan.Image {
	found := map[string]plan.Image{}
	for _, svc := range p.Services {
		if img, known := o.Images[svc.Image]; known {
			found[svc.Name] = img
		}
	}
	return found
}

// showing lists the containers that show a token of the tunnel to whoever may ask
// the Engine: of the project, or of others that run cloudflared by hand. Those that
// mqtunnel made for other projects show none.
func showing(ctx context.Context, engine Engine, project string, token *cloudflared.Token, all []plan.Container) []string {
	ctx, cancel := context.WithTimeout(ctx, showingTimeout)
	defer cancel()
	var mu sync.Mutex
	var names []string
	var g errgroup.Group
	g.SetLimit(maxInspects)
	for _, c := range all {
		connects := strings.Contains(c.Image, "cloudflared") || strings.Contains(c.Program, "cloudflared")
		foreign := connects && c.Labels[plan.LabelRole] == "" && token != nil
		if !foreign && c.Project() != project {
			continue
		}
		g.Go(func() error {
			d, err := engine.Inspect(ctx, c.ID)
			if err != nil || !showsToken(d, token) {
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			names = append(names, c.Name)
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	slices.Sort(names)
	return names
}

// Containers of others are inspected so many at once, and so long at most: the
// Engine may be busy with one of them.
const (
	maxInspects    = 8
	showingTimeout = 3 * time.Second
)

// showsToken reports whether an argument or a variable of the container holds a
// token of the tunnel, or any where that is not known.
func showsToken(d plan.Details, token *cloudflared.Token) bool {
	return slices.ContainsFunc(slices.Concat(d.Arguments, d.Env), func(text string) bool {
		found, err := cloudflared.FindToken(text)
		return err == nil && (token == nil || found.TunnelID == token.TunnelID)
	})
}

// place finds out where in the user's own files the broker's complaint points to,
// by the very configuration that its container holds.
func place(ctx context.Context, engine Engine, o plan.Observed, st *lifecycle.Status) string {
	c, found := o.Find(plan.ServiceBroker)
	if !found || st == nil || st.Fault == nil {
		return ""
	}
	held, err := lifecycle.HeldFiles(ctx, engine, c.ID, []string{mosquitto.ConfPath})
	if err != nil {
		return ""
	}
	conf := held[mosquitto.ConfPath].Reveal() // lines are counted in it, none is shown
	return mosquitto.FindPlace(st.BrokerLines, conf)
}

// brokerScript looks at the broker's files and its data as the broker's user does.
// It changes nothing, and needs no more than the shells and tools of Alpine and of
// Debian have alike. A shell as uid 1883 may call a directory of a read-only file
// system writable, so the mount is asked too.
const brokerScript = `
for f in "$@"; do [ -r "$f" ] || echo "unreadable $f"; done
db=` + mosquitto.DataPath + `/mosquitto.db
[ ! -e "$db" ] || [ -r "$db" ] || echo "unreadable $db"
[ -w ` + mosquitto.DataPath + ` ] && [ -x ` + mosquitto.DataPath + ` ] || echo unwritable
while read -r _ dir _ options _; do
	[ "$dir" = ` + mosquitto.DataPath + ` ] || continue
	case ",$options," in *,ro,*) echo unwritable ;; esac
done </proc/mounts
echo "disk $(df -P -k ` + mosquitto.DataPath + ` | tail -n 1)"
`

// lookIntoBroker runs brokerScript where the broker runs.
func lookIntoBroker(ctx context.Context, engine Engine, o plan.Observed) *BrokerLook {
	c, found := o.Find(plan.ServiceBroker)
	if !found || c.State != plan.StateRunning {
		return nil
	}
	files := []string{mosquitto.ConfPath, mosquitto.PasswdPath, mosquitto.ACLPath}
	res, err := engine.Exec(ctx, c.ID, append([]string{"/bin/sh", "-c", brokerScript, "look"}, files...), secret.Text{})
	if err != nil || res.Code != 0 {
		return nil
	}
	return parseBrokerLook(res.Output)
}

// parseBrokerLook reads what brokerScript prints. Lines of others in between, such
// as complaints of a tool, are left out.
func parseBrokerLook(output string) *BrokerLook {
	look := &BrokerLook{DataFree: -1, DataSize: -1}
	for line := range strings.Lines(output) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch word {
		case "unreadable":
			look.Unreadable = append(look.Unreadable, rest)
		case "unwritable":
			look.Unwritable = true
		case "disk":
			look.DataSize, look.DataFree = parseDisk(rest)
		}
	}
	return look
}

// parseDisk reads size and free bytes from a line of "df -P -k", -1 when it is
// none: file system, size, used, free, percentage, mount point. The first may have
// blanks in it.
func parseDisk(line string) (size, free int64) {
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return -1, -1
	}
	numbers := fields[len(fields)-5:]
	size, err := strconv.ParseInt(numbers[0], 10, 64)
	if err != nil {
		return -1, -1
	}
	free, err = strconv.ParseInt(numbers[2], 10, 64)
	if err != nil {
		return -1, -1
	}
	return size << 10, max(free, 0) << 10
}
