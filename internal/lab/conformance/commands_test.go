package conformance

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"
)

// ends runs a connector to its end and compares exit code and output.
func ends(t *testing.T, s subject, l launch, code int, stdout, stderr string) {
	t.Helper()
	p := s.start(newBench(t), l)
	got := p.wait()
	if got != code || !regexp.MustCompile(`(?s)^`+stdout+`$`).MatchString(p.out.String()) || !regexp.MustCompile(`(?s)^`+stderr+`$`).MatchString(p.err.String()) {
		t.Errorf("%q: exit %d, stdout %q, stderr %q; want %d, %q, %q", l.args, got, head(p.out.String()), p.err.String(), code, stdout, stderr)
	}
}

// ending is the behaviour that ends shows.
func ending(l launch, code int, stdout, stderr string) func(*testing.T, subject) {
	return func(t *testing.T, s subject) {
		t.Helper()
		ends(t, s, l, code, stdout, stderr)
	}
}

// neverStarts is a setting that ends the start, with a message.
func neverStarts(env, message string) func(*testing.T, subject) {
	return func(t *testing.T, s subject) {
		t.Helper()
		p := s.run(newBench(t), newIdentity(t), env)
		if code := p.wait(); code != 1 {
			t.Errorf("exit %d, want 1", code)
		}
		p.expect(` ERR Couldn't start tunnel error="`+regexp.QuoteMeta(message), `^`+regexp.QuoteMeta(message))
	}
}

// commands is the command line.
func commands() []behaviour {
	words := func(text string) launch { return launch{args: strings.Fields(text)} }
	const version = `cloudflared version \d+\.\d+\.\d+ \(built .*\)\n`
	const misuse = `Incorrect Usage[.:] flag provided but not defined: -`
	const help = "See 'cloudflared tunnel run --help'\\.\n"
	var all []behaviour
	for _, c := range []struct {
		name           string
		launch         launch
		code           int
		stdout, stderr string
	}{
		{"version prints one line", words("version"), 0, version, ""},
		{"the image's default command prints the version", words("--no-autoupdate version"), 0, version, ""},
		{"the version flag is the version command", words("--version"), 0, version, ""},
		{"a short version is the number", words("version --short"), 0, `\d+\.\d+\.\d+\n`, ""},
		{"a flag of run before run is misuse with exit 0", words("tunnel --token x run"), 0, misuse + `token\n.*`, ""},
		{"a flag of tunnel after run is misuse with exit 0", words("tunnel run --metrics 127.0.0.1:1"), 0, misuse + `metrics\n.*`, ""},
		{"an unknown flag is misuse with exit 0", words("tunnel --nonsense run"), 0, misuse + `nonsense\n.*`, ""},
		{"a flag without its value is misuse with exit 0", words("tunnel run --token"), 0, `Incorrect Usage[.:] flag needs an argument: -token\n.*`, ""},
		{"two arguments of run are refused with 255", words("tunnel run a b"), 255, "", `"cloudflared tunnel run" accepts only one argument, the ID or name of the tunnel to run\.\n` + help},
		{"tunnel without a command exits 1", words("tunnel"), 1, "", "You did not specify any valid additional argument to the cloudflared tunnel command\\..*"},
		{"ready without an address exits 1", launch{args: []string{"tunnel", "ready"}, bare: true}, 1, "", "--metrics has to be provided\n"},
		{"ready with nobody there exits 1", words("tunnel --metrics 127.0.0.1:1 ready"), 1, "", `Get "http://127\.0\.0\.1:1/ready": dial tcp 127\.0\.0\.1:1: connect: connection refused` + "\n"},
	} {
		all = append(all, behaviour{c.name, ending(c.launch, c.code, c.stdout, c.stderr)})
	}
	for _, c := range []struct{ name, env, message string }{
		{"an unknown protocol", "TUNNEL_TRANSPORT_PROTOCOL=carrier-pigeon", "unknown protocol carrier-pigeon, Available protocols"},
		{"an unknown IP version", "TUNNEL_EDGE_IP_VERSION=5", "invalid value for edge-ip-version: 5"},
		{"a grace period over three minutes", "TUNNEL_GRACE_PERIOD=4m", "grace-period must be equal or less than 3m0s"},
		{"a missing file of authorities", "TUNNEL_CACERT=/nonexistent", "unable to create TLS config to connect with edge"},
		{"an empty protocol", "TUNNEL_TRANSPORT_PROTOCOL=", "unknown protocol , Available protocols"},
		{"an empty IP version", "TUNNEL_EDGE_IP_VERSION=", "invalid value for edge-ip-version: "},
	} {
		all = append(all, behaviour{c.name + " ends the start with 1", neverStarts(c.env, c.message)})
	}
	for _, c := range []struct{ name, env string }{
		{"a grace period without a unit", "TUNNEL_GRACE_PERIOD=5"},
		{"a number of retries that is none", "TUNNEL_RETRIES=many"},
		{"a switch that is neither true nor false", "TUNNEL_NO_PRECHECKS=maybe"},
	} {
		l := launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN=eyJhIjoiIn0=", c.env}}
		all = append(all, behaviour{c.name + " ends the run with 0 and without a word", ending(l, 0, "", "")})
	}
	all = append(all, behaviour{"an empty grace period, number or switch is the default", func(t *testing.T, s subject) {
		t.Helper()
		p := s.run(newBench(t), newIdentity(t), "TUNNEL_GRACE_PERIOD=", "TUNNEL_RETRIES=", "TUNNEL_MANAGEMENT_DIAGNOSTICS=")
		p.expect("Registered tunnel connection")
	}}, behaviour{"ready with an empty address exits 1", func(t *testing.T, s subject) {
		t.Helper()
		ends(t, s, launch{args: []string{"tunnel", "ready"}, env: []string{"TUNNEL_METRICS="}}, 1, "", `Get "http:///ready": http: no Host in request URL`+"\n")
	}})
	return append(all, metricsAddress(), readyCommand(), jsonLog(), badLevel(), settingsLine(), leak(), tokenUnpaddedLeak())
}

