// Package proof shows what the project promises: each proof drives the real
// binary from outside, starts from a clean state and cleans up after itself.
package proof

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/client"

	"mqtunnel/internal/lab/bench"
)

// Proof is one promise and how it is shown.
type Proof struct {
	Name    string
	Says    string        // what holds, in one sentence
	Usually time.Duration // on two cores, images built
	// Run shows it and returns the figure. An error is the bar that was missed.
	Run func(context.Context, *Bench) (figure string, err error)
}

// quick is how long a proof may usually take to be run with every submission.
const quick = time.Minute

// Quick reports whether the proof usually takes under a minute.
func (p Proof) Quick() bool { return p.Usually < quick }

// All lists the proofs in the order in which they run.
func All() []Proof {
	return []Proof{
		{"paste", "Every way in which people paste a token gets the right verdict, and .env is left right.", 10 * time.Second, paste},
		{"token-nowhere", "With a project up, the token is in .env and the connector's secret file and nowhere else.", 25 * time.Second, tokenNowhere},
		{"two-projects", "Two projects run side by side, and each command touches only its own.", 20 * time.Second, twoProjects},
		{"comes-back", "Killed processes come back by themselves, and no retained message is gone without a word.", 50 * time.Second, comesBack},
		{"revoked-stays-revoked", "A removed user stays out whatever restarts the broker.", 30 * time.Second, revoked},
		{"users-live", "A hundred users come, change and go, and no other client notices; the removed ones are out at once.", 6 * time.Minute, usersLive},
		{"users-versions", "Both versions of the broker take the same users, and every hash that either writes.", 20 * time.Second, usersVersions},
		{"users-isolation", "No user reads or writes what is another one's, whatever its client calls itself.", 45 * time.Second, usersIsolation},
		{"leak-scan", "No secret of a project stands where it does not belong, whatever command is run.", 2 * time.Minute, leakScan},
		{"hardened", "Containers run with the rights and limits that are promised, as the kernel sees them.", 25 * time.Second, hardened},
		{"users-bad-file", "A damaged file of the users is refused with line and cause, and no running broker sees it.", 50 * time.Second, usersBadFile},
		{"users-10000", "With 10,000 users the commands stay quick, and so does the broker.", time.Minute, usersMany},
		{"compose-interop", "mqtunnel and Docker Compose run the same project in turns, and neither changes what the other made.", 5 * time.Minute, composeInterop},
		{"import-original", "A hand-made project moves here with its retained messages and users, and stays as it was.", 80 * time.Second, importOriginal},
		{"converge", "Whatever stops a command at whatever call, the same command run again comes to the same end.", 14 * time.Minute, converge},
		{"interrupt", "Ctrl-C stops a command at once at whatever call, and says what is left.", 6 * time.Minute, interrupt},
		{"files", "Killed at any moment while it writes, or in any set-up, a command leaves every file whole.", 5 * time.Minute, files},
		{"recreate-downtime", "A change that recreates a container keeps clients out no longer than docker compose does.", 6 * time.Minute, recreateDowntime},
		{"concurrency", "Of commands at once on one project each waits for the other, and none is half done or lost.", 10 * time.Minute, concurrency},
		{"soak", "Clients stay connected and lose nothing while commands run all the time, and no command leaves anything behind.", 11 * time.Minute, soak},
		{"doctor-sample", "Of a few faults doctor names each first, and none once it is mended.", 50 * time.Second, doctorSample},
		{"doctor-time", "doctor answers within 2 s on a healthy project, and never hangs.", 70 * time.Second, doctorTime},
		{"doctor-quiet", "On a healthy project doctor finds nothing, fresh or busy.", 4 * time.Minute, doctorQuiet},
		{"doctor-faults", "Of every fault doctor names each first, and none once it is mended.", 12 * time.Minute, doctorFaults},
		{"doctor-forged", "No client, server or neighbour can put words into doctor's mouth.", 12 * time.Minute, doctorForged},
		{"bundle-clean", "The bundle of a project holds nothing private, and all that a helper needs.", 2 * time.Minute, bundleClean},
		{"doctor-pairs", "Of two faults at once doctor names the more upstream one first.", 15 * time.Minute, doctorPairs},
		{"doctor-real", "With a real cloudflared doctor names the same faults first.", 5 * time.Minute, doctorReal},
		{"lab-conformance", "The connector in use behaves as cloudflared does, behaviour by behaviour.", 70 * time.Second, conformance},
		{"demo", "A fresh clone runs make demo, again, and make demo-down leaves nothing.", 150 * time.Second, demo},
		{"tests", "A fresh clone passes make test, and no test is skipped.", 12 * time.Minute, tests},
	}
}

