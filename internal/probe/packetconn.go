package probe

import (
	"net"
	"sync"
)

// InPackets returns the connection as one that sends each MQTT packet by one write. It
// is for paho, which calls it between Lock and Unlock.
func InPackets(conn net.Conn) net.Conn { return &packetConn{Conn: conn} }

// packetConn sends each MQTT packet by one write, and so in one WebSocket
// message. paho writes a packet in several pieces between Lock and Unlock;
// Mosquitto 2.1 takes a PUBLISH or SUBSCRIBE that comes in several messages for a
// malformed packet now and then.
type packetConn struct {
	net.Conn

	mu     sync.Mutex
	packet []byte
	err    error // of the last write, told to the next one
}

// Lock begins a packet.
func (c *packetConn) Lock() { c.mu.Lock() }

// Unlock sends the packet.
func (c *packetConn) Unlock() {
	if len(c.packet) > 0 && c.err == nil {
		_, c.err = c.Conn.Write(c.packet)
	}
	c.packet = c.packet[:0]
	c.mu.Unlock()
}

// Write adds to the packet. It is called between Lock and Unlock only.
func (c *packetConn) Write(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.packet = append(c.packet, p...)
	return len(p), nil
}
