package cli

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/display"
	"mqtunnel/internal/mosquitto"
)

// output returns a stream and what was written to it.
func output(t *testing.T) (display.Stream, func() string) {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := file.Close(); err != nil {
			t.Error(err)
		}
	})
	return display.NewStream(file, nil, true), func() string {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
}

func TestAWatchTellsWhichRuleDecidesAndWhatWouldAllowIt(t *testing.T) {
	rules := []mosquitto.Rule{{Access: mosquitto.Deny, Filter: "home/lock/#"}, {Access: mosquitto.Read, Filter: "home/#"}, {Access: mosquitto.Write, Filter: "phone/#"}}
	for _, c := range []struct {
		action mosquitto.Action
		want   string
	}{
		{mosquitto.Action{Kind: "connected", Address: "1.2.3.4:5"}, "id  connects from 1.2.3.4:5"},
		{mosquitto.Action{Kind: "disconnected"}, "id  disconnects"},
		{mosquitto.Action{Kind: "disconnected", Reason: "exceeded timeout"}, "id  is disconnected: exceeded timeout"},
		{mosquitto.Action{Kind: "refused", Reason: "wrong name"}, "id  tries to log in  refused: wrong name; the broker does not tell as whom"},
		{mosquitto.Action{Kind: "published", Topic: "phone/a", QoS: 2, Retained: true}, "id  publishes to phone/a (QoS 2, retained)"},
		{mosquitto.Action{Kind: "published", Topic: "a", Dropped: true, Reason: "too large"}, "id  publishes to a (QoS 0)  dropped: too large"},
		{mosquitto.Action{Kind: "published", Topic: "a b", Denied: true}, "id  publishes to 'a b' (QoS 0)  denied: no rule of phone speaks of it; to allow it: mqtunnel user allow phone write 'a b'"},
		{mosquitto.Action{Kind: "published", Topic: "-x", Denied: true}, "id  publishes to -x (QoS 0)  denied: no rule of phone speaks of it; to allow it: mqtunnel user allow phone write -- -x"},
		{mosquitto.Action{Kind: "published", Topic: "home/lock/front", Denied: true}, "id  publishes to home/lock/front (QoS 0)  denied: by the rule: deny home/lock/#; to allow it: mqtunnel user allow phone readwrite 'home/lock/#'"},
		{mosquitto.Action{Kind: "published", Topic: "$SYS/x", Denied: true}, "id  publishes to '$SYS/x' (QoS 0)  denied: no rule of phone speaks of it"},
		{mosquitto.Action{Kind: "published", Topic: "phone/a", Denied: true}, "id  publishes to phone/a (QoS 0)  denied: but the files allow it, by the rule: write phone/#; to make them those in force: mqtunnel up"},
		{mosquitto.Action{Kind: "subscribed", Topic: "home/a", QoS: 1}, "id  subscribes to home/a (QoS 1)"},
		{mosquitto.Action{Kind: "subscribed", Topic: "home/#"}, "id  subscribes to 'home/#' (QoS 0)  gets a part of it, by the rules: deny home/lock/#, read home/#"},
		{mosquitto.Action{Kind: "subscribed", Topic: "$share/g/garden"}, "id  subscribes to '$share/g/garden' (QoS 0)  gets nothing: no rule of phone speaks of it; to allow it: mqtunnel user allow phone read garden"},
		{mosquitto.Action{Kind: "unsubscribed", Topic: "home/a"}, "id  unsubscribes from home/a"},
		{mosquitto.Action{Kind: "will", Topic: "gone"}, "id  leaves a will for gone (QoS 0)  will be denied: no rule of phone speaks of it; to allow it: mqtunnel user allow phone write gone"},
		{mosquitto.Action{Kind: "received", Topic: "garden", Denied: true}, "id  would get garden (QoS 0)  denied: no rule of phone speaks of it; to allow it: mqtunnel user allow phone read garden"},
		{mosquitto.Action{Kind: "received", Topic: "home/a"}, ""},
		{mosquitto.Action{Kind: "published", Topic: "home/a", User: "panel"}, ""},
		{mosquitto.Action{Kind: "published", Topic: "phone/\x1b[2J\u202e"}, `id  publishes to 'phone/\x1b[2JU+202E' (QoS 0)`},
	} {
		out, written := output(t)
		w := watcher{app: &App{Out: out}, name: "phone", rules: rules, read: true}
		c.action.ClientID, c.action.Time = "id", time.Now()
		if c.action.User == "" {
			c.action.User = "phone"
		}
		if err := w.each(c.action); err != nil {
			t.Fatal(err)
		}
		_, got, _ := strings.Cut(strings.TrimSuffix(written(), "\n"), "  ")
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%+v (-want +got):\n%s", c.action, diff)
		}
		w.app.json = true
		if err := w.each(c.action); err != nil {
			t.Fatal(err)
		}
		text := written()
		var j watchJSON
		if c.want == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text[strings.IndexByte(text, '{'):]), &j); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		refused := strings.Contains(c.want, "denied: ") || strings.Contains(c.want, "refused: ") || strings.Contains(c.want, "dropped: ") || strings.Contains(c.want, "gets nothing: ")
		if j.Denied != refused || (j.Allow != "") != strings.Contains(c.want, "to allow it") || j.ClientID != "id" {
			t.Errorf("%+v: JSON %s", c.action, text)
		}
	}
}

