package proof

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/plan"
)

// site is a lab with one running project, on which faults are tried one after the
// other. It belongs to one goroutine.
type site struct {
	*project        // the one that runs
	parent   string // directory of everything that the site has
	program  string // its own copy of the binary, which others may run too
	shape    shape  // of the project that runs
	made     int    // projects so far
	vantage  vantage
	held     []io.Closer       // what the faults hold open
	files    map[string]string // the project directory as it is when all is well, by relative path
	remove   func() error
}

// shape is what a project has that not every project has.
type shape struct {
	settings  string // one further line of .env
	mosquitto string // version of the broker, "" for the newest
	override  string // "" for none, or one of the names below
}

// shapeSmallDisk is a data volume of 32 MiB.
const shapeSmallDisk = "small disk"

// user is a user that every project of a site has.
const user = "phone"

// How long a site waits.
const (
	// mending is how long after its remedy a fault may still be told.
	mending = 40 * time.Second
	// doctorLimit is what no diagnosis may take.
	doctorLimit = 15 * time.Second
	// hanging is when a diagnosis counts as one that never ends.
	hanging = time.Minute
)

// site opens a site; its project is made by the first use.
func (b *Bench) site(ctx context.Context, name string) (*site, error) {
	lab, parent, remove, err := b.lab(ctx, name)
	if err != nil {
		return nil, err
	}
	s := &site{
		project: &project{b: b, lab: lab}, parent: parent, program: filepath.Join(parent, "mqtunnel"), remove: remove,
	}
	text, err := os.ReadFile(b.program())
	if err == nil {
		err = os.WriteFile(s.program, text, 0o755) //nolint:gosec // other users of the machine run it too
	}
	if err == nil {
		err = os.Chmod(parent, 0o755) //nolint:gosec // other users of the machine look into it
	}
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	return s, nil
}

// close removes the site.
func (s *site) close() error { return errors.Join(s.release(), s.remove()) }

// release ends what faults hold open.
func (s *site) release() error {
	var errs []error
	for _, c := range slices.Backward(s.held) {
		errs = append(errs, c.Close())
	}
	s.held = nil
	return errors.Join(errs...)
}

// hold keeps something open until the fault is over.
func (s *site) hold(c io.Closer) { s.held = append(s.held, c) }

// closer makes a function one.
type closer func() error

func (c closer) Close() error { return c() }

// usual is the vantage from which all is well: the lab is the internet.
func (s *site) usual() vantage {
	return vantage{
		env:   map[string]string{},
		files: map[string]string{"/etc/resolv.conf": "nameserver " + s.lab.Address.String() + "\n"},
	}
}

// mqtunnel runs the binary from the vantage.
func (s *site) mqtunnel(ctx context.Context, stdin string, args ...string) (result, error) {
	c, err := s.vantage.from(s.parent, command{
		dir: s.dir, stdin: stdin, path: s.program, args: args,
		env: []string{"SSL_CERT_FILE=" + filepath.Join(s.parent, "ca.pem")},
	})
	if err != nil {
		return result{}, err
	}
	return s.b.run(ctx, c)
}

// must runs the binary and wants success.
func (s *site) must(ctx context.Context, args ...string) error { return s.mustTell(ctx, "", args...) }

// mustTell is must with something on standard input.
func (s *site) mustTell(ctx context.Context, stdin string, args ...string) error {
	r, err := s.mqtunnel(ctx, stdin, args...)
	if err == nil && r.code != 0 {
		err = fmt.Errorf("mqtunnel %s: exit %d: %s", strings.Join(args, " "), r.code, r.err)
	}
	return err
}

// up is the remedy of many faults.
func (s *site) up(ctx context.Context) error { return s.must(ctx, "up", "--timeout", "60s") }

