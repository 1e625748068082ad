package proof

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/plan"
)

// Of the soak.
const (
	soakTime     = 10 * time.Minute
	restartPause = 45 * time.Second
	upPause      = 5 * time.Second
	userPause    = 2 * time.Second
	statusPause  = 2 * time.Second
	visitPause   = 500 * time.Millisecond
	// followTime is for how long one of the short logs -f is left alone.
	followTime = 5 * time.Second
)

// soak runs commands in loops while clients go on.
func soak(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "soak", (*project).soaks)
}

func (p *project) soaks(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	password, err := p.addUser(ctx, user)
	if err != nil {
		return "", err
	}
	s := &soaking{project: p, as: account{user: user, password: password}, ran: map[string]int{}}
	s.follower, err = p.follow(ctx)
	if err != nil {
		return "", err
	}
	if err := s.run(ctx); err != nil {
		return "", errors.Join(err, endGroup(s.follower.cmd))
	}
	return s.verdict(ctx)
}

// follow starts a logs -f.
func (p *project) follow(ctx context.Context, further ...string) (*process, error) {
	return command{dir: p.dir, path: p.b.program(), args: append([]string{"logs", "-f", "-t"}, further...), env: p.env()}.start(ctx)
}

// soaking is a soak under way.
type soaking struct {
	*project

	as       account
	follower *process
	uses     []use // of it

	clients  clients
	restarts restarts

	mu       sync.Mutex
	ran      map[string]int // commands by their first word
	windows  []window       // in which a restart was at work
	refusals []refusal      // of new clients
}

// refusal is when a new client did not get in, and why.
type refusal struct {
	at  time.Time
	why error
}

// window is a stretch of time.
type window struct{ from, to time.Time }

// within reports whether the window, with some margin, has the moment.
func (w window) within(at time.Time, margin time.Duration) bool {
	return !at.Before(w.from.Add(-margin)) && !at.After(w.to.Add(margin))
}

// overlaps reports whether two windows have a moment in common.
func (w window) overlaps(o window) bool { return !w.to.Before(o.from) && !o.to.Before(w.from) }

// run soaks.
func (s *soaking) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	running, stop := context.WithTimeout(ctx, soakTime)
	defer stop()
	watching, unwatch := context.WithCancel(ctx)
	defer unwatch()
	watched := &errgroup.Group{}
	watched.Go(func() error { return s.restarts.watch(watching, s.project) })
	s.clients.begin(ctx, running, group, s.project, s.as)
	for _, loop := range []struct {
		pause time.Duration
		run   func(context.Context, int) error
	}{
		{upPause, s.up},
		{userPause, s.user},
		{statusPause, s.looks},
		{0, s.followsShortly},
		{restartPause, s.restart},
		{visitPause, s.visit},
		{soakTime / 120, s.sample},
	} {
		group.Go(func() error {
			for n := 0; ; n++ {
				select {
				case <-running.Done():
					return nil
				case <-time.After(loop.pause):
				}
				if err := loop.run(ctx, n); err != nil {
					return err
				}
			}
		})
	}
	err := group.Wait()
	unwatch()
	if werr := watched.Wait(); err == nil && !errors.Is(werr, context.Canceled) {
		err = fmt.Errorf("watch the Engine: %w", werr)
	}
	return err
}

