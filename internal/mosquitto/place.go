package mosquitto

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// confMarker begins the comment above each file of conf.d in the rendered
// configuration; the file's name follows.
const confMarker = "# --- "

// foundAt is how the broker names the line of a fault.
var foundAt = regexp.MustCompile(`^(?:Error: )?Error found at ` + regexp.QuoteMeta(ConfPath) + `:(\d+)\.`)

// FindPlace returns where in the user's own files the line stands that the broker
// complains about, as "mosquitto/conf.d/NAME:LINE", or "" when the log names none
// of theirs. conf is the rendered configuration.
func FindPlace(lines []Line, conf string) string {
	for _, l := range lines {
		m := foundAt.FindStringSubmatch(l.Text)
		if m == nil {
			continue
		}
		number, err := strconv.Atoi(m[1])
		all := strings.Split(conf, "\n")
		if err != nil || number < 1 || number > len(all) {
			return ""
		}
		for above := number - 1; above >= 0; above-- {
			if name, found := strings.CutPrefix(all[above], confMarker); found {
				return fmt.Sprintf("%s:%d", name, number-1-above)
			}
		}
	}
	return ""
}
