package probe

import (
	"errors"
	"net"
)

// packetMax is the largest MQTT packet that is read. The client library makes
// room for a whole packet as soon as it has read its length, up to 256 MiB.
const packetMax = 64 << 10

var errPacketSize = errors.New("an MQTT packet longer than a probe has any use for")

// bounded is a connection that ends when a packet is announced that is longer
// than packetMax. It is read by one goroutine.
type bounded struct {
	net.Conn
	inLength bool   // the next byte belongs to a length
	shift    uint   // of the next length byte
	length   uint32 // as far as it was read
	left     uint32 // bytes of the current packet that are still to come
}

// Read passes bytes on and follows the packet boundaries in them.
func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.Conn.Read(p)
	for i := 0; i < n; {
		switch {
		case b.left > 0:
			step := min(uint32(n-i), b.left)
			b.left -= step
			i += int(step)
			continue
		case !b.inLength: // packet type and flags
			b.inLength, b.length, b.shift = true, 0, 0
		default:
			b.length |= uint32(p[i]&0x7f) << b.shift
			b.shift += 7
			if b.length > packetMax || b.shift > 28 {
				return 0, errPacketSize
			}
			if p[i] < 0x80 {
				b.inLength, b.left = false, b.length
			}
		}
		i++
	}
	return n, err
}
