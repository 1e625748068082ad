package proof

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mqtunnel/internal/lab/bench"
	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/lab/images"
)

// handMade is a set-up as jzombie/docker-mqtt-mosquitto-cloudflare-tunnel lays it out.
type handMade struct {
	*project // where it is imported to

	old     string // its directory
	name    string // its Compose project
	version string // of the broker, there and here
	conf    string
	// messages are retained there, in the first case more than a broker queues for a client.
	messages int
	// Of the user that is imported, with the options of a client that logs in; empty
	// where the broker lets everybody in.
	login, user, password string
}

// saves reports whether the broker there has a database.
func (h *handMade) saves() bool { return strings.Contains(h.conf, "persistence true") }

// Of the hand-made project's branches: main keeps nothing on disk and knows no users.
const (
	originalConf = "listener 1883\nallow_anonymous true\n\nlistener 9001\nprotocol websockets\n"
	savingConf   = originalConf + savingLines
	usersConf    = `listener 1883
allow_anonymous false
max_queued_messages 500

listener 9001
protocol websockets

acl_file /mosquitto/config/aclfile
password_file /mosquitto/config/passwd
` + savingLines
	savingLines = `
persistence true
persistence_location /mosquitto/data/
autosave_interval 1
autosave_on_changes true
`
	usersACL = "# Only allow topics that match the username\npattern readwrite %u/#\n\nuser alice\ntopic readwrite kept/#\n"
	// What mosquitto_passwd of Mosquitto 2.0 wrote for the password s3cret.
	usersPasswd   = "alice:$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ==\n" //nolint:gosec // of nobody
	usersPassword = "s3cret"
)

// importOriginal runs the hand-made project, imports it, stops it, and wants all of it
// in mqtunnel's.
func importOriginal(ctx context.Context, b *Bench) (figure string, err error) {
	lab, dir, remove, err := b.lab(ctx, "import")
	if err != nil {
		return "", err
	}
	defer finish(&err, remove)
	store, err := images.Open(ctx, b.Engine, b.Root, b.logf)
	if err != nil {
		return "", err
	}
	var moved []int
	for _, h := range []*handMade{
		{name: "main", version: images.Mosquitto21, conf: originalConf, messages: 1100},
		{name: "saving", version: images.Mosquitto20, conf: savingConf, messages: kept},
		{name: "users", version: images.Mosquitto20, conf: usersConf, messages: kept, login: "-u alice -P " + usersPassword, user: "alice", password: usersPassword},
	} {
		image, err := store.Mosquitto(ctx, h.version)
		if err != nil {
			return "", err
		}
		suffix := h.name
		if err := h.write(ctx, b, lab, filepath.Join(dir, suffix), image.Ref); err != nil {
			return "", err
		}
		if err := h.moves(ctx); err != nil {
			return "", fmt.Errorf("%s, mosquitto %s: %w", suffix, h.version, err)
		}
		moved = append(moved, h.messages)
	}
	return fmt.Sprintf("%d of %d retained messages moved out of a running broker that keeps none on disk, and %d of %d out of databases "+
		"with and without users; clients with an imported and with a new user served; the old directories as they were", moved[0], moved[0], moved[1], moved[1]), nil
}

