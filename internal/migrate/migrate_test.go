package migrate_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/migrate"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/remedy"
)

// tree is a directory in memory.
type tree map[string]string

func (t tree) Read(name string, limit int64) ([]byte, bool, error) {
	text, found := t[name]
	if int64(len(text)) > limit {
		return nil, false, errors.New("the file is too large")
	}
	return []byte(text), found, nil
}

func (t tree) List(dir string) (names []string, err error) {
	for name := range t {
		if rest, ok := strings.CutPrefix(name, dir+"/"); ok && !strings.Contains(rest, "/") {
			names = append(names, rest)
		}
	}
	sort.Strings(names)
	return names, nil
}

const own = "persistence true\nmax_queued_messages 1000\n"

func read(t *testing.T, files tree) *migrate.Setup {
	t.Helper()
	s, err := migrate.Read(files, "/old", own)
	if err != nil {
		t.Fatalf("%v: %v", files, err)
	}
	return s
}

// shown lists items as "PLACE WHAT: WHY".
func shown(items []migrate.Item) (lines []string) {
	for _, i := range items {
		lines = append(lines, i.Place+" "+i.What+": "+i.Why)
	}
	return lines
}

const (
	hash12 = "$7$101$msny6VyT84OG3FSu$gRtE9GuMGKHhUdNf3yVigTk5rJSZQ6pCbXwtkqwp3aZpRD0xsm/RUNhD+MklF5elC12mpHi09Az1frzYEYOUJQ=="
	hash64 = "$7$1000$2luQ8Y/rTPQa8v2/c+ewNfnO8thqR9J+aNFWi+moeM3j/QXBTepr4O3O04Ktpne32wKVXP3Mrvo1x6VEjELCBg==$UX1pQceRtECr5QYk6sMp/vnQPY0kVZCkJgXcRzkzzlmXr/KR0B9aMFzeSKXQ8NZZ8RMNOgabd4jMkNY3eyooGw=="
)

func TestEveryDirectiveIsTakenOrLeftWithItsReason(t *testing.T) {
	for name, c := range map[string]struct {
		conf  string
		want  string
		left  []string
		port  string
		taken int
	}{
		"original": {
			conf: "listener 1883\nallow_anonymous true\n\nlistener 9001\nprotocol websockets\n",
			left: []string{
				"mosquitto.conf:1 listener 1883: mqtunnel has that listener itself",
				"mosquitto.conf:2 allow_anonymous: the setting is MQTT_ALLOW_ANONYMOUS",
				"mosquitto.conf:4 listener 9001, 1 more of its lines: mqtunnel has that listener itself",
			},
			port: "1883",
		},
		"own, default and other": {
			conf: "\ufeffmax_queued_messages 1000\r\nsys_interval 10\r\nmax_keepalive 600\r\n",
			want: "max_keepalive 600\n",
			left: []string{
				"mosquitto.conf:1 max_queued_messages: mqtunnel's own configuration says the same",
				"mosquitto.conf:2 sys_interval: it is the default",
			},
			port: "1883", taken: 1,
		},
		"other listener": {
			conf: "listener 1884\nmax_connections 10\nmax_keepalive 9\nlistener 8883\ncertfile /mosquitto/certs/c.pem\n",
			want: "max_keepalive 9\n\nlistener 1884\nmax_connections 10\n",
			left: []string{"mosquitto.conf:4 listener 8883, 1 more of its lines: it needs files that are not in mqtunnel's container"},
			port: "1884", taken: 2,
		},
		"same port twice": {
			conf: "listener 1884\nlistener 1884\n",
			want: "listener 1884\n",
			left: []string{"mosquitto.conf:2 listener 1884: there is one on that port already"},
			port: "1884", taken: 1,
		},
		"bridge": {
			conf: "connection home\naddress 192.0.2.1\ntopic # both 0\nremote_password not-shown\n",
			want: "connection home\naddress 192.0.2.1\ntopic # both 0\nremote_password not-shown\n",
			port: "1883", taken: 1,
		},
		"below nothing": {
			conf: "bridge_frobnicate 1\naddress 192.0.2.1\nmax_qos 1\n",
			left: []string{
				"mosquitto.conf:1 bridge_frobnicate: it belongs to a bridge, and stands below no connection; or it is no directive that Mosquitto knows",
				"mosquitto.conf:2 address: it belongs to a bridge, and stands below no connection; or it is no directive that Mosquitto knows",
				"mosquitto.conf:3 max_qos: it belongs to a listener that mqtunnel has itself",
			},
			port: "1883",
		},
		"default listener": {
			conf: "port 1885\nbind_address 127.0.0.1\nmax_connections 5\nplugin /x.so\n",
			left: []string{
				"mosquitto.conf:1 listener 1885, 1 more of its lines: mqtunnel has that listener itself",
				"mosquitto.conf:2 bind_address: write \"listener PORT\"",
				"mosquitto.conf:4 plugin: a plugin could admit anybody",
			},
			port: "1885",
		},
		"control characters": {
			conf: "max_keepalive 9\x00\nmax_\x1bkeepalive 9\nmax_keepalive\t9\n",
			left: []string{
				"mosquitto.conf:1 max_keepalive: control characters, or not UTF-8 text",
				"mosquitto.conf:2 max_\x1bkeepalive: control characters, or not UTF-8 text",
				"mosquitto.conf:3 max_keepalive\t9: a tab; the broker wants the name of the directive, one space and the value",
			},
			port: "1883",
		},
	} {
		s := read(t, tree{"mosquitto.conf": c.conf})
		if s.Conf != c.want || len(s.Taken) != c.taken || s.Port != c.port {
			t.Errorf("%s: %q gives %q, port %s, taken %q; want %q, port %s, %d", name, c.conf, s.Conf, s.Port, shown(s.Taken), c.want, c.port, c.taken)
		}
		if diff := cmp.Diff(append(c.left, "mosquitto.conf tunnel token: there is none in .env or the Compose file; mqtunnel token set takes one"), reordered(shown(s.Left))); diff != "" {
			t.Errorf("%s: left (-want +got):\n%s", name, diff)
		}
	}
}

