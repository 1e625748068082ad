package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
	"mqtunnel/internal/secret"
)

// userChange is what one of the user commands does.
type userChange struct {
	name   string
	verb   string // "added", for the sentence at the end
	login  bool   // a password belongs to it, and a login proves it
	grants bool   // it lets somebody do more, and is taken back where the broker does not take it
	topic  string // one that a user who is added may use
	edit   func(*render.Directory, secret.Text) error
}

// changeUser carries a change through: files first, then the running broker.
func (a *App) changeUser(ctx context.Context, change userChange, choice passwordChoice) error {
	s, err := a.here()
	if err != nil {
		return err
	}
	defer s.close()
	// A first look, so that a wrong name costs no password.
	preview, err := render.ReadDirectory(s.dir)
	if err != nil {
		return err
	}
	if err := change.edit(preview, mosquitto.NewPassword()); err != nil {
		s.catchUp(ctx)
		return err
	}
	var password secret.Text
	made := false
	if change.login {
		if password, made, err = a.password(ctx, change.name, choice); err != nil {
			return err
		}
	}
	release, err := s.lock(ctx)
	if err != nil {
		return err
	}
	defer release()
	live, err := s.applyUser(ctx, change, password)
	if err != nil {
		return left(err, leftNothing)
	}
	s.progress.End()
	a.userResult(ctx, s, change, live, password, made)
	return nil
}

// passwordChoice is how a command gets a password.
type passwordChoice struct {
	generate bool // made, and shown once
	weak     bool // a short one is taken too
}

// flags adds the flags of a password to a command.
func (p *passwordChoice) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.generate, "generate", false, "make a password and show it once")
	cmd.Flags().BoolVar(&p.weak, "weak", false, fmt.Sprintf("take a password of fewer than %d characters", mosquitto.StrongLength))
}

// password asks for a password, reads it from standard input, or makes one.
func (a *App) password(ctx context.Context, name string, choice passwordChoice) (password secret.Text, made bool, err error) {
	switch {
	case choice.generate:
		return mosquitto.NewPassword(), true, nil
	case a.typed():
		password, err = a.askHidden(ctx, "Password for "+name+" (Enter alone makes one): ", oneLine)
		if err != nil {
			return password, false, err
		}
		password = secret.New(strings.TrimRight(password.Reveal(), "\r\n")) // the line without its end
		if password.IsZero() {
			return mosquitto.NewPassword(), true, nil
		}
		again, err := a.askHidden(ctx, "The same again: ", oneLine)
		if err != nil {
			return password, false, err
		}
		if !secret.New(strings.TrimRight(again.Reveal(), "\r\n")).Equal(password) { // likewise
			return password, false, remedy.Errorf(remedy.Input, "", "the two passwords differ; nothing was changed")
		}
	default:
		text, err := readAll(a.In)
		if err != nil {
			return password, false, fmt.Errorf("read the password: %w", err)
		}
		line, _, _ := strings.Cut(text.Reveal(), "\n") // the first line of standard input
		password = secret.New(strings.TrimRight(line, "\r"))
		if password.IsZero() {
			return password, false, remedy.Errorf(remedy.Input, "give it on standard input, or add --generate", "there is no password")
		}
	}
	if err := mosquitto.CheckPassword(password); err != nil {
		return password, false, remedy.Errorf(remedy.Input, "choose another one, or add --generate", "%w", err)
	}
	if !choice.weak && mosquitto.Weak(password) {
		return password, false, remedy.Errorf(remedy.Input, "choose a longer one, add --generate, or add --weak to take it all the same",
			"the password has fewer than %d characters, and everybody on the internet may guess", mosquitto.StrongLength)
	}
	return password, false, nil
}