func TestAWatchFitsATerminal(t *testing.T) {
	const command = "mqtunnel -C ../home user allow phone write 'garden/house/upstairs/front/lights/of the stairs'"
	out, written := output(t)
	out.Terminal, out.Width = true, 80
	w := watcher{app: &App{Out: out, flags: flags{dir: "../home"}}, name: "phone", read: true}
	topic := "garden/house/upstairs/front/lights/of the stairs"
	if err := w.each(mosquitto.Action{Kind: "published", ClientID: "id", User: "phone", Topic: topic, Denied: true, Time: time.Now()}); err != nil {
		t.Fatal(err)
	}
	text := written()
	for line := range strings.Lines(text) {
		if n := len(strings.TrimSuffix(line, "\n")); n > 80 && !strings.HasPrefix(strings.TrimSpace(line), "'") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if whole := strings.Join(strings.Fields(strings.ReplaceAll(text, "\\\n", "")), " "); !strings.HasSuffix(whole, "to allow it: "+command) {
		t.Errorf("the command is not one for the shell:\n%s", text)
	}
}

func TestTheListTellsOnlyWhatTheLogTells(t *testing.T) {
	const (
		start = "2026-08-18T10:00:00+0000: mosquitto version 2.1.2 starting\n"
		came  = "2026-08-18T10:00:01+0000: New client connected from 1.2.3.4:5 as a (p4, c1, k60, u'phone').\n"
		went  = "2026-08-18T10:00:02+0000: Client a [1.2.3.4:5] disconnected.\n"
	)
	for name, c := range map[string]struct{ log, want string }{
		"connected":                        {start + came, `{"name":"phone","topics":"none","rules":[],"connected":true,"lastSeen":"2026-08-18T10:00:01Z"}`},
		"gone":                             {start + came + went, `{"name":"phone","topics":"none","rules":[],"connected":false,"lastSeen":"2026-08-18T10:00:02Z"}`},
		"never seen":                       {start, `{"name":"phone","topics":"none","rules":[],"connected":false}`},
		"connected, the start not known":   {came, `{"name":"phone","topics":"none","rules":[],"connected":true,"lastSeen":"2026-08-18T10:00:01Z"}`},
		"gone, the start not known":        {came + went, `{"name":"phone","topics":"none","rules":[],"lastSeen":"2026-08-18T10:00:02Z"}`},
		"nothing known":                    {went, `{"name":"phone","topics":"none","rules":[]}`},
		"seen before the broker restarted": {came + start, `{"name":"phone","topics":"none","rules":[],"connected":false,"lastSeen":"2026-08-18T10:00:01Z"}`},
	} {
		var clients mosquitto.Clients
		for line := range strings.Lines(c.log) {
			clients.Take(mosquitto.ParseLine(line))
		}
		got, err := json.Marshal(listed("phone", nil, &clients))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, string(got)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if got, want := listed("phone", nil, nil), (userJSON{Name: "phone", Topics: "none", Rules: []string{}}); !cmp.Equal(got, want) {
		t.Errorf("without a broker: %+v, want %+v", got, want)
	}
}
