package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"mqtunnel/internal/secret"
)

// Bounds on the two files.
const (
	requestMax = 64 << 10
	reportMax  = 6 << 20 // the configuration, two endpoints and some kilobytes
	// lineMax is the longest line of a report. The Engine stores longer ones in
	// pieces of 16 KiB, and what such a cut leaves of a character is lost.
	lineMax = 8 << 10
)

var (
	errRequestSize  = errors.New("probe request: longer than 64 KiB")
	errRequestJSON  = errors.New("probe request: not the JSON of a request")
	errReportSize   = errors.New("probe report: longer than 6 MiB")
	errReportJSON   = errors.New("probe report: not the JSON of a report")
	errBrokerName   = errors.New("probe request: the broker is no host name")
	errProbePort    = errors.New("probe request: a port is no port number")
	errProbeTopic   = errors.New("probe request: the topic is empty or has wildcards")
	errProbeMetrics = errors.New("probe request: the metrics address is not HOST:PORT")
	errProbeTimeout = errors.New("probe request: the timeout is out of range")
)

// requestFile is a Request as it stands in RequestPath.
type requestFile struct {
	Version       int           `json:"version"`
	Broker        string        `json:"broker"`
	WebSocketPort int           `json:"webSocketPort"`
	PlainPort     int           `json:"plainPort,omitempty"`
	Username      string        `json:"username"`
	Password      string        `json:"password"`
	Topic         string        `json:"topic"`
	Metrics       string        `json:"metrics,omitempty"`
	Edge          bool          `json:"edge,omitempty"`
	Others        bool          `json:"others,omitempty"`
	Timeout       time.Duration `json:"timeoutNs,omitempty"`
}

// Encode returns the request as the content of RequestPath, password included.
func (r Request) Encode() (secret.Text, error) {
	if err := r.check(); err != nil {
		return secret.Text{}, err
	}
	data, err := json.Marshal(requestFile{
		Version: Version, Broker: r.Broker, WebSocketPort: r.WebSocketPort, PlainPort: r.PlainPort,
		Username: r.Username,
		Password: r.Password.Reveal(), // the file is how the probe gets it
		Topic:    r.Topic, Metrics: r.Metrics, Edge: r.Edge, Others: r.Others, Timeout: r.Timeout,
	})
	if err != nil {
		return secret.Text{}, errRequestJSON // the cause may quote the password
	}
	return secret.New(string(data)), nil
}

// DecodeRequest reads what Encode wrote. Its errors show nothing of the input.
func DecodeRequest(data []byte) (Request, error) {
	if len(data) > requestMax {
		return Request{}, errRequestSize
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var f requestFile
	if err := decoder.Decode(&f); err != nil {
		return Request{}, errRequestJSON // the cause may quote the password
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return Request{}, errRequestJSON
	}
	if f.Version != Version {
		return Request{}, fmt.Errorf("probe request: version %d, want %d", f.Version, Version)
	}
	r := Request{
		Broker: f.Broker, WebSocketPort: f.WebSocketPort, PlainPort: f.PlainPort,
		Username: f.Username, Password: secret.New(f.Password),
		Topic: f.Topic, Metrics: f.Metrics, Edge: f.Edge, Others: f.Others, Timeout: f.Timeout,
	}
	return r, r.check()
}

// check refuses what would make the probe look somewhere else than intended.
func (r Request) check() error {
	if r.Broker == "" || strings.ContainsAny(r.Broker, "/@?#[] \t\r\n") {
		return errBrokerName
	}
	if r.WebSocketPort < 1 || r.WebSocketPort > 65535 || r.PlainPort < 0 || r.PlainPort > 65535 {
		return errProbePort
	}
	if r.Topic == "" || strings.ContainsAny(r.Topic, "+#\x00") {
		return errProbeTopic
	}
	if r.Metrics != "" && !isHostPort(r.Metrics) {
		return errProbeMetrics
	}
	if r.Timeout < 0 || r.Timeout > MaxTimeout {
		return errProbeTimeout
	}
	return nil
}

func isHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" || strings.ContainsAny(host, "/@?# %\t\r\n") {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// encode returns the report as Main writes it: lines of lineMax bytes at most, cut
// between characters, and an empty line as its end.
func (r Report) encode() ([]byte, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // six bytes for one
	if err := encoder.Encode(r); err != nil {
		return nil, err
	}
	rest := bytes.TrimSuffix(text.Bytes(), []byte("\n"))
	lines := make([]byte, 0, len(rest)+len(rest)/lineMax+8)
	for len(rest) > lineMax {
		cut := lineMax
		for cut > lineMax-utf8.UTFMax && !utf8.RuneStart(rest[cut]) {
			cut--
		}
		lines = append(append(lines, rest[:cut]...), '\n')
		rest = rest[cut:]
	}
	return append(append(lines, rest...), "\n\n"...), nil
}

// ReportLines puts a report together from the lines that Main wrote. The zero value
// holds none.
type ReportLines struct{ text []byte }

// Add takes the next line, without its line end, and reports whether it was the
// last one. A report that is too long ends where it is.
func (l *ReportLines) Add(line string) (ended bool) {
	if len(l.text)+len(line) > reportMax {
		l.text = append(l.text, line[:reportMax+1-len(l.text)]...)
		return true
	}
	l.text = append(l.text, line...)
	return line == ""
}

// Empty reports whether the lines hold nothing.
func (l *ReportLines) Empty() bool { return len(l.text) == 0 }

// Decode reads the report of all lines. Its errors show nothing of the input.
func (l *ReportLines) Decode() (Report, error) { return DecodeReport(l.text) }

// DecodeReport reads the JSON of a report. Its errors show nothing of the input.
func DecodeReport(data []byte) (Report, error) {
	if len(data) > reportMax {
		return Report{}, errReportSize
	}
	var r Report
	if err := json.Unmarshal(data, &r); err != nil {
		return Report{}, errReportJSON
	}
	if r.Version != Version {
		return Report{}, fmt.Errorf("probe report: version %d, want %d", r.Version, Version)
	}
	return r, nil
}
