package mosquitto_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/lab/images"
	"mqtunnel/internal/mosquitto"
	"mqtunnel/internal/secret"
)

// users returns a password and an ACL file with accounts of every kind; each name is
// the password too.
func users(t *testing.T) (*mosquitto.Passwords, *mosquitto.ACL) {
	t.Helper()
	old := strings.Replace(writtenByMosquitto["2.0.11 sha512"], "alice", "six", 1) + "\n" + writtenByMosquitto["2.0.11 -I 5000"] + "\n"
	passwords, err := mosquitto.ParsePasswords("passwd", old)
	if err != nil {
		t.Fatal(err)
	}
	if err := passwords.SetProbe(secret.New("probe")); err != nil {
		t.Fatal(err)
	}
	acl := &mosquitto.ACL{}
	for _, user := range []struct {
		name  string
		rules []mosquitto.Rule
	}{
		{"home", choose(t, "home", "all")},
		{"phone", choose(t, "phone", "own")},
		{"two.words-x_y", choose(t, "two.words-x_y", "a b/#")},
		{"kiosk", []mosquitto.Rule{{Access: mosquitto.Read, Filter: "#"}, {Access: mosquitto.Deny, Filter: "phone/#"}}},
		{"nobody", nil},
	} {
		if err := passwords.Set(user.name, secret.New(user.name)); err != nil {
			t.Fatal(err)
		}
		if err := acl.Set(user.name, user.rules); err != nil {
			t.Fatal(err)
		}
	}
	return passwords, acl
}

func choose(t *testing.T, user, topics string) []mosquitto.Rule {
	t.Helper()
	rules, err := mosquitto.TopicRules(user, []string{topics})
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

func TestBothVersionsReadTheFilesAndMeanTheSame(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			passwords, acl := users(t)
			extra, err := mosquitto.CheckConf([]mosquitto.ConfFile{
				{Name: "a.conf", Text: "max_packet_size 2000000\npersistent_client_expiration 2m\nlog_type subscribe\nlistener 1884 127.0.0.1\n"},
				{Name: "b.conf", Text: "max_queued_messages 500\nset_tcp_nodelay false\nretain_available true\n"},
			})
			if err != nil {
				t.Fatal(err)
			}
			b := newBroker(t, version, false, conf(t, mosquitto.ConfData{SaveInterval: time.Minute, Files: extra}),
				own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(false)))
			b.start()
			b.await("the probe logs in", func() bool { return b.login("-u mqtunnel-probe -P probe") == 0 })

			for login, want := range map[string]int{
				"": 5, "-u home -P wrong": 5, "-u unknown -P x": 5, "-u home -P home": 0, "-u six -P s3cret": 0, "-u alice -P s3cret": 0,
				"-p 1884 -u home -P home": 0, "-p 1884": 5,
			} {
				if got := b.login(login); got != want {
					t.Errorf("login %q: exit %d, want %d", login, got, want)
				}
			}
			checkRights(t, b)
			for line := range strings.Lines(b.log(t.Context())) {
				text := mosquitto.ParseLine(line).Text
				if strings.Contains(text, "deprecated") || strings.HasPrefix(text, "Warning") || strings.HasPrefix(text, "Error") {
					t.Errorf("the broker complains: %s", text)
				}
			}
			checkEvents(t, b, version)
		})
	}
}

// checkRights lets every account publish to every topic and read all it may. A
// client with a session of its own collects what was published, under the name of
// the account.
func checkRights(t *testing.T, b *broker) {
	t.Helper()
	accounts := []string{"home", "phone", "two.words-x_y", "kiosk", "nobody", mosquitto.ProbeUser}
	topics := []string{"home/x", "phone", "phone/x", "a b/x", "nobody/x", "kiosk/x", "phonebook/x", "mqtunnel/probe/x", "mqtunnel/other"}
	const version = "$SYS/broker/version"
	mayWrite := map[string][]string{
		"home": topics, "phone": {"phone", "phone/x"}, "two.words-x_y": {"a b/x"}, mosquitto.ProbeUser: {"mqtunnel/probe/x"},
	}
	mayRead := map[string][]string{
		"home": append([]string{version}, topics...), "phone": {"phone", "phone/x"}, "two.words-x_y": {"a b/x"},
		"kiosk":             {"a b/x", "home/x", "kiosk/x", "mqtunnel/other", "mqtunnel/probe/x", "nobody/x", "phonebook/x"},
		mosquitto.ProbeUser: {version, "mqtunnel/probe/x"},
	}
	login := func(user string) string {
		return "-u " + user + " -P " + strings.TrimPrefix(user, "mqtunnel-")
	}
	var write, read strings.Builder
	watcher := "mosquitto_sub " + login("home") + " -c -i watcher -q 1 -t '#' "
	write.WriteString(watcher + "-E;")
	for _, user := range accounts {
		for _, topic := range topics {
			fmt.Fprintf(&write, "mosquitto_pub %s -q 1 -t '%s' -m %s;", login(user), topic, user)
		}
		fmt.Fprintf(&read, "mosquitto_sub %s -t '#' -t '%s' --retained-only -W 3 -F '%s=%%t' & ", login(user), version, user)
	}
	write.WriteString(watcher + "-W 3 -F %p=%t")
	out, _ := b.sh(write.String())
	compareTopics(t, "write", accounts, mayWrite, out)

	write.Reset()
	for _, topic := range topics {
		fmt.Fprintf(&write, "mosquitto_pub %s -q 1 -r -t '%s' -m x;", login("home"), topic)
	}
	out, _ = b.sh(write.String() + read.String() + "wait")
	compareTopics(t, "read", accounts, mayRead, out)
}

