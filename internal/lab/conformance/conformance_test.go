package conformance

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"testing"
)

// behaviour is one thing that a connector does, as seen from outside.
type behaviour struct {
	name string
	run  func(t *testing.T, s subject)
}

// TestMain lets more behaviours run at once than there are processors: nearly all they do is wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestAConnectorBehavesLikeCloudflared(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many connectors")
	}
	s := findSubject(t)
	all := slices.Concat(tokens(), commands(), startup(), registrations(), configurations(), requests(), connections(), shutdowns(), inTheWorld())
	t.Run("behaviour", func(t *testing.T) {
		seen := map[string]bool{}
		for _, b := range all {
			if seen[b.name] {
				t.Fatalf("two behaviours are called %q", b.name)
			}
			seen[b.name] = true
			t.Run(b.name, func(t *testing.T) {
				t.Parallel()
				b.run(t, s)
			})
		}
	})
	fmt.Printf("conformance: %d behaviours compared with %s\n", len(all), s.name)
}