func metricsAddress() behaviour {
	return behaviour{"a taken metrics address ends the start with 1", func(t *testing.T, s subject) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer closing(l)
		p := s.run(newBench(t), newIdentity(t), "TUNNEL_METRICS="+l.Addr().String())
		if code := p.wait(); code != 1 {
			t.Errorf("exit %d, want 1", code)
		}
		p.expect(` ERR Error opening metrics server listener error="failed to bind to address \(` + regexp.QuoteMeta(l.Addr().String()) + `\): listen tcp .*: bind: address already in use"`)
	}}
}

func readyCommand() behaviour {
	return behaviour{"ready tells by its exit code whether a connection is registered", func(t *testing.T, s subject) {
		t.Helper()
		b := newBench(t)
		b.verdict.Store(&verdict{silent: true})
		p := s.run(b, newIdentity(t), "TUNNEL_EDGE="+b.edges())
		p.awaitGet("/ready", 503)
		ask := func() *process {
			q := s.start(b, launch{args: []string{"tunnel", "--metrics", p.metrics, "ready"}})
			q.wait()
			return q
		}
		want := `^http://` + regexp.QuoteMeta(p.metrics) + `/ready endpoint returned status code 503\n\{"status":503,"readyConnections":0,"connectorId":"[0-9a-f-]{36}"\}\n$`
		if q := ask(); q.code != 1 || !regexp.MustCompile(want).MatchString(q.err.String()) {
			t.Errorf("before: exit %d, %q; want 1 and %s", q.code, q.err.String(), want)
		}
		b2 := newBench(t)
		p2 := s.run(b2, newIdentity(t))
		p2.awaitGet("/ready", 200)
		q := s.start(b2, launch{args: []string{"tunnel", "ready"}, env: []string{"TUNNEL_METRICS=" + p2.metrics}})
		if q.wait(); q.code != 0 || q.out.String()+q.err.String() != "" {
			t.Errorf("after: exit %d, %q %q; want 0 and nothing", q.code, q.out.String(), q.err.String())
		}
	}}
}

func jsonLog() behaviour {
	return behaviour{"the log can be JSON, one object a line", func(t *testing.T, s subject) {
		t.Helper()
		b := newBench(t)
		p := s.run(b, newIdentity(t), "TUNNEL_LOG_OUTPUT=json")
		b.waitLinks(1)
		p.expect(`"message":"Registered tunnel connection"`)
		for line := range strings.Lines(p.err.String()) {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if entry["level"] == nil || entry["time"] == nil {
				t.Errorf("no level or time in %q", line)
			}
			if entry["message"] == "Registered tunnel connection" && (entry["connIndex"] != 0.0 || entry["location"] != "lab01" || entry["protocol"] != "http2") {
				t.Errorf("fields of %q", line)
			}
		}
	}}
}

func badLevel() behaviour {
	return behaviour{"an unknown log level is told and info is used", func(t *testing.T, s subject) {
		t.Helper()
		p := s.run(newBench(t), newIdentity(t), "TUNNEL_LOGLEVEL=chatty")
		p.expect(` ERR Failed to parse log level`, ` INF Starting tunnel`)
	}}
}

func settingsLine() behaviour {
	return behaviour{"the settings in the log blank the token", func(t *testing.T, s subject) {
		t.Helper()
		id := newIdentity(t)
		p := s.start(newBench(t), launch{args: []string{"tunnel", "--retries", "4", "run", "--token", id.token()}})
		p.expect(` INF Settings: map\[.*retries:4.*token:\*\*\*\*\*.*\]`, ` INF Environmental variables map\[.*TUNNEL_TRANSPORT_PROTOCOL:http2.*\]`)
		if strings.Contains(p.err.String(), id.token()) {
			t.Error("the token stands in the log")
		}
	}}
}

// leak pins a trap of cloudflared's that mqtunnel must step around.
func leak() behaviour {
	return behaviour{"a token under a foreign name is written to the log", func(t *testing.T, s subject) {
		t.Helper()
		p := s.run(newBench(t), newIdentity(t), "CLOUDFLARE_TUNNEL_TOKEN=visible")
		p.expect(` INF Environmental variables map\[.*CLOUDFLARE_TUNNEL_TOKEN:visible.*\]`)
	}}
}

func tokenUnpaddedLeak() behaviour {
	return behaviour{"a token variable is blanked in the log", func(t *testing.T, s subject) {
		t.Helper()
		id := newIdentity(t)
		text := id.json()
		for len(text)%3 != 0 {
			text += " "
		}
		token := base64.StdEncoding.EncodeToString([]byte(text))
		p := s.start(newBench(t), launch{args: []string{"tunnel", "run"}, env: []string{"TUNNEL_TOKEN=" + token}})
		p.expect(` INF Environmental variables map\[.*TUNNEL_TOKEN:\*\*\*\*\*.*\]`)
		if strings.Contains(p.err.String(), token) {
			t.Error("the token stands in the log")
		}
	}}
}
