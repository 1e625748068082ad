package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mqtunnel/internal/display"
	"mqtunnel/internal/engine"
	"mqtunnel/internal/lifecycle"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

func (a *App) userWatchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "watch NAME",
		Short: "Show live what a user's clients do, and what is refused",
		Long: `Show what the clients of a user do, as it happens: they come and go, subscribe
and publish. What the broker drops for want of rights is shown with the rule
that decides and the command that allows it; a client of MQTT 3.1.1 is not told
itself. Refused logins are shown of everybody, since the broker does not tell as
whom. For a second after a change of users nothing is shown.

While it runs, the broker tells more in its log. Ctrl-C ends it and puts that
back; where it was killed, the next mqtunnel up, restart, or change of a user
does.`,
		Example: `  mqtunnel user watch phone
  mqtunnel user watch phone --json`,
		Args: oneArg("the user's name"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.userWatch(cmd.Context(), args[0]) },
	}
	cmd.Flags().BoolVar(&a.json, "json", false, "print one JSON object a line")
	return cmd
}

func (a *App) userWatch(ctx context.Context, name string) error {
	// A closed terminal and a closed pipe end a watch as Ctrl-C does; else they would
	// kill it, and the broker's log would stay as it is.
	signals := []os.Signal{syscall.SIGPIPE}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(ctx, signals...)
	defer stop()
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	d, err := render.ReadDirectory(s.dir)
	if err != nil {
		return err
	}
	if !d.Passwords.Has(name) || name == mosquitto.ProbeUser {
		return noUser(name, d)
	}
	project := s.settings.Project
	observed, err := s.engine.Observe(ctx, plan.Query{Project: project})
	if err != nil {
		return err
	}
	if err := lifecycle.CheckOwner(plan.Project{Name: project, Dir: s.dir}, observed, false); err != nil {
		return err
	}
	release, err := s.lock(ctx) // a first time as the flags say
	if err != nil {
		return err
	}
	release()
	w := watcher{app: a, session: s, name: name}
	err = lifecycle.Watch(ctx, s.engine, lifecycle.Watching{Project: project, Lock: w.lock, Began: w.began, Each: w.each})
	s.progress.End()
	switch {
	case errors.Is(err, lifecycle.ErrWatchLeft):
		s.warn(fmt.Sprintf("%v; type: mqtunnel up", err))
		return &remedy.Error{Code: remedy.Failed, Err: errSaid}
	case ctx.Err() != nil && errors.Is(err, context.Canceled), errors.Is(err, syscall.EPIPE):
		return nil // that is how watching ends
	}
	return err
}

// watcher shows what the clients of one user do.
type watcher struct {
	app     *App
	session *session
	name    string
	unclear sync.Once

	rules []mosquitto.Rule // of the user, as read from the files
	read  bool             // since the broker did
}

// lock waits for the lock whatever the flags say: what was changed is to be put back.
func (w *watcher) lock(ctx context.Context) (release func(), err error) {
	free, err := engine.Lock(ctx, w.session.dir, true, nil)
	if err != nil {
		return nil, err
	}
	return func() { _ = free() }, nil // the lock ends with the process at the latest
}

func (w *watcher) began(whole bool) {
	w.session.note("watching user " + w.name + "; Ctrl-C ends it")
	if !whole {
		w.session.note("the log does not go back to the broker's start: what clients do that connected before it begins is not shown until they connect again")
	}
}

// each shows one action, if it is one of the user or a refused login.
func (w *watcher) each(action mosquitto.Action) error {
	switch {
	case action.Kind == mosquitto.ActionReloaded:
		w.read = false
		return nil
	case action.Kind == mosquitto.ActionUnclear:
		w.unclear.Do(func() {
			w.session.warn("lines that fit more than one client are left out: somebody uses a client ID or a topic that looks like a line of the broker's log")
		})
		return nil
	case action.Kind == mosquitto.ActionReceived && !action.Denied, action.Kind != mosquitto.ActionRefused && action.User != w.name:
		return nil
	}
	seen := w.judge(action)
	if w.app.json {
		return w.printJSON(seen)
	}
	_, err := fmt.Fprintln(w.app.Out, w.line(seen))
	return err
}

