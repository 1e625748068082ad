package proof

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mqtunnel/internal/doctor"
	"mqtunnel/internal/probe"
)

// Private facts that the proof makes up.
const (
	bridgePassword = "br1dge-of-sighs-77aa"
	accessID       = "0f1e2d3c4b5a69788796a5b4c3d2e1f0.access"
	accessSecret   = "acce55000000000000000000000000000000000000000000000000000000cafe"
	privateClient  = "annas-bedroom-sensor"
	privateTopic   = "annas/bedroom/window"
)

// bundleClean makes bundles of a project of which every private fact is known.
func bundleClean(ctx context.Context, b *Bench) (figure string, err error) {
	if err := b.tryVantage(ctx); err != nil {
		return "", err
	}
	s, err := b.site(ctx, "bundle")
	if err != nil {
		return "", err
	}
	defer finish(&err, s.close)
	facts, err := s.private(ctx)
	if err != nil {
		return "", err
	}
	searched, told := 0, 0
	look := func(code string) error {
		n, err := s.bundleHolds(ctx, facts, code)
		searched, told = searched+1, told+n
		return err
	}
	if err := look(""); err != nil {
		return "", fmt.Errorf("healthy: %w", err)
	}
	if err := s.bundleLeavesFilesAlone(ctx); err != nil {
		return "", err
	}
	for _, f := range faults() {
		if !slices.Contains([]string{"env line broken", "directive unknown to 2.1", "broker stopped"}, f.name) {
			continue
		}
		if err := f.inject(ctx, s); err != nil {
			return "", fmt.Errorf("%s: %w", f.name, err)
		}
		if err := look(f.code); err != nil {
			return "", fmt.Errorf("%s: %w", f.name, err)
		}
		if err := f.mend(ctx, s); err != nil {
			return "", fmt.Errorf("mend %s: %w", f.name, err)
		}
		if err := s.baseline(ctx); err != nil {
			return "", fmt.Errorf("after %s: %w", f.name, err)
		}
	}
	if searched != 4 {
		return "", missed("%d bundles, want a healthy one and three of faults", searched)
	}
	return fmt.Sprintf("0 of %d private facts, each in %d forms, in %d bundles; %d things that a helper needs are in them; shown byte for byte, mode 0600, an existing file left alone",
		len(facts), len(forms("annas-bedroom-sensor")), searched, told), nil
}

