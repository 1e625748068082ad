package probe

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errConnectToParts   = errors.New("want HOST:PORT:ADDRESS:PORT, where parts may be empty and an IPv6 address stands in brackets")
	errConnectToBracket = errors.New("an IPv6 address in brackets is expected between [ and ]")
	errConnectToPort    = errors.New("a port is a number from 1 to 65535")
)

// ParseConnectTo reads "HOST:PORT:ADDRESS:PORT" with curl's meaning: an IPv6
// address stands in brackets, and parts may be empty.
func ParseConnectTo(s string) (ConnectTo, error) {
	var c ConnectTo
	rest, err := s, error(nil)
	for i, part := range []*string{&c.Host, &c.Port, &c.ToHost, &c.ToPort} {
		isHost, last := i%2 == 0, i == 3
		if *part, rest, err = cutPart(rest, isHost, last); err != nil {
			return ConnectTo{}, err
		}
	}
	return c, nil
}

// cutPart takes one part and the colon after it off s.
func cutPart(s string, isHost, last bool) (part, rest string, err error) {
	if isHost && strings.HasPrefix(s, "[") {
		address, after, found := strings.Cut(s[1:], "]")
		if ip, err := netip.ParseAddr(address); !found || err != nil || !ip.Is6() {
			return "", "", errConnectToBracket
		}
		if !strings.HasPrefix(after, ":") {
			return "", "", errConnectToParts
		}
		return address, after[1:], nil
	}
	part, rest, found := strings.Cut(s, ":")
	if found == last {
		return "", "", errConnectToParts
	}
	if isHost {
		if strings.ContainsAny(part, "[]/@ ") {
			return "", "", errConnectToParts
		}
		return part, rest, nil
	}
	if n, err := strconv.ParseUint(part, 10, 16); part != "" && (err != nil || n == 0) {
		return "", "", errConnectToPort
	}
	return part, rest, nil
}

// String returns what ParseConnectTo reads.
func (c ConnectTo) String() string {
	bracket := func(host string) string {
		if strings.Contains(host, ":") {
			return "[" + host + "]"
		}
		return host
	}
	return bracket(c.Host) + ":" + c.Port + ":" + bracket(c.ToHost) + ":" + c.ToPort
}

// Dials returns where the target connects to for host:port, and whether ConnectTo
// says so.
func (t Target) Dials(host, port string) (toHost, toPort string, redirected bool) {
	return redirect(t.ConnectTo, host, port)
}

// redirect returns where to connect for host:port, and whether an entry says so.
func redirect(entries []ConnectTo, host, port string) (toHost, toPort string, redirected bool) {
	for _, c := range entries {
		if (c.Host != "" && !strings.EqualFold(c.Host, host)) || (c.Port != "" && c.Port != port) {
			continue
		}
		if c.ToHost != "" {
			host = c.ToHost
		}
		if c.ToPort != "" {
			port = c.ToPort
		}
		return host, port, true
	}
	return host, port, false
}