// write lays out the old directory and an empty project beside it.
func (h *handMade) write(ctx context.Context, b *Bench, lab *bench.Lab, dir, image string) error {
	branch := h.name
	host := branch + ".example.com"
	tunnel, err := lab.Control.CreateTunnel(ctx, control.TunnelRequest{
		Name: branch, Hostnames: []control.Rule{{Hostname: host, Service: "http://mosquitto:9001"}},
	})
	if err != nil {
		return err
	}
	h.old, h.name = filepath.Join(dir, "old"), bench.ProjectName(lab.Name, branch+"old")
	h.project = &project{b: b, lab: lab, dir: filepath.Join(dir, "new"), name: bench.ProjectName(lab.Name, branch), host: host, tunnel: tunnel}
	if err := lab.WriteProject(h.dir, bench.ProjectOptions{Name: h.project.name, Settings: []string{"MOSQUITTO_IMAGE=" + image}}); err != nil {
		return err
	}
	conf, volumes := "mosquitto.conf", "      - ./mosquitto.conf:/mosquitto/config/mosquitto.conf\n"
	files := map[string]string{
		".env":       "CLOUDFLARE_TUNNEL_TOKEN=" + tunnel.Token.Reveal() + "\n", // where the hand-made project has it
		".gitignore": ".env\ndata/*\n",
		conf:         h.conf,
		// Attaches it to the lab, as the project beside it.
		"docker-compose.override.yml": string(lab.Override()),
	}
	if h.user != "" {
		delete(files, conf)
		volumes = ""
		for name, text := range map[string]string{"mosquitto.conf": h.conf, "aclfile": usersACL, "passwd": usersPasswd} {
			files["mosquitto/"+name] = text
			volumes += "      - ./mosquitto/" + name + ":/mosquitto/config/" + name + "\n"
		}
	}
	if h.saves() {
		volumes += "      - ./data:/mosquitto/data\n"
	}
	files["docker-compose.yml"] = h.composeFile(image, volumes)
	for name, text := range files {
		path := filepath.Join(h.old, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // as a clone has it
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // likewise; the broker's user reads it
			return err
		}
	}
	return nil
}

// composeFile is the hand-made one, with container names of its own, so that nothing
// else on the Engine has them.
func (h *handMade) composeFile(image, volumes string) string {
	return fmt.Sprintf(`version: '3.8'

services:
  mosquitto:
    image: %s
    container_name: %s-mosquitto
    volumes:
%s    restart: unless-stopped

  cloudflared:
    image: %s
    container_name: %s-cloudflared
    command: tunnel --no-autoupdate run --token ${CLOUDFLARE_TUNNEL_TOKEN}
    restart: unless-stopped
    environment:
      - CLOUDFLARE_TUNNEL_TOKEN
`, image, h.name, volumes, h.lab.Cloudflared, h.name)
}

// compose runs Docker Compose on the old project.
func (h *handMade) compose(ctx context.Context, args ...string) error {
	r, err := h.b.run(ctx, command{
		dir: h.old, path: h.b.composeProgram(), args: append([]string{"-p", h.name}, args...),
	})
	if err == nil && r.code != 0 {
		err = fmt.Errorf("docker compose %s: exit %d: %s", args[0], r.code, r.err)
	}
	return err
}

// moves is the whole move.
func (h *handMade) moves(ctx context.Context) error {
	if err := h.fill(ctx); err != nil {
		return err
	}
	if h.saves() {
		if err := h.compose(ctx, "stop", "mosquitto"); err != nil {
			return err
		}
	}
	before, err := treeHash(h.old)
	if err != nil {
		return err
	}
	if r, err := h.mqtunnel(ctx, "", "import", h.old, "--dry-run"); err != nil || r.code != 0 {
		return missed("import --dry-run: exit %d: %s %w", r.code, r.all(), err)
	}
	out, err := h.must(ctx, "import", h.old, "--yes")
	if err != nil {
		return err
	}
	// Once more: what is there already is no clash.
	if _, err := h.must(ctx, "import", h.old, "--yes", "--no-data"); err != nil {
		return missed("the same import again: %w", err)
	}
	after, err := treeHash(h.old)
	if err != nil || before != after {
		return missed("the old directory is not what it was: %w", err)
	}
	if !strings.Contains(out, "docker compose down") || h.user == "" && !strings.Contains(out, "every client needs a user") {
		return missed("import does not say what to do: %s", out)
	}
	if err := h.compose(ctx, "down"); err != nil {
		return err
	}
	return h.serves(ctx)
}

