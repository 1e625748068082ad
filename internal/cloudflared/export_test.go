package cloudflared

// Templates lists everything that Template can return.
func Templates() []string {
	reasons := []string{"<error>"}
	for _, k := range reasonLines() {
		reasons = append(reasons, k.Template)
	}
	for _, f := range failureTable() {
		reasons = append(reasons, f.template())
	}
	all := []string{"<text>"}
	for _, k := range append(plainLines(), messageLines()...) {
		all = append(all, k.Template)
	}
	for _, message := range all {
		for _, reason := range reasons {
			text := message + ` error="` + reason + `"`
			if message == "" {
				text = text[1:]
			}
			all = append(all, text)
		}
	}
	return all
}
