package doctor

import (
	"net/netip"
	"slices"
	"testing"
)

func TestAnAnswerOverHTTPSIsReadStrictly(t *testing.T) {
	for _, c := range []struct {
		name, body string
		want       Answers
		ok         bool
	}{
		{"addresses", `{"Status":0,"Answer":[{"name":"mqtt.example.com","type":1,"data":"104.16.1.1"},{"name":"mqtt.example.com","type":28,"data":"2606:4700::1"}]}`, Answers{Exists: true, Addresses: []netip.Addr{netip.MustParseAddr("104.16.1.1"), netip.MustParseAddr("2606:4700::1")}}, true},
		{"an alias and what it leads to", `{"Status":0,"Answer":[{"name":"MQTT.example.com.","type":5,"data":"A.CFARGOTUNNEL.com."},{"name":"a.cfargotunnel.com","type":5,"data":"b.example.net."},{"name":"b.example.net","type":28,"data":"fd10:aec2:5dae::1"}]}`, Answers{Exists: true, CNAME: "a.cfargotunnel.com", Addresses: []netip.Addr{netip.MustParseAddr("fd10:aec2:5dae::1")}}, true},
		{"no such name", `{"Status":3,"Authority":[{"name":"example.com","type":6,"data":"x"}]}`, Answers{}, true},
		{"nothing of the kind", `{"Status":0}`, Answers{Exists: true}, true},
		{"signatures are passed over", `{"Status":0,"Answer":[{"name":"mqtt.example.com","type":46,"data":"A 13"}]}`, Answers{Exists: true}, true},
		{"the resolver failed", `{"Status":2}`, Answers{}, false},
		{"no status", `{}`, Answers{}, false},
		{"no JSON", `<html>`, Answers{}, false},
		{"an address that is none", `{"Status":0,"Answer":[{"name":"mqtt.example.com","type":1,"data":"::1"}]}`, Answers{}, false},
		{"with a zone", `{"Status":0,"Answer":[{"name":"mqtt.example.com","type":28,"data":"fe80::1%eth0"}]}`, Answers{}, false},
		{"an alias of no name", `{"Status":0,"Answer":[{"name":"mqtt.example.com","type":5,"data":"\u001b[31m.example.com."}]}`, Answers{}, false},
	} {
		got := Answers{Exists: true}
		err := got.take([]byte(c.body), publicName)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.ok && (got.Exists != c.want.Exists || got.CNAME != c.want.CNAME || !slices.Equal(got.Addresses, c.want.Addresses)) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func FuzzAnAnswerOverHTTPSHoldsNamesAndAddressesAlone(f *testing.F) {
	f.Add([]byte(`{"Status":0,"Answer":[{"name":"mqtt.example.com","type":1,"data":"104.16.1.1"}]}`))
	f.Add([]byte(`{"Status":0,"Answer":[{"name":"mqtt.example.com.","type":5,"data":"a.cfargotunnel.com."}]}`))
	f.Add([]byte(`{"Status":3}`))
	f.Add([]byte(`{"Status":0,"Answer":[{"type":28,"data":"fe80::1%\u202e"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		a := Answers{Exists: true}
		if a.take(body, publicName) != nil {
			return
		}
		for _, line := range seenOf(&a) {
			for _, r := range line {
				if r < ' ' || r > '~' {
					t.Fatalf("%q in %q", r, line)
				}
			}
		}
	})
}
