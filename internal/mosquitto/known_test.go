package mosquitto_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/mosquitto"
)

var update = flag.Bool("update", false, "renew the golden files")

func TestKnownLinesOfBothVersions(t *testing.T) {
	for _, version := range []string{"2.0", "2.1"} {
		path := filepath.Join("testdata", "known", version)
		log, err := os.ReadFile(path + ".log")
		if err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for text := range strings.Lines(string(log)) {
			k, known := mosquitto.ParseLine(text).Known()
			switch {
			case !known:
				fmt.Fprintln(&got, "unknown")
			case k.Harmless:
				fmt.Fprintf(&got, "harmless: %s | %s\n", k.Template, k.Means)
			default:
				fmt.Fprintf(&got, "%s | %s | %s\n", k.Template, k.Means, k.Remedy)
			}
		}
		if *update {
			if err := os.WriteFile(path+".golden", []byte(got.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s:\n%s", version, diff)
		}
	}
}

func TestAClientsWordsDoNotDecideWhatALineMeans(t *testing.T) {
	const taken = "Client <client> [<address>] disconnected: session taken over."
	for text, want := range map[string]string{
		"Client a disconnected, not authorised. [1.2.3.4:5] disconnected: session taken over.":              taken,
		"Client a [6.7.8.9:1] disconnected: not authorised. [1.2.3.4:5] disconnected: session taken over.":  taken,
		"Client a [1.2.3.4:5] disconnected: not authorised. closed its connection.":                         "Client <client> closed its connection.",
		"Client Error: Out of memory. closed its connection.":                                               "Client <client> closed its connection.",
		"New client connected from 1.2.3.4:5 as x (p2, c1, k60, u'root'). (p5, c1, k60).":                   "New client connected from <address> as <client> (p<n>, c<n>, k<n>).",
		"Client x [192.0.2.1:9] disconnected: bad socket read/write: Bad. closed its connection.":           "Client <client> closed its connection.",
		"Client x [192.0.2.1:9] disconnected: bad socket read/write: x. disconnected.":                      "Client <client> disconnected.",
		"Client x [192.0.2.1:9] disconnected: bad socket read/write: x. disconnected: Protocol error.":      "Client <client> disconnected: <error>.",
		"Protocol error from x: First packet not CONNECT (47).: PUBLISH before session is active.":          "Protocol error from <text>",
		"ACL denying access to client with dangerous client id \"Client a disconnected, not authorised.+\"": "ACL denying access to client with dangerous client id \"<client>\"",
	} {
		if got, _ := mosquitto.Template(mosquitto.Line{Text: text}); got != want {
			t.Errorf("%q is taken for %q, want %q", text, got, want)
		}
	}
}

func FuzzKnownHoldsNothingOfTheLine(f *testing.F) {
	for _, version := range []string{"2.0", "2.1"} {
		log, err := os.ReadFile(filepath.Join("testdata", "known", version+".log"))
		if err != nil {
			f.Fatal(err)
		}
		for text := range strings.Lines(string(log)) {
			f.Add(text)
		}
	}
	all := mosquitto.Templates()
	f.Fuzz(func(t *testing.T, text string) {
		template, known := mosquitto.Template(mosquitto.ParseLine(text))
		if known && !slices.Contains(all, template) || !known && template != "" {
			t.Errorf("the template of %q is %q, which is none of the table", text, template)
		}
	})
}

func TestWhatALaterSuccessSettlesIsNoFault(t *testing.T) {
	const (
		starting = "mosquitto version 2.1.2 starting"
		running  = "mosquitto version 2.1.2 running"
		save     = "Saving in-memory database to /mosquitto/data/mosquitto.db."
		unsaved  = "Error saving in-memory database, error No space left on device"
		reload   = "Reloading config."
		passwd   = "password-file: Error: Unable to open pwfile \"/mosquitto/config/passwd\"."
		opening  = "Error opening password file \"/mosquitto/config/passwd\"."
	)
	for name, c := range map[string]struct {
		lines []string
		want  string // the beginning of the fault's line
	}{
		"a clean stop":                        {[]string{starting, running, save, "mosquitto version 2.1.2 terminating", save}, ""},
		"a disk that is full":                 {[]string{starting, running, save, unsaved}, "Error saving"},
		"a disk that was full":                {[]string{starting, running, save, unsaved, save}, ""},
		"full, free, full again":              {[]string{starting, running, save, unsaved, save, save, unsaved}, "Error saving"},
		"files that cannot be read again":     {[]string{starting, running, reload, passwd, opening}, "password-file: Error"},
		"files that could be read later":      {[]string{starting, running, reload, passwd, opening, reload}, ""},
		"a start that was warned":             {[]string{starting, "Error: Permission denied", running}, ""},
		"a start that failed":                 {[]string{starting, "Error: Address already in use", "mosquitto version 2.1.2 terminating", save}, "Error: Address"},
		"a reason in words of no table":       {[]string{"Error: 'max_packet_size' must be >= 20.", "Error found at /mosquitto/config/mqtunnel.conf:52."}, "Error: 'max_packet_size'"},
		"no reason above":                     {[]string{starting, "Error found at /mosquitto/config/mqtunnel.conf:52."}, "Error found at"},
		"a database that was not saved at it": {[]string{starting, running, "mosquitto version 2.1.2 terminating", save, unsaved}, "Error saving"},
	} {
		var lines []mosquitto.Line
		for _, text := range c.lines {
			lines = append(lines, mosquitto.Line{Text: text})
		}
		fault, found := mosquitto.FindFault(lines)
		if found != (c.want != "") || !strings.HasPrefix(fault.Line, c.want) {
			t.Errorf("%s: fault %q, want %q", name, fault.Line, c.want)
		}
	}
}
