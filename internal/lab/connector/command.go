package connector

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Version is the cloudflared release that the stand-in imitates.
const Version = "2026.8.2"

// OldVersion is the release that the stand-in imitates where OldVariable is in its
// environment: the last but one before token files.
const (
	OldVersion  = "2025.2.1"
	OldVariable = "LAB_CLOUDFLARED_OLD"
)

// release is the version that a process with this environment imitates.
func release(environ []string) string {
	if _, old := lookup(environ, OldVariable); old {
		return OldVersion
	}
	return Version
}

// option is one flag: the levels at which it may stand, and the environment variables that set it.
type option struct {
	name    string
	aliases []string
	levels  []string
	boolean bool
	valid   func(string) error
	env     []string
	preset  string
}

const (
	rootLevel   = "cloudflared"
	tunnelLevel = "cloudflared tunnel"
	runLevel    = "cloudflared tunnel run"
)

// options is every flag that the stand-in knows. Flags of the root and tunnel levels must precede "run".
func options() []option {
	before := []string{rootLevel, tunnelLevel}
	every := []string{rootLevel, tunnelLevel, runLevel}
	after := []string{runLevel}
	return []option{
		{name: "metrics", levels: before, env: []string{"TUNNEL_METRICS"}},
		{name: "no-autoupdate", levels: before, boolean: true, valid: isBool, env: []string{"NO_AUTOUPDATE"}},
		{name: "autoupdate-freq", levels: before, valid: isDuration, preset: "24h"},
		{name: "no-prechecks", levels: before, boolean: true, valid: isBool, env: []string{"TUNNEL_NO_PRECHECKS"}},
		{name: "loglevel", levels: before, env: []string{"TUNNEL_LOGLEVEL"}, preset: "info"},
		{name: "transport-loglevel", levels: before, env: []string{"TUNNEL_TRANSPORT_LOGLEVEL", "TUNNEL_PROTO_LOGLEVEL"}, preset: "info"},
		{name: "output", levels: before, env: []string{"TUNNEL_MANAGEMENT_OUTPUT", "TUNNEL_LOG_OUTPUT"}, preset: "default"},
		{name: "edge-ip-version", levels: before, env: []string{"TUNNEL_EDGE_IP_VERSION"}, preset: "auto"},
		{name: "edge", levels: before, env: []string{"TUNNEL_EDGE"}},
		{name: "region", levels: before, env: []string{"TUNNEL_REGION"}},
		{name: "cacert", levels: before, env: []string{"TUNNEL_CACERT"}},
		{name: "grace-period", levels: before, valid: isDuration, env: []string{"TUNNEL_GRACE_PERIOD"}, preset: "30s"},
		{name: "retries", levels: before, valid: isNumber, env: []string{"TUNNEL_RETRIES"}, preset: "5"},
		{name: "max-edge-addr-retries", levels: before, valid: isNumber, preset: "8"},
		{name: "ha-connections", levels: before, valid: isNumber, preset: "4"},
		{name: "rpc-timeout", levels: before, valid: isDuration, preset: "5s"},
		{name: "label", levels: before},
		{name: "management-diagnostics", levels: before, boolean: true, valid: isBool, env: []string{"TUNNEL_MANAGEMENT_DIAGNOSTICS"}, preset: "true"},
		{name: "protocol", aliases: []string{"p"}, levels: every, env: []string{"TUNNEL_TRANSPORT_PROTOCOL"}, preset: "auto"},
		{name: "post-quantum", aliases: []string{"pq"}, levels: every, boolean: true, valid: isBool, env: []string{"TUNNEL_POST_QUANTUM"}},
		{name: "token", levels: after, env: []string{"TUNNEL_TOKEN"}},
		{name: "token-file", levels: after, env: []string{"TUNNEL_TOKEN_FILE"}},
	}
}

// given is what the command line and the environment say.
type given struct {
	values map[string]string
	// set holds the names that the command line or the environment gave, were it as nothing.
	set map[string]bool
	// explicit holds what stood on the command line, in that form it is shown in the log.
	explicit map[string]string
}

func (g given) text(name string) string { return g.values[name] }

func (g given) yes(name string) bool {
	yes, err := strconv.ParseBool(g.values[name])
	return err == nil && yes
}

// invocation is a parsed command line.
type invocation struct {
	command []string // such as tunnel run
	args    []string // what follows it
	given   given
}

// usageError is a flag that stands where it may not, or that nobody knows.
type usageError struct {
	level string
	text  string
}

// Error is cloudflared's sentence.
func (e *usageError) Error() string { return e.text }

// parse reads a command line level by level, as cloudflared's library does: a flag belongs to a level.
func parse(args, environ []string) (invocation, error) {
	inv := invocation{given: given{values: map[string]string{}, set: map[string]bool{}, explicit: map[string]string{}}}
	all := options()
	if release(environ) == OldVersion {
		all = slices.DeleteFunc(all, func(o option) bool { return o.name == "token-file" })
	}
	for _, o := range all {
		if err := inv.preset(o, environ); err != nil {
			return inv, err
		}
	}
	at := rootLevel
	for len(args) > 0 {
		word := args[0]
		if strings.HasPrefix(word, "-") && word != "-" {
			rest, err := inv.flag(at, all, args)
			if err != nil {
				return inv, err
			}
			args = rest
			continue
		}
		if !slices.Contains(commandsAt(at), word) {
			inv.args = args
			return inv, nil
		}
		inv.command = append(inv.command, word)
		at += " " + word
		args = args[1:]
	}
	return inv, nil
}