// watched is an action with what the user's rules say of it.
type watched struct {
	mosquitto.Action

	decision mosquitto.Decision
	judged   bool   // decision is set
	allow    string // what would allow it, "" where nothing has to or can
}

// judge looks up what the rules in the files say.
func (w *watcher) judge(action mosquitto.Action) watched {
	seen := watched{Action: action}
	if !w.read {
		// Where they cannot be read, there are none to be told of.
		if d, err := render.ReadDirectory(w.session.dir); err == nil {
			w.rules, _ = d.ACL.Rules(w.name)
		}
		w.read = true
	}
	access := mosquitto.Read
	filter := action.Topic
	switch action.Kind {
	case mosquitto.ActionPublished, mosquitto.ActionWill:
		access, seen.judged = mosquitto.Write, true
		seen.decision = mosquitto.Publish(w.rules, filter)
	case mosquitto.ActionSubscribed, mosquitto.ActionReceived:
		filter, seen.judged = unshared(filter), true
		seen.decision = mosquitto.Subscribe(w.rules, filter)
	default:
		return seen
	}
	if seen.refused() {
		seen.allow = w.app.again(allowing(w.name, access, filter, seen.decision))
	}
	return seen
}

// unshared returns the topic filter of a shared subscription (MQTT 5, 4.8.2).
func unshared(filter string) string {
	if group, ok := strings.CutPrefix(filter, "$share/"); ok {
		if _, shared, ok := strings.Cut(group, "/"); ok {
			return shared
		}
	}
	return filter
}

// refused reports whether the rules let nothing through: the broker said so, or it
// will when it comes to the message. It takes the subscription and the will.
func (w watched) refused() bool {
	waits := w.Kind == mosquitto.ActionSubscribed || w.Kind == mosquitto.ActionWill
	return w.Denied || w.judged && waits && w.decision.Extent == mosquitto.Nothing
}

// line words an action for a person.
func (w *watcher) line(seen watched) string {
	text := fmt.Sprintf("%s  %s  %s", seen.Time.Local().Format(time.TimeOnly), shownID(seen.ClientID), seen.what())
	verdict := w.app.again(seen.verdict(w.name))
	if verdict == "" {
		return text
	}
	style := display.Warn
	if seen.refused() || seen.Dropped || seen.Kind == mosquitto.ActionRefused {
		style = display.Bad
	}
	out := w.app.Out
	if seen.allow != "" && !out.Terminal {
		verdict += "; to allow it: " + seen.allow
	}
	const below = "        "
	text = out.Fit("", text)
	before := text[strings.LastIndexByte(text, '\n')+1:] + "  "
	if first, _, _ := strings.Cut(verdict, " "); out.Terminal && len(before)+len(first) > out.Width {
		text, before = text+"\n"+below, below
	} else {
		text += "  "
	}
	text += out.Paint(style, out.Fit(before, verdict))
	if seen.allow != "" && out.Terminal {
		const allow = below + "to allow it: "
		text += "\n" + allow + out.Command(allow, seen.allow) // to be copied
	}
	return text
}

// shownID shows a client ID, which may be empty.
func shownID(id string) string {
	if id == "" {
		return `""`
	}
	return display.Safe(id)
}

