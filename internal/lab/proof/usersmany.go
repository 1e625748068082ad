package proof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/secret"
)

// What users-10000 wants.
const (
	manyUsers   = 10_000
	manyRuns    = 7
	manyReloads = 10
	ownWork     = 300 * time.Millisecond
)

// usersMany measures what a change costs with many users.
func usersMany(ctx context.Context, b *Bench) (figure string, err error) {
	return b.alone(ctx, "many", (*project).manyUsersCost)
}

func (p *project) manyUsersCost(ctx context.Context) (figure string, err error) {
	if err := p.up(ctx); err != nil {
		return "", err
	}
	few, _, err := p.addCost(ctx, "few")
	if err != nil {
		return "", err
	}
	if err := p.writeMany(); err != nil {
		return "", err
	}
	if err := p.up(ctx); err != nil {
		return "", err
	}
	if err := p.roundTrip(ctx, "m"+strconv.Itoa(manyUsers-1), userPassword, "x/y"); err != nil {
		return "", missed("the last of %d users cannot log in: %w", manyUsers, err)
	}
	many, wall, err := p.addCost(ctx, "many")
	if err != nil {
		return "", err
	}
	peer, err := p.peerCost(ctx)
	if err != nil {
		return "", err
	}
	figure = fmt.Sprintf("%d users: user add takes %v of CPU of its own (user and system, median of %d), in all %v; with no other user %v; docker compose config of the same project %v",
		manyUsers, many, manyRuns, wall, few, peer)
	if many >= ownWork {
		return "", missed("%s; want less than %v", figure, ownWork)
	}
	reloads, err := p.reloads(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s; the broker lets a new login in %v after SIGHUP (median of %d, at most %v)",
		figure, reloads[len(reloads)/2], len(reloads), reloads[len(reloads)-1]), nil
}

// addCost adds users and returns what the median of the commands cost in CPU time of
// its own, and how long it took.
func (p *project) addCost(ctx context.Context, prefix string) (cpu, wall time.Duration, err error) {
	var costs, times []time.Duration
	for run := range manyRuns {
		start := time.Now()
		r, err := p.mqtunnel(ctx, userPassword+"\n", "user", "add", prefix+strconv.Itoa(run), "--topics", "own")
		if err == nil && (r.code != 0 || !strings.Contains(r.out, "in effect now")) {
			err = missed("user add: exit %d: %s", r.code, r.err)
		}
		if err != nil {
			return 0, 0, err
		}
		costs, times = append(costs, r.cpu), append(times, time.Since(start))
	}
	slices.Sort(costs)
	slices.Sort(times)
	p.b.logf("user add: CPU %v, in all %v", costs, times)
	return costs[manyRuns/2].Round(time.Millisecond), times[manyRuns/2].Round(time.Millisecond), nil
}

// peerCost is the CPU time of the median of several runs of a peer that reads the same
// project and writes nothing.
func (p *project) peerCost(ctx context.Context) (time.Duration, error) {
	var costs []time.Duration
	for range manyRuns {
		r, err := p.b.run(ctx, command{dir: p.dir, path: p.b.composeProgram(), args: []string{"config", "--quiet"}})
		if err == nil && r.code != 0 {
			err = fmt.Errorf("docker compose config: exit %d: %s", r.code, r.err)
		}
		if err != nil {
			return 0, err
		}
		costs = append(costs, r.cpu)
	}
	slices.Sort(costs)
	return costs[manyRuns/2].Round(time.Millisecond), nil
}

// hashOf returns a line of the password file without the name.
func hashOf(password string) (string, error) {
	var p mosquitto.Passwords
	if err := p.Set(user, secret.New(password)); err != nil {
		return "", err
	}
	return strings.TrimPrefix(strings.TrimSpace(p.Render().Reveal()), user+":"), nil // into files of the proof's own
}

// writeMany adds many users to the files, by hand. All have the same password and
// hash: what a hash is, matters to nobody who reads the files.
func (p *project) writeMany() error {
	hash, err := hashOf(userPassword)
	if err != nil {
		return err
	}
	var passwd, acl strings.Builder
	for n := range manyUsers {
		name := "m" + strconv.Itoa(n)
		fmt.Fprintf(&passwd, "%s:%s\n", name, hash)
		fmt.Fprintf(&acl, "\nuser %s\ntopic readwrite x/#\ntopic readwrite %s/#\n", name, name)
	}
	return errors.Join(appendTo(filepath.Join(p.dir, passwdFile), passwd.String()), appendTo(filepath.Join(p.dir, aclFile), acl.String()))
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// reloads adds users to the broker's own file, one after the other, and measures how
// long after the SIGHUP each is let in. What it returns is sorted.
func (p *project) reloads(ctx context.Context) (took []time.Duration, err error) {
	c, err := p.b.Engine.ContainerInspect(ctx, p.container(broker))
	if err != nil {
		return nil, err
	}
	address := net.JoinHostPort(c.NetworkSettings.Networks[p.name+"_default"].IPAddress, "1883")
	hash, err := hashOf(userPassword)
	if err != nil {
		return nil, err
	}
	for n := range manyReloads {
		name := "reload" + strconv.Itoa(n)
		t, err := p.reload(ctx, address, name, name+":"+hash)
		if err != nil {
			return nil, err
		}
		took = append(took, t.Round(time.Millisecond))
	}
	slices.Sort(took)
	return took, nil
}

// reload adds a line to the broker's own password file, and returns how long after
// the SIGHUP the user of it is let in.
func (p *project) reload(ctx context.Context, address, name, line string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, back)
	defer cancel()
	const script = `cd /mosquitto/config && cp passwd fresh && echo "$1" >> fresh && chmod 600 fresh && mv -f fresh passwd`
	if _, err := p.b.exec(ctx, p.container(broker), "sh", "-c", script, "sh", line); err != nil {
		return 0, err
	}
	start := time.Now()
	if err := p.signal(ctx, p.container(broker), "HUP"); err != nil {
		return 0, err
	}
	in, err := loggedIn(ctx, address, name)
	return in.Sub(start), err
}

// loggedIn tries until a user is let in, and returns when that was.
func loggedIn(ctx context.Context, address, name string) (time.Time, error) {
	const often = 2 * time.Millisecond
	for {
		accepted, err := login(ctx, address, name)
		if err != nil || accepted {
			return time.Now(), err
		}
		select {
		case <-ctx.Done():
			return time.Time{}, missed("user %s is not let in: %w", name, ctx.Err())
		case <-time.After(often):
		}
	}
}

// login connects a client and reports whether the broker accepts it.
func login(ctx context.Context, address, name string) (accepted bool, err error) {
	d := net.Dialer{Timeout: answerLimit}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := conn.SetDeadline(time.Now().Add(back)); err != nil {
		return false, err
	}
	if _, err := conn.Write(connectPacket(name, name, userPassword, "")); err != nil {
		return false, err
	}
	var answer [4]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return false, err
	}
	return answer[3] == 0, nil
}
