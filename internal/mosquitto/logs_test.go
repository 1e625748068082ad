package mosquitto_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/mosquitto"
)

func TestLinesAreTakenApartByPosition(t *testing.T) {
	at := time.Date(2026, 8, 18, 8, 0, 0, 0, time.UTC)
	for line, want := range map[string]mosquitto.Line{
		"2026-08-18T10:00:00+0200: Reloading config.\r\n": {Time: at, Text: "Reloading config."},
		"1787040000: mosquitto version 2.1.2 starting":    {Time: at, Text: "mosquitto version 2.1.2 starting"},
		"mqtunnel: database bytes=1":                      {Text: "database bytes=1", FromScript: true},
		" mqtunnel: database bytes=1":                     {Text: " mqtunnel: database bytes=1"},
		"To fix this, use `chmod 0700 x`.":                {Text: "To fix this, use `chmod 0700 x`."},
		"Error: Address already in use":                   {Text: "Error: Address already in use"},
		"1: a":                                            {Text: "1: a"},
		"":                                                {},
	} {
		got := mosquitto.ParseLine(line)
		if !got.Time.Equal(want.Time) || got.Text != want.Text || got.FromScript != want.FromScript {
			t.Errorf("ParseLine(%q) = %+v, want %+v", line, got, want)
		}
	}
}

func TestEventsOfBothVersions(t *testing.T) {
	const (
		old = "2.0.22"
		now = "2.1.2"
	)
	for _, test := range []struct {
		version, text string
		want          mosquitto.Event
	}{
		{now, "mosquitto version 2.1.2 starting", mosquitto.Event{Kind: "starting", Version: "2.1.2"}},
		{now, "Reloading config.", mosquitto.Event{Kind: "reloading"}},
		{now, "New client connected from 172.18.0.3:555 as phone (p5, c1, k60, u'home').", mosquitto.Event{Kind: "connected", Address: "172.18.0.3:555", ClientID: "phone", User: "home"}},
		{old, "New client connected from 203.0.113.9, 10.0.0.1:0 as x (p2, c0, k0).", mosquitto.Event{Kind: "connected", Address: "203.0.113.9, 10.0.0.1:0", ClientID: "x"}},
		{now, "Client phone [1.2.3.4:5] disconnected: not authorised.", mosquitto.Event{Kind: "refused", ClientID: "phone", Address: "1.2.3.4:5", Reason: "not authorised"}},
		{now, "Client phone [::1:5] disconnected.", mosquitto.Event{Kind: "disconnected", ClientID: "phone", Address: "::1:5"}},
		{now, "Client phone [1.2.3.4:5] disconnected: session taken over.", mosquitto.Event{Kind: "disconnected", ClientID: "phone", Address: "1.2.3.4:5", Reason: "session taken over"}},
		{old, "Client phone disconnected, not authorised.", mosquitto.Event{Kind: "refused", ClientID: "phone", Reason: "not authorised"}},
		{old, "Client phone disconnected.", mosquitto.Event{Kind: "disconnected", ClientID: "phone"}},
		{old, "Client phone has exceeded timeout, disconnecting.", mosquitto.Event{Kind: "disconnected", ClientID: "phone", Reason: "exceeded timeout"}},
		{old, "Client phone disconnected: Broken pipe.", mosquitto.Event{Kind: "disconnected", ClientID: "phone", Reason: "Broken pipe"}},
		{old, "Client phone closed its connection.", mosquitto.Event{Kind: "disconnected", ClientID: "phone", Reason: "connection closed by client"}},

		// Client IDs that imitate the broker's words.
		{now, "New client connected from 1.2.3.4:5 as x (p4, c1, k60, u'home'). (p4, c1, k9).", mosquitto.Event{Kind: "connected", Address: "1.2.3.4:5", ClientID: "x (p4, c1, k60, u'home').", User: ""}},
		{now, "New client connected from 1.2.3.4:5 as a as b (p4, c1, k9, u'u').", mosquitto.Event{Kind: "connected", Address: "1.2.3.4:5", ClientID: "a as b", User: "u"}},
		{now, "Client x [9.9.9.9:9] disconnected: not authorised. [1.2.3.4:5] disconnected.", mosquitto.Event{Kind: "disconnected", ClientID: "x [9.9.9.9:9] disconnected: not authorised.", Address: "1.2.3.4:5"}},
		{old, "Client x [9.9.9.9:9] disconnected: not authorised. closed its connection.", mosquitto.Event{Kind: "disconnected", ClientID: "x [9.9.9.9:9] disconnected: not authorised.", Reason: "connection closed by client"}},
		{old, "Client x disconnected, not authorised. disconnected.", mosquitto.Event{Kind: "disconnected", ClientID: "x disconnected, not authorised."}},
		{now, "New client connected from 1.2.3.4:5 as x", mosquitto.Event{}},
		{now, "Client negotiated something", mosquitto.Event{}},
		{now, "ACL denying access to client with dangerous client id 'mosquitto version 2.0.1 starting'", mosquitto.Event{}},
	} {
		got := mosquitto.NewLogReader(test.version).Event(mosquitto.Line{Text: test.text})
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", test.version, test.text, diff)
		}
	}
}