// compareTopics reads lines ACCOUNT=TOPIC.
func compareTopics(t *testing.T, what string, accounts []string, want map[string][]string, out string) {
	t.Helper()
	got := map[string][]string{}
	for line := range strings.Lines(out) {
		if user, topic, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			got[user] = append(got[user], topic)
		}
	}
	for _, user := range accounts {
		if diff := cmp.Diff(sorted(want[user]), sorted(got[user])); diff != "" {
			t.Errorf("%s may %s (-want +got):\n%s", user, what, diff)
		}
	}
}

func sorted(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return list
}

// checkEvents reads the lines of real clients, one with an ID that imitates them.
func checkEvents(t *testing.T, b *broker, version string) {
	t.Helper()
	const hostile = "x [9.9.9.9:9] disconnected: not authorised. (p4, c1, k60, u'home')."
	b.sh(`mosquitto_pub -u home -P home -t home/x -m y -i "` + hostile + `"; mosquitto_pub -t x -m y -i stranger`)
	b.await("the end of both connections stands in the log", func() bool {
		var connected, left, refused bool
		r := new(mosquitto.LogReader)
		for line := range strings.Lines(b.log(t.Context())) {
			e := r.Event(mosquitto.ParseLine(line))
			connected = connected || e.Kind == mosquitto.EventConnected && e.ClientID == hostile && e.User == "home"
			left = left || e.Kind == mosquitto.EventDisconnected && e.ClientID == hostile
			refused = refused || e.Kind == mosquitto.EventRefused && e.ClientID == "stranger"
			if e.Kind == mosquitto.EventStarting && !strings.HasPrefix(e.Version, version) {
				t.Errorf("the log says version %q, the image %q", e.Version, version)
			}
			if e.Kind == mosquitto.EventRefused && strings.HasPrefix(e.ClientID, "x") {
				t.Errorf("the client ID passed for a refusal: %+v", e)
			}
		}
		return connected && left && refused
	})
}

func TestAnonymousClientsMayDoEverythingWhenAsked(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			passwords, acl := users(t)
			b := newBroker(t, version, false, conf(t, mosquitto.ConfData{AllowAnonymous: true}),
				own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(true)))
			b.start()
			b.await("anybody connects", func() bool { return b.login("") == 0 })
			out, _ := b.sh("mosquitto_pub -r -t phone/x -m hello; mosquitto_sub -t '#' -t '$SYS/broker/version' -C 2 -W 5")
			if !strings.Contains(out, "hello") || !strings.Contains(out, "mosquitto version "+version) {
				t.Errorf("received %q", out)
			}
			if got := b.login("-u nobody -P wrong"); got != 5 {
				t.Errorf("a wrong password: exit %d, want 5", got)
			}
		})
	}
}

func TestReloadTakesUsersInAndOut(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			passwords, acl := users(t)
			b := newBroker(t, version, false, conf(t, mosquitto.ConfData{SaveInterval: time.Minute}),
				own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(false)))
			b.start()
			b.await("phone logs in", func() bool { return b.login("-u phone -P phone") == 0 })

			passwords.Remove("phone")
			acl.Remove("phone")
			if err := passwords.Set("guest", secret.New("guest")); err != nil {
				t.Fatal(err)
			}
			b.put(own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(false)))
			if err := b.engine.ContainerKill(t.Context(), b.id, "SIGHUP"); err != nil {
				t.Fatal(err)
			}
			b.await("guest logs in", func() bool { return b.login("-u guest -P guest") == 0 })
			if got := b.login("-u phone -P phone"); got != 5 {
				t.Errorf("phone logs in after its removal: exit %d", got)
			}
			if !strings.Contains(b.log(t.Context()), ": Reloading config.") {
				t.Error("the log does not tell the reload")
			}
		})
	}
}

