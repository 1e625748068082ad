package migrate

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A database begins with 15 bytes of magic, a checksum that nobody fills in and a
// version, 4 bytes each; records follow: type and length, 4 bytes each in network order,
// then the content, in which numbers that are identifiers have the order of the machine
// (mosquitto 1.6 to 2.1, src/persist.h).
const (
	magic       = "\x00\xb5\x00mosquitto db"
	headerBytes = len(magic) + 8
	recordHead  = 8

	recordConfig  = 1
	recordMessage = 2
	recordRetain  = 4

	idBytes = 8
	version = 6
)

// CountRetained returns how many retained messages a database of version 5 or 6 holds,
// and refuses one that is damaged: the broker would start without what is in it, or not
// at all.
func CountRetained(data []byte) (retained int, err error) {
	if len(data) < headerBytes || string(data[:len(magic)]) != magic {
		return 0, errors.New("it is not a database of Mosquitto")
	}
	if v := binary.BigEndian.Uint32(data[len(magic)+4:]); v != 5 && v != version {
		return 0, fmt.Errorf("its format %d is not known here", v)
	}
	for rest := data[headerBytes:]; len(rest) > 0; {
		if len(rest) < recordHead {
			return 0, errDamaged
		}
		kind, length := binary.BigEndian.Uint32(rest), int64(binary.BigEndian.Uint32(rest[4:]))
		if kind == 0 || length > int64(len(rest)-recordHead) {
			return 0, errDamaged
		}
		if kind == recordRetain {
			retained++
		}
		rest = rest[recordHead+int(length):]
	}
	return retained, nil
}

var errDamaged = errors.New("it is damaged: its chain of records breaks off")

// A message that a database brings along counts as the broker's own from then on:
// check_retain_source, which looks whether its sender may still write there, does not ask
// (seen on 2.0 and 2.1 with senders that no ACL file knows). So no sender is kept.

// RetainedFormat is the format for mosquitto_sub in which FromRetained reads messages:
// whether retained, QoS, payload in hexadecimal digits, topic.
const RetainedFormat = "%r %q %x %t"

// FromRetained makes a database of the retained messages that mosquitto_sub printed, one
// a line, and returns how many there are.
func FromRetained(text string) (data []byte, retained int, err error) {
	var b bytes.Buffer
	b.WriteString(magic)
	b.Write(binary.BigEndian.AppendUint32(make([]byte, 4), version))
	messages := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	config := binary.LittleEndian.AppendUint64(nil, uint64(len(messages)+1))
	writeRecord(&b, recordConfig, append(config, 1, idBytes, 0, 0, 0, 0, 0, 0))
	for i, line := range messages {
		if line == "" {
			continue
		}
		m, err := parseMessage(line)
		if err != nil {
			return nil, 0, fmt.Errorf("retained message %d: %w", i+1, err)
		}
		if !m.retained {
			continue
		}
		retained++
		id := binary.LittleEndian.AppendUint64(nil, uint64(i+1))
		writeRecord(&b, recordMessage, m.record(id))
		writeRecord(&b, recordRetain, id)
	}
	return b.Bytes(), retained, nil
}

type message struct {
	retained bool
	qos      byte
	payload  []byte
	topic    string
}

func parseMessage(line string) (message, error) {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) != 4 || !isTopic(fields[3]) {
		return message{}, errors.New("the client printed what cannot be read")
	}
	qos, err := strconv.ParseUint(fields[1], 10, 8)
	if err != nil || qos > 2 {
		return message{}, errors.New("the client printed no QoS")
	}
	payload, err := hex.DecodeString(fields[2])
	if err != nil {
		return message{}, errors.New("the client printed no payload")
	}
	return message{fields[0] == "1", byte(qos), payload, fields[3]}, nil
}

// isTopic reports whether a message can have the topic (MQTT 5, 4.7); rules of an ACL
// can say less.
func isTopic(text string) bool {
	return text != "" && len(text) <= maxTopic && utf8.ValidString(text) && !strings.ContainsAny(text, "+#\x00")
}

// maxTopic is the length in bytes of a string in MQTT.
const maxTopic = 65535

// record is the message's content of a record, without a source.
func (m message) record(id []byte) []byte {
	r := append([]byte{}, id...)
	r = binary.BigEndian.AppendUint64(r, 0) // never expires
	r = binary.BigEndian.AppendUint32(r, uint32(len(m.payload)))
	r = append(r, 0, 0, 0, 0, 0, 0) // packet identifier, lengths of client ID and username
	r = binary.BigEndian.AppendUint16(r, uint16(len(m.topic)))
	r = append(r, 0, 0, m.qos, 1) // port, QoS, retained
	return append(append(r, m.topic...), m.payload...)
}

func writeRecord(b *bytes.Buffer, kind uint32, content []byte) {
	b.Write(binary.BigEndian.AppendUint32(nil, kind))
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(content))))
	b.Write(content)
}
