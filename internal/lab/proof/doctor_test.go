package proof

import (
	"math/rand/v2"
	"slices"
	"testing"

	"mqtunnel/internal/doctor"
)

func TestEveryFaultIsOneOfTheTable(t *testing.T) {
	names := map[string]bool{}
	for _, f := range faults() {
		if names[f.name] {
			t.Errorf("there are two faults %q", f.name)
		}
		names[f.name] = true
		if f.code != "" && !slices.ContainsFunc(doctor.Checks(), func(c doctor.Check) bool { return c.Code == f.code }) {
			t.Errorf("%s: no check has the code %s", f.name, f.code)
		}
		if len(f.of) == 0 || f.inject == nil || f.mend == nil {
			t.Errorf("%s: it is of nothing, or cannot be brought about or mended", f.name)
		}
	}
}

func TestPairsCanBeTogether(t *testing.T) {
	drawnPairs := pairs(faults(), drawn, rand.New(rand.NewPCG(1, 1)))
	if len(drawnPairs) != drawn {
		t.Fatalf("%d pairs, want %d", len(drawnPairs), drawn)
	}
	for _, p := range drawnPairs {
		if p[0].stage > p[1].stage {
			t.Errorf("%v: the first takes the second's place", p)
		}
		if p[0].shape != p[1].shape {
			t.Errorf("%v: of projects of different shapes", p)
		}
		for _, of := range p[0].of {
			if slices.Contains(p[1].of, of) {
				t.Errorf("%v: both of %s", p, of)
			}
		}
	}
}

func TestEachPairCanBeDrawnOnce(t *testing.T) {
	list, seen, with := faults(), map[[2]string]bool{}, map[string]int{}
	for _, p := range pairs(list, len(list)*len(list), rand.New(rand.NewPCG(1, 1))) {
		for _, key := range [][2]string{{p[0].name, p[1].name}, {p[1].name, p[0].name}} {
			if seen[key] {
				t.Fatalf("%v can be drawn twice", p)
			}
			seen[key] = true
			with[key[0]]++
		}
	}
	for _, a := range list {
		want := 0
		for _, b := range list {
			if a.name != b.name && together(a, b) {
				want++
			}
		}
		if with[a.name] != want {
			t.Errorf("%s is in %d pairs, want %d", a.name, with[a.name], want)
		}
	}
}

func TestPairsAreThoseOfTheirSeed(t *testing.T) {
	draw := func(seed uint64) string {
		list := pairs(faults(), 5, rand.New(rand.NewPCG(seed, seed)))
		text := ""
		for _, p := range list {
			text += p.String() + "\n"
		}
		return text
	}
	if a, b := draw(7), draw(7); a != b {
		t.Errorf("one seed, two draws:\n%s\n%s", a, b)
	}
	if a, b := draw(7), draw(8); a == b {
		t.Errorf("two seeds, one draw:\n%s", a)
	}
}

func TestFaultsComeBeforeWarningsAndInTheOrderOfTheTable(t *testing.T) {
	stopped, gone := fault{name: "broker stopped", code: "MQT-B11"}, fault{name: "connector gone", code: "MQT-C01"}
	boot := fault{name: "not at boot", code: "MQT-H06", warns: true}
	for _, c := range []struct {
		pair pair
		want string
	}{
		{pair{stopped, gone}, "MQT-B11"},
		{pair{gone, stopped}, "MQT-B11"},
		{pair{boot, gone}, "MQT-C01"},
	} {
		if got := c.pair.upstream().code; got != c.want {
			t.Errorf("%v: %s first, want %s", c.pair, got, c.want)
		}
	}
}
