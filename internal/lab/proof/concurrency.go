package proof

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/network"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/engine"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/remedy"
	"mqtunnel/internal/render"
)

// What concurrency wants.
const (
	concurrentRounds = 200
	// concurrentProjects run side by side, a round at a time each.
	concurrentProjects = 3
	// apartAtMost is how far apart the commands of a round begin.
	apartAtMost = 700 * time.Millisecond
	// heldFor is long for a command that is to meet the lock.
	heldFor = 3 * time.Second
)

// round is one kind of commands at once.
type round struct {
	name  string
	share int // of a hundred rounds
	run   func(*rival, context.Context) error
}

// rounds are all kinds. Those that recreate containers cost seconds.
func rounds() []round {
	return []round{
		{"users against users", 50, (*rival).usersAtOnce},
		{"ten ups", 12, (*rival).upsAtOnce},
		{"up against down", 13, (*rival).upsAgainstDowns},
		{"token set against up", 10, (*rival).tokenAgainstUp},
		{"docker compose in the middle", 15, (*rival).composeInTheMiddle},
	}
}

// kind returns the kind of a round; each has its share of every hundred.
func kind(n int) round {
	at := n * 37 % 100 // which mixes them
	for _, r := range rounds() {
		if at -= r.share; at < 0 {
			return r
		}
	}
	panic("the shares of the kinds of rounds are not a hundred")
}

// concurrency runs commands at once on one project, and wants the state that one of the
// orders one after the other leads to.
func concurrency(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "atonce")
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	t := &tally{rounds: map[string]int{}}
	seed := b.seed("concurrency")
	numbers := make(chan int, concurrentRounds)
	for n := range concurrentRounds {
		numbers <- n
	}
	close(numbers)
	group, gctx := errgroup.WithContext(ctx)
	for i := range concurrentProjects {
		suffix := "p" + strconv.Itoa(i)
		p, err := b.project(ctx, lab, dir, suffix, suffix+".example.com")
		if err != nil {
			return "", errors.Join(err, group.Wait())
		}
		group.Go(func() error { return t.work(gctx, p, numbers, seed) })
	}
	if err := group.Wait(); err != nil {
		return "", missed("seed %d: %w", seed, err)
	}
	return fmt.Sprintf("%d rounds (%s), %d commands, seed %d: no interleaving, every state that of one after the other; %d waited and were told for whom, "+
		"%d of --no-wait-lock stopped at once and were told as well (of %d more the other had just ended); %d files of users compared with the running broker; up put right what docker compose did in the middle",
		concurrentRounds, t.kinds(), t.commands, seed, t.waited, t.stopped, t.unnamed, t.compared), nil
}

// tally counts what happens. Several projects are at work at once.
type tally struct {
	mu                                  sync.Mutex
	rounds                              map[string]int
	commands, waited, stopped, compared int
	unnamed                             int // who had the lock had ended when it was asked for
}

func (t *tally) kinds() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, r := range rounds() {
		list = append(list, fmt.Sprintf("%d of %s", t.rounds[r.name], r.name))
	}
	return strings.Join(list, ", ")
}

// work takes rounds until there are no more.
func (t *tally) work(ctx context.Context, p *project, numbers <-chan int, seed uint64) error {
	if err := p.up(ctx); err != nil {
		return err
	}
	if err := p.lockIsTold(ctx); err != nil {
		return err
	}
	for n := range numbers {
		k := kind(n)
		r := &rival{project: p, tally: t, random: rand.New(rand.NewPCG(seed, uint64(n))), number: n} //nolint:gosec // to be drawn again
		began := time.Now()
		if err := k.run(r, ctx); err != nil {
			return fmt.Errorf("round %d, %s: %w\n%s", n, k.name, err, r.journal())
		}
		p.b.logf("round %d, %s: as one after the other (%v)", n, k.name, time.Since(began).Round(time.Millisecond))
		t.mu.Lock()
		t.rounds[k.name]++
		t.mu.Unlock()
	}
	return p.up(ctx)
}