// command runs a command and wants success.
func (s *soaking) command(ctx context.Context, stdin string, args ...string) (string, error) {
	r, err := s.mqtunnel(ctx, stdin, args...)
	if err == nil && r.code != 0 {
		err = missed("mqtunnel %s: exit %d: %s", strings.Join(args, " "), r.code, r.all())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[args[0]]++
	return r.out, err
}

func (s *soaking) up(ctx context.Context, _ int) error {
	out, err := s.command(ctx, "", "up", "--timeout", "90s", "--connect-to", s.lab.ConnectTo(s.host))
	if err == nil && !strings.Contains(out, "ready: ") {
		err = missed("up ends with 0 and is not ready: %s", out)
	}
	return err
}

// user takes one user through the commands.
func (s *soaking) user(ctx context.Context, n int) error {
	name := "u" + strconv.Itoa(n)
	for _, args := range [][]string{
		{"add", name, "--topics", "own"},
		{"passwd", name},
		{"allow", name, "read", soakTopic},
		{"deny", name, "readwrite", name + "/private/#"},
		{"list", "--json"},
		{"explain", name, "publish", name + "/x"},
		{"remove", name, "--yes"},
	} {
		out, err := s.command(ctx, userPassword+"\n", append([]string{"user"}, args...)...)
		if err != nil {
			return err
		}
		if args[0] != "list" && args[0] != "explain" && !strings.Contains(out, "in effect now") {
			return missed("user %s %s: %s", args[0], name, out)
		}
	}
	return nil
}

// looks asks for the status, which must be well but while a restart is at work.
func (s *soaking) looks(ctx context.Context, _ int) error {
	at := window{from: time.Now()}
	st, code, err := s.status(ctx)
	if err != nil {
		return err
	}
	at.to = time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran["status"]++
	if code != 0 && !slices.ContainsFunc(s.windows, at.overlaps) {
		return missed("status while nothing restarts: exit %d, %+v", code, st)
	}
	return nil
}

// followsShortly follows the logs for a while and then ends it as a person does.
func (s *soaking) followsShortly(ctx context.Context, _ int) error {
	follower, err := s.follow(ctx, "--tail", "5")
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
	case <-time.After(followTime):
	}
	r, err := follower.end(ctx, os.Interrupt)
	if err == nil && (r.code != 0 || r.out == "") {
		err = missed("logs -f after Ctrl-C: exit %d: %s", r.code, r.err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran["logs"]++
	return err
}

// restart restarts the connector.
func (s *soaking) restart(ctx context.Context, _ int) error {
	s.mu.Lock()
	at := len(s.windows)
	s.windows = append(s.windows, window{time.Now(), time.Now().Add(soakTime)})
	s.mu.Unlock()
	_, err := s.command(ctx, "", "restart", connector, "--timeout", "90s", "--connect-to", s.lab.ConnectTo(s.host))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.windows[at].to = time.Now()
	return err
}

// visit is a new client that comes and goes.
func (s *soaking) visit(ctx context.Context, _ int) error {
	at := time.Now()
	limited, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	client, err := s.connect(limited, s.as, ignored)
	if err == nil {
		_ = client.close() // it was let in, which is all that is asked
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusals = append(s.refusals, refusal{at, err})
	return ctx.Err()
}

// sample notes what the long logs -f has of the machine.
func (s *soaking) sample(context.Context, int) error {
	if err := s.follower.runs(); err != nil {
		return missed("the long %w", err)
	}
	u, err := s.follower.use()
	if err != nil {
		return err
	}
	s.uses = append(s.uses, u)
	return nil
}

// verdict judges what was seen.
func (s *soaking) verdict(ctx context.Context) (figure string, err error) {
	flat, err := s.flat()
	if err != nil {
		return "", err
	}
	lines, goroutines, err := s.followed(ctx)
	if err != nil {
		return "", err
	}
	for _, r := range s.refusals {
		if !slices.ContainsFunc(s.windows, func(w window) bool { return w.within(r.at, 0) }) {
			return "", missed("a client could not connect at %s, when nothing restarts: %w", r.at.Format(time.StampMilli), r.why)
		}
	}
	if err := s.restarts.asked(s.windows); err != nil {
		return "", err
	}
	lost, err := s.clients.explained(s.restarts.list)
	if err != nil {
		return "", err
	}
	due, err := s.clients.complete()
	if err != nil {
		return "", err
	}
	if err := s.nothingLeft(ctx); err != nil {
		return "", err
	}
	commands := 0
	for _, n := range s.ran {
		commands += n
	}
	return fmt.Sprintf("%v with %d commands (%d up, %d user, %d status, %d logs -f, %d restart cloudflared), each of which ended; %d disconnects of %d clients, each by one of %d restarts; "+
		"%d of %d messages that were due to connected clients arrived, %d of %d sent in between; logs -f over the whole time: %s, its %d lines those of the log, %s; "+
		"no process and no throw-away container left",
		soakTime, commands, s.ran["up"], s.ran["user"], s.ran["status"], s.ran["logs"], s.ran["restart"], lost, 1+soakSubscribers, len(s.restarts.list),
		due, due, len(s.clients.sent)-s.clients.acknowledged(), len(s.clients.sent), flat, lines, goroutines), nil
}

// What a process may have more at the end than after its warm-up. Go's collector lets
// the memory breathe by about that.
const moreResident = 2 << 20

// flat wants memory and files of the long logs -f at the end as after its warm-up, which
// is a fifth of the time.
func (s *soaking) flat() (string, error) {
	rest := s.uses[len(s.uses)/5:]
	third := len(rest) / 3
	if third == 0 {
		return "", fmt.Errorf("logs -f was looked at %d times", len(s.uses))
	}
	early, late := typical(rest[:third]), typical(rest[len(rest)-third:])
	const mebi = 1 << 20
	text := fmt.Sprintf("%.1f MiB and %d files after the warm-up, %.1f MiB and %d files at the end",
		float64(early.resident)/mebi, early.files, float64(late.resident)/mebi, late.files)
	if late.resident > early.resident+moreResident || late.files > early.files {
		return "", missed("logs -f grows: %s", text)
	}
	return text, nil
}

// typical is the median of the memory and the least of the files: connections to the
// Engine that wait for their next use come and go.
func typical(uses []use) use {
	resident, files := make([]int64, 0, len(uses)), make([]int, 0, len(uses))
	for _, u := range uses {
		resident, files = append(resident, u.resident), append(files, u.files)
	}
	slices.Sort(resident)
	return use{resident[len(resident)/2], slices.Min(files)}
}

// nothingLeft wants no process of a command and no container of a look there.
func (s *soaking) nothingLeft(ctx context.Context) error {
	left, err := leftIn(s.b.program(), s.dir)
	if err != nil || len(left) > 0 {
		return missed("processes %v of mqtunnel are left: %w", left, err)
	}
	list, err := s.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", plan.LabelProbe+"="+s.name))})
	if err != nil || len(list) > 0 {
		return missed("%d throw-away containers are left: %w", len(list), err)
	}
	return nil
}
