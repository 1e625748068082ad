package mosquitto

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// DatabaseState is what the start script found before it started the broker.
type DatabaseState string

// The states of the database at a start.
const (
	DatabaseNew     DatabaseState = "new"     // none yet, and no copy
	DatabaseOK      DatabaseState = "ok"      // whole, and not much smaller than before
	DatabaseMissing DatabaseState = "missing" // none, but there are copies
	DatabaseEmpty   DatabaseState = "empty"   // a file without a byte
	DatabaseDamaged DatabaseState = "damaged" // its chain of records breaks off
	DatabaseShrunk  DatabaseState = "shrunk"  // whole, but with less than half of the retained messages, or empty
	DatabaseUnknown DatabaseState = "unknown" // of a format that the script does not know
)

// DatabaseReport is the line that the start script writes at every start of the
// broker: "mqtunnel: database bytes=833 retained=9 …". Previous is the newest copy,
// which is the database of an earlier start.
type DatabaseReport struct {
	State            DatabaseState
	Bytes            int64
	Retained         int64 // retained messages; when damaged, those before the break
	PreviousBytes    int64
	PreviousRetained int64
	Copies           int
	Loss             *DatabaseLoss // nil when nothing is known to be lost
}

// DatabaseLoss is a loss that still stands: the database was found missing, emptied,
// damaged or shrunk at some start, and does not hold again what it held before. It is
// forgotten when it does, or when somebody removes LossFile.
type DatabaseLoss struct {
	Since    time.Time // by the clock of the host at that start
	Retained int64     // retained messages before
	Bytes    int64
}

// Where the start script keeps copies, and what it notes a loss in.
const (
	CopiesPath = DataPath + "/copies"
	LossFile   = CopiesPath + "/lost"
)

// ParseDatabaseReport reads the line, and reports whether it is one.
func ParseDatabaseReport(line Line) (DatabaseReport, bool) {
	rest, ok := strings.CutPrefix(line.Text, "database ")
	if !ok || !line.FromScript {
		return DatabaseReport{}, false
	}
	var r DatabaseReport
	var since, lostRetained, lostBytes, copies int64 = -1, 0, 0, 0
	numbers := map[string]*int64{
		"bytes": &r.Bytes, "retained": &r.Retained, "previous": &r.PreviousBytes, "previous-retained": &r.PreviousRetained,
		"copies": &copies, "lost-since": &since, "lost-retained": &lostRetained, "lost-bytes": &lostBytes,
	}
	for field := range strings.SplitSeq(rest, " ") {
		key, value, _ := strings.Cut(field, "=")
		if key == "state" {
			r.State = DatabaseState(value)
			continue
		}
		n, known := numbers[key]
		if !known {
			continue // a newer script may say more
		}
		var err error
		if *n, err = strconv.ParseInt(value, 10, 64); err != nil || *n < 0 {
			return DatabaseReport{}, false
		}
	}
	switch r.State {
	case DatabaseNew, DatabaseOK, DatabaseMissing, DatabaseEmpty, DatabaseDamaged, DatabaseShrunk, DatabaseUnknown:
	default:
		return DatabaseReport{}, false
	}
	r.Copies = int(copies)
	if since >= 0 {
		r.Loss = &DatabaseLoss{Since: time.Unix(since, 0), Retained: lostRetained, Bytes: lostBytes}
	}
	return r, true
}

// String says in one sentence what a person has to know, and is empty when that is
// nothing.
func (r DatabaseReport) String() string {
	switch {
	case r.Loss != nil && r.State == DatabaseDamaged:
		return fmt.Sprintf("the database is damaged after %s; it held %s", messages(r.Retained), messages(r.Loss.Retained))
	case r.Loss != nil:
		return fmt.Sprintf("the database lost content before %s: it held %s and holds %s",
			r.Loss.Since.UTC().Format("2006-01-02 15:04 MST"), messages(r.Loss.Retained), messages(r.Retained))
	default:
		return ""
	}
}

// Hint says what can be done about a loss, and is empty when there is none.
func (r DatabaseReport) Hint() string {
	if r.Loss == nil {
		return ""
	}
	kept := "there is no copy from before"
	if r.Copies > 0 {
		kept = fmt.Sprintf("%d copies are in %s of the broker's container", r.Copies, CopiesPath)
	}
	return kept + "; if the loss is meant, remove " + LossFile + " there"
}

func messages(n int64) string {
	if n == 1 {
		return "1 retained message"
	}
	return fmt.Sprintf("%d retained messages", n)
}
