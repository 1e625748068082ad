package migrate

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mqtunnel/internal/mosquitto"
)

// Imported is the name of the file of mosquitto/conf.d that a Setup's Conf is for.
const Imported = "imported.conf"

// confFile is the configuration that is read.
type confFile struct{ name, text string }

// confPath is where the official image looks for the configuration.
const confPath = "/mosquitto/config/mosquitto.conf"

// Reasons to leave a line.
const (
	whyOurListener = "mqtunnel has that listener itself"
	whyOfListener  = "it belongs to a listener that mqtunnel has itself"
	whyOfBridge    = "it belongs to a bridge, and stands below no connection; or it is no directive that Mosquitto knows"
	whyFiles       = "it needs files that are not in mqtunnel's container"
	whyOurs        = "mqtunnel's own configuration says the same"
	whyDefault     = "it is the default"
)

// configuration reads mosquitto.conf and what it includes.
func (r *reader) configuration() error {
	name, text, err := r.first(append(r.candidates(confPath), "conf/mosquitto.conf", "etc/mosquitto/mosquitto.conf"))
	if err != nil {
		return err
	}
	r.conf = confFile{name, text}
	b := &confBuilder{reader: r}
	if name == "" {
		read := len(r.setup.Files)
		if err := b.directory("conf.d"); err != nil {
			return err
		}
		if r.setup.Service != "" && len(r.setup.Files) == read {
			r.setup.Anonymous = true // the default of the image since 2.1
		}
	} else if err := b.file(name, text, true); err != nil {
		return err
	}
	return b.finish()
}

// confBuilder goes through the lines as the broker does.
type confBuilder struct {
	*reader

	global []string
	block  *confBlock // listener or bridge that lines belong to, nil before the first
	blocks []string
	ports  []string // of the listeners so far
	plain  bool     // one of them was not of WebSocket
}

// confBlock is a listener or a bridge with its lines.
type confBlock struct {
	place, what string
	lines       []string
	left        string // why none of it is taken, "" when it is
}

// file reads the lines of one file.
func (b *confBuilder) file(name, text string, includes bool) error {
	text = strings.ReplaceAll(strings.TrimPrefix(text, "\ufeff"), "\r\n", "\n")
	for i, line := range strings.Split(text, "\n") {
		line = strings.Trim(line, " ")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		place := fmt.Sprintf("%s:%d", name, i+1)
		directive, value, _ := strings.Cut(line, " ")
		value = strings.Trim(value, " ")
		if directive == "include_dir" && includes {
			if err := b.include(place, value); err != nil {
				return err
			}
			continue
		}
		if !b.fact(place, directive, value) {
			b.line(place, directive, value)
		}
	}
	b.close()
	return nil
}

// include reads the files of a directory that the configuration names.
func (b *confBuilder) include(place, dir string) error {
	b.close()
	for _, name := range b.candidates(dir) {
		files, err := b.files.List(name)
		if err != nil {
			return err
		}
		if len(files) > 0 {
			return b.directory(name)
		}
	}
	b.leave(place, "include_dir", "there is no such directory with files in that directory")
	return nil
}

