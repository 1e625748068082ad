package proof

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

// upsAtOnce runs ten ups at once, on a project that is down or up.
func (r *rival) upsAtOnce(ctx context.Context) error {
	const ups = 10
	want := 0
	if r.random.IntN(2) == 0 {
		want = len([]string{broker, "cloudflared"})
		if err := r.arrange(ctx, "down"); err != nil {
			return err
		}
	} else if err := r.arrange(ctx, "up", "--no-wait"); err != nil {
		return err
	}
	created := r.creations(ctx)
	var list []attempt
	for range ups {
		list = append(list, attempt{args: r.maybe("up", "--no-wait"), after: r.delay() / 4})
	}
	list, err := r.atOnce(ctx, list)
	made, watchErr := created(want)
	if err := errors.Join(err, watchErr); err != nil {
		return err
	}
	for _, a := range list {
		if a.code != 0 && !a.refusedLock() {
			return missed("up: exit %d: %s", a.code, a.err)
		}
	}
	if made != want {
		return missed("%d containers were made, want %d", made, want)
	}
	return r.isUp(ctx)
}

// upsAgainstDowns runs ups and downs at once.
func (r *rival) upsAgainstDowns(ctx context.Context) error {
	start := []string{"up", "--no-wait"}
	if r.random.IntN(2) == 0 {
		start = []string{"down"}
	}
	if err := r.arrange(ctx, start...); err != nil {
		return err
	}
	var list []attempt
	for range 1 + r.random.IntN(2) {
		list = append(list, attempt{args: r.maybe("up", "--no-wait"), after: r.delay()}, attempt{args: r.maybe("down"), after: r.delay()})
	}
	list, err := r.atOnce(ctx, list)
	if err != nil {
		return err
	}
	last := map[string]bool{}
	for _, a := range list {
		if a.refusedLock() {
			continue
		}
		if a.code != 0 {
			return missed("%s: exit %d: %s", strings.Join(a.args, " "), a.code, a.err)
		}
		last[a.args[len(a.args)-1]] = true
	}
	o, err := r.objects(ctx)
	if err != nil {
		return err
	}
	if len(o.containers) == 0 && (last["down"] || start[0] == "down") {
		return r.isDown(ctx)
	}
	return r.isUp(ctx)
}

// composeInTheMiddle lets docker compose do something while a command is at work, and
// wants the next up to put it right.
func (r *rival) composeInTheMiddle(ctx context.Context) error {
	if err := r.arrange(ctx, "up", "--no-wait"); err != nil {
		return err
	}
	name := fmt.Sprintf("c%d", r.number)
	ours := [][]string{
		{"up", "--no-wait"}, {"up", "--no-wait", "--force-recreate"}, {"down"}, {"user", "add", name, "--topics", "own"}, {"restart", "--no-wait"},
	}[r.random.IntN(5)]
	theirs := [][]string{
		{"up", "-d"}, {"up", "-d", "--force-recreate"}, {"down"}, {"restart"}, {"stop"}, {"rm", "-fs"}, {"kill"},
	}[r.random.IntN(7)]
	list, err := r.atOnce(ctx, []attempt{
		{args: ours, stdin: userPassword, after: r.delay() / 2},
		{args: theirs, after: r.delay(), tool: r.b.composeProgram()},
	})
	if err != nil {
		return err
	}
	if a := list[0]; a.code != 0 && !strings.Contains(a.err, "error: ") {
		return missed("mqtunnel %s: exit %d without a word: %s", strings.Join(ours, " "), a.code, a.all())
	}
	if r.number%4 == 0 {
		err = r.up(ctx)
	} else {
		err = r.arrange(ctx, "up", "--no-wait")
	}
	if err != nil {
		return missed("docker compose %s in the middle of mqtunnel %s: the next up: %w", strings.Join(theirs, " "), strings.Join(ours, " "), err)
	}
	return eventually(ctx, back, func() error { return r.isUp(ctx) })
}

// tokenAgainstUp stores a refreshed token while up is at work.
func (r *rival) tokenAgainstUp(ctx context.Context) error {
	if err := r.arrange(ctx, "up", "--no-wait"); err != nil {
		return err
	}
	token := tokenOf(fmt.Sprintf("a-secret-that-was-refreshed-%05d", r.number))
	list := []attempt{
		{args: []string{"token", "set"}, stdin: token, after: r.delay()},
		{args: []string{"up", "--no-wait"}, after: r.delay()},
	}
	if r.random.IntN(2) == 0 {
		list[1].args = append(list[1].args, "--force-recreate")
	}
	list, err := r.atOnce(ctx, list)
	if err != nil {
		return err
	}
	for _, a := range list {
		if a.code != 0 {
			return missed("mqtunnel %s: exit %d: %s", strings.Join(a.args, " "), a.code, a.err)
		}
	}
	if err := r.tokenAsOneByOne(ctx, token); err != nil {
		return err
	}
	// And as it was.
	back, err := r.mqtunnel(ctx, r.tunnel.Token.Reveal(), "token", "set")
	if err != nil || back.code != 0 {
		return missed("token set: exit %d: %s: %w", back.code, back.err, err)
	}
	if err := r.arrange(ctx, "up", "--no-wait"); err != nil {
		return err
	}
	return r.isUp(ctx)
}

// tokenAsOneByOne wants the token stored, and the connector to have it, or else any tool
// to see that it has not.
func (r *rival) tokenAsOneByOne(ctx context.Context, token string) error {
	t, err := treeOf(r.dir)
	if err != nil {
		return err
	}
	if !strings.Contains(t[envFile].text, token) {
		return missed("the token is not in .env")
	}
	held, err := r.held(ctx, r.container("cloudflared"), render.TokenPath)
	if err != nil {
		return err
	}
	c, err := r.b.Engine.ContainerInspect(ctx, r.container("cloudflared"))
	if err != nil {
		return err
	}
	revision := c.Config.Labels[plan.LabelRevision]
	same := revision != "" && strings.Contains(t[composeFile].text, plan.LabelRevision+`: "`+revision+`"`)
	if has := held == token; has != same {
		return missed("the connector has the new token: %v; its revision is that of %s: %v", has, composeFile, same)
	}
	return nil
}
