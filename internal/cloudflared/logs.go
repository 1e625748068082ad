package cloudflared

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Level is the severity of a log line, "" where the line tells none.
type Level string

// The levels of cloudflared's log.
const (
	LevelDebug Level = "debug"
	LevelInfo  Level = "info"
	LevelWarn  Level = "warn"
	LevelError Level = "error"
	LevelFatal Level = "fatal"
)

// Line is one line of cloudflared's log. A line that its logger did not write, a
// usage error or a line of Go's log, has a Message only. All of it is outside
// text.
type Line struct {
	Time    time.Time // zero where the line tells none; whole seconds
	Level   Level
	Message string
	Fields  map[string]string // nil when there are none
}

// Reason returns the field error, in which cloudflared puts the cause.
func (l Line) Reason() string { return l.Fields["error"] }

// connIndex returns the number of the connection that the line is about, -1 when
// it is about none.
func (l Line) connIndex() int {
	index, err := strconv.Atoi(l.Fields["connIndex"])
	if err != nil || index < 0 || index > 255 {
		return -1
	}
	return index
}

// colour is what a terminal in the container adds.
var colour = regexp.MustCompile("\x1b\\[[0-9;]*m")

// consoleHead is the beginning of a console line: time and level.
var consoleHead = regexp.MustCompile(`^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) (DBG|INF|WRN|ERR|FTL|PNC|TRC|\?\?\?) ?`)

// goHead is the beginning of a line of Go's own logger.
var goHead = regexp.MustCompile(`^(\d{4}/\d\d/\d\d \d\d:\d\d:\d\d(?:\.\d+)?) `)

// ParseLine reads a line of the console form or of the JSON form. It never fails:
// what is neither is a Message.
func ParseLine(text string) Line {
	text = strings.TrimRight(text, "\r\n")
	if strings.Contains(text, "\x1b[") {
		text = colour.ReplaceAllString(text, "")
	}
	if strings.HasPrefix(text, "{") {
		if line, ok := parseJSONLine(text); ok {
			return line
		}
	}
	if m := consoleHead.FindStringSubmatch(text); m != nil {
		message, fields := splitFields(text[len(m[0]):])
		return Line{Time: parseTime(time.RFC3339, m[1]), Level: levelOf(m[2]), Message: message, Fields: fields}
	}
	if m := goHead.FindStringSubmatch(text); m != nil {
		return Line{Time: parseTime("2006/01/02 15:04:05", m[1]), Message: text[len(m[0]):]}
	}
	return Line{Message: text}
}

// parseTime returns the zero time for what is none.
func parseTime(layout, text string) time.Time {
	t, err := time.Parse(layout, text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// levelOf translates the console's three letters.
func levelOf(short string) Level {
	switch short {
	case "DBG", "TRC":
		return LevelDebug
	case "INF":
		return LevelInfo
	case "WRN":
		return LevelWarn
	case "ERR":
		return LevelError
	case "FTL", "PNC":
		return LevelFatal
	default:
		return ""
	}
}

// cutConfig is the beginning of the JSON form of "Updated to new configuration", by
// which it is known when its end is missing: the fields stand before the message.
var cutConfig = regexp.MustCompile(`^\{"level":"info","version":(\d+),"config":"`)

// parseJSONLine reads the JSON form. An object without level and time is not
// cloudflared's.
func parseJSONLine(text string) (Line, bool) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		if m := cutConfig.FindStringSubmatch(text); m != nil {
			return Line{Level: LevelInfo, Message: "Updated to new configuration", Fields: map[string]string{"version": m[1]}}, true
		}
		return Line{}, false
	}
	line := Line{}
	for key, raw := range object {
		value := plain(raw)
		switch key {
		case "level":
			line.Level = Level(value)
		case "time":
			line.Time = parseTime(time.RFC3339, value)
		case "message":
			line.Message = value
		default:
			if line.Fields == nil {
				line.Fields = make(map[string]string)
			}
			line.Fields[key] = value
		}
	}
	return line, line.Level != "" && !line.Time.IsZero()
}

// plain returns a JSON string unquoted and any other value as it stands.
func plain(raw json.RawMessage) string {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return text
	}
	return string(raw)
}

// splitFields separates the message from the fields, which are the longest run
// of key=value words at the end. Values with a space or a quote are quoted by the
// logger, so nothing inside a value can pass for a field.
func splitFields(text string) (string, map[string]string) {
	end := -1 // where the message ends, -1 while the last word is no field
	var fields map[string]string
	for at := 0; at <= len(text); {
		length, key, value, ok := word(text[at:])
		switch {
		case !ok:
			end, fields = -1, nil
		case end < 0:
			end, fields = max(at-1, 0), map[string]string{key: value}
		default:
			fields[key] = value
		}
		at += length + 1
	}
	if end < 0 {
		end = len(text)
	}
	return strings.TrimSuffix(text[:end], " "), fields
}

// fieldKey is the beginning of a field.
var fieldKey = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]*=`)

// word measures the word at the beginning of the text and reads it as a field
// where it is one.
func word(text string) (length int, key, value string, ok bool) {
	next, _, _ := strings.Cut(text, " ")
	key = fieldKey.FindString(next)
	if key == "" {
		return len(next), "", "", false
	}
	rest := text[len(key):]
	key = key[:len(key)-1]
	if !strings.HasPrefix(rest, `"`) {
		return len(next), key, next[len(key)+1:], true
	}
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return len(next), "", "", false
	}
	length = len(key) + 1 + len(quoted)
	if length < len(text) && text[length] != ' ' {
		return len(next), "", "", false
	}
	value, err = strconv.Unquote(quoted)
	return length, key, value, err == nil
}
