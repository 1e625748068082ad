package doctor

import (
	"bytes"
	"fmt"
	"time"

	"mqtunnel/internal/cloudflared"
	"mqtunnel/internal/mosquitto"
)

// entry is a line of a log as a bundle may hold it.
type entry struct {
	at    time.Time // zero where the line tells none
	level string
	text  string // the template, "" of an unknown line
	means string
	count int // of equal lines in a row
}

func connectorEntries(lines []cloudflared.Line) []entry {
	var list []entry
	for _, l := range lines {
		k, _ := l.Known()
		level := word(l.Level, cloudflared.LevelDebug, cloudflared.LevelInfo, cloudflared.LevelWarn, cloudflared.LevelError, cloudflared.LevelFatal)
		list = append(list, entry{at: l.Time, level: level, text: k.Template, means: meaning(k.Means, k.Harmless)})
	}
	return list
}

func brokerEntries(lines []mosquitto.Line) []entry {
	var list []entry
	for _, l := range lines {
		k, _ := l.Known()
		list = append(list, entry{at: l.Time, text: k.Template, means: meaning(k.Means, k.Harmless)})
	}
	return list
}

// meaning is told of lines that belong to no healthy log only.
func meaning(means string, harmless bool) string {
	if harmless {
		return ""
	}
	return means
}

// bundleLog writes the known lines, equal ones in a row as one, each with the seconds
// from the look back to it. Of the others only their number is told.
func bundleLog(now time.Time, entries []entry) []byte {
	var rows []entry
	unknown := 0
	for _, e := range entries {
		if e.text == "" {
			unknown++
			continue
		}
		if last := len(rows) - 1; last >= 0 && rows[last].text == e.text && rows[last].level == e.level {
			rows[last].count++
			continue
		}
		e.count = 1
		rows = append(rows, e)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d lines, %d of them unknown and left out\n", len(entries), unknown)
	for _, r := range rows {
		at := "?"
		if !r.at.IsZero() {
			at = fmt.Sprintf("%ds", int(r.at.Sub(now).Seconds()))
		}
		fmt.Fprintf(&b, "%8s %4dx %-5s %s\n", at, r.count, r.level, r.text)
		if r.means != "" {
			fmt.Fprintf(&b, "%21s= %s\n", "", r.means)
		}
	}
	return b.Bytes()
}