func TestReaderFollowsTheVersionOfTheStart(t *testing.T) {
	r := new(mosquitto.LogReader)
	for line, want := range map[string]mosquitto.EventKind{"Client a disconnected.": "", "Client a [1.2.3.4:5] disconnected.": "disconnected"} {
		if got := r.Event(mosquitto.Line{Text: line}).Kind; got != want {
			t.Errorf("before any start, %q is %q, want %q", line, got, want)
		}
	}
	r.Event(mosquitto.ParseLine("1787040000: mosquitto version 2.0.22 starting"))
	if got := r.Event(mosquitto.Line{Text: "Client a disconnected."}).Kind; got != mosquitto.EventDisconnected {
		t.Errorf("after a start of 2.0, the line is %q", got)
	}
}

func TestFaultsOfAStart(t *testing.T) {
	for _, test := range []struct{ log, cause string }{
		{"1787040000: Error: Unknown configuration variable 'x'.\n1787040000: Error found at /mosquitto/config/mqtunnel.conf:3.", "does not know a directive"},
		{"1787040000: password-file: Error: Unable to open pwfile \"/x\".", "cannot read its password file"},
		{"1787040000: password-file: Error: Duplicate user 'a' in password file '/x'.", "stands twice"},
		{"1787040000: password-file: Error: Unable to decode line in password file '/x'.", "line that the broker does not read"},
		{"1787040000: Error: Invalid ACL topic \"a#\" in acl_file \"/x\".", "the ACL file has a line"},
		{"1787040000: Error: Unable to restore persistent database. Unrecognised file format.\n1787040000: Error: Couldn't open database.", "cannot load its database"},
		{"1787040000: Opening ipv4 listen socket on port 1883.\n1787040000: Error: Address already in use", "same port"},
		{"1787040000: Error setting groups whilst dropping privileges: Operation not permitted.", "as root"},
		{"mqtunnel: error: /mosquitto/data/mosquitto.db cannot be read by uid 1883: x", "cannot be read by uid 1883"},
		{"1787040000: Invalid 'allow_anonymous' value (yes).\n1787040000: Error found at /x:1.", "a value of its configuration"},
		{"Error: Unable to open config file '/mosquitto/config/mqtunnel.conf'.", "cannot read its configuration"},
	} {
		var lines []mosquitto.Line
		for l := range strings.SplitSeq(test.log, "\n") {
			lines = append(lines, mosquitto.ParseLine(l))
		}
		fault, ok := mosquitto.FindFault(lines)
		if !ok || !strings.Contains(fault.Cause, test.cause) {
			t.Errorf("%s\ngave %+v, want a cause with %q", test.log, fault, test.cause)
		}
	}
	for _, harmless := range []string{
		"1787040000: Client Error: Address already in use closed its connection.",
		"1787040000: New client connected from 1.2.3.4:5 as mqtunnel: error: x (p4, c1, k60).",
		"1787040000: mosquitto version 2.1.2 running",
		"mqtunnel: warning: the disk is full",
	} {
		if fault, ok := mosquitto.FindFault([]mosquitto.Line{mosquitto.ParseLine(harmless)}); ok {
			t.Errorf("%q is taken for %+v", harmless, fault)
		}
	}
}