// reordered puts the line about the token last.
func reordered(lines []string) []string {
	return append(slices.Clone(lines[1:]), lines[0])
}

func TestUsersKeepHashesAndGetTheirRights(t *testing.T) {
	s := read(t, tree{
		"docker-compose.yml": "services:\n  broker:\n    image: eclipse-mosquitto:2\n    volumes:\n      - ./c:/mosquitto/config\n      - type: bind\n        source: ./d\n        target: /mosquitto/data\n",
		"c/mosquitto.conf":   "include_dir /mosquitto/config/more\npersistence true\n",
		"c/more/auth.conf":   "password_file /mosquitto/config/passwd\nacl_file /mosquitto/config/acl\n",
		"c/passwd": "# users\nalice:" + hash12 + "\nbob:" + hash64 + "\nmqtunnel-probe:" + hash12 + "\na/b:" + hash12 +
			"\nplain:secret\nargon:$argon2id$v=19$m=47104,t=1,p=1$AA$AA\nbob:" + hash12 + "\n",
		"c/acl": "topic read public/#\npattern readwrite %u/#\npattern read clients/%c\npattern write log-%u/x\nuser alice\ntopic shared/a b\ntopic readwrite shared/a\n" +
			"topic deny shared/a/no\nuser nobody\ntopic #\nuser bob\ntopic read a+b\n",
		"d/mosquitto.db": "x",
	})
	p, acl := &mosquitto.Passwords{}, &mosquitto.ACL{}
	var lines []string
	for _, u := range s.Users {
		if err := u.AddTo(p, acl); err != nil {
			t.Fatal(err)
		}
		rules, _ := acl.Rules(u.Name)
		lines = append(lines, u.Name+" "+mosquitto.DescribeTopics(u.Name, rules))
	}
	if diff := cmp.Diff([]string{"alice shared/a/no (deny), alice/#, shared/a", "bob own"}, lines); diff != "" {
		t.Errorf("users (-want +got):\n%s", diff)
	}
	if got, want := p.Render().Reveal(), "alice:"+hash12+"\nbob:"+hash12+"\n"; got != want {
		t.Errorf("password file %q, want %q", got, want)
	}
	if s.Service != "broker" || string(s.Database) != "x" || s.DatabaseFrom != "d/mosquitto.db" || !s.Restricted || s.Anonymous {
		t.Errorf("service %q, database %q of %q, restricted %v, anonymous %v", s.Service, s.Database, s.DatabaseFrom, s.Restricted, s.Anonymous)
	}
	var left []string
	for _, i := range s.Left {
		left = append(left, i.Place+" "+i.What)
		if add := "mqtunnel user add plain"; strings.Contains(i.Why, add) != (i.Place == "c/passwd:6") {
			t.Errorf("%s: %s: %q, and %q is for the plain password", i.Place, i.What, i.Why, add)
		}
	}
	want := []string{
		"docker-compose.yml tunnel token", "c/mosquitto.conf:2 persistence", "c/passwd:4 user", "c/passwd:5 user", "c/passwd:6 user", "c/passwd:7 user", "c/passwd:8 user bob",
		"c/acl:1 rule read public/#", "c/acl:3 pattern read clients/%c", "c/acl:4 pattern write log-%u/x", "c/acl:6 topic shared/a b", "c/acl:10 user nobody", "c/acl:12 topic read a+b",
	}
	if diff := cmp.Diff(want, left); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
	// A second time nothing changes, and another hash is a clash that changes nothing.
	for _, u := range s.Users {
		if err := u.AddTo(p, acl); err != nil {
			t.Errorf("the same user again: %v", err)
		}
	}
	other := read(t, tree{"mosquitto.conf": "password_file passwd\n", "passwd": "alice:" + hash64 + "\n"})
	before := p.Render().Reveal() + acl.Render(false)
	if err := other.Users[0].AddTo(p, acl); remedy.CodeOf(err) != remedy.Input || p.Render().Reveal()+acl.Render(false) != before {
		t.Errorf("another alice: %v", err)
	}
	if !other.Users[0].Newer {
		t.Error("a salt of 64 bytes is not told")
	}
}

