package cloudflared_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mqtunnel/internal/cloudflared"
)

var update = flag.Bool("update", false, "renew the golden files")

// knownLog is a log with lines of every kind; what they mean is in the golden file.
const knownLog, knownGolden = "testdata/known/log", "testdata/known/golden"

func TestKnownLines(t *testing.T) {
	log, err := os.ReadFile(knownLog)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for text := range strings.Lines(string(log)) {
		k, known := cloudflared.ParseLine(text).Known()
		switch {
		case !known:
			fmt.Fprintln(&got, "unknown")
		case k.Means == "":
			t.Errorf("%q: no meaning", text)
		case k.Harmless:
			fmt.Fprintf(&got, "harmless: %s | %s\n", k.Template, k.Means)
		default:
			fmt.Fprintf(&got, "%s | %s | %s\n", k.Template, k.Means, k.Remedy)
		}
	}
	if *update {
		if err := os.WriteFile(knownGolden, []byte(got.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(knownGolden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Error(diff)
	}
}

// Whatever the diagnosis calls a cause is a known line that is not harmless, but
// for the one that every start has too.
func TestWhatIsACauseIsKnown(t *testing.T) {
	log, err := os.ReadFile(knownLog)
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.Lines(string(log)) {
		line := cloudflared.ParseLine(text)
		cause, found := cloudflared.Diagnose([]cloudflared.Line{line, line})
		if !found {
			continue
		}
		if k, known := line.Known(); !known || k.Harmless || k.Means != cause.Sentence || k.Remedy != cause.Hint {
			t.Errorf("%q is known as %+v, and the cause is %q", text, k, cause.Sentence)
		}
	}
}

func FuzzKnownHoldsNothingOfTheLine(f *testing.F) {
	log, err := os.ReadFile(knownLog)
	if err != nil {
		f.Fatal(err)
	}
	for text := range strings.Lines(string(log)) {
		f.Add(text)
	}
	all := map[string]bool{}
	for _, template := range cloudflared.Templates() {
		all[template] = true
	}
	f.Fuzz(func(t *testing.T, text string) {
		template, known := cloudflared.Template(cloudflared.ParseLine(text))
		if known && !all[template] || !known && template != "" {
			t.Errorf("the template of %q is %q, which is none of the table", text, template)
		}
	})
}
