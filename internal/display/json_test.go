package display_test

import (
	"encoding/json"
	"strings"
	"testing"

	"mqtunnel/internal/display"
)

func TestJSONShowsWhatATerminalWouldObey(t *testing.T) {
	const hostile = "a\u202eb\u200bc\x7f \U000e0041 ü 温"
	plain, err := json.Marshal(map[string]string{"text": hostile})
	if err != nil {
		t.Fatal(err)
	}
	safe := display.SafeJSON(plain)
	if strings.ContainsAny(string(safe), "\u202e\u200b\x7f\U000e0041") {
		t.Errorf("SafeJSON(%q) = %q, characters stand there raw", plain, safe)
	}
	var back map[string]string
	if err := json.Unmarshal(safe, &back); err != nil || back["text"] != hostile {
		t.Errorf("SafeJSON(%q) means %q, %v", plain, back["text"], err)
	}
}