// applyUser writes the files and makes the running broker, if there is one, read
// them. It reports whether a broker has the change in effect.
func (s *session) applyUser(ctx context.Context, change userChange, password secret.Text) (live bool, err error) {
	if err := s.needProbe(); err != nil {
		return false, err
	}
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return false, err
	}
	if err := s.notEdited(ctx, d); err != nil {
		return false, err
	}
	before := d.Clone()
	if err := change.edit(d, password); err != nil {
		return false, err
	}
	after, err := s.renderFrom(ctx, d, false)
	if err != nil {
		return false, err
	}
	broker, running, err := s.runningBroker(ctx, after.Project)
	if err != nil {
		return false, err
	}
	if err := s.store(&after); err != nil {
		return false, err
	}
	if !running {
		return false, nil
	}
	login := lifecycle.Login{User: change.name, Password: password}
	if !change.login {
		login = s.probeLogin()
	}
	if err := lifecycle.ChangeUsers(ctx, s.engine, broker.ID, after.Project, login); err != nil {
		return false, s.notInEffect(ctx, change, err, before, broker)
	}
	if err := lifecycle.EndWatch(ctx, s.engine, broker); err != nil {
		s.warn(err.Error()) // the change is in effect
	}
	return true, nil
}

// catchUp finishes what a command that was stopped has left: what is refused now
// because the files have it already may not stand in all of them, nor be in effect.
// It is no part of the command's own work, so that a failure is a warning.
func (s *session) catchUp(ctx context.Context) {
	if !s.rendered() || s.settings.ProbePassword.IsZero() || s.connect(ctx) != nil {
		return
	}
	release, err := s.lock(ctx)
	if err != nil && s.app.flags.noWait {
		return // another command is at work, and this one's answer stands
	}
	if err == nil {
		defer release()
		err = s.finishChange(ctx)
	}
	if err != nil && ctx.Err() == nil {
		s.warn("the users in the files may not be those of the running broker: " + err.Error())
	}
}

// catchUp is the session's, for a command that has nothing to do itself.
func (a *App) catchUp(ctx context.Context) error {
	s, err := a.here()
	if err != nil {
		return err
	}
	defer s.close()
	s.catchUp(ctx)
	return nil
}

// finishChange writes the files that follow from the users', and puts these into a
// running broker that holds other ones.
func (s *session) finishChange(ctx context.Context) error {
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return err
	}
	if err := s.notEdited(ctx, d); err != nil {
		return err
	}
	r, err := s.renderFrom(ctx, d, false)
	if err != nil {
		return err
	}
	broker, running, err := s.broker(ctx, r.Project)
	if err != nil {
		return err
	}
	if err := s.store(&r); err != nil || !running {
		return err
	}
	held, err := lifecycle.HeldFiles(ctx, s.engine, broker.ID, []string{render.PasswdPath, render.ACLPath})
	if err != nil || plan.Holds(r.Project, plan.ServiceBroker, held) {
		return err
	}
	if err := lifecycle.ChangeUsers(ctx, s.engine, broker.ID, r.Project, s.probeLogin()); err != nil {
		return err
	}
	s.note("an earlier change had not reached the broker; it is in effect now")
	return nil
}

// probeLogin is the account by which a broker proves that it has read its files.
func (s *session) probeLogin() lifecycle.Login {
	return lifecycle.Login{User: mosquitto.ProbeUser, Password: s.settings.ProbePassword}
}

// notEdited refuses a Compose file that a person edited. Only then the project as it is
// has to be rendered, which with many users is half of the work.
func (s *session) notEdited(ctx context.Context, d *render.Directory) error {
	if !s.rendered() || !render.Edited(d.Existing) {
		return nil
	}
	r, err := s.renderFrom(ctx, d, false)
	if err != nil {
		return err
	}
	return d.CheckEdited(r)
}

