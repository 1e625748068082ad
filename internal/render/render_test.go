package render_test

import (
	"fmt"
	"strings"
	"testing"

	"mqtunnel/compose"
	"mqtunnel/internal/config"
	"mqtunnel/internal/plan"
	"mqtunnel/internal/render"
)

// rendered renders in and fails the test on an error.
func rendered(tb testing.TB, in render.Input) []byte {
	tb.Helper()
	text, err := render.Compose(in)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// counted gives a new revision at every call: r1, r2 and so on.
func counted() func() string {
	n := 0
	return func() string { n++; return fmt.Sprintf("r%d", n) }
}

// labelsOf returns the revisions of broker and connector and the service hashes.
func labelsOf(t *testing.T, text []byte) (revisions, hashes [2]string) {
	t.Helper()
	p := load(t, t.TempDir(), text)
	for i := range p.Services {
		revisions[i] = p.Services[i].Spec.Labels[plan.LabelRevision]
		hashes[i] = p.Services[i].Hash
	}
	return revisions, hashes
}

func TestOnlyWhatAServiceIsMadeFromRenewsItsRevision(t *testing.T) {
	for _, c := range []struct {
		name              string
		change            func(*render.Input)
		broker, connector bool
	}{
		{"nothing", func(*render.Input) {}, false, false},
		{"a user", func(in *render.Input) { in.Passwd += "bob:$7$1000$c2FsdHNhbHRzYWx0$Ym9iYg==\n" }, false, false},
		{"a right", func(in *render.Input) { in.ACL += "user bob\ntopic readwrite bob/#\n" }, false, false},
		{"the configuration", func(in *render.Input) { in.Conf += "max_connections 5\n" }, true, false},
		{"the start script", func(in *render.Input) { in.StartScript += "# more\n" }, true, false},
		{"the tunnel", func(in *render.Input) { in.TunnelID = "11111111-765d-4adf-8112-31c55c1551ef" }, false, true},
		{"the token of the same tunnel", func(in *render.Input) { in.TokenChanged = true }, false, true},
		{"line ends and the empty line at the end", func(in *render.Input) { in.Conf = strings.ReplaceAll(in.Conf, "\n", "\r\n") + "\n\n" }, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			in := base()
			in.NewRevision = counted()
			in.Previous = rendered(t, in)
			before, hashesBefore := labelsOf(t, in.Previous)
			c.change(&in)
			after, hashesAfter := labelsOf(t, rendered(t, in))
			for i, want := range [2]bool{c.broker, c.connector} {
				if got := before[i] != after[i]; got != want {
					t.Errorf("service %d: revision %s then %s, renewed = %v, want %v", i, before[i], after[i], got, want)
				}
				if got := hashesBefore[i] != hashesAfter[i]; got != want {
					t.Errorf("service %d: hash changed = %v, want %v", i, got, want)
				}
			}
		})
	}
}

func TestADamagedPreviousFileGivesNewRevisions(t *testing.T) {
	for _, previous := range []string{"", "services: [", "services: 5", "\x00", "services: {mosquitto: {labels: [a]}}"} {
		in := base()
		in.Previous = []byte(previous)
		in.NewRevision = counted()
		got, _ := labelsOf(t, rendered(t, in))
		if got != [2]string{"r1", "r2"} {
			t.Errorf("previous %q: revisions %v, want r1 and r2", previous, got)
		}
	}
}

// arrives renders text as the configuration and returns what the container gets.
func arrives(tb testing.TB, text string) string {
	tb.Helper()
	in := base()
	in.Conf = text
	p, err := render.Load(tb.Context(), tb.TempDir(), rendered(tb, in), nil)
	if err != nil {
		tb.Fatalf("text %q: %v", text, err)
	}
	return p.Services[0].Files[0].Content.Reveal()
}

func TestTextArrivesInTheContainerAsItWas(t *testing.T) {
	for _, text := range []string{
		"topic read $SYS/#\n",
		"a ${HOME} $HOME $$ ${X:-y} $\n",
		"tab\there\n\n\nempty lines above\n",
		"  leading blanks\nnone\n",
		"\n\nleading empty lines\n",
		"a\n   \nblank line\n",
		"trailing blanks  \nx \n",
		"# comment: with {yaml} [in] 'it' \"too\" & * ! | > %\n",
		"--- \n...\n- a: b\n",
		"\"quoted\"\n",
		"straße Ω 日本 \U0001F600\n",
		"\u2028line separator\u2029\n",
		"\u202eright to left\n",
		"\u00a0nbsp\n",
		"bell \a and \x1b[31m escape and \x7f\n",
		"\ufeffbyte order mark\n",
		"null \x00 byte\n",
		"a\rb\n",
	} {
		if got := arrives(t, text); got != text {
			t.Errorf("text %q arrives as %q", text, got)
		}
	}
}

