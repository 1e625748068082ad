package probe

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"slices"

	"golang.org/x/sync/errgroup"

	"mqtunnel/internal/cloudflared"
)

// otherServices returns HOST:PORT of the services that the rules of a
// configuration lead to, without the broker's, each once and at most MaxDials.
func otherServices(config []byte, broker string) []string {
	in, err := cloudflared.ParseConfig(bytes.NewReader(config))
	if err != nil {
		return nil
	}
	var list []string
	for _, rule := range in.Rules {
		address := serviceAddress(rule.Service)
		if len(list) == MaxDials {
			break
		}
		if address != "" && address != broker && !slices.Contains(list, address) {
			list = append(list, address)
		}
	}
	return list
}

// serviceAddress returns where TCP has to get through for a service, "" for one of
// another kind.
func serviceAddress(service string) string {
	u, err := url.Parse(service)
	if err != nil {
		return ""
	}
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "http", "ws":
			port = "80"
		case "https", "wss":
			port = "443"
		}
	}
	switch u.Scheme {
	case "http", "ws", "https", "wss", "tcp":
		if address := net.JoinHostPort(u.Hostname(), port); isHostPort(address) {
			return address
		}
	}
	return ""
}

// dialAll tries TCP to every address at once.
func dialAll(ctx context.Context, addresses []string) []Dialed {
	ctx, cancel := context.WithTimeout(ctx, tcpTimeout)
	defer cancel()
	dialed := make([]Dialed, len(addresses))
	var group errgroup.Group
	for i, address := range addresses {
		group.Go(func() error {
			dialed[i] = Dialed{Address: address, Check: connects(ctx, address)}
			return nil
		})
	}
	_ = group.Wait() // no look returns an error, each stands in the report
	return dialed
}