// private makes the project and returns everything about it that is nobody's business,
// by what it is.
func (s *site) private(ctx context.Context) (map[string]string, error) {
	if err := s.fresh(ctx, shape{settings: "CF_ACCESS_CLIENT_ID=" + accessID + "\nCF_ACCESS_CLIENT_SECRET=" + accessSecret}); err != nil {
		return nil, err
	}
	// A bridge that somebody took out for a while: the lab's broker lacks the library
	// for one that runs. It stands in the rendered configuration all the same.
	bridge := "# connection annasbridge\n# address " + nowhere + ":8883\n# remote_username annasbridgeuser\n# remote_password " + bridgePassword +
		"\n# topic " + privateTopic + " out 0\nmax_queued_messages 999\n"
	if err := s.write("mosquitto/conf.d/annas-bridge.conf", bridge); err != nil {
		return nil, err
	}
	if err := s.set("MQTT_HOSTNAME", s.host); err != nil {
		return nil, err
	}
	if err := s.up(ctx); err != nil {
		return nil, err
	}
	password, err := s.password(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.remember(); err != nil {
		return nil, err
	}
	target, err := s.target(user, password)
	if err != nil {
		return nil, err
	}
	target.ClientID = privateClient
	if _, err := probe.RoundTrip(ctx, target, privateTopic); err != nil {
		return nil, err
	}
	facts := map[string]string{
		"password of the user": password, "password of the bridge": bridgePassword, "Access client ID": accessID, "Access client secret": accessSecret,
		"hostname": s.host, "domain": "example.com", "client ID": privateClient, "topic": privateTopic, "name of the bridge": "annasbridge",
		"user of the bridge": "annasbridgeuser", "address of the bridge": nowhere, "file in conf.d": "annas-bridge.conf",
		"username": user, "directory": s.dir, "project": s.name, "network": s.network(), "lab's address": s.lab.Address.String(),
	}
	for _, add := range []func(context.Context, map[string]string) error{s.tokenFacts, s.fileFacts, s.machineFacts, s.engineFacts} {
		if err := add(ctx, facts); err != nil {
			return nil, err
		}
	}
	return facts, s.becomes(ctx, diagnosis.clean)
}

// tokenFacts adds the token and each part of it.
func (s *site) tokenFacts(_ context.Context, facts map[string]string) error {
	token := s.tunnel.Token.Reveal() // to be looked for
	plain, err := base64.StdEncoding.DecodeString(token + strings.Repeat("=", (4-len(token)%4)%4))
	if err != nil {
		return fmt.Errorf("decode the token: %w", err)
	}
	var parts struct {
		Account string `json:"a"`
		Tunnel  string `json:"t"`
		Secret  []byte `json:"s"`
	}
	if err := json.Unmarshal(plain, &parts); err != nil {
		return fmt.Errorf("decode the token: %w", err)
	}
	facts["token"], facts["beginning of the token"], facts["end of the token"] = token, token[:24], token[len(token)-24:]
	facts["account tag"], facts["tunnel ID"], facts["tunnel secret"] = parts.Account, parts.Tunnel, string(parts.Secret)
	return nil
}

// fileFacts adds what stands in the project directory.
func (s *site) fileFacts(_ context.Context, facts map[string]string) error {
	for line := range strings.Lines(s.files["mosquitto/passwd"]) {
		name, hash, _ := strings.Cut(strings.TrimSpace(line), ":")
		facts["hash of "+name] = hash
		for i, part := range strings.Split(hash, "$") {
			if len(part) >= shortestFact {
				facts[fmt.Sprintf("hash of %s, part %d", name, i)] = part
			}
		}
	}
	for line := range strings.Lines(s.files[".env"]) {
		if probePassword, found := strings.CutPrefix(strings.TrimSpace(line), "MQTUNNEL_PROBE_PASSWORD="); found {
			facts["password of the probe"] = strings.Trim(probePassword, `'"`)
		}
	}
	if facts["password of the probe"] == "" || facts["hash of "+user] == "" {
		return missed("the probe's password or the user's hash is not found in the project directory, so the search is blind")
	}
	return nil
}

// machineFacts adds what is this machine's.
func (s *site) machineFacts(_ context.Context, facts map[string]string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return err
	}
	facts["home directory"] = home
	if len(name) >= shortestFact {
		facts["name of the machine"] = name
	} else {
		s.b.logf("the name of this machine, %q, is too short to be looked for", name)
	}
	addresses, err := net.InterfaceAddrs()
	for _, a := range addresses {
		if ip, _, err := net.ParseCIDR(a.String()); err == nil && !ip.IsLoopback() {
			facts["address of the machine "+ip.String()] = ip.String()
		}
	}
	return err
}

// engineFacts adds what the Engine and the connector call things.
func (s *site) engineFacts(ctx context.Context, facts map[string]string) error {
	for _, service := range []string{broker, connector} {
		c, err := s.inspect(ctx, service)
		if err != nil {
			return err
		}
		n := c.NetworkSettings.Networks[s.network()]
		facts["ID of the container of "+service], facts["address of "+service] = c.ID[:12], n.IPAddress
		facts["gateway"], facts["ID of the network"], facts["MAC address of "+service] = n.Gateway, n.NetworkID[:12], n.MacAddress
	}
	r, err := s.mqtunnel(ctx, "", "status", "--json")
	if err != nil {
		return err
	}
	var status struct {
		Tunnel struct {
			ConnectorID string `json:"connectorId"`
		} `json:"tunnel"`
	}
	if err := json.Unmarshal([]byte(r.out), &status); err != nil {
		return err
	}
	facts["connector ID"] = status.Tunnel.ConnectorID
	return nil
}

// shortestFact is the length from which a text can be told from others by chance.
const shortestFact = 5

// forms are the ways in which a fact can be written.
func forms(fact string) []string {
	list := []string{fact, hex.EncodeToString([]byte(fact)), strings.ToUpper(hex.EncodeToString([]byte(fact))), url.QueryEscape(fact), url.PathEscape(fact)}
	for _, encoding := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		// Within another text it may begin at any of three places of a group.
		for skip, begin := range []int{0, 2, 3} {
			text := encoding.EncodeToString(append(make([]byte, skip), fact...))
			end := len(text)
			if (skip+len(fact))%3 != 0 {
				end--
			}
			list = append(list, text[begin:end])
		}
	}
	return list
}

