package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mqtunnel/internal/lab/bench"
)

// tool is one of the two that a project can be run with.
type tool string

// The tools.
const (
	ours   tool = "mqtunnel"
	theirs tool = "docker compose"
)

// other is the one that is not t.
func (t tool) other() tool {
	if t == ours {
		return theirs
	}
	return ours
}

// What a person may add to the project: a limit, a label, a name on the network.
const (
	addedToBroker = `    mem_limit: 300m
    labels: {com.example.shelf: living room}
    networks: {default: {aliases: [broker.home]}}
`
	addedToConnector = `    mem_limit: 200m
    labels: {com.example.shelf: cellar}
`
)

// composeInterop runs projects with mqtunnel and with the real Docker Compose in turns.
func composeInterop(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "interop")
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	c, err := b.counter(ctx, dir)
	if err != nil {
		return "", err
	}
	defer finish(&err, c.close)
	t := turns{plain: map[tool]span{}}
	for _, first := range []tool{ours, theirs} {
		for _, added := range []bool{false, true} {
			if err := b.interop(ctx, lab, dir, c, &t, first, added); err != nil {
				return "", fmt.Errorf("%s first, override %t: %w", first, added, err)
			}
		}
	}
	alike, err := b.sameContainers(ctx, lab, dir)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("mqtunnel up -> docker compose up -d: 0 of %s calls change anything, %d times; docker compose up -d -> mqtunnel up: 0 of %s calls change anything "+
		"but for the %s that its look from inside takes for its own throw-away container, %d times; with %d retained messages and users, half of it with an override as well; "+
		"%d commands of one tool on what the other made, understood by both; %d changes recreated the one container that they concern; "+
		"%d of %d further forms of the project, made by docker compose, are to be started as they are",
		t.plain[theirs], t.plain[theirs].times, t.plain[ours], t.looks, t.plain[ours].times, kept, t.commands, t.recreated, alike, alike), nil
}

// span is the range of a number.
type span struct{ times, least, most int }

func (s span) with(n int) span {
	if s.times == 0 {
		return span{1, n, n}
	}
	return span{s.times + 1, min(s.least, n), max(s.most, n)}
}

func (s span) String() string {
	if s.least == s.most {
		return fmt.Sprint(s.least)
	}
	return fmt.Sprintf("%d to %d", s.least, s.most)
}

// turns is what compose-interop counts.
type turns struct {
	plain     map[tool]span // calls of an up by a tool that had nothing to change
	looks     span          // changing calls about the containers that mqtunnel threw away then
	commands  int
	recreated int
}

// shared is a project that both tools work on.
type shared struct {
	*project

	counter  *counter
	tally    *turns
	first    tool // the one that made it
	password string
	round    int // of changes
	added    bool
}

