package render

import "testing"

func FuzzTheQuickLookMissesNothing(f *testing.F) {
	for _, line := range []string{
		"      phone:$$7$$1000$$c2FsdA==$$aGFzaA==", "phone:$6$salt$hash", "  - PASSWORD=x", "  bridge_pa\u017fsword x", "  p\u017f\u212a: x", "\u212aey_to\u212aen = x",
		`    content: "user:\n"`, "mosquitto_pub -P secret --pw x", "see eyJhIjoiYWJjZGVmZ2hpamtsbW5vcA==", "mqtt://me:it@host", "credentials: x",
		"phone:$$7$$\xff", "phone:$argon2id$v=19$m=1\r",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for i, r := range blankRules() {
			slow := rule{find: r.find, replace: r.replace, toEnd: r.toEnd}
			if got, want := r.blank(line), slow.blank(line); got != want {
				t.Errorf("rule %d makes %q of %q, and %q without the quick look", i, got, line, want)
			}
		}
	})
}