func TestNoDenialIsLost(t *testing.T) {
	const set = "password_file passwd\nacl_file acl\n"
	s := read(t, tree{"mosquitto.conf": set, "passwd": "phone:" + hash12 + "\n", "acl": "user phone\ntopic readwrite home/#\ntopic deny home/%c/pin\n" +
		"pattern deny dev/%c/secret\npattern deny log-%u/x\npattern deny %u/private\n"})
	want := []string{"readwrite home/#", "deny home/+/pin", "deny dev/+/secret", "deny +/x", "deny phone/private"}
	var got []string
	for _, r := range s.Users[0].Rules {
		got = append(got, r.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	p, acl := &mosquitto.Passwords{}, &mosquitto.ACL{}
	if err := s.Users[0].AddTo(p, acl); err != nil {
		t.Fatal(err)
	}
	// As the file has it: denials first.
	again, err := mosquitto.ParseACL("acl", acl.Render(false))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Users[0].AddTo(p, again); err != nil {
		t.Errorf("the same user again: %v", err)
	}
	_, err = migrate.Read(tree{"mosquitto.conf": set, "passwd": "phone:" + hash12 + "\n", "acl": "user phone\ntopic readwrite #\ntopic deny a#b\n"}, "/old", own)
	if remedy.CodeOf(err) != remedy.Input || !strings.Contains(err.Error(), "acl:3: this denial cannot be taken over") {
		t.Errorf("a denial that no rule can say: %v", err)
	}
}

func TestNothingElsewhereIsRead(t *testing.T) {
	s := read(t, tree{
		"compose.yaml":          "services:\n  mosquitto:\n    image: eclipse-mosquitto\n    volumes: ['data:/mosquitto/data', '../secret:/mosquitto/secret', '/etc:/mosquitto/etc', '${X}:/mosquitto/var']\n",
		"mosquitto.conf":        "password_file /mosquitto/etc/shadow\nacl_file ../acl\npersistence true\n",
		"mosquitto/etc/shadow":  "a:" + hash12,
		"data/mosquitto.db":     "x",
		"mosquitto/data/x":      "x",
		"etc/mosquitto/shadow":  "a:" + hash12,
		"../acl":                "user a\ntopic #\n",
		"mosquitto/secret/file": "x",
	})
	if len(s.Users) != 0 || s.Database != nil {
		t.Errorf("users %v, database %q: they are mounted from elsewhere", s.Users, s.Database)
	}
}

func TestADirectoryOfSomethingElseIsRefused(t *testing.T) {
	if _, err := migrate.Read(tree{"README.md": "x"}, "/old", own); remedy.CodeOf(err) != remedy.Input || remedy.HintOf(err) == "" {
		t.Errorf("error %v", err)
	}
}

func TestADatabaseMadeOfMessagesReadsBack(t *testing.T) {
	data, n, err := migrate.FromRetained("1 0 6869 a\n0 1 00 live\n1 1  b c/d\n1 2 c3bc \u00fc\n1 0 00 home/%count \n")
	if err != nil || n != 4 {
		t.Fatalf("%d messages, %v", n, err)
	}
	if got, err := migrate.CountRetained(data); err != nil || got != n {
		t.Errorf("it holds %d of %d messages, %v", got, n, err)
	}
	for cut := 1; cut < len(data); cut++ {
		if got, err := migrate.CountRetained(data[:cut]); err == nil && got == n {
			t.Errorf("%d of %d bytes read as whole", cut, len(data))
		}
	}
	empty, _, err := migrate.FromRetained("")
	if err != nil || len(empty) != 47 {
		t.Errorf("an empty database has %d bytes, %v; the broker's has 47", len(empty), err)
	}
	for _, text := range []string{"", "x", strings.Repeat("\x00", 100), string(binary.BigEndian.AppendUint32(data[:19:19], 7))} {
		if _, err := migrate.CountRetained([]byte(text)); err == nil {
			t.Errorf("%q reads as a database", text)
		}
	}
	for _, line := range []string{"1 0 6869", "1 3 68 a", "1 0 6 a", "1 0 zz a", "1 0 68 a/#", "x"} {
		if _, _, err := migrate.FromRetained(line); err == nil {
			t.Errorf("%q is taken for a message", line)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add("services:\n  m:\n    image: mosquitto\n    volumes: ['./c:/mosquitto/config']\n", "listener 1884\npassword_file p\nacl_file a\ninclude_dir .\n", "a:"+hash12, "user a\ntopic #\npattern %u/#\n")
	f.Fuzz(func(t *testing.T, compose, conf, passwd, acl string) {
		s, err := migrate.Read(tree{"compose.yaml": compose, "mosquitto.conf": conf, "p": passwd, "a": acl, "x.conf": conf}, "/old", own)
		if err != nil {
			return
		}
		if _, err := mosquitto.CheckConf([]mosquitto.ConfFile{{Name: migrate.Imported, Text: s.Conf}}); err != nil {
			t.Errorf("%q becomes %q, which is refused: %v", conf, s.Conf, err)
		}
		p, rights := &mosquitto.Passwords{}, &mosquitto.ACL{}
		for _, u := range s.Users {
			if err := u.AddTo(p, rights); err != nil {
				t.Errorf("user %q: %v", u.Name, err)
			}
		}
		if _, err := mosquitto.ParsePasswords("p", p.Render().Reveal()); err != nil {
			t.Errorf("%q: %v", passwd, err)
		}
		if _, err := mosquitto.ParseACL("a", rights.Render(false)); err != nil {
			t.Errorf("%q: %v", acl, err)
		}
	})
}

func FuzzCountRetained(f *testing.F) {
	data, _, err := migrate.FromRetained("1 0 6869 a\n")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := migrate.CountRetained(data); n < 0 || n > len(data) || err != nil && n != 0 {
			t.Errorf("%d messages in %d bytes, %v", n, len(data), err)
		}
	})
}

func FuzzFromRetained(f *testing.F) {
	f.Add("1 0 6869 a\n1 1  b c")
	f.Fuzz(func(t *testing.T, text string) {
		data, n, err := migrate.FromRetained(text)
		if err != nil {
			return
		}
		if got, err := migrate.CountRetained(data); err != nil || got != n {
			t.Errorf("%q: %d of %d messages, %v", text, got, n, err)
		}
	})
}