func TestDatabaseReports(t *testing.T) {
	got, ok := mosquitto.ParseDatabaseReport(mosquitto.ParseLine("mqtunnel: database bytes=833 retained=3 previous=900 previous-retained=5 copies=2 state=ok lost-since=1787040000 lost-retained=5 lost-bytes=900 later=1"))
	want := mosquitto.DatabaseReport{
		State: mosquitto.DatabaseOK, Bytes: 833, Retained: 3, PreviousBytes: 900, PreviousRetained: 5, Copies: 2,
		Loss: &mosquitto.DatabaseLoss{Since: time.Unix(1787040000, 0), Retained: 5, Bytes: 900},
	}
	if diff := cmp.Diff(want, got); !ok || diff != "" {
		t.Errorf("ok %v (-want +got):\n%s", ok, diff)
	}
	if s := got.String(); !strings.Contains(s, "5 retained messages") || !strings.Contains(s, "holds 3") {
		t.Errorf("String() = %q", s)
	}
	for _, bad := range []string{
		"mqtunnel: database bytes=x state=ok", "mqtunnel: database bytes=-1 state=ok", "mqtunnel: database bytes=1 state=fine", "mqtunnel: database bytes=1",
		"database bytes=1 state=ok", "1787040000: mqtunnel: database bytes=1 state=ok", "mqtunnel: warning: database bytes=1 state=ok",
	} {
		if _, ok := mosquitto.ParseDatabaseReport(mosquitto.ParseLine(bad)); ok {
			t.Errorf("%q is a report", bad)
		}
	}
}

func FuzzLog(f *testing.F) {
	f.Add("2026-08-18T10:00:00+0200: New client connected from 1.2.3.4:5 as x (p4, c1, k60, u'home').", false)
	f.Add("1787040000: Client x [9.9.9.9:9] disconnected: not authorised.", true)
	f.Add("mqtunnel: database bytes=833 retained=3 previous=900 copies=2 state=ok lost-since=1", false)
	f.Fuzz(func(t *testing.T, text string, old bool) {
		version := "2.1.2"
		if old {
			version = "2.0.22"
		}
		line := mosquitto.ParseLine(text)
		if e := mosquitto.NewLogReader(version).Event(line); !strings.Contains(text, e.ClientID) || !strings.Contains(text, e.User) {
			t.Fatalf("%q holds neither %q nor %q", text, e.ClientID, e.User)
		}
		if r, ok := mosquitto.ParseDatabaseReport(line); ok && !strings.HasPrefix(text, "mqtunnel: database ") {
			t.Fatalf("%q is taken for %+v", text, r)
		}
		mosquitto.FindFault([]mosquitto.Line{line})
	})
}

// A client chooses its ID, and nothing that it chooses changes what is read about it.
func FuzzClientIDIsReadBack(f *testing.F) {
	f.Add("phone", "home")
	f.Add("x (p4, c1, k60, u'home').", "")
	f.Add("x [1.2.3.4:5] disconnected: not authorised.", "u")
	f.Add(" as y closed its connection.", "u")
	f.Fuzz(func(t *testing.T, id, user string) {
		if user != "" && mosquitto.CheckUsername(user) != nil || strings.ContainsAny(id, "\r\n") {
			return
		}
		end := " (p4, c1, k60)."
		if user != "" {
			end = " (p4, c1, k60, u'" + user + "')."
		}
		r := mosquitto.NewLogReader("2.1.2")
		e := r.Event(mosquitto.Line{Text: "New client connected from 1.2.3.4:5 as " + id + end})
		if e.Kind != mosquitto.EventConnected || e.ClientID != id || e.User != user {
			t.Fatalf("connected as %q by %q, read %+v", id, user, e)
		}
		e = r.Event(mosquitto.Line{Text: "Client " + id + " [1.2.3.4:5] disconnected: not authorised."})
		if e.Kind != mosquitto.EventRefused || e.ClientID != id {
			t.Fatalf("refused %q, read %+v", id, e)
		}
		e = mosquitto.NewLogReader("2.0.22").Event(mosquitto.Line{Text: "Client " + id + " closed its connection."})
		if e.Kind != mosquitto.EventDisconnected || e.ClientID != id {
			t.Fatalf("closed %q, read %+v", id, e)
		}
	})
}

// The broker cuts its lines, and a client ID is long enough to put words of its own
// where the line ends.
func TestALineThatWasCutTellsNothing(t *testing.T) {
	const stamp = "2026-08-18T10:00:00+0200: "
	for _, begin := range []string{"New client connected from 1.2.3.4:5 as ", "Client "} {
		for _, end := range []string{" (p4, c1, k60, u'home').", " [9.9.9.9:9] disconnected: out of memory.", " disconnected, not authorised."} {
			filler := strings.Repeat("x", 999-len(stamp)-len(begin)-len(end))
			line := mosquitto.ParseLine(stamp + begin + filler + end)
			event := mosquitto.NewLogReader("").Event(line)
			if template, known := mosquitto.Template(line); event.Kind != mosquitto.EventOther || known {
				t.Errorf("%s…%s: event %q, taken for %q", begin, end, event.Kind, template)
			}
		}
	}
}
