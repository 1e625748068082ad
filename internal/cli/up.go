package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// upOptions are the flags of up.
type upOptions struct {
	dryRun, noWait, adopt, recreate, removeOrphans bool
	timeout                                        time.Duration
	connectTo                                      []string
}

func (a *App) upCommand() *cobra.Command {
	var o upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run the broker and the tunnel, and prove that a message flows",
		Long: `Run the broker and the tunnel. up ends with 0 only when a message has gone
through the public hostname and back. Running it again changes nothing that is
as it should be. What only the Cloudflare dashboard can do it says, and on a
terminal goes on as soon as it is done.`,
		Example: `  mqtunnel up
  mqtunnel up --dry-run
  mqtunnel up --connect-to mqtt.example.com:443:192.0.2.7:443`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.timeout <= 0 {
				return usageError(cmd, errors.New("--timeout must be more than nothing, for example 5m"))
			}
			return a.up(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.dryRun, "dry-run", false, "print what would be done")
	f.BoolVar(&o.noWait, "no-wait", false, "do not wait until a message flows")
	f.DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait for a message to flow")
	f.BoolVar(&o.adopt, "adopt", false, "take over a project of this name that belongs to another directory")
	f.BoolVar(&o.recreate, "force-recreate", false, "recreate the containers though nothing changed")
	f.BoolVar(&o.removeOrphans, "remove-orphans", false, "remove containers of services that the project has no more")
	f.StringArrayVar(&o.connectTo, "connect-to", nil, "connect to ADDRESS:PORT for HOST:PORT, given as `HOST:PORT:ADDRESS:PORT`")
	return cmd
}

// up brings the project up: everything is checked first, and nothing is changed
// until all is green.
func (a *App) up(ctx context.Context, o upOptions) error {
	to, err := connectTo(o.connectTo)
	if err != nil {
		return err
	}
	s, err := a.here()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.needToken(ctx, o.dryRun); err != nil {
		return err
	}
	if err := s.connect(ctx); err != nil {
		return err
	}
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	if _, err := s.settings.ParseToken(); err != nil { // it may have been removed meanwhile
		return err
	}
	u := &upRun{session: s, options: o}
	if err := u.prepare(ctx); err != nil {
		return left(err, leftNothing)
	}
	if o.dryRun {
		a.printPlan(u.plan)
		return nil
	}
	if err := u.run(ctx); err != nil {
		return err
	}
	release()
	return left(u.finish(ctx, to), leftRunning)
}

// leftRunning is what is left when the wait for a message is broken off.
const leftRunning = "the containers are left running; mqtunnel up looks again whether a message flows"

// upRun is one up at work.
type upRun struct {
	*session

	options  upOptions
	dir      *render.Directory
	rendered render.Rendered
	observed plan.Observed
	plan     plan.Plan
	images   map[string]plan.Image
}

// needToken makes sure that there is a valid token, asking for it on a terminal.
func (s *session) needToken(ctx context.Context, dryRun bool) error {
	_, err := s.settings.ParseToken()
	if err == nil || !noToken(err) || !s.app.interactive() || dryRun {
		return err
	}
	fmt.Fprintf(s.app.Err, "There is no tunnel token in %s yet.\n", s.dir)
	text, err := s.app.askHidden(ctx, "Tunnel token from the Cloudflare dashboard (paste it, it is not shown): ", cloudflared.Complete)
	if err != nil {
		return err
	}
	token, err := cloudflared.FindToken(text.Reveal()) // decoding needs the text
	if err != nil {
		return err
	}
	if err := s.app.storeToken(ctx, s.dir, token); err != nil {
		return err
	}
	fresh, err := s.app.session(s.dir)
	if err != nil {
		return err
	}
	s.settings = fresh.settings
	return nil
}

// prepare is the pre-flight: it reads, observes, checks and plans. Only images
// are fetched; nothing else is changed.
func (u *upRun) prepare(ctx context.Context) error {
	if err := u.needProbe(); err != nil {
		return err
	}
	d, err := render.ReadDirectory(u.session.dir)
	if err != nil {
		return err
	}
	u.dir = d
	if u.rendered, err = u.renderFrom(ctx, d, false); err != nil {
		return err
	}
	if err := d.CheckEdited(u.rendered); err != nil {
		return err
	}
	if u.observed, err = u.engine.Observe(ctx, query(u.rendered.Project)); err != nil {
		return err
	}
	if err := u.compareFiles(ctx); err != nil {
		return err
	}
	if err := u.preflight(ctx); err != nil {
		return err
	}
	u.plan = u.decide()
	if u.options.dryRun {
		return nil
	}
	return u.fetch(ctx)
}

func (u *upRun) decide() plan.Plan {
	return plan.Up(u.rendered.Project, u.observed, plan.Options{Recreate: u.options.recreate, RemoveOrphans: u.options.removeOrphans})
}