// fill starts the old project, until a client is served through the tunnel, connects
// another one and has messages retained.
func (h *handMade) fill(ctx context.Context) error {
	if err := h.compose(ctx, "up", "-d"); err != nil {
		return err
	}
	if err := eventually(ctx, time.Minute, func() error { return h.roundTrip(ctx, h.user, h.password, "kept/probe") }); err != nil {
		return missed("the old project serves nobody: %w", err)
	}
	script := fmt.Sprintf("mosquitto_sub -h 127.0.0.1 %[1]s -i old-client -c -q 1 -t 'kept/#' >/dev/null 2>&1 & "+
		"i=0; while [ $i -lt %[2]d ]; do mosquitto_pub -h 127.0.0.1 %[1]s -q 1 -r -t kept/$i -m %[3]s & p=$!; i=$((i+1)); [ $((i %% 20)) -ne 0 ] || wait $p; done; wait $p; "+
		`printf 'a\nb\000c' | mosquitto_pub -h 127.0.0.1 %[1]s -q 1 -r -t 'kept/odd one' -s`,
		h.login, h.messages, strings.Repeat("x", 200))
	_, err := h.b.exec(ctx, h.name+"-mosquitto", "sh", "-c", script)
	return err
}

// serves wants the project to have all that the old one had.
func (h *handMade) serves(ctx context.Context) error {
	if err := h.up(ctx); err != nil {
		return err
	}
	password, err := h.addUser(ctx, "fresh")
	if err != nil {
		return err
	}
	clients := map[string]string{"fresh": password}
	if h.user != "" {
		clients[h.user] = h.password
	}
	for user, password := range clients {
		if err := h.roundTrip(ctx, user, password, "kept/probe"); err != nil {
			return missed("user %s is not served through the tunnel: %w", user, err)
		}
		if n, err := h.retained(ctx, user, password); err != nil || n != h.messages {
			return missed("user %s gets %d of %d retained messages: %w", user, n, h.messages, err)
		}
	}
	odd, err := h.b.exec(ctx, h.container("mosquitto"), "mosquitto_sub", "-h", "127.0.0.1", "-u", "fresh", "-P", password, "-t", "kept/odd one", "-F", "%x", "-C", "1", "-W", "3")
	if err != nil || strings.TrimSpace(odd) != "610a620063" {
		return missed("a payload of bytes reads %q: %w", odd, err)
	}
	if err := h.roundTrip(ctx, "", "", "kept/probe"); err == nil {
		return missed("a client without a user is served")
	}
	if _, err = h.must(ctx, "down"); err != nil || h.user == "" {
		return err
	}
	return h.again(ctx)
}

// again imports over a database that has become another one since.
func (h *handMade) again(ctx context.Context) error {
	r, err := h.mqtunnel(ctx, "", "import", h.old, "--yes")
	if err != nil || r.code != 4 || !strings.Contains(r.err, "holds a database already") {
		return missed("import over a database: exit %d: %s %w", r.code, r.all(), err)
	}
	if _, err := h.must(ctx, "import", h.old, "--yes", "--force"); err != nil {
		return err
	}
	if _, err := h.inVolume(ctx, "test -s /data/before-import/mosquitto.db"); err != nil {
		return missed("the database that was there is not kept: %w", err)
	}
	if err := h.up(ctx); err != nil {
		return err
	}
	n, err := h.retained(ctx, h.user, h.password)
	if err != nil || n != h.messages {
		return missed("after import --force there are %d of %d retained messages: %w", n, h.messages, err)
	}
	return nil
}

// treeHash is over all that a directory has: names, modes, times and contents.
func treeHash(dir string) (string, error) {
	sum := sha256.New() // never returns an error
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintln(sum, path, info.Mode(), info.ModTime().UnixNano())
		if !info.Mode().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path) //nolint:gosec // a directory of this proof's own
		sum.Write(data)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}
