package connector

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// level orders log lines by weight.
type level int

const (
	levelDebug level = iota
	levelInfo
	levelWarn
	levelError
	levelFatal
)

// names is how a level is written: on the console and in JSON.
func (l level) names() (console, full string) {
	switch l {
	case levelDebug:
		return "DBG", "debug"
	case levelInfo:
		return "INF", "info"
	case levelWarn:
		return "WRN", "warn"
	case levelError:
		return "ERR", "error"
	case levelFatal:
		return "FTL", "fatal"
	}
	return "???", "unknown"
}

// fields are the key=value pairs of a log line.
type fields map[string]any

// logger writes lines in cloudflared's console or JSON form. It is safe for concurrent use.
type logger struct {
	mu     sync.Mutex
	out    io.Writer
	asJSON bool
	least  level
	now    func() time.Time
}

func (l *logger) debug(message string, f fields) { l.log(levelDebug, message, nil, f) }
func (l *logger) info(message string, f fields)  { l.log(levelInfo, message, nil, f) }
func (l *logger) warn(message string, f fields)  { l.log(levelWarn, message, nil, f) }

func (l *logger) failure(message string, err error, f fields) { l.log(levelError, message, err, f) }

// log writes one line; an err becomes its error field.
func (l *logger) log(at level, message string, err error, f fields) {
	if at < l.least {
		return
	}
	all := fields{}
	maps.Copy(all, f)
	if err != nil {
		all["error"] = err.Error()
	}
	var line []byte
	if l.asJSON {
		line = jsonLine(l.now(), at, message, all)
	} else {
		line = consoleLine(l.now(), at, message, all)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.out.Write(line) // a log that cannot be written has nobody to tell
}

func jsonLine(now time.Time, at level, message string, f fields) []byte {
	_, name := at.names()
	f["level"], f["time"] = name, now.UTC().Format(time.RFC3339)
	if message != "" {
		f["message"] = message
	}
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(f); err != nil {
		return fmt.Appendf(nil, "{\"level\":\"error\",\"message\":%q}\n", err.Error())
	}
	return line.Bytes()
}

func consoleLine(now time.Time, at level, message string, f fields) []byte {
	name, _ := at.names()
	line := fmt.Appendf(nil, "%s %s %s", now.UTC().Format(time.RFC3339), name, message)
	keys := slices.SortedFunc(maps.Keys(f), func(a, b string) int {
		if (a == "error") != (b == "error") {
			if a == "error" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, key := range keys {
		line = fmt.Appendf(line, " %s=%s", key, consoleValue(f[key]))
	}
	return append(line, '\n')
}

// consoleValue quotes a value when it holds anything but visible ASCII without quotes and backslashes.
func consoleValue(value any) string {
	text := fmt.Sprint(value)
	for _, c := range []byte(text) {
		if c <= ' ' || c > '~' || c == '\\' || c == '"' {
			return strconv.Quote(text)
		}
	}
	return text
}