// compareFiles reads back what the containers hold, and renders again with a new
// revision when the connector was made with another token.
func (u *upRun) compareFiles(ctx context.Context) error {
	for i := range u.observed.Containers {
		c := &u.observed.Containers[i]
		var want []string
		switch c.Service() {
		case plan.ServiceConnector:
			want = []string{render.TokenPath}
		case plan.ServiceBroker:
			// A killed user watch leaves a configuration of its own.
			want = []string{render.PasswdPath, render.ACLPath, mosquitto.ConfPath}
		}
		held, err := lifecycle.HeldFiles(ctx, u.engine, c.ID, want)
		if err != nil {
			return err
		}
		c.Files = held
	}
	c, found := u.observed.Find(plan.ServiceConnector)
	held, read := c.Files[render.TokenPath]
	token, err := u.settings.ParseToken()
	if err != nil || !found || !read || held.Equal(token.Secret()) {
		return err
	}
	// The label decides under Compose: it changes when the token does.
	u.rendered, err = u.renderFrom(ctx, u.dir, c.Labels[plan.LabelRevision] == u.revision())
	return err
}

// revision is the connector's as rendered.
func (u *upRun) revision() string {
	for _, svc := range u.rendered.Project.Services {
		if svc.Name == plan.ServiceConnector {
			return svc.Spec.Labels[plan.LabelRevision]
		}
	}
	return ""
}

// preflight checks what would make the plan fail half-way.
func (u *upRun) preflight(ctx context.Context) error {
	p := u.rendered.Project
	if err := lifecycle.CheckSecrets(p, map[string]secret.Text{
		"tunnel token": u.settings.Token, "probe's password": u.settings.ProbePassword, "Access secret": u.settings.AccessSecret,
	}); err != nil {
		return err
	}
	if err := lifecycle.CheckOwner(p, u.observed, u.options.adopt); err != nil {
		return err
	}
	if err := lifecycle.CheckNames(p, u.observed); err != nil {
		return err
	}
	if err := lifecycle.CheckExternal(p, u.observed); err != nil {
		return err
	}
	if u.decide().Empty() {
		return nil // what runs has passed the rest
	}
	all, err := u.engine.All(ctx)
	if err != nil {
		return err
	}
	token, err := u.settings.ParseToken()
	if err != nil {
		return err
	}
	if err := lifecycle.CheckTunnel(p, token.TunnelID, all); err != nil {
		return err
	}
	if err := lifecycle.CheckPorts(p, all); err != nil || !u.engine.Local() {
		return err
	}
	return lifecycle.CheckHostPorts(p, u.observed, net.Listen)
}

// fetch gets the images, decides again with what they are, and tries a changed
// broker configuration.
func (u *upRun) fetch(ctx context.Context) error {
	if u.plan.Empty() {
		return nil
	}
	images, err := lifecycle.Images(ctx, u.engine, u.rendered.Project.Services, u.show)
	if err != nil {
		return err
	}
	u.images, u.observed.Images = images, images
	u.plan = u.decide()
	for _, step := range u.plan.Steps {
		if step.Op == plan.CreateContainer && step.Subject == plan.ServiceBroker {
			return u.tryBroker(ctx)
		}
	}
	return nil
}

func (u *upRun) tryBroker(ctx context.Context) error {
	for _, svc := range u.rendered.Project.Services {
		if svc.Name == plan.ServiceBroker {
			return lifecycle.Try(ctx, u.engine, u.rendered.Project.Name, svc)
		}
	}
	return nil
}

// run writes the files and carries the plan out.
func (u *upRun) run(ctx context.Context) error {
	if err := u.write(); err != nil {
		return err
	}
	for _, c := range u.plan.Orphans {
		if !u.options.removeOrphans {
			u.note(fmt.Sprintf("container %s belongs to a service that the project has no more: mqtunnel up --remove-orphans removes it", c.Name))
		}
	}
	if u.plan.Empty() {
		u.note("nothing to change: the containers were made from these files")
		return nil
	}
	return left(lifecycle.Execute(ctx, u.engine, u.rendered.Project, u.images, u.plan, u.show), leftHalfway)
}

// leftNothing is what is left when a command is broken off before it did anything.
const leftNothing = "nothing was changed"

// leftHalfway is what is left when a plan is broken off.
const leftHalfway = "what was done so far stays; run the same command again to go on"

// left adds to an interruption what is left.
func left(err error, what string) error {
	if errors.Is(err, context.Canceled) && remedy.HintOf(err) == "" {
		return &remedy.Error{Code: remedy.Interrupted, Err: err, Hint: what}
	}
	return err
}

// printPlan shows what would be done.
func (a *App) printPlan(pl plan.Plan) {
	if pl.Empty() {
		fmt.Fprintln(a.Out, "nothing to do")
		return
	}
	for line := range strings.Lines(pl.String()) {
		index, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		a.under(index+" ", display.Safe(text))
	}
	if !a.flags.quiet {
		fmt.Fprintln(a.Err, "nothing was done; the numbers in brackets are the steps that a step waits for")
	}
}

// write stores the probe's password and the project's files.
func (u *upRun) write() error {
	exposure, err := render.CheckGit(u.session.dir)
	if err != nil {
		return err
	}
	var more []render.Target
	if exposure.Missing {
		more = append(more, render.Target{Name: render.GitIgnoreName, Data: render.GitIgnore(), Mode: render.ModePublic})
	}
	if err := u.store(&u.rendered, more...); err != nil {
		return err
	}
	for _, w := range exposure.Warnings() {
		u.warn(w)
	}
	return nil
}
