package proof

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/lab/engineproxy"
	"mqtunnel/internal/plan"
)

// counter counts the calls that programs make to the Engine through it.
type counter struct {
	b      *Bench
	proxy  *engineproxy.Proxy
	group  *errgroup.Group
	cancel context.CancelFunc

	mu    sync.Mutex
	short map[string]bool // names and IDs of those that mqtunnel throws away
	names map[string]int  // how often a container of a name was made
}

// counter opens one with its socket in dir.
func (b *Bench) counter(ctx context.Context, dir string) (*counter, error) {
	proxy, err := engineproxy.Listen(ctx, engineproxy.Options{Socket: filepath.Join(dir, "engine.sock"), Dial: b.Engine.Dialer()})
	if err != nil {
		return nil, err
	}
	c := &counter{b: b, proxy: proxy, group: &errgroup.Group{}, short: map[string]bool{}, names: map[string]int{}}
	ctx, c.cancel = context.WithCancel(ctx)
	messages, errs := b.Engine.Events(ctx, events.ListOptions{
		Since:   strconv.FormatInt(time.Now().Unix(), 10), // also what is made before the stream is there
		Filters: filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("event", string(events.ActionCreate))),
	})
	c.group.Go(func() error {
		for {
			select {
			case m := <-messages:
				c.note(m)
			case err := <-errs:
				return err
			}
		}
	})
	return c, nil
}

// close ends the counting.
func (c *counter) close() error {
	c.cancel()
	err := c.group.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, c.proxy.Close())
}

// note notes a container that was made. Its attributes are its labels and its name.
func (c *counter) note(m events.Message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := m.Actor.Attributes["name"]
	c.names[name]++
	if m.Actor.Attributes[plan.LabelProbe] != "" {
		c.short[name], c.short[m.Actor.ID] = true, true
	}
}

// calls are what one program asked of the Engine.
type calls struct {
	all     int
	changes []engineproxy.Call // that change something, but for those of the next
	looks   int                // containers that mqtunnel made to throw away: its look from inside, and trials
	ofLooks int                // calls that change something, about these
}

// String is what a person reads of them.
func (c calls) String() string {
	text := fmt.Sprintf("%d calls, %d changing", c.all, len(c.changes))
	if c.looks > 0 {
		text += fmt.Sprintf(" and %d about %d throw-away containers", c.ofLooks, c.looks)
	}
	return text
}

// creates counts the containers that were made to stay.
func (c calls) creates() int {
	n := 0
	for _, call := range c.changes {
		if isCreate(call) {
			n++
		}
	}
	return n
}

func isCreate(c engineproxy.Call) bool {
	return c.Method == http.MethodPost && c.Path == "/containers/create"
}

// count runs something and returns the calls that came through meanwhile.
func (c *counter) count(ctx context.Context, what string, run func() error) (calls, error) {
	c.mu.Lock()
	clear(c.names)
	c.mu.Unlock()
	c.proxy.Forget()
	if err := run(); err != nil {
		return calls{}, err
	}
	list := c.proxy.Calls()
	if err := c.settled(ctx, list); err != nil {
		return calls{}, err
	}
	got := c.sort(list)
	if !c.b.Verbose {
		return got, nil
	}
	c.b.logf("%s: %s", what, got)
	for _, call := range list {
		mark := " "
		switch {
		case slices.Contains(got.changes, call):
			mark = "*"
		case call.Changes():
			mark = "-"
		}
		c.b.logf("  %s %s", mark, call)
	}
	return got, nil
}

// settled waits until the Engine has told of every container that the calls made.
func (c *counter) settled(ctx context.Context, list []engineproxy.Call) error {
	made := map[string]int{}
	for _, call := range list {
		if isCreate(call) && call.Status == http.StatusCreated {
			made[newName(call)]++
		}
	}
	return eventually(ctx, back, func() error {
		c.mu.Lock()
		defer c.mu.Unlock()
		for name, n := range made {
			if c.names[name] < n {
				return fmt.Errorf("the Engine has not told that container %s was made", name)
			}
		}
		return nil
	})
}

// sort tells the calls about throw-away containers from the others.
func (c *counter) sort(list []engineproxy.Call) calls {
	c.mu.Lock()
	defer c.mu.Unlock()
	got := calls{all: len(list)}
	for _, call := range list {
		switch {
		case !call.Changes():
		case isCreate(call) && c.short[newName(call)]:
			got.looks++
			got.ofLooks++
		case c.short[containerOf(call)]:
			got.ofLooks++
		default:
			got.changes = append(got.changes, call)
		}
	}
	return got
}

// newName is the name that a container is to be made under, "" for one that the Engine
// chooses.
func newName(c engineproxy.Call) string {
	query, err := url.ParseQuery(c.Query)
	if err != nil {
		return ""
	}
	return query.Get("name")
}

// containerOf is the container in a call's path, "" for none.
func containerOf(c engineproxy.Call) string {
	rest, about := strings.CutPrefix(c.Path, "/containers/")
	if !about {
		return ""
	}
	id, _, _ := strings.Cut(rest, "/")
	return id
}