// notInEffect deals with a broker that did not take a change. What grants more is
// taken back, files and broker. A removal, a denial and a new password stay in the
// files whatever the broker does, so that nobody can keep access by keeping it busy.
func (s *session) notInEffect(ctx context.Context, change userChange, err error, was *render.Directory, broker plan.Container) error {
	if !change.grants {
		return remedy.Errorf(remedy.Failed,
			"it is in the files and takes effect when the broker starts anew: mqtunnel restart mosquitto",
			"user %s is %s, and the running broker did not take it: %w", change.name, change.verb, err)
	}
	before, failed := s.renderFrom(context.WithoutCancel(ctx), was, false)
	if failed != nil {
		return errors.Join(err, failed)
	}
	failed = errors.Join(s.store(&before), lifecycle.ChangeUsers(context.WithoutCancel(ctx), s.engine, broker.ID, before.Project, s.probeLogin()))
	if failed != nil {
		return errors.Join(err, fmt.Errorf("take the change back: %w", failed))
	}
	return left(err, "the change was taken back")
}

// runningBroker finds the project's broker, if the Engine is there and it runs.
// Users can be changed without an Engine: they are in the files then.
func (s *session) runningBroker(ctx context.Context, p plan.Project) (plan.Container, bool, error) {
	if err := s.connect(ctx); err != nil {
		if remedy.CodeOf(err) == remedy.Engine {
			s.note("the Engine does not answer, so the change waits in the files for the next mqtunnel up")
			return plan.Container{}, false, nil
		}
		return plan.Container{}, false, err
	}
	return s.broker(ctx, p)
}

// broker finds the project's broker on an Engine that answers, and whether it runs.
func (s *session) broker(ctx context.Context, p plan.Project) (_ plan.Container, running bool, err error) {
	o, err := s.engine.Observe(ctx, plan.Query{Project: p.Name})
	if err != nil {
		return plan.Container{}, false, err
	}
	if err := lifecycle.CheckOwner(p, o, false); err != nil {
		return plan.Container{}, false, err
	}
	c, found := o.Find(plan.ServiceBroker)
	return c, found && c.State == plan.StateRunning, nil
}

// userResult says what was done and how a client uses it.
func (a *App) userResult(ctx context.Context, s *session, change userChange, live bool, password secret.Text, made bool) {
	when := "in effect now"
	if !live {
		when = a.again("in effect with the next mqtunnel up")
	}
	a.say("user %s %s, %s", change.name, change.verb, when)
	if made {
		fmt.Fprintf(a.Out, "password: %s\n", password.Reveal()) // shown once, on the user's request
	}
	if change.verb != "added" || a.flags.quiet {
		return
	}
	host := s.hostname(ctx)
	client := fmt.Sprintf(`-h %s -p 443 --ws --tls-use-os-certs -u %s -P "$MQTT_PASSWORD" -q 1 -t %s`, display.Safe(host), change.name, shellQuote(change.topic))
	fmt.Fprintf(a.Out, "\ntry it, with the password in MQTT_PASSWORD (mosquitto clients 2.1 or newer):\n")
	a.command("  ", "mosquitto_sub "+client)
	a.command("  ", "mosquitto_pub "+client+" -m hello")
}

// hostname returns the public hostname: as set, or as the connector's log tells
// it, or a placeholder.
func (s *session) hostname(ctx context.Context) string {
	if s.settings.Hostname != "" {
		return s.settings.Hostname
	}
	const unknown = "YOUR-HOSTNAME"
	if s.engine == nil {
		return unknown
	}
	o, err := s.engine.Observe(ctx, plan.Query{Project: s.settings.Project})
	if err != nil {
		return unknown
	}
	st, err := lifecycle.Inquire(ctx, s.engine, lifecycle.Inquiry{Project: s.settings.Project, Observed: o})
	if names := st.Hostnames(brokerService); err == nil && len(names) > 0 {
		return names[0]
	}
	return unknown
}

// shellQuote writes text as one word of a shell's command line.
func shellQuote(text string) string {
	return "'" + strings.ReplaceAll(display.Safe(text), "'", `'\''`) + "'"
}
