package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"mqtunnel/internal/config"
	"mqtunnel/internal/secret"
)

// ProjectOptions says what a project directory of the lab holds.
type ProjectOptions struct {
	Name     string      // Compose project name; ProjectName makes one
	Token    secret.Text // none leaves the one that .env has
	Hostname string      // MQTT_HOSTNAME; "" leaves it to be learnt
	Settings []string    // further lines of .env, KEY=value
}

// WriteProject prepares dir as a project directory whose connector meets the lab
// instead of Cloudflare: .env, compose.override.yaml, and the lab's CA in ca.pem.
// Lines of an .env that is there already stay, other than those of the same keys.
func (l *Lab) WriteProject(dir string, o ProjectOptions) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the project directory: %w", err)
	}
	settings := []string{
		config.KeyProject + "=" + o.Name,
		config.KeyMosquittoImage + "=" + l.Mosquitto,
		config.KeyCloudflaredImage + "=" + l.Cloudflared,
	}
	if !o.Token.IsZero() {
		// This file is where the product takes the token from.
		settings = append(settings, config.KeyToken+"="+o.Token.Reveal())
	}
	if o.Hostname != "" {
		settings = append(settings, config.KeyHostname+"="+o.Hostname)
	}
	env, err := withSettings(filepath.Join(dir, config.EnvName), append(settings, o.Settings...))
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name string
		data []byte
	}{{config.EnvName, env}, {"compose.override.yaml", l.Override()}, {"ca.pem", l.CA}} {
		if err := os.WriteFile(filepath.Join(dir, f.name), f.data, 0o600); err != nil {
			return fmt.Errorf("write the project directory: %w", err)
		}
	}
	return nil
}

// HasToken reports whether the project directory holds a tunnel token already.
func HasToken(dir string) (bool, error) {
	text, err := os.ReadFile(filepath.Join(dir, config.EnvName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	return bytes.Contains(append([]byte("\n"), text...), []byte("\n"+config.KeyToken+"=")), nil
}

// withSettings returns the text of file with the settings in place of what it
// said about the same keys.
func withSettings(file string, settings []string) ([]byte, error) {
	old, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out strings.Builder
	for i, line := range settings {
		key, _, _ := strings.Cut(line, "=")
		// The last one that says something about a key counts.
		if !slices.ContainsFunc(settings[i+1:], func(s string) bool { return strings.HasPrefix(s, key+"=") }) {
			fmt.Fprintln(&out, line)
		}
	}
	for line := range strings.Lines(string(old)) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), "=")
		if !slices.ContainsFunc(settings, func(s string) bool { return strings.HasPrefix(s, key+"=") }) {
			out.WriteString(line)
		}
	}
	return []byte(out.String()), nil
}

// Override returns the text of a compose.override.yaml that attaches the
// connector to the lab: its network, its name server, its CA.
func (l *Lab) Override() []byte {
	ca := bytes.TrimSpace(l.CA)
	return fmt.Appendf(nil, `# Written by mqtunnel-lab: the connector meets lab %[1]s instead of Cloudflare.
services:
  cloudflared:
    networks:
      default: {}
      lab: {}
    dns:
      - %[2]s
    environment:
      TUNNEL_CACERT: /lab/ca.pem
    configs:
      - source: lab_ca
        target: /lab/ca.pem
networks:
  lab:
    name: %[3]s
    external: true
configs:
  lab_ca:
    content: |
      %[4]s
`, l.Name, l.Address, l.Network, bytes.ReplaceAll(ca, []byte("\n"), []byte("\n      ")))
}
