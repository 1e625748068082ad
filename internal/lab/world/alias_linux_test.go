package world

import (
	"fmt"
	"net/netip"
	"testing"
)

func TestAliasesAreTheTopOfTheSubnet(t *testing.T) {
	for _, c := range []struct{ prefix, want string }{
		{"172.20.0.2/16", "[172.20.255.254 172.20.255.253 172.20.255.252 172.20.255.251]"},
		{"192.168.1.253/24", "[192.168.1.254 192.168.1.252 192.168.1.251 192.168.1.250]"},
		{"10.0.0.130/25", "[10.0.0.254 10.0.0.253 10.0.0.252 10.0.0.251]"},
		{"10.0.0.1/29", "[10.0.0.6 10.0.0.5 10.0.0.4 10.0.0.3]"},
	} {
		got, err := topAddresses(netip.MustParsePrefix(c.prefix), 4)
		if err != nil || fmt.Sprint(got) != c.want {
			t.Errorf("%s: got %v, %v, want %s", c.prefix, got, err, c.want)
		}
	}
	if got, err := topAddresses(netip.MustParsePrefix("10.0.0.1/30"), 4); err == nil {
		t.Errorf("a /30 gave %v", got)
	}
}