// what says what the client did.
func (w watched) what() string {
	topic := word(w.Topic)
	with := fmt.Sprintf(" (QoS %d", w.QoS)
	if w.Retained {
		with += ", retained"
	}
	with += ")"
	switch w.Kind {
	case mosquitto.ActionConnected:
		return "connects from " + display.Safe(w.Address)
	case mosquitto.ActionDisconnected:
		if w.Reason == "" {
			return "disconnects"
		}
		return "is disconnected: " + display.Safe(w.Reason)
	case mosquitto.ActionRefused:
		return "tries to log in"
	case mosquitto.ActionWill:
		return "leaves a will for " + topic + with
	case mosquitto.ActionSubscribed:
		return "subscribes to " + topic + with
	case mosquitto.ActionUnsubscribed:
		return "unsubscribes from " + topic
	case mosquitto.ActionPublished:
		return "publishes to " + topic + with
	case mosquitto.ActionReceived:
		return "would get " + topic + with
	case mosquitto.ActionUnclear, mosquitto.ActionReloaded:
	}
	return string(w.Kind)
}

// verdict says what became of it, "" where nothing is to be said.
func (w watched) verdict(name string) string {
	switch {
	case w.Kind == mosquitto.ActionRefused:
		return "refused: " + w.Reason + "; the broker does not tell as whom"
	case w.Dropped:
		return "dropped: " + w.Reason
	case w.Kind == mosquitto.ActionSubscribed && !w.Denied && w.decision.Extent == mosquitto.Partly:
		return "gets a part of it, by the rules: " + w.rules()
	case !w.refused():
		return ""
	}
	text := "denied: "
	switch {
	case w.Kind == mosquitto.ActionSubscribed && !w.Denied:
		text = "gets nothing: "
	case w.Kind == mosquitto.ActionWill:
		text = "will be denied: "
	}
	switch {
	case w.decision.Extent != mosquitto.Nothing && strings.ContainsAny(w.ClientID, "+#"):
		text += "the broker lets a client ID with + or # use no topic"
	case w.decision.Extent != mosquitto.Nothing:
		text += "but the files allow it, by the rule: " + w.rules() + "; to make them those in force: mqtunnel up"
	case len(w.decision.Rules) == 0:
		text += "no rule of " + name + " speaks of it"
	default:
		text += "by the rule: " + w.rules()
	}
	return text
}

// rules words the rules that decide.
func (w watched) rules() string {
	list := make([]string, len(w.decision.Rules))
	for i, r := range w.decision.Rules {
		list[i] = display.Safe(r.String())
	}
	return strings.Join(list, ", ")
}

// watchJSON is the form of an action with --json.
type watchJSON struct {
	Schema   int       `json:"schema"`
	Time     time.Time `json:"time"`
	Event    string    `json:"event"`
	ClientID string    `json:"clientId"`
	User     string    `json:"user,omitempty"` // absent of a refused login
	Address  string    `json:"address,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Topic    string    `json:"topic,omitempty"`
	QoS      *int      `json:"qos,omitempty"`
	Retained *bool     `json:"retained,omitempty"`
	Denied   bool      `json:"denied"`
	Allowed  string    `json:"allowed,omitempty"` // everything, partly or nothing, by the files
	Rules    []string  `json:"rules,omitempty"`   // those that decide
	Allow    string    `json:"allow,omitempty"`   // the command
}

func (w *watcher) printJSON(seen watched) error {
	j := watchJSON{
		Schema: schema, Time: seen.Time.UTC(), Event: string(seen.Kind), ClientID: seen.ClientID, User: seen.User,
		Address: seen.Address, Reason: seen.Reason, Topic: seen.Topic,
		Denied: seen.refused() || seen.Dropped || seen.Kind == mosquitto.ActionRefused, Allow: seen.allow,
	}
	if seen.judged {
		j.QoS, j.Allowed = &seen.QoS, seen.decision.Extent.String()
		for _, r := range seen.decision.Rules {
			j.Rules = append(j.Rules, r.String())
		}
		if message := []mosquitto.ActionKind{mosquitto.ActionPublished, mosquitto.ActionReceived, mosquitto.ActionWill}; slices.Contains(message, seen.Kind) {
			j.Retained = &seen.Retained
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(j); err != nil {
		return err
	}
	_, err := w.app.Out.Write(display.SafeJSON(b.Bytes()))
	return err
}