// lockIsTold holds the lock itself, and wants a command to say so: one that waits, and
// goes on then, and one that does not.
func (p *project) lockIsTold(ctx context.Context) error {
	release, err := engine.Lock(ctx, p.dir, false, nil)
	if err != nil {
		return err
	}
	start := time.Now()
	r, err := p.mqtunnel(ctx, "", "--no-wait-lock", "up")
	if err != nil {
		return errors.Join(err, release())
	}
	if took := time.Since(start); r.code != int(remedy.Failed) || !strings.Contains(r.err, " is in use by ") || !strings.Contains(r.err, "\nhint: ") || took > answerLimit {
		return errors.Join(missed("--no-wait-lock: exit %d after %v: %s", r.code, took, r.err), release())
	}
	var group errgroup.Group
	group.Go(func() error {
		r, err := p.mqtunnel(ctx, "", "up", "--no-wait")
		if err == nil && (r.code != 0 || !strings.Contains(r.err, "waiting for another mqtunnel at work on this directory: ")) {
			err = missed("with the lock held, up: exit %d: %s", r.code, r.err)
		}
		return err
	})
	timer := time.AfterFunc(heldFor, func() { _ = release() }) // the descriptor is open
	err = group.Wait()
	if timer.Stop() {
		return errors.Join(err, missed("up went on while the lock was held"), release())
	}
	return err
}

// rival is one round at work.
type rival struct {
	*project

	tally  *tally
	random *rand.Rand
	number int
	begun  []attempt
}

// attempt is one of the commands at once.
type attempt struct {
	args  []string
	stdin string
	after time.Duration // since the round began
	tool  string        // the path of another program, "" for mqtunnel

	result
}

// journal tells what the round did.
func (r *rival) journal() string {
	var b strings.Builder
	for _, a := range r.begun {
		fmt.Fprintf(&b, "%v %s %s: exit %d: %s\n", a.after, filepath.Base(a.tool), strings.Join(a.args, " "), a.code, strings.TrimSpace(a.err))
	}
	return b.String()
}

// delay draws when a command begins.
func (r *rival) delay() time.Duration { return time.Duration(r.random.Int64N(int64(apartAtMost))) }

// atOnce runs commands at once, and looks at what they say about each other.
func (r *rival) atOnce(ctx context.Context, list []attempt) ([]attempt, error) {
	r.begun = list
	var group errgroup.Group
	for i := range list {
		a := &list[i]
		group.Go(func() error {
			select {
			case <-time.After(a.after):
			case <-ctx.Done():
				return ctx.Err()
			}
			c := command{dir: r.dir, env: []string{"SSL_CERT_FILE=" + filepath.Join(r.dir, "ca.pem")}, stdin: a.stdin, path: a.tool, args: a.args}
			if a.tool == "" {
				c.path = r.b.program()
			}
			var err error
			a.result, err = r.b.run(ctx, c)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return list, r.told(list)
}

// whom matches what a command says about the one that has the lock.
var whom = regexp.MustCompile(`(?m)^(?:note waiting for another mqtunnel at work on this directory:|error: .* is in use by) (.*)$`)

// told wants every command that met the lock to name the one that had it: one of the
// same round. Where that one ended meanwhile, nobody can be named.
func (r *rival) told(list []attempt) error {
	var pids []string
	for _, a := range list {
		pids = append(pids, fmt.Sprintf("(pid %d)", a.pid))
	}
	r.tally.mu.Lock()
	defer r.tally.mu.Unlock()
	r.tally.commands += len(list)
	for _, a := range list {
		if strings.Contains(a.all(), "panic:") || strings.Contains(a.all(), "goroutine ") {
			return missed("it crashed: %s", a.all())
		}
		found := whom.FindStringSubmatch(a.err)
		if found == nil {
			continue
		}
		named := slices.ContainsFunc(pids, func(pid string) bool { return strings.HasSuffix(found[1], pid) })
		ended := found[1] == "another process" || strings.HasPrefix(found[1], "process ")
		switch {
		case !named && !ended:
			return missed("mqtunnel %s was told that %s has the lock", strings.Join(a.args, " "), found[1])
		case !named:
			r.tally.unnamed++
		case a.code == int(remedy.Failed):
			r.tally.stopped++
		default:
			r.tally.waited++
		}
	}
	return nil
}

// refusedLock reports whether a command stopped because another one had the lock.
func (a attempt) refusedLock() bool {
	return slices.Contains(a.args, noWaitLock) && a.code == int(remedy.Failed) && strings.Contains(a.err, " is in use by ")
}

// noWaitLock is the flag of a command that does not wait.
const noWaitLock = "--no-wait-lock"

// maybe adds the flag to one command in five.
func (r *rival) maybe(args ...string) []string {
	if r.random.IntN(5) == 0 {
		return append([]string{noWaitLock}, args...)
	}
	return args
}

// arrange runs a command before the round.
func (r *rival) arrange(ctx context.Context, args ...string) error {
	_, err := r.must(ctx, args...)
	return err
}

// objects are what the Engine has of the project.
type objects struct {
	containers []string // with names and services
	ids        string
	networks   int
}

// objects looks what there is of the project, whoever made it.
func (p *project) objects(ctx context.Context) (o objects, err error) {
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+p.name))
	containers, err := p.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		return o, err
	}
	for _, c := range containers {
		o.containers = append(o.containers, c.Names[0]+" "+c.State)
		o.ids += c.ID
	}
	slices.Sort(o.containers)
	networks, err := p.b.Engine.NetworkList(ctx, network.ListOptions{Filters: mine})
	o.networks = len(networks)
	return o, err
}

