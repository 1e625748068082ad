package mosquitto

// Templates lists everything that Template can return.
func Templates() []string {
	var all []string
	for _, k := range scriptLines() {
		all = append(all, k.Template)
	}
	for _, k := range brokerLines() {
		all = append(all, k.Template)
	}
	for _, k := range faultLines() {
		for _, plugin := range []string{"", "password-file: "} {
			for _, acl := range []string{"", "acl-file: "} {
				all = append(all, plugin+acl+k.Template, plugin+acl+"Error: "+k.Template)
			}
		}
	}
	for _, r := range reasons() {
		all = append(all, "Client <client> [<address>] disconnected: "+r.words+".")
	}
	for _, end := range oldEnds() {
		all = append(all, "Client <client>"+end.words)
	}
	return append(
		all, "Client <client> [<address>] disconnected.", "Client <client> [<address>] disconnected: <error>.",
		"Client <client> disconnected: <error>.",
		"New client connected from <address> as <client> (p<n>, c<n>, k<n>).",
		"New client connected from <address> as <client> (p<n>, c<n>, k<n>, u'<user>').",
	)
}
