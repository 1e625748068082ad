package world

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddAliases gives a network interface count more IPv4 addresses, from the top of
// its own subnet downwards, and returns its first address and the new ones. It
// needs NET_ADMIN. The subnet is the lab's own, so nobody else takes them.
func AddAliases(name string, count int) (own netip.Addr, aliases []netip.Addr, err error) {
	prefix, err := interfacePrefix(name)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	aliases, err = topAddresses(prefix, count)
	if err != nil {
		return netip.Addr{}, nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return netip.Addr{}, nil, fmt.Errorf("add addresses: %w", err)
	}
	defer func() { err = errors.Join(err, unix.Close(fd)) }()
	for i, a := range aliases {
		if err := addAlias(fd, fmt.Sprintf("%s:%d", name, i+1), a, prefix.Bits()); err != nil {
			return netip.Addr{}, nil, fmt.Errorf("add address %s to %s: %w", a, name, err)
		}
	}
	return prefix.Addr(), aliases, nil
}

func addAlias(fd int, label string, address netip.Addr, bits int) error {
	for _, set := range []struct {
		request uint
		value   []byte
	}{
		{unix.SIOCSIFADDR, address.AsSlice()},
		{unix.SIOCSIFNETMASK, net.CIDRMask(bits, 32)},
	} {
		request, err := unix.NewIfreq(label)
		if err != nil {
			return err
		}
		if err := request.SetInet4Addr(set.value); err != nil {
			return err
		}
		if err := unix.IoctlIfreq(fd, set.request, request); err != nil {
			return err
		}
	}
	return nil
}

func interfacePrefix(name string) (netip.Prefix, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("find interface %s: %w", name, err)
	}
	addresses, err := i.Addrs()
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("read addresses of %s: %w", name, err)
	}
	for _, a := range addresses {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("interface %s has no IPv4 address", name)
}

// topAddresses returns the highest host addresses of a subnet, but for its own.
func topAddresses(prefix netip.Prefix, count int) ([]netip.Addr, error) {
	first := prefix.Masked().Addr().As4()
	size := uint32(1) << (32 - prefix.Bits())
	if int64(size) < int64(count)+4 {
		return nil, fmt.Errorf("subnet %s is too small for %d more addresses", prefix.Masked(), count)
	}
	base := binary.BigEndian.Uint32(first[:])
	var out []netip.Addr
	for n := base + size - 2; len(out) < count; n-- {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], n)
		if a := netip.AddrFrom4(b); a != prefix.Addr() {
			out = append(out, a)
		}
	}
	return out, nil
}