func (b *confBuilder) directory(name string) error {
	files, err := b.files.List(name)
	if err != nil {
		return err
	}
	for _, f := range files {
		if !strings.HasSuffix(f, ".conf") {
			continue
		}
		text, found, err := b.text(path.Join(name, f))
		if err != nil {
			return err
		}
		if found {
			if err := b.file(path.Join(name, f), text, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// fact notes what the configuration says that is not for conf.d, and reports whether
// the line has been dealt with.
func (b *confBuilder) fact(place, directive, value string) bool {
	switch directive {
	case "allow_anonymous", "listener_allow_anonymous":
		b.setup.Anonymous = b.setup.Anonymous || value == "true"
		return false
	case "persistence":
		b.setup.Persistence = value == "true"
	case "persistence_location":
		b.data = reference{place, value}
	case "persistence_file":
		b.dbFile = path.Base(value)
	case "password_file":
		b.remember(&b.passwd, place, directive, value)
		return true
	case "acl_file":
		b.remember(&b.acl, place, directive, value)
		b.setup.Restricted = true
		return true
	}
	return false
}

// remember keeps the first file of a kind.
func (b *confBuilder) remember(r *reference, place, directive, value string) {
	if r.path != "" && r.path != value {
		b.leave(place, directive, "it is a second one; mqtunnel has one for all listeners")
		return
	}
	*r = reference{place, value}
}

// verdict tells whether mqtunnel takes a line below the given ones.
func verdict(above, line string) error {
	_, err := mosquitto.CheckConf([]mosquitto.ConfFile{{Name: Imported, Text: above + line}})
	return err
}

// line decides where a line goes: it belongs to all, to a listener or to a bridge.
func (b *confBuilder) line(place, directive, value string) {
	line := strings.TrimRight(directive+" "+value, " ")
	switch directive {
	case "listener", "port":
		b.close()
		b.listener(place, directive, value)
		return
	case "connection":
		b.close()
		b.block = &confBlock{place: place, what: "bridge", lines: []string{line}}
		return
	}
	err := verdict("", line)
	switch {
	case err == nil:
		b.globalLine(place, directive, line)
	case verdict("listener 65000\n", line) == nil:
		b.ofBlock(place, directive, line, "listener")
	case verdict("connection x\n", line) == nil:
		b.ofBlock(place, directive, line, "bridge")
	case slices.Contains(b.own, line):
		b.leave(place, directive, whyOurs)
	default:
		b.leave(place, directive, "%s", reason(err))
	}
}

// reason is what CheckConf says, without the place.
func reason(err error) string {
	_, text, found := strings.Cut(err.Error(), ": ")
	if !found {
		return err.Error()
	}
	if _, instead, refused := strings.Cut(text, " is not allowed here: "); refused {
		return instead
	}
	return text
}

// defaults are lines that change nothing.
func defaults() []string {
	return []string{
		"sys_interval 10", "allow_zero_length_clientid true", "queue_qos0_messages false", "retain_available true",
		"check_retain_source true", "upgrade_outgoing_qos false", "max_inflight_bytes 0", "allow_duplicate_messages true",
	}
}

func (b *confBuilder) globalLine(place, directive, line string) {
	switch {
	case slices.Contains(b.own, line):
		b.leave(place, directive, whyOurs)
	case slices.Contains(defaults(), line):
		b.leave(place, directive, whyDefault)
	default:
		b.global = append(b.global, line)
		b.take(place, directive, "to mosquitto/conf.d/%s", Imported)
	}
}

// listener begins a listener, or notes one that mqtunnel has.
func (b *confBuilder) listener(place, directive, value string) {
	fields := strings.Fields(value)
	port := ""
	if len(fields) > 0 {
		port = strings.TrimLeft(fields[0], "0")
	}
	b.ports = append(b.ports, port)
	block := &confBlock{place: place, what: "listener", lines: []string{"listener " + value}}
	switch err := verdict("", "listener "+value); {
	case directive == "port", port == mosquitto.PortMQTT, port == mosquitto.PortWebSocket:
		block.left = whyOurListener
	case err != nil:
		block.left = reason(err)
	case slices.Contains(b.ports[:len(b.ports)-1], port):
		block.left = "there is one on that port already"
	}
	b.block = block
}

// filesOf are directives that name files, which the broker does not start without.
func filesOf() []string {
	return []string{
		"cafile", "capath", "certfile", "keyfile", "crlfile", "dhparamfile", "http_dir",
		"bridge_cafile", "bridge_capath", "bridge_certfile", "bridge_keyfile",
	}
}

// ofBlock adds a line to the listener or bridge that it stands in.
func (b *confBuilder) ofBlock(place, directive, line, what string) {
	if b.block == nil || b.block.what != what {
		why := whyOfListener
		if what == "bridge" {
			why = whyOfBridge
		}
		b.leave(place, directive, "%s", why)
		return
	}
	if b.block.left == "" && slices.Contains(filesOf(), directive) {
		b.block.left = whyFiles
	}
	b.block.lines = append(b.block.lines, line)
}

// close ends a listener or bridge.
func (b *confBuilder) close() {
	block := b.block
	b.block = nil
	if block != nil && block.what == "listener" && !b.plain && !slices.Contains(block.lines, "protocol websockets") {
		b.plain = true
		b.setup.Port = strings.Fields(block.lines[0] + " " + mosquitto.PortMQTT)[1]
	}
	switch {
	case block == nil:
	case block.left != "":
		b.leave(block.place, described(block), "%s", block.left)
	default:
		b.take(block.place, described(block), "to mosquitto/conf.d/%s", Imported)
		b.blocks = append(b.blocks, strings.Join(block.lines, "\n"))
	}
}

// described names a listener by its port and says how many lines it has.
func described(block *confBlock) string {
	what := block.what
	if block.what == "listener" {
		fields := strings.Fields(block.lines[0])
		what += " " + strings.Join(fields[1:min(2, len(fields))], "")
	}
	if n := len(block.lines) - 1; n > 0 {
		what += fmt.Sprintf(", %d more of its lines", n)
	}
	return what
}

// finish makes the text and has it checked as a whole.
func (b *confBuilder) finish() error {
	parts := b.blocks
	if len(b.global) > 0 {
		parts = append([]string{strings.Join(b.global, "\n")}, parts...)
	}
	if len(parts) == 0 {
		return nil
	}
	b.setup.Conf = strings.Join(parts, "\n\n") + "\n"
	if err := verdict("", b.setup.Conf); err != nil {
		return fmt.Errorf("%s: %w", b.conf.name, errors.New(reason(err)))
	}
	return nil
}