// upBroken runs up on a project that does not come up.
func (s *site) upBroken(ctx context.Context) error {
	r, err := s.mqtunnel(ctx, "", "up", "--no-wait")
	if err == nil {
		s.b.logf("%s: up: exit %d: %s", s.name, r.code, firstLine(r.err))
	}
	return err
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

// fresh makes a project of a shape in place of the one that was there, and starts it.
func (s *site) fresh(ctx context.Context, sh shape) error {
	if err := errors.Join(s.release(), bench.RemoveProjects(ctx, s.b.Engine, s.lab.Name)); err != nil {
		return err
	}
	s.files, s.vantage, s.shape = nil, s.usual(), sh
	s.made++
	var settings []string
	if sh.settings != "" {
		settings = append(settings, sh.settings)
	}
	if sh.mosquitto != "" {
		ref, err := s.brokerImage(ctx, sh.mosquitto)
		if err != nil {
			return err
		}
		settings = append(settings, "MOSQUITTO_IMAGE="+ref)
	}
	suffix := strconv.Itoa(s.made)
	p, err := s.b.project(ctx, s.lab, s.parent, suffix, "mqtt"+suffix+".example.com", append(settings, "TUNNEL_GRACE_PERIOD=5s")...)
	if err != nil {
		return err
	}
	s.project = p
	if err := os.WriteFile(filepath.Join(s.parent, "ca.pem"), s.lab.CA, 0o644); err != nil { //nolint:gosec // a certificate
		return err
	}
	if sh.override == shapeSmallDisk {
		if err := s.override("", "", "volumes:\n  data:\n    driver: local\n    driver_opts: {type: tmpfs, device: tmpfs, o: \"size=32m,uid=1883,gid=1883\"}\n"); err != nil {
			return err
		}
	}
	if err := s.up(ctx); err != nil {
		return err
	}
	if err := s.must(ctx, "user", "add", user, "--topics", "all", "--generate"); err != nil {
		return err
	}
	return s.remember()
}

// brokerImage returns the image of a version of the broker.
func (s *site) brokerImage(ctx context.Context, version string) (string, error) {
	store, err := s.images(ctx)
	if err != nil {
		return "", err
	}
	image, err := store.Mosquitto(ctx, version)
	return image.Ref, err
}

func (s *site) images(ctx context.Context) (*images.Store, error) {
	return images.Open(ctx, s.b.Engine, s.b.Root, s.b.logf)
}

// remember takes the project directory as it is for what is well.
func (s *site) remember() error {
	s.files = map[string]string{}
	return filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path) //nolint:gosec // the proof's own directory
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(s.dir, path)
		s.files[relative] = string(text)
		return err
	})
}

// restore puts the project directory back and reports whether it was another.
func (s *site) restore() (changed bool, err error) {
	was := s.files
	err = s.remember()
	now := s.files
	s.files = was
	if err != nil {
		return false, err
	}
	for path := range now {
		if _, known := was[path]; !known {
			changed = true
			if err := os.Remove(filepath.Join(s.dir, path)); err != nil {
				return changed, err
			}
		}
	}
	for path, text := range was {
		if now[path] != text {
			changed = true
			if err := s.write(path, text); err != nil {
				return changed, err
			}
		}
	}
	return changed, nil
}

// diagnosis is the part of doctor --json that the proofs read.
type diagnosis struct {
	Verdict  *string `json:"verdict"`
	Healthy  bool    `json:"healthy"`
	Findings []struct {
		Code     string `json:"code"`
		Sentence string `json:"sentence"`
		Status   string `json:"status"`
	} `json:"findings"`

	code int
	took time.Duration
}

// first is the code of the first finding, "" without one.
func (d diagnosis) first() string {
	if len(d.Findings) == 0 {
		return ""
	}
	return d.Findings[0].Code
}

// String lists what was found.
func (d diagnosis) String() string {
	found := make([]string, 0, len(d.Findings))
	for _, f := range d.Findings {
		found = append(found, f.Status+" "+f.Code+" "+strconv.Quote(f.Sentence))
	}
	if len(found) == 0 {
		found = append(found, "nothing found")
	}
	return fmt.Sprintf("exit %d after %v: %s", d.code, d.took.Round(10*time.Millisecond), strings.Join(found, ", "))
}

