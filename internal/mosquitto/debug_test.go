package mosquitto_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/compose"
	"mqtunnel/internal/mosquitto"
)

// brief is an action as tests compare it.
func brief(a mosquitto.Action) string {
	parts := []string{string(a.Kind), a.ClientID, "u=" + a.User}
	if a.Topic != "" {
		parts = append(parts, "t="+a.Topic, "q="+string(rune('0'+a.QoS)))
	}
	for word, is := range map[string]bool{"retained": a.Retained} {
		if is {
			parts = append(parts, word)
		}
	}
	if a.Denied {
		parts = append(parts, "denied")
	}
	if a.Dropped {
		parts = append(parts, "dropped")
	}
	if a.Reason != "" {
		parts = append(parts, "("+a.Reason+")")
	}
	return strings.Join(parts, " ")
}

// read returns the actions of a log.
func read(log string) []string {
	var r mosquitto.DebugReader
	actions := []string{}
	for text := range strings.Lines(log) {
		if a, ok := r.Read(mosquitto.ParseLine(text)); ok {
			actions = append(actions, brief(a))
		}
	}
	return actions
}

// The logs are those of mosquitto 2.0.21 and 2.1.2 while the same clients came by.
func TestActionsOfBothVersions(t *testing.T) {
	for _, version := range []string{"2.0", "2.1"} {
		path := filepath.Join("testdata", "debug", version)
		log, err := os.ReadFile(path + ".log")
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(read(string(log)), "\n") + "\n"
		if *update {
			if err := os.WriteFile(path+".golden", []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", version, diff)
		}
		for text := range strings.Lines(string(log)) {
			l := mosquitto.ParseLine(text)
			if k, known := l.Known(); l.Text != "" && (!known || !k.Harmless) && !strings.Contains(text, "not authorised") {
				t.Errorf("%s: %q is known %v, harmless %v", version, text, known, k.Harmless)
			}
		}
		var lines []mosquitto.Line
		for text := range strings.Lines(string(log)) {
			lines = append(lines, mosquitto.ParseLine(text))
		}
		if fault, found := mosquitto.FindFault(lines); found {
			t.Errorf("%s: a fault: %+v", version, fault)
		}
	}
}

func TestClientsCannotSpeakForOthers(t *testing.T) {
	const (
		start  = "mosquitto version 2.1.2 starting\n"
		victim = "New client connected from 1.2.3.4:5 as phone1 (p4, c1, k60, u'phone').\n"
		came   = "connected phone1 u=phone"
	)
	for name, c := range map[string]struct {
		log  string
		want []string
	}{
		"a client ID that goes on as a line would": {
			"New client connected from 1.2.3.4:6 as phone1 (d0, q1, r0, m1, 'x (p4, c1, k60, u'other').\n" +
				"Denied PUBLISH from phone1 (d0, q1, r0, m1, 'x (d0, q1, r0, m1, 'y', ... (2 bytes))\n",
			[]string{came, "connected phone1 (d0, q1, r0, m1, 'x u=other", "unclear  u="},
		},
		"a topic that ends as a line would": {
			"Denied PUBLISH from phone1 (d0, q1, r1, m1, 'a', ... (9 bytes))', ... (2 bytes))\n",
			[]string{came, "published phone1 u=phone t=a', ... (9 bytes)) q=1 retained denied"},
		},
		"a client ID that ends as the connecting line would": {
			"New client connected from 1.2.3.4:6 as x (p4, c1, k60, u'phone'). (p4, c1, k60, u'other').\n",
			[]string{came, "connected x (p4, c1, k60, u'phone'). u=other"},
		},
		"a client ID that ends as a CONNACK would": {
			"Sending CONNACK to phone1 (0, 5) (0, 0)\nSending CONNACK to x (0, 0) (0, 135)\n",
			[]string{came, "refused x (0, 0) u= (wrong name or password, or none)"},
		},
		"a will that looks like a filter": {
			"New client connected from 1.2.3.4:6 as w (p4, c1, k60, u'other').\nWill message specified (4 bytes) (r1, q2).\n\tx (QoS 1)\n\ty (QoS 1)\n",
			[]string{came, "connected w u=other", "will w u=other t=x (QoS 1) q=2 retained"},
		},
		"a filter that looks like another": {
			"Received SUBSCRIBE from phone1\n\ta (QoS 2) (QoS 0)\n\tb (denied) (QoS 1)\n\tc (denied)\nSending SUBACK to phone1\n\tlate (QoS 1)\n",
			[]string{came, "subscribed phone1 u=phone t=a (QoS 2) q=0", "subscribed phone1 u=phone t=b (denied) q=1", "subscribed phone1 u=phone t=c q=0 denied"},
		},
		"retained messages between filters": {
			"Received SUBSCRIBE from phone1\n\ta (QoS 2)\nSending PUBLISH to phone1 (d0, q1, r1, m1, 'a', ... (2 bytes))\n\tb (QoS 1)\n",
			[]string{came, "subscribed phone1 u=phone t=a q=2", "received phone1 u=phone t=a q=1 retained", "subscribed phone1 u=phone t=b q=1"},
		},
		"a line that was cut": {
			"Denied PUBLISH from phone1 (d0, q1, r0, m1, '" + strings.Repeat("a", 1000) + "', ... (2 bytes))\n",
			[]string{came},
		},
		"an old connection that ends after the new one began": {
			"New client connected from 1.2.3.4:6 as phone1 (p4, c1, k60, u'phone').\nClient phone1 [1.2.3.4:5] disconnected: session taken over.\n" +
				"Client phone1 [1.2.3.4:6] disconnected.\n",
			[]string{came, came, "disconnected phone1 u=phone"},
		},
		"a message that is held back":   {"Denied PUBLISH to phone1 (q1, r0, 'a', ... (2 bytes))\n", []string{came, "received phone1 u=phone t=a q=1 denied"}},
		"a message that is too large":   {"Dropped too large PUBLISH from phone1 (d0, q1, r0, m1, 'a', ... (2 bytes))\n", []string{came, "published phone1 u=phone t=a q=1 dropped (larger than message_size_limit)"}},
		"the broker's own health check": {"New connection from 127.0.0.1:6 on port 1883.\nSending CONNACK to mqtunnel-health (0, 5)\n", []string{came}},
		"one that calls itself so": {
			"New connection from 1.2.3.4:6 on port 1883.\nSending CONNACK to mqtunnel-health (0, 5)\n",
			[]string{came, "refused mqtunnel-health u= (wrong name or password, or none)"},
		},
		"mqtunnel's own login":           {"New client connected from 127.0.0.1:6 as mqtunnel-login (p4, c1, k60, u'phone').\nClient mqtunnel-login [127.0.0.1:6] disconnected.\n", []string{came}},
		"its client ID from outside":     {"New client connected from 1.2.3.4:6 as mqtunnel-login (p4, c1, k60, u'phone').\n", []string{came, "connected mqtunnel-login u=phone"}},
		"a client that nobody saw come":  {"Received SUBSCRIBE from x\n\ta (QoS 2)\n", []string{came, "subscribed x u= t=a q=2"}},
		"a client of before the restart": {start + "Received PUBLISH from phone1 (d0, q0, r0, m0, 'a', ... (2 bytes))\n", []string{came, "published phone1 u= t=a q=0"}},
		"words of the start script":      {"mqtunnel: Received PUBLISH from phone1 (d0, q0, r0, m0, 'a', ... (2 bytes))\n", []string{came}},
	} {
		if diff := cmp.Diff(c.want, read(start+victim+c.log)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhoIsConnected(t *testing.T) {
	const log = `2026-08-18T10:00:00+0000: New client connected from 1.2.3.4:5 as early (p4, c1, k60, u'phone').
2026-08-18T10:00:01+0000: Client early [1.2.3.4:5] disconnected.
2026-08-18T10:00:02+0000: New client connected from 1.2.3.4:5 as a (p4, c1, k60, u'panel').
`
	const restart = `2026-08-18T11:00:00+0000: mosquitto version 2.1.2 starting
2026-08-18T11:00:01+0000: New client connected from 1.2.3.4:5 as b (p4, c1, k60, u'tv').
`
	type state struct {
		Whole                       bool
		Phone, Panel, TV            int
		PhoneSeen, PanelSeen, TVSee string
	}
	of := func(log string) state {
		var c mosquitto.Clients
		for text := range strings.Lines(log) {
			c.Take(mosquitto.ParseLine(text))
		}
		at := func(user string) string {
			seen, _ := c.LastSeen(user)
			return seen.UTC().Format(time.TimeOnly)
		}
		return state{c.Whole(), c.Connected("phone"), c.Connected("panel"), c.Connected("tv"), at("phone"), at("panel"), at("tv")}
	}
	if diff := cmp.Diff(state{false, 0, 1, 0, "10:00:01", "10:00:02", "00:00:00"}, of(log)); diff != "" {
		t.Errorf("in the middle of a run (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(state{true, 0, 0, 1, "10:00:01", "10:00:02", "11:00:01"}, of(log+restart)); diff != "" {
		t.Errorf("after a restart (-want +got):\n%s", diff)
	}
}

func TestTheDebugConfigurationIsUndone(t *testing.T) {
	tmpl, err := compose.Files.ReadFile(compose.ConfTemplate)
	if err != nil {
		t.Fatal(err)
	}
	conf, err := mosquitto.RenderConf(string(tmpl), mosquitto.ConfData{
		SaveInterval: time.Minute, Files: []mosquitto.ConfFile{{Name: "a.conf", Text: "log_type subscribe\n log_type all\nmax_keepalive 10"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	debug := mosquitto.DebugConf(conf)
	if again := mosquitto.DebugConf(debug); again != debug {
		t.Errorf("a second time it is:\n%s", again)
	}
	if plain, changed := mosquitto.PlainConf(debug); !changed || plain != conf {
		t.Errorf("undone, changed %v:\n%s", changed, cmp.Diff(conf, plain))
	}
	if plain, changed := mosquitto.PlainConf(conf); changed || plain != conf {
		t.Error("there is nothing to undo, and it is undone")
	}
	var types []string
	for _, line := range directives(debug) {
		if strings.HasPrefix(strings.TrimSpace(line), "log_type") {
			types = append(types, line)
		}
	}
	if diff := cmp.Diff([]string{"log_type error", "log_type warning", "log_type notice", "log_type information", "log_type debug"}, types); diff != "" {
		t.Errorf("log types (-want +got):\n%s", diff)
	}
}

// Whatever a client calls itself and its topics, no action is taken for another's.
func FuzzDebugLine(f *testing.F) {
	f.Add("phone", "home/w", false)
	f.Add("x (d0, q0, r0, m0, 'y", "z', ... (2 bytes))", true)
	f.Add("x (QoS 1)", "a (denied)", true)
	f.Fuzz(func(t *testing.T, id, topic string, old bool) {
		if strings.ContainsAny(id+topic, "\r\n") || len(id)+len(topic) > 800 {
			return
		}
		version := "2.1.2"
		if old {
			version = "2.0.22"
		}
		var r mosquitto.DebugReader
		for _, text := range []string{"mosquitto version " + version + " starting", "New client connected from 1.2.3.4:5 as " + id + " (p4, c1, k60, u'home')."} {
			r.Read(mosquitto.Line{Text: text})
		}
		message := " (d0, q1, r1, m1, '" + topic + "', ... (2 bytes))"
		for text, want := range map[string]mosquitto.Action{
			"Denied PUBLISH from " + id + message:                                 {Kind: mosquitto.ActionPublished, Denied: true, Retained: true, QoS: 1},
			"Received PUBLISH from " + id + message:                               {Kind: mosquitto.ActionPublished, Retained: true, QoS: 1},
			"Received SUBSCRIBE from " + id + "\n\t" + topic + " (QoS 1)":         {Kind: mosquitto.ActionSubscribed, QoS: 1},
			"Received UNSUBSCRIBE from " + id + "\n\t" + topic:                    {Kind: mosquitto.ActionUnsubscribed},
			"Sending CONNACK to " + id + " (0, 0)\nReceived SUBSCRIBE from " + id: {},
		} {
			want.ClientID, want.Topic, want.User = id, topic, "home"
			if want.Kind == "" {
				want = mosquitto.Action{}
			}
			var got mosquitto.Action
			for line := range strings.SplitSeq(text, "\n") {
				if a, ok := r.Read(mosquitto.Line{Text: line}); ok {
					got = a
				}
			}
			if got != want && got.Kind != mosquitto.ActionUnclear {
				t.Fatalf("%q is taken for %+v, want %+v", text, got, want)
			}
		}
	})
}
