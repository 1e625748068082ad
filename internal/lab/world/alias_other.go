//go:build !linux

package world

import (
	"errors"
	"net/netip"
)

// AddAliases is for the lab's own platform, Linux, alone.
func AddAliases(string, int) (own netip.Addr, aliases []netip.Addr, err error) {
	return netip.Addr{}, nil, errors.New("add addresses: only on Linux")
}
