package probe

import (
	"context"
	"net"
)

// EncodeReport is the encoding that Main writes, for tests.
func EncodeReport(r Report) ([]byte, error) { return r.encode() }

// EdgeLook is a look at an edge of the test's own.
type EdgeLook struct {
	Resolver *net.Resolver
	Fallback string
	Port     uint16
}

// Run looks.
func (l EdgeLook) Run(ctx context.Context) *Edge {
	return edgeLook{resolver: l.Resolver, fallback: l.Fallback, port: l.Port}.run(ctx)
}

// AddressError is the Error of a connection that failed.
func AddressError(ctx context.Context, err error) error { return new(attempt).addressError(ctx, err) }

// Resolvers and OtherServices read outside text.
func Resolvers(text string) []string { return resolvers(text) }

// OtherServices returns what a configuration leads to.
func OtherServices(config []byte, broker string) []string { return otherServices(config, broker) }