// clean reports whether nothing at all was found.
func (d diagnosis) clean() bool {
	return d.code == 0 && d.Healthy && d.Verdict == nil && len(d.Findings) == 0
}

// doctor asks for a diagnosis.
func (s *site) doctor(ctx context.Context) (diagnosis, error) {
	ctx, cancel := context.WithTimeout(ctx, hanging)
	defer cancel()
	start := time.Now()
	r, err := s.mqtunnel(ctx, "", append([]string{"doctor", "--json"}, s.vantage.doctor...)...)
	took := time.Since(start)
	if errors.Is(err, context.DeadlineExceeded) {
		return diagnosis{}, missed("doctor has not ended after %v", hanging)
	}
	if err != nil {
		return diagnosis{}, err
	}
	d := diagnosis{code: r.code, took: took}
	if err := json.Unmarshal([]byte(r.out), &d); err != nil {
		return d, fmt.Errorf("doctor --json: exit %d: %w: %s%s", r.code, err, r.out, r.err)
	}
	return d, nil
}

// becomes waits for a diagnosis that is as wanted.
func (s *site) becomes(ctx context.Context, want func(diagnosis) bool) error {
	return eventually(ctx, mending, func() error {
		d, err := s.doctor(ctx)
		if err == nil && !want(d) {
			err = fmt.Errorf("doctor says %v", d)
		}
		return err
	})
}

// baseline brings the site back to a project with which all is well. It is an error
// when it is not.
func (s *site) baseline(ctx context.Context) error {
	if err := s.release(); err != nil {
		return err
	}
	s.vantage = s.usual()
	changed, err := s.restore()
	if err != nil {
		return err
	}
	if changed {
		if err := s.up(ctx); err != nil {
			return err
		}
	}
	if err := s.becomes(ctx, diagnosis.clean); err != nil {
		return err
	}
	return s.remember()
}

// inspect returns what the Engine says of a service's container.
func (s *site) inspect(ctx context.Context, service string) (container.InspectResponse, error) {
	return s.b.Engine.ContainerInspect(ctx, s.container(service))
}

// loops waits until a service's container was started again more than once.
func (s *site) loops(ctx context.Context, service string) error {
	return eventually(ctx, back, func() error {
		c, err := s.inspect(ctx, service)
		if err == nil && (c.RestartCount < 2 || c.State.Running && !c.State.Restarting) {
			err = fmt.Errorf("%s is %s after %d restarts", c.Name, c.State.Status, c.RestartCount)
		}
		return err
	})
}

// foreign makes a container of nobody's that only waits, and does not start it.
func (s *site) foreign(ctx context.Context, name string, c container.Config) error {
	c.Image, c.Labels = s.lab.Mosquitto, map[string]string{bench.LabelLab: s.lab.Name}
	if len(c.Entrypoint) == 0 {
		c.Entrypoint = []string{"sleep", "3600"}
	}
	_, err := s.b.Engine.ContainerCreate(ctx, &c, nil, nil, nil, name)
	return err
}

// removeContainer removes a container whatever it does.
func (s *site) removeContainer(ctx context.Context, name string) error {
	return s.b.Engine.ContainerRemove(ctx, name, container.RemoveOptions{Force: true, RemoveVolumes: true})
}

// leaveNetwork takes every container off the project's network.
func (s *site) leaveNetwork(ctx context.Context) error {
	mine := filters.NewArgs(filters.Arg("label", plan.LabelProject+"="+s.name))
	list, err := s.b.Engine.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	for _, c := range list {
		err = errors.Join(err, s.b.Engine.NetworkDisconnect(ctx, s.network(), c.ID, true))
	}
	return err
}

// network is the name of the project's network.
func (s *site) network() string { return s.name + "_default" }

// freePort returns a TCP port that was free a moment ago.
func freePort(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// environ adds a variable to the vantage.
func (s *site) environ(name, value string) {
	env := maps.Clone(s.vantage.env)
	env[name] = value
	s.vantage.env = env
}
