package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mqtunnel/internal/config"
	"mqtunnel/internal/display"
	"mqtunnel/internal/doctor"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/probe"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/secret"
)

// finish waits until a message flows, and tells people what they need.
func (u *upRun) finish(ctx context.Context, to []probe.ConnectTo) error {
	u.weaker()
	u.unconfined(ctx)
	u.olderBroker(u.dir)
	if u.options.noWait {
		u.progress.End()
		if !u.app.flags.quiet {
			u.app.say("%s", u.app.again("started; whether a message flows was not looked at: mqtunnel up"))
		}
		return nil
	}
	readiness, err := u.readiness(ctx, u.rendered.Project, to)
	if err != nil {
		return err
	}
	readiness.Timeout = u.options.timeout
	readiness.Settled = u.plan.Empty()
	ready, err := lifecycle.Await(ctx, u.engine, readiness, u.show)
	u.progress.End()
	if err != nil {
		return u.diagnosed(ctx, err)
	}
	u.success(ready)
	return u.firstUser(ctx)
}

// glanceTimeout bounds what a project that is not ready is looked at once more.
const glanceTimeout = 2 * time.Second

// diagnosed adds to the error of a project that is not ready the code under which
// doctor knows what is wrong, as far as a glance tells.
func (s *session) diagnosed(ctx context.Context, err error) error {
	if remedy.CodeOf(err) != remedy.No || ctx.Err() != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
	defer cancel()
	hint := "mqtunnel doctor looks at everything"
	e := doctor.Glance(ctx, s.atHand(s.settings.Project))
	if met, ok := errors.AsType[*probe.Error](err); ok {
		e.Public.Trips = []doctor.Trip{{Err: met}}
	}
	for _, f := range doctor.Judge(e).Findings() {
		if f.Status == doctor.Failed && f.Layer != doctor.LayerFiles && f.Layer != doctor.LayerHost {
			hint = fmt.Sprintf("%s: mqtunnel help %s explains it, mqtunnel doctor looks at everything", f.Code, f.Code)
			break
		}
	}
	return &remedy.Error{Code: remedy.No, Err: err, Hint: strings.TrimPrefix(remedy.HintOf(err)+"\n"+hint, "\n")}
}

// success prints what clients need.
func (u *upRun) success(ready lifecycle.Ready) {
	out := u.app.Out
	if ready.Database != nil {
		if text := ready.Database.String(); text != "" {
			u.warn(text)
			fmt.Fprintf(u.app.Err, "        %s\n", display.Safe(ready.Database.Hint()))
		}
	}
	fmt.Fprintf(out, "%s %s\n", out.Paint(display.Good, "ready:"), out.Paint(display.Bold, lifecycle.PublicURL(ready.Hostname)))
	if u.app.flags.quiet {
		return
	}
	fmt.Fprintf(out, "  clients connect there with TLS, MQTT over WebSocket, user name and password\n")
	fmt.Fprintf(out, "  ports 1883, 8883 and 9001 are not it from outside\n")
	fmt.Fprintf(out, "  a browser cannot show a broker: it answers 502, and that is right\n")
	if ready.Connections < 4 {
		fmt.Fprintf(out, "  %d of 4 connections to the edge so far; the rest follow\n", ready.Connections)
	}
}

// firstUser says when there is nobody who could connect, and on a terminal
// offers to add somebody.
func (u *upRun) firstUser(ctx context.Context) error {
	if u.settings.AllowAnonymous || len(u.dir.Passwords.Users()) > 0 {
		return nil
	}
	u.app.say("%s", u.app.again("ready, but no user yet: every client is refused. Next: mqtunnel user add NAME"))
	if !u.app.interactive() || u.app.flags.quiet {
		return nil
	}
	for {
		name, err := u.app.ask(ctx, "Add a user now? Type its name, or Enter for later: ")
		if err != nil || name == "" {
			return nil //nolint:nilerr // the project is up; declining to add a user is no failure
		}
		err = u.app.userAdd(ctx, name, nil, passwordChoice{})
		if err == nil || ctx.Err() != nil {
			return nil //nolint:nilerr // likewise
		}
		u.app.report(ctx, err)
	}
}

// weaker says aloud which settings make the broker less safe than it would be.
func (s *session) weaker() {
	for _, a := range s.settings.Unknown {
		s.warn(fmt.Sprintf("%s:%d: %s is no setting of mqtunnel and is ignored; .env.sample and the README list them", config.EnvName, a.Line, a.Key))
	}
	for _, text := range lifecycle.Weaker(s.settings.AllowAnonymous, s.settings.LAN.String()) {
		s.warn(text)
	}
}

// unconfined says aloud where the containers are less confined than mqtunnel makes them,
// in the words of doctor and status.
func (u *upRun) unconfined(ctx context.Context) {
	for _, f := range doctor.Unconfined(ctx, u.engine, u.rendered) {
		u.warn(fmt.Sprintf("%s; mqtunnel help %s explains it", f.Sentence, f.Code))
	}
}

// publicTarget says how to connect from outside, but to where.
func (s *session) publicTarget(to []probe.ConnectTo) probe.Target {
	target := probe.Target{ConnectTo: to, Username: mosquitto.ProbeUser, Password: s.settings.ProbePassword}
	if s.settings.AccessID != "" {
		target.Headers = map[string]secret.Text{
			"CF-Access-Client-Id": secret.New(s.settings.AccessID), "CF-Access-Client-Secret": s.settings.AccessSecret,
		}
	}
	return target
}

// noteConnectTo tells which connections go elsewhere than the DNS says.
func (s *session) noteConnectTo(to []probe.ConnectTo) {
	for _, r := range to {
		s.note(fmt.Sprintf("connecting to %s:%s for %s:%s, as --connect-to says", r.ToHost, r.ToPort, r.Host, r.Port))
	}
}

// connectTo reads the --connect-to flags.
func connectTo(flags []string) ([]probe.ConnectTo, error) {
	var list []probe.ConnectTo
	for _, f := range flags {
		r, err := probe.ParseConnectTo(f)
		if err != nil {
			return nil, remedy.Errorf(remedy.Usage, "for example --connect-to mqtt.example.com:443:192.0.2.7:443", "--connect-to %s: %w", strings.TrimSpace(f), err)
		}
		list = append(list, r)
	}
	return list, nil
}