// isUp wants both containers running under their names, one network, and the files
// whole.
func (r *rival) isUp(ctx context.Context) error {
	o, err := r.objects(ctx)
	if err != nil {
		return err
	}
	want := []string{"/" + r.container("cloudflared") + " running", "/" + r.container(broker) + " running"}
	if !slices.Equal(o.containers, want) || o.networks != 1 {
		return missed("there is %v and %d networks, want %v and one", o.containers, o.networks, want)
	}
	t, err := treeOf(r.dir)
	if err != nil {
		return err
	}
	if err := r.wholeFiles(ctx, t); err != nil {
		return err
	}
	r.tally.mu.Lock()
	r.tally.compared += 2
	r.tally.mu.Unlock()
	return r.inForce(ctx, t)
}

// isDown wants nothing left but the files.
func (r *rival) isDown(ctx context.Context) error {
	o, err := r.objects(ctx)
	if err != nil {
		return err
	}
	if len(o.containers) != 0 || o.networks != 0 {
		return missed("there is %v and %d networks, want nothing", o.containers, o.networks)
	}
	return nil
}

// wholeFiles wants no file under a temporary name, and the Compose file as a command
// wrote it from the others.
func (r *rival) wholeFiles(ctx context.Context, t tree) error {
	for name := range t {
		if strings.Contains(name, newMark) {
			return missed("%s is left", name)
		}
	}
	if render.Edited([]byte(t[composeFile].text)) {
		return missed("%s is not as a command wrote it", composeFile)
	}
	if _, err := r.must(ctx, "render", "--write"); err != nil {
		return err
	}
	after, err := treeOf(r.dir)
	if err != nil {
		return err
	}
	if changed := t.difference(after, after); changed != "" {
		return missed("the files do not belong together: rendered again, %s", changed)
	}
	return nil
}

// creations counts the containers of services that are made from now on. The count is
// taken by the function that it returns, once at least so many are known.
func (p *project) creations(ctx context.Context) (counted func(atLeast int) (int, error)) {
	ctx, stop := context.WithCancel(ctx)
	// The Engine keeps few events, so they are read as they come.
	stream, errs := p.b.Engine.Events(ctx, events.ListOptions{
		Filters: filters.NewArgs(filters.Arg("type", "container"), filters.Arg("event", "create"), filters.Arg("label", plan.LabelProject+"="+p.name)),
	})
	var mu sync.Mutex
	created := 0
	var group errgroup.Group
	group.Go(func() error {
		for {
			select {
			case <-stream:
				mu.Lock()
				created++
				mu.Unlock()
			case err := <-errs:
				if ctx.Err() != nil {
					return nil //nolint:nilerr // it was stopped
				}
				return err
			}
		}
	})
	return func(atLeast int) (int, error) {
		_ = eventually(ctx, answerLimit, func() error { // what is missing then is for the caller to say
			mu.Lock()
			defer mu.Unlock()
			if created < atLeast {
				return missed("%d of %d", created, atLeast)
			}
			return nil
		})
		stop()
		err := group.Wait()
		return created, err
	}
}

// held reads a file out of a container.
func (p *project) held(ctx context.Context, name, path string) (text string, err error) {
	archive, _, err := p.b.Engine.CopyFromContainer(ctx, name, path)
	if err != nil {
		return "", err
	}
	defer finish(&err, archive.Close)
	files := tar.NewReader(archive)
	if _, err := files.Next(); err != nil {
		return "", err
	}
	data, err := io.ReadAll(files)
	return string(data), err
}