// interop takes one project through all of it.
func (b *Bench) interop(ctx context.Context, lab *bench.Lab, dir string, c *counter, t *turns, first tool, added bool) error {
	suffix := strings.ReplaceAll(string(first), " ", "")
	if added {
		suffix += "added"
	}
	p, err := b.project(ctx, lab, dir, suffix, suffix+".example.com")
	if err != nil {
		return err
	}
	p.engine = c.proxy.Host()
	s := &shared{project: p, counter: c, tally: t, first: first, added: added}
	if err := s.adorn(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{s.begin, s.bothUp, s.commands, s.changes, s.end} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// adorn writes the override of the round.
func (s *shared) adorn() error {
	broker, connector := "", ""
	if s.added {
		broker, connector = addedToBroker, addedToConnector
	}
	if s.round > 0 {
		line := fmt.Sprintf("    labels: {com.example.shelf: shelf %d}\n", s.round)
		connector = strings.Replace(connector, "    labels: {com.example.shelf: cellar}\n", "", 1) + line
	}
	return s.override(broker, connector, "")
}

// run runs a tool in the project directory and returns its calls.
func (s *shared) run(ctx context.Context, by tool, args ...string) (result, calls, error) {
	path := s.b.program()
	if by == theirs {
		path = s.b.composeProgram()
	}
	return s.counted(ctx, command{dir: s.dir, path: path, args: args, env: s.env()})
}

// byName runs Docker Compose elsewhere, so that it knows no more than the project's name.
func (s *shared) byName(ctx context.Context, args ...string) (result, calls, error) {
	return s.counted(ctx, command{dir: filepath.Dir(s.dir), path: s.b.composeProgram(), args: append([]string{"-p", s.name}, args...), env: s.env()})
}

// counted runs a program and wants success.
func (s *shared) counted(ctx context.Context, c command) (r result, got calls, err error) {
	what := filepath.Base(c.path) + " " + strings.Join(c.args, " ")
	got, err = s.counter.count(ctx, what, func() error {
		var err error
		r, err = s.b.run(ctx, c)
		return err
	})
	if err == nil && r.code != 0 {
		err = missed("%s: exit %d: %s", what, r.code, r.all())
	}
	return r, got, err
}

// upBy brings the project up with a tool.
func (s *shared) upBy(ctx context.Context, by tool) (calls, error) {
	args := []string{"up", "-d"}
	if by == ours {
		args = []string{"up", "--timeout", "90s", "--connect-to", s.lab.ConnectTo(s.host)}
	}
	_, got, err := s.run(ctx, by, args...)
	return got, err
}

// begin makes the project with the first tool, with a user and retained messages.
func (s *shared) begin(ctx context.Context) (err error) {
	if s.password, err = s.addUser(ctx, user); err != nil {
		return err
	}
	if _, err = s.upBy(ctx, s.first); err != nil {
		return err
	}
	if err := s.serves(ctx); err != nil {
		return err
	}
	return s.retain(ctx, user, s.password, kept)
}

// serves waits until a message of the user comes through the tunnel.
func (s *shared) serves(ctx context.Context) error {
	return eventually(ctx, back, func() error { return s.roundTrip(ctx, user, s.password, "interop/probe") })
}

// unchanged brings the project up with a tool, which must find it as it should be.
func (s *shared) unchanged(ctx context.Context, by tool, after string) error {
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	got, err := s.upBy(ctx, by)
	if err != nil {
		return fmt.Errorf("after %s: %w", after, err)
	}
	if len(got.changes) > 0 || got.looks > 1 {
		return missed("after %s, up by %s makes %s: %v", after, by, got, got.changes)
	}
	now, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	delete(now, "file "+filepath.Join(s.dir, ".gitignore")) // the first up of ours writes one
	delete(before, "file "+filepath.Join(s.dir, ".gitignore"))
	if changed := difference(before, now); changed != "" {
		return missed("after %s, up by %s: %s", after, by, changed)
	}
	s.tally.plain[by] = s.tally.plain[by].with(got.all)
	if by == ours {
		s.tally.looks = s.tally.looks.with(got.ofLooks)
	}
	return nil
}

// bothUp has the other tool bring up what the first one made, and that one again.
func (s *shared) bothUp(ctx context.Context) error {
	if err := s.unchanged(ctx, s.first.other(), "up by "+string(s.first)); err != nil {
		return err
	}
	return s.unchanged(ctx, s.first, "up by both")
}

// commands runs the commands of the other tool on what the first one made.
func (s *shared) commands(ctx context.Context) error {
	if s.first == ours {
		return s.theirCommands(ctx)
	}
	return s.ourCommands(ctx)
}

// theirCommands are those of Docker Compose, which knows no more than the name.
func (s *shared) theirCommands(ctx context.Context) error {
	names := []string{s.container(broker), s.container(connector)}
	if err := s.shows(ctx, names, func() (result, calls, error) { return s.byName(ctx, "ps") }); err != nil {
		return err
	}
	if err := s.shows(ctx, []string{broker + "-1 ", connector + "-1 "}, func() (result, calls, error) { return s.byName(ctx, "logs") }); err != nil {
		return err
	}
	if err := s.acts(ctx, "stop", "exited"); err != nil {
		return err
	}
	if err := s.started(ctx); err != nil {
		return err
	}
	if err := s.acts(ctx, "stop", "exited"); err != nil {
		return err
	}
	for _, verb := range []string{"start", "restart"} {
		if err := s.acts(ctx, verb, "running"); err != nil {
			return err
		}
		if err := s.unchanged(ctx, ours, "docker compose "+verb); err != nil {
			return err
		}
	}
	if err := s.downByName(ctx); err != nil {
		return err
	}
	if err := s.seen(ctx, "docker compose down", "missing"); err != nil {
		return err
	}
	s.tally.commands++
	got, err := s.upBy(ctx, ours)
	if err == nil && got.creates() != 2 {
		err = missed("up after docker compose down makes %s", got)
	}
	return err
}

// downByName has Docker Compose take the project down. It gives up where an endpoint
// outlives its container by a moment, which is between it and the Engine.
func (s *shared) downByName(ctx context.Context, further ...string) error {
	return eventually(ctx, back, func() error {
		_, _, err := s.byName(ctx, append([]string{"down"}, further...)...)
		if err != nil && !strings.Contains(err.Error(), "has active endpoints") {
			return final(err)
		}
		return err
	})
}

// shows runs a command that only reads and wants the texts in what it prints.
func (s *shared) shows(ctx context.Context, texts []string, run func() (result, calls, error)) error {
	before, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	r, got, err := run()
	if err != nil {
		return err
	}
	for _, text := range texts {
		if !strings.Contains(r.out, text) {
			return missed("there is no %q in: %s", text, r.all())
		}
	}
	after, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	if changed := difference(before, after); changed != "" || len(got.changes)+got.ofLooks > 0 {
		return missed("a command that reads makes %s; %s", got, changed)
	}
	s.tally.commands++
	return nil
}

// acts runs a command of Docker Compose by the project's name, and wants status to see
// what it did.
func (s *shared) acts(ctx context.Context, verb, state string) error {
	if _, _, err := s.byName(ctx, verb); err != nil {
		return err
	}
	s.tally.commands++
	return s.seen(ctx, verb, state)
}

// seen waits until status tells the state of both services, healthy when they run.
func (s *shared) seen(ctx context.Context, after, state string) error {
	want := 3
	if state == "running" {
		want = 0
	}
	return eventually(ctx, back, func() error {
		st, code, err := s.status(ctx)
		if err != nil {
			return final(err)
		}
		for _, service := range st.Services {
			if service.State != state {
				code = -1
			}
		}
		if code != want || len(st.Services) != 2 || st.Healthy != (want == 0) {
			return missed("status after %s: exit %d, %+v", after, code, st)
		}
		return nil
	})
}

// started has mqtunnel start what was stopped, and wants nothing made anew.
func (s *shared) started(ctx context.Context) error {
	before, err := s.ids(ctx)
	if err != nil {
		return err
	}
	got, err := s.upBy(ctx, ours)
	if err != nil {
		return err
	}
	after, err := s.ids(ctx)
	if err != nil {
		return err
	}
	if got.creates() > 0 || before != after {
		return missed("up on stopped containers makes %s: %v", got, got.changes)
	}
	return nil
}

// services are the containers of the project's two services.
type services struct{ broker, connector string }

// ids returns the containers' IDs.
func (s *shared) ids(ctx context.Context) (ids services, err error) {
	b, err := s.b.Engine.ContainerInspect(ctx, s.container(broker))
	if err != nil {
		return ids, err
	}
	c, err := s.b.Engine.ContainerInspect(ctx, s.container(connector))
	if err != nil {
		return ids, err
	}
	return services{b.ID, c.ID}, nil
}

// ourCommands are those of mqtunnel.
func (s *shared) ourCommands(ctx context.Context) error {
	if err := s.seen(ctx, "docker compose up -d", "running"); err != nil {
		return err
	}
	if err := s.shows(ctx, []string{"healthy", broker, connector}, func() (result, calls, error) { return s.run(ctx, ours, "status") }); err != nil {
		return err
	}
	if err := s.shows(ctx, []string{broker + " ", connector + " "}, func() (result, calls, error) { return s.run(ctx, ours, "logs") }); err != nil {
		return err
	}
	before, err := s.ids(ctx)
	if err != nil {
		return err
	}
	if _, _, err := s.run(ctx, ours, "restart", "--connect-to", s.lab.ConnectTo(s.host)); err != nil {
		return err
	}
	after, err := s.ids(ctx)
	if err != nil || before != after {
		return missed("restart makes containers anew: %w", err)
	}
	if err := s.unchanged(ctx, theirs, "mqtunnel restart"); err != nil {
		return err
	}
	if _, _, err := s.run(ctx, ours, "down"); err != nil {
		return err
	}
	if err := s.seen(ctx, "mqtunnel down", "missing"); err != nil {
		return err
	}
	got, err := s.upBy(ctx, theirs)
	if err == nil && got.creates() != 2 {
		err = missed("docker compose up -d after mqtunnel down makes %s", got)
	}
	s.tally.commands += 2
	return errors.Join(err, s.serves(ctx))
}

// end wants all messages there after everything, and removes the project with the tool
// that did not make it.
func (s *shared) end(ctx context.Context) error {
	n, err := s.retained(ctx, user, s.password)
	if err != nil || n != kept {
		return missed("at the end there are %d of %d retained messages: %w", n, kept, err)
	}
	if s.first == ours {
		err = s.downByName(ctx, "-v")
	} else {
		_, _, err = s.run(ctx, ours, "down", "--volumes", "--yes")
	}
	if err != nil {
		return err
	}
	left, err := s.snapshot(ctx)
	if err != nil {
		return err
	}
	for what := range left {
		if !strings.HasPrefix(what, "file ") {
			return missed("down with volumes by %s leaves %s", s.first.other(), what)
		}
	}
	s.tally.commands++
	return nil
}

// sameContainers has Docker Compose make the containers of further forms of the project,
// without starting them: without the lab they would look for Cloudflare. mqtunnel is to
// start them as they are.
func (b *Bench) sameContainers(ctx context.Context, lab *bench.Lab, dir string) (forms int, err error) {
	for _, settings := range [][]string{
		{},
		{"MQTT_LAN_LISTEN=127.0.0.1:18830"},
		{"MQTT_ALLOW_ANONYMOUS=true", "MQTT_SAVE_INTERVAL=0"},
		{"TUNNEL_TRANSPORT_PROTOCOL=http2", "TUNNEL_EDGE_IP_VERSION=4", "TUNNEL_LOGLEVEL=debug", "TUNNEL_GRACE_PERIOD=20s"},
	} {
		suffix := fmt.Sprintf("form%d", forms)
		p, err := b.project(ctx, lab, dir, suffix, suffix+".example.com", settings...)
		if err != nil {
			return forms, err
		}
		if err := os.Remove(filepath.Join(p.dir, "compose.override.yaml")); err != nil {
			return forms, err
		}
		if _, err := p.must(ctx, "render", "--write"); err != nil {
			return forms, err
		}
		if err := p.compose(ctx, "create"); err != nil {
			return forms, err
		}
		out, err := p.must(ctx, "up", "--dry-run")
		if err != nil {
			return forms, err
		}
		b.logf("mqtunnel up --dry-run with %v after docker compose create:\n%s", settings, out)
		if strings.Contains(out, "create ") || strings.Contains(out, "remove ") || strings.Count(out, "start container") != 2 {
			return forms, missed("with %v, what docker compose made is not what mqtunnel would: %s", settings, out)
		}
		if err := p.compose(ctx, "down", "-v"); err != nil {
			return forms, err
		}
		forms++
	}
	return forms, nil
}