// Bench is what proofs work with.
type Bench struct {
	Root   string // the work tree
	Log    io.Writer
	Engine *client.Client
	// Cloudflared is the path of a real cloudflared, "" for the stand-in.
	Cloudflared string
	// Faults names the faults that doctor is tried on, or the commands that are
	// disturbed, none for all.
	Faults []string
	// Verbose tells every call to the Engine that is counted.
	Verbose bool
	// Seed is what is drawn with, pairs of faults for one, 0 for another one each time.
	Seed uint64
}

// program returns the path of the binary that make built.
func (b *Bench) program() string { return filepath.Join(b.Root, "bin", "mqtunnel") }

// composeProgram returns the path of the real Docker Compose that make built.
func (b *Bench) composeProgram() string { return filepath.Join(b.Root, "bin", "docker-compose") }

// logf tells how a proof gets on.
func (b *Bench) logf(format string, args ...any) { fmt.Fprintf(b.Log, format+"\n", args...) }

// result is what a program answered.
type result struct {
	out, err string
	code     int
	cpu      time.Duration // of the program, user and system
	pid      int           // that it had
}

// all is both outputs.
func (r result) all() string { return r.out + r.err }

// passedOn names the variables that programs get of this process's environment: what
// finds the Engine, the programs and their caches.
func passedOn() []string {
	return []string{
		"PATH", "HOME", "TMPDIR", "DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY",
		"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN",
	}
}

// command says what to run.
type command struct {
	dir   string
	env   []string
	stdin string
	path  string
	args  []string
	user  int // that it runs as, 0 for the one of this process
	// started, if set, gets the program as soon as it runs.
	started func(*exec.Cmd)
}

// environ is what the program gets of this process's environment, and its own.
func (c command) environ() []string {
	var env []string
	for _, name := range passedOn() {
		own := slices.ContainsFunc(c.env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if value, set := os.LookupEnv(name); set && !own { //nolint:forbidigo // the lab's command line is a thin edge itself
			env = append(env, name+"="+value)
		}
	}
	return append(env, c.env...)
}

// prepare makes a command that can be run, at the head of a process group of its own.
func (c command) prepare(ctx context.Context) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.path, c.args...) //nolint:gosec // programs of this work tree
	cmd.Dir, cmd.Env = c.dir, c.environ()
	cmd.Stdin = strings.NewReader(c.stdin)
	cmd.WaitDelay = endDelay
	grouped(cmd, c.user)
	return cmd
}

// run runs a program to its end. One that could not be run is an error, and so is
// an end of the context; its exit code is part of the answer.
func (b *Bench) run(ctx context.Context, c command) (result, error) {
	cmd := c.prepare(ctx)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Start()
	if err != nil {
		return result{}, errors.Join(ctx.Err(), err)
	}
	if c.started != nil {
		c.started(cmd)
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return result{}, errors.Join(ctx.Err(), endGroup(cmd))
	}
	r := result{out: out.String(), err: errOut.String(), code: cmd.ProcessState.ExitCode()}
	r.pid = cmd.ProcessState.Pid()
	r.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if _, exited := errors.AsType[*exec.ExitError](err); exited {
		err = nil
	}
	return r, err
}

// endDelay is how long a program that is to end may take.
const endDelay = 20 * time.Second

// lab starts a lab of the proof's own, with the project directory's parent, and
// returns what removes both.
func (b *Bench) lab(ctx context.Context, name string) (lab *bench.Lab, dir string, remove func() error, err error) {
	lab, err = bench.Start(ctx, b.Engine, bench.Options{
		Name: "proof-" + name + "-" + strings.ToLower(rand.Text()[:6]), Root: b.Root, Log: b.logf, Cloudflared: b.Cloudflared, Ephemeral: true,
	})
	if err != nil {
		return nil, "", nil, err
	}
	dir, err = os.MkdirTemp("", "mqtunnel-proof-")
	if err != nil {
		return nil, "", nil, errors.Join(err, lab.Stop(ctx))
	}
	return lab, dir, func() error {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(bench.RemoveProjects(ctx, b.Engine, lab.Name), lab.Stop(ctx), os.RemoveAll(dir))
	}, nil
}

// finish joins the error of a clean-up to that of the proof.
func finish(err *error, remove func() error) { *err = errors.Join(*err, remove()) }

// errNone stands where an error may be and is none.
var errNone = errors.New("no error")

// missed is a bar that was missed. An error among args may be nil.
func missed(format string, args ...any) error {
	for i, arg := range args {
		if arg == nil {
			args[i] = errNone
		}
	}
	return fmt.Errorf(format, args...)
}
