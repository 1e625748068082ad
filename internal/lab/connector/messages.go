package connector

import (
	"bufio"
	"crypto/sha1" //nolint:gosec // RFC 6455 asks for it
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
)

// acceptHeader is the answer to a WebSocket handshake (RFC 6455, section 4.2.2), without a subprotocol.
func acceptHeader(key string) http.Header {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // RFC 6455 asks for it
	return http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"},
		"Sec-Websocket-Accept": {base64.StdEncoding.EncodeToString(sum[:])},
	}
}

// Frame types of RFC 6455, section 5.2.
const (
	frameBinary = 0x2
	frameClose  = 0x8
	framePing   = 0x9
	framePong   = 0xA
)

// maxFrame bounds what a client can make the stand-in hold.
const maxFrame = 1 << 24

var errFrame = errors.New("a WebSocket frame is too large")

// messages is the server side of a WebSocket as a stream of bytes: what comes in frames goes out plain, and what is
// written becomes binary frames.
type messages struct {
	in   *bufio.Reader
	out  io.Writer
	rest []byte
}

func newMessages(stream io.ReadWriter) *messages {
	return &messages{in: bufio.NewReader(stream), out: stream}
}

// Read gives the payload of data frames and answers pings.
func (m *messages) Read(p []byte) (int, error) {
	for len(m.rest) == 0 {
		kind, payload, err := m.frame()
		if err != nil {
			return 0, err
		}
		switch kind {
		case frameClose:
			return 0, io.EOF
		case framePing:
			if err := m.write(framePong, payload); err != nil {
				return 0, err
			}
		case framePong:
		default:
			m.rest = payload
		}
	}
	n := copy(p, m.rest)
	m.rest = m.rest[n:]
	return n, nil
}

// frame reads one frame and takes its mask off.
func (m *messages) frame() (byte, []byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(m.in, head[:]); err != nil {
		return 0, nil, err
	}
	length := uint64(head[1] & 0x7f)
	if length >= 126 {
		wide := make([]byte, 2)
		if length == 127 {
			wide = make([]byte, 8)
		}
		if _, err := io.ReadFull(m.in, wide); err != nil {
			return 0, nil, err
		}
		length = 0
		for _, b := range wide {
			length = length<<8 | uint64(b)
		}
	}
	if length > maxFrame {
		return 0, nil, errFrame
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(m.in, mask[:]); err != nil {
			return 0, nil, err
		}
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(m.in, payload); err != nil {
		return 0, nil, err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return head[0] & 0x0f, payload, nil
}

// Write sends one binary frame.
func (m *messages) Write(p []byte) (int, error) {
	if err := m.write(frameBinary, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (m *messages) write(kind byte, payload []byte) error {
	frame := []byte{0x80 | kind}
	switch n := len(payload); {
	case n < 126:
		frame = append(frame, byte(n))
	case n < 1<<16:
		frame = binary.BigEndian.AppendUint16(append(frame, 126), uint16(n))
	default:
		frame = binary.BigEndian.AppendUint64(append(frame, 127), uint64(n))
	}
	_, err := m.out.Write(append(frame, payload...))
	return err
}