// preset takes an option's value from the environment: a text may be empty there and replaces the default; a number, a
// time or a switch may not.
func (inv *invocation) preset(o option, environ []string) error {
	inv.given.values[o.name] = o.preset
	for _, key := range o.env {
		value, found := lookup(environ, key)
		if !found {
			continue
		}
		inv.given.set[o.name] = true
		if o.valid == nil {
			inv.given.values[o.name] = value
		} else if value != "" {
			inv.given.values[o.name] = value
			if o.valid(value) != nil {
				return errUnreadable
			}
		}
		break
	}
	return nil
}

// commandsAt is the commands that may follow.
func commandsAt(level string) []string {
	switch level {
	case rootLevel:
		return []string{"tunnel", "version"}
	case tunnelLevel:
		return []string{"run", "ready"}
	}
	return nil
}

// flag takes one flag, with its value, off args.
func (inv *invocation) flag(at string, all []option, args []string) ([]string, error) {
	name, value, hasValue := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	args = args[1:]
	if name == "version" || name == "v" || name == "V" {
		inv.command = []string{"version"}
		return nil, nil
	}
	if at == "cloudflared version" && (name == "short" || name == "s") {
		inv.given.values["short"] = "true"
		return args, nil
	}
	index := slices.IndexFunc(all, func(o option) bool {
		return (o.name == name || slices.Contains(o.aliases, name)) && slices.Contains(o.levels, at)
	})
	if index < 0 {
		return nil, &usageError{at, "flag provided but not defined: -" + name}
	}
	o := all[index]
	switch {
	case o.boolean && !hasValue:
		value = "true"
	case !hasValue && len(args) == 0:
		return nil, &usageError{at, "flag needs an argument: -" + name}
	case !hasValue:
		value, args = args[0], args[1:]
	}
	if o.valid != nil && o.valid(value) != nil {
		return nil, &usageError{at, fmt.Sprintf("invalid value %q for flag -%s", value, name)}
	}
	inv.given.values[o.name], inv.given.explicit[o.name], inv.given.set[o.name] = value, value, true
	return args, nil
}

// lookup is the last value of a variable: that is the one a process sees.
func lookup(environ []string, key string) (string, bool) {
	for _, entry := range slices.Backward(environ) {
		if name, value, found := strings.Cut(entry, "="); found && name == key {
			return value, true
		}
	}
	return "", false
}

// errUnreadable is a variable that is not of its option's kind: cloudflared ends with 0 and without a word.
var errUnreadable = errors.New("an environment variable is not of its option's kind")

func isBool(text string) error {
	_, err := strconv.ParseBool(text)
	return err
}

func isNumber(text string) error {
	_, err := strconv.Atoi(text)
	return err
}

func isDuration(text string) error {
	_, err := time.ParseDuration(text)
	return err
}

// Main is the whole program; it returns the exit code.
func Main(args, environ []string, stdout, stderr io.Writer) int {
	inv, err := parse(args, environ)
	if errors.Is(err, errUnreadable) {
		return 0
	}
	if err != nil {
		return misuse(stdout, err)
	}
	switch strings.Join(inv.command, " ") {
	case "version":
		if inv.given.yes("short") {
			_, err = fmt.Fprintln(stdout, release(environ))
		} else {
			_, err = fmt.Fprintf(stdout, "cloudflared version %s (built for the mqtunnel lab)\n", release(environ))
		}
		if err != nil {
			return 1
		}
		return 0
	case "tunnel ready":
		return say(stderr, ready(inv.given), 1)
	case "tunnel run":
		s, err := settle(inv, environ)
		if err != nil {
			return say(stderr, fmt.Errorf("%w\nSee 'cloudflared tunnel run --help'.", err), 255) //nolint:staticcheck // cloudflared's text
		}
		return say(stderr, run(s, stderr), 1)
	}
	return say(stderr, errNoCommand(), 1)
}

func errNoCommand() error {
	return fmt.Errorf("%s", "You did not specify any valid additional argument to the cloudflared tunnel command.\n\n"+
		"If you are trying to run a Quick Tunnel then you need to explicitly pass the --url flag.\n"+
		"Eg. cloudflared tunnel --url localhost:8080/.\n")
}

// misuse prints the help that follows a wrong flag, on standard output, and calls it a success.
func misuse(stdout io.Writer, err error) int {
	_, _ = fmt.Fprintf(stdout, "Incorrect Usage: %s\n\nNAME:\n  cloudflared - the mqtunnel lab's stand-in for Cloudflare's command-line tool and agent\n\n", err) // there is no other place to say it
	return 0
}

// say prints an error, if there is one, and turns it into an exit code.
func say(stderr io.Writer, err error, code int) int {
	if err == nil {
		return 0
	}
	_, _ = fmt.Fprintln(stderr, err) // there is no other place to say it
	return code
}

// ready asks a running connector's metrics server whether it has a connection.
func ready(g given) error {
	if !g.set["metrics"] {
		return fmt.Errorf("--metrics has to be provided")
	}
	url := "http://" + g.text("metrics") + "/ready"
	resp, err := http.Get(url) //nolint:noctx,gosec // as in cloudflared there is no deadline but the caller's
	if err != nil {
		return err
	}
	body, err := io.ReadAll(resp.Body)
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s endpoint returned status code %d\n%s", url, resp.StatusCode, body)
	}
	return nil
}