func FuzzTextArrivesInTheContainerAsItWas(f *testing.F) {
	f.Add("a $b\n c")
	f.Add("\t\n x")
	f.Add(" \n\u0085\n")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.TrimSpace(text) == "" {
			return // an empty file is refused
		}
		want := strings.TrimRight(strings.ReplaceAll(strings.ToValidUTF8(text, "\ufffd"), "\r\n", "\n"), "\n") + "\n"
		got := arrives(t, text)
		// Each bad byte becomes one replacement, ToValidUTF8 makes one of a run.
		for strings.Contains(got, "\ufffd\ufffd") {
			got = strings.ReplaceAll(got, "\ufffd\ufffd", "\ufffd")
		}
		for strings.Contains(want, "\ufffd\ufffd") {
			want = strings.ReplaceAll(want, "\ufffd\ufffd", "\ufffd")
		}
		if got != want {
			t.Errorf("text %q arrives as %q, want %q", text, got, want)
		}
	})
}

func TestTheRealStartScriptArrivesUnchanged(t *testing.T) {
	script, err := compose.Files.ReadFile(compose.StartScript)
	if err != nil {
		t.Fatal(err)
	}
	if got := arrives(t, string(script)); got != string(script) {
		t.Errorf("the start script arrives changed:\n%s", got)
	}
}

func TestAnEmptyFileIsRefused(t *testing.T) {
	for name, change := range map[string]func(*render.Input){
		"password file": func(in *render.Input) { in.Passwd = "" },
		"ACL file":      func(in *render.Input) { in.ACL = "\n" },
		"start script":  func(in *render.Input) { in.StartScript = "" },
		"project name":  func(in *render.Input) { in.Project = "" },
	} {
		in := base()
		change(&in)
		if _, err := render.Compose(in); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("empty %s: error %v", name, err)
		}
	}
}

func TestNoSecretIsInTheRenderedFile(t *testing.T) {
	s, err := config.Load(t.TempDir(), []string{"CLOUDFLARE_TUNNEL_TOKEN=" + token, "CF_ACCESS_CLIENT_ID=a.access", "CF_ACCESS_CLIENT_SECRET=accesssecret", "MQTUNNEL_PROBE_PASSWORD=probesecret"})
	if err != nil {
		t.Fatal(err)
	}
	d, err := render.ReadDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(t.Context(), s, nil, false, counted())
	if err != nil {
		t.Fatal(err)
	}
	text := string(r.Compose) + string(r.Passwd) + string(r.ACL)
	for _, secret := range []string{token, "accesssecret", "probesecret"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q stands in the rendered file", secret)
		}
	}
	if strings.Contains(strings.ReplaceAll(text, "$$", ""), "${") {
		t.Error("the rendered file has an interpolation")
	}
}

func TestSettingsBecomeTheProject(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		check   func(render.Input) any
		want    string
	}{
		{"default project", nil, func(in render.Input) any { return in.Project }, "mqtunnel"},
		{"nothing published", nil, func(in render.Input) any { return in.LAN }, ""},
		{"every address", []string{"MQTT_LAN_LISTEN=1883"}, func(in render.Input) any { return in.LAN }, "0.0.0.0:1883:1883"},
		{"one address and another port", []string{"MQTT_LAN_LISTEN=192.168.1.2:1884"}, func(in render.Input) any { return in.LAN }, "192.168.1.2:1884:1883"},
		{"cloudflared's own defaults", nil, func(in render.Input) any { return in.ConnectorEnv }, "map[]"},
		{"protocol", []string{"TUNNEL_TRANSPORT_PROTOCOL=http2"}, func(in render.Input) any { return in.ConnectorEnv }, "map[TUNNEL_TRANSPORT_PROTOCOL:http2]"},
		{"grace", []string{"TUNNEL_GRACE_PERIOD=20s"}, func(in render.Input) any { return in.Grace }, "20s"},
	} {
		s, err := config.Load(t.TempDir(), c.environ)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := fmt.Sprint(c.check(render.FromSettings(s))); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}