// full returns a broker that saved ten retained messages and was stopped, and its
// database.
func full(t *testing.T, version string) (*broker, string) {
	t.Helper()
	passwords, acl := users(t)
	b := newBroker(t, version, false, conf(t, mosquitto.ConfData{}),
		own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(false)))
	b.start()
	b.await("home logs in", func() bool { return b.login("-u home -P home") == 0 })
	if out, code := b.sh("for i in 1 2 3 4 5 6 7 8 9 10; do mosquitto_pub -u home -P home -q 1 -r -t home/$i -m message-$i || exit; done"); code != 0 {
		t.Fatalf("publish: %s", out)
	}
	b.stop()
	b.start() // this start makes the copy
	b.await("home logs in", func() bool { return b.login("-u home -P home") == 0 })
	b.stop()
	db := b.get(mosquitto.DataPath + "/mosquitto.db")["mosquitto.db"]
	if r := b.reports(); len(r) != 2 || r[0].State != mosquitto.DatabaseNew || r[1].State != mosquitto.DatabaseOK || r[1].Retained != 10 || r[1].Loss != nil {
		t.Fatalf("reports %+v", r)
	}
	return b, db
}

func TestADatabaseCutShortLosesNoCopyInACrashLoop(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b, db := full(t, version)
			good := b.get(mosquitto.CopiesPath)
			b.put(own(mosquitto.DataPath+"/mosquitto.db", db[:len(db)-20]))
			b.start()
			if version == images.Mosquitto20 {
				b.await("the broker refused three times", func() bool { return len(b.reports()) >= 5 })
			} else {
				b.await("the broker runs on what was left", func() bool { return b.login("-u home -P home") == 0 })
				for range 4 {
					b.sh("mosquitto_pub -u home -P home -r -t home/more -m $$")
					b.stop()
					b.start()
					b.await("home logs in", func() bool { return b.login("-u home -P home") == 0 })
				}
			}
			reports := b.reports()[2:]
			if reports[0].State != mosquitto.DatabaseDamaged {
				t.Errorf("the first start on the cut database says %+v", reports[0])
			}
			for i, r := range reports {
				if r.Loss == nil || r.Loss.Retained != 10 || r.String() == "" {
					t.Errorf("start %d after the cut does not tell the loss: %+v", i+1, r)
				}
			}
			b.stop()
			now := b.get(mosquitto.CopiesPath)
			for name, content := range good {
				if now[name] != content {
					t.Errorf("copy %s is gone, there are %q", name, names(now))
				}
			}
			if now["damaged.db"] != db[:len(db)-20] {
				t.Errorf("the cut database was not put aside, there are %q", names(now))
			}
			if version == images.Mosquitto20 {
				var lines []mosquitto.Line
				for line := range strings.Lines(b.log(t.Context())) {
					lines = append(lines, mosquitto.ParseLine(line))
				}
				if f, ok := mosquitto.FindFault(lines); !ok || !strings.Contains(f.Cause, "database") {
					t.Errorf("fault %+v", f)
				}
			}
		})
	}
}

func TestAnUnreadableDatabaseStopsTheStartAndStays(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b, db := full(t, version)
			b.put(brokerFile{path: mosquitto.DataPath + "/mosquitto.db", content: db, uid: 0, mode: 0o600})
			b.start()
			b.await("two starts were refused", func() bool {
				return strings.Count(b.log(t.Context()), "mqtunnel: error: /mosquitto/data/mosquitto.db cannot be read by uid 1883") >= 2
			})
			b.stop()
			if got := b.get(mosquitto.DataPath + "/mosquitto.db")["mosquitto.db"]; got != db {
				t.Error("the database changed")
			}
		})
	}
}

func TestAReadOnlyDataDirectoryStartsWithAWarning(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			passwords, acl := users(t)
			b := newBroker(t, version, true, conf(t, mosquitto.ConfData{SaveInterval: time.Minute}),
				own(mosquitto.PasswdPath, passwords.Render().Reveal()), own(mosquitto.ACLPath, acl.Render(false)))
			b.start()
			b.await("home logs in", func() bool { return b.login("-u home -P home") == 0 })
			if !strings.Contains(b.log(t.Context()), "mqtunnel: warning: /mosquitto/data is not writable") {
				t.Error("no warning")
			}
		})
	}
}

func TestAContainerWithoutFilesFailsClosed(t *testing.T) {
	for _, version := range versions(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t, version, false)
			b.start()
			b.await("the broker refused twice", func() bool {
				return strings.Count(b.log(t.Context()), "mqtunnel.conf") >= 2
			})
			b.stop()
			state, err := b.engine.ContainerInspect(t.Context(), b.id)
			if err != nil {
				t.Fatal(err)
			}
			if state.State.Status != container.StateExited || state.State.ExitCode == 0 {
				t.Errorf("state %s, exit code %d", state.State.Status, state.State.ExitCode)
			}
		})
	}
}
