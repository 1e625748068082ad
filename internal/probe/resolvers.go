package probe

import (
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// Bounds on what is read of resolv.conf.
const (
	resolversPath = "/etc/resolv.conf"
	resolversMax  = 64 << 10
	resolverCount = 8
)

// resolversOf reads the name servers from the file at path; one that cannot be read
// names none.
func resolversOf(path string) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(file, resolversMax))
	if err != nil {
		return nil
	}
	return resolvers(string(text))
}

// resolvers reads the addresses of the name servers from the text of resolv.conf,
// and after them those that Docker's own resolver asks in turn, which newer Engines
// write there as a comment.
func resolvers(text string) []string {
	var servers, behind []string
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 2 && fields[0] == "nameserver":
			servers = appendAddress(servers, fields[1])
		case len(fields) >= 3 && fields[0] == "#" && fields[1] == "ExtServers:":
			for _, server := range fields[2:] {
				server = strings.TrimSuffix(strings.TrimPrefix(strings.Trim(server, "[]"), "host("), ")")
				behind = appendAddress(behind, server)
			}
		}
	}
	all := slices.Concat(servers, behind)
	return all[:min(len(all), resolverCount)]
}

func appendAddress(list []string, text string) []string {
	if address, err := netip.ParseAddr(text); err == nil {
		return append(list, address.String())
	}
	return list
}