// bundleHolds makes a bundle and wants no fact in it, all that is needed, and that it
// was shown before. code is what doctor finds, "" for nothing.
func (s *site) bundleHolds(ctx context.Context, facts map[string]string, code string) (told int, err error) {
	files, shown, err := s.makeBundle(ctx)
	if err != nil {
		return 0, err
	}
	var listing, all strings.Builder
	for _, f := range files {
		fmt.Fprintf(&listing, "== %s ==\n%s\n", f.Name, strings.TrimSuffix(string(f.Data), "\n"))
		all.Write(f.Data)
	}
	if shown != listing.String() {
		return 0, missed("what was shown is not what is in the bundle:\n%s\n%s", shown, listing.String())
	}
	var hits []string
	for _, what := range slices.Sorted(maps.Keys(facts)) {
		if len(facts[what]) < shortestFact {
			return 0, missed("the %s is %q, too short to be looked for", what, facts[what])
		}
		if slices.ContainsFunc(forms(facts[what]), func(form string) bool { return strings.Contains(strings.ToLower(all.String()), strings.ToLower(form)) }) {
			hits = append(hits, what)
		}
	}
	if len(hits) > 0 {
		return 0, missed("the bundle holds: %s", strings.Join(hits, ", "))
	}
	return needed(files, code)
}

// needed wants in the bundle what somebody who helps asks for, and counts it.
func needed(files []doctor.BundleFile, code string) (told int, err error) {
	text := map[string]string{}
	for _, f := range files {
		text[f.Name] = string(f.Data)
	}
	var missing []string
	want := func(name string, there bool) {
		told++
		if !there {
			missing = append(missing, name)
		}
	}
	var results []struct{ Code, Status string }
	if err := json.Unmarshal([]byte(text["diagnosis.json"]), &results); err != nil {
		return 0, fmt.Errorf("diagnosis.json: %w", err)
	}
	for i, c := range doctor.Checks() {
		want("outcome of "+c.Code, i < len(results) && results[i].Code == c.Code && (c.Code != code || results[i].Status == string(doctor.Failed)))
	}
	paths := []string{
		"system.json mqtunnel version", "system.json mqtunnel os", "system.json kernel", "system.json engine version", "system.json engine api",
		"system.json engine arch", "system.json containers mosquitto state", "system.json containers mosquitto restarts",
		"system.json containers mosquitto exitCode", "system.json containers cloudflared state", "system.json containers cloudflared health",
		"system.json files envMode", "network.json dns here", "network.json trips", "network.json hostname",
	}
	if code == "" {
		// Without settings that can be read there is no plan, and no look from inside.
		paths = append(paths, "system.json plan", "network.json inside ready", "system.json containers mosquitto version", "system.json containers cloudflared version", "system.json settings MQTT_LAN_LISTEN from",
			"network.json configuration rules", "network.json protocols", "network.json inside roundTrip", "network.json inside edge", "network.json database state")
		want("that the connector registered", strings.Contains(text["connector-log.txt"], "Registered tunnel connection"))
		want("that the broker runs", strings.Contains(text["broker-log.txt"], "mosquitto version <version> running"))
		want("where the hostname leads", strings.Contains(text["network.json"], `"host": "mosquitto"`) && strings.Contains(text["network.json"], `"port": 9001`))
	}
	for _, path := range paths {
		keys := strings.Split(path, " ")
		var value any
		if err := json.Unmarshal([]byte(text[keys[0]]), &value); err != nil {
			return 0, fmt.Errorf("%s: %w", keys[0], err)
		}
		for _, key := range keys[1:] {
			object, _ := value.(map[string]any)
			value = object[key]
		}
		want(path, value != nil && value != "")
	}
	if len(missing) > 0 {
		return 0, missed("the bundle lacks: %s", strings.Join(missing, ", "))
	}
	return told, nil
}

// bundleLeavesFilesAlone wants a file that is there already as it was.
func (s *site) bundleLeavesFilesAlone(ctx context.Context) error {
	path := filepath.Join(s.parent, "theirs")
	if err := os.WriteFile(path, []byte("theirs"), 0o600); err != nil {
		return err
	}
	r, err := s.mqtunnel(ctx, "", "doctor", "--bundle", path, "--yes")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(path)
	if err == nil && (r.code == 0 || string(text) != "theirs") {
		err = missed("a bundle into a file that exists: exit %d, and it holds %q", r.code, text)
	}
	return errors.Join(err, os.Remove(path))
}
