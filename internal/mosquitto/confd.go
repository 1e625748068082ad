package mosquitto

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mqtunnel/internal/remedy"
)

// Ports of the two listeners that the rendered configuration opens.
const (
	PortMQTT      = "1883"
	PortWebSocket = "9001"
)

// confDir stands before the name of a file in errors.
const confDir = "mosquitto/conf.d/"

// CheckConf checks files of mosquitto/conf.d and returns them ready to be appended to
// the rendered configuration: a byte order mark is gone, lines end in a newline. It
// refuses, with file and line, what would undo a setting of mqtunnel's, what would
// land in one of its listeners, and what one of the broker's versions reads
// otherwise than it looks. Whether a directive exists, the broker itself decides. An
// error tells every fault; it quotes names of directives, and no values but ports.
func CheckConf(files []ConfFile) ([]ConfFile, error) {
	c := confChecker{ports: map[string]string{PortMQTT: "mqtunnel", PortWebSocket: "mqtunnel"}}
	checked := make([]ConfFile, 0, len(files))
	for _, f := range files {
		checked = append(checked, c.file(f))
	}
	if len(c.faults) == 0 {
		return checked, nil
	}
	return nil, remedy.Errorf(remedy.Input, "correct the file, or move it out of mosquitto/conf.d", "%w", errors.Join(c.faults...))
}

// confChecker walks the files as the broker reads them.
type confChecker struct {
	ports  map[string]string // "1884" or "1884 address" -> who listens there
	scope  confScope
	place  string // FILE:LINE
	faults []error
}

// confScope is what a line belongs to. Files do not continue each other's scopes.
type confScope int

const (
	scopeGlobal confScope = iota
	scopeListener
	scopeBridge
)

func (c *confChecker) fault(format string, args ...any) {
	c.faults = append(c.faults, fmt.Errorf("%s: %w", c.place, fmt.Errorf(format, args...)))
}

func (c *confChecker) file(f ConfFile) ConfFile {
	text := strings.TrimPrefix(f.Text, "\ufeff")
	text = strings.ReplaceAll(text, "\r\n", "\n")
	text = strings.TrimRight(text, "\n")
	c.scope = scopeGlobal
	if strings.ContainsFunc(f.Name, isControl) || !utf8.ValidString(f.Name) {
		c.place = confDir
		c.fault("the file name %q contains control characters", f.Name)
		return ConfFile{}
	}
	for i, line := range strings.Split(text, "\n") {
		c.place = fmt.Sprintf("%s%s:%d", confDir, f.Name, i+1)
		c.line(line)
	}
	return ConfFile{Name: f.Name, Text: text}
}

func (c *confChecker) line(line string) {
	if strings.HasPrefix(line, "#") || strings.Trim(line, " ") == "" {
		return
	}
	name, value, _ := strings.Cut(strings.TrimLeft(line, " "), " ")
	value = strings.Trim(value, " ")
	switch {
	case !utf8.ValidString(line) || strings.ContainsFunc(strings.ReplaceAll(line, "\t", ""), isControl):
		c.fault("control characters, or not UTF-8 text")
	case strings.Contains(name, "\t"):
		c.fault("a tab; the broker wants the name of the directive, one space and the value")
	case strings.HasPrefix(name, "#"):
		c.fault("a comment begins in the first column")
	case strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") != "":
		c.fault("the line does not begin with the name of a directive")
	default:
		c.directive(name, value)
	}
}

func (c *confChecker) directive(name, value string) {
	if instead, ok := refusedDirective(name, value); ok {
		c.fault("%s is not allowed here: %s", name, instead)
		return
	}
	switch {
	case name == "listener":
		c.listener(value)
		return
	case name == "connection":
		c.scope = scopeBridge
		return
	case isListenerDirective(name) && c.scope != scopeListener:
		c.fault("%s belongs to a listener and would change mqtunnel's; write it below a listener of this file", name)
		return
	case isBridgeDirective(name) && c.scope != scopeBridge:
		c.fault("%s belongs to a bridge; write it below a connection of this file", name)
		return
	}
	c.value(name, value)
}

// listener refuses a port that somebody listens on: Mosquitto 2.1 empties its
// database when it exits for that.
func (c *confChecker) listener(value string) {
	c.scope = scopeListener
	fields := strings.Fields(value)
	if len(fields) == 0 {
		c.fault("listener without a port")
		return
	}
	port, address := strings.TrimLeft(fields[0], "0"), strings.Join(fields[1:], " ")
	if strings.Trim(fields[0], "0123456789") != "" || len(port) > 5 {
		c.fault("listener wants a port between 1 and 65535, or 0 and the path of a socket")
		return
	}
	for _, key := range []string{port, port + " " + address} {
		if owner, ok := c.ports[key]; ok {
			c.fault("listener on port %s: %s listens there already", port, owner)
			return
		}
	}
	if address == "" {
		for key, owner := range c.ports {
			if strings.HasPrefix(key, port+" ") {
				c.fault("listener on port %s: %s listens there already", port, owner)
				return
			}
		}
		c.ports[port] = c.place
		return
	}
	c.ports[port+" "+address] = c.place
}

// value checks what is not the broker's to tell, since it takes the line for
// something else without a word.
func (c *confChecker) value(name, value string) {
	if isBooleanDirective(name) && value != "true" && value != "false" {
		c.fault("%s is true or false, with nothing after it", name)
		return
	}
	// Bridges have topics and passwords in which a # is what it is.
	if name != "topic" && !strings.HasSuffix(name, "_password") && strings.Contains(value, " #") {
		c.fault("a comment after the value of %s would become part of it; write it in a line of its own", name)
	}
}

// refusedDirective reports what cannot stand in a file of the user's, and what to do
// instead.
func refusedDirective(name, value string) (instead string, refused bool) {
	const (
		users   = "users and their rights come from \"mqtunnel user\""
		whole   = "mqtunnel sets it"
		saving  = "mqtunnel keeps the database; MQTT_SAVE_INTERVAL says how often it is saved"
		logging = "mqtunnel reads the log in its own form; log_type adds kinds of lines"
		plugins = "a plugin could admit anybody"
	)
	switch name {
	case "allow_anonymous":
		return "the setting is MQTT_ALLOW_ANONYMOUS", true
	case "listener_allow_anonymous":
		return "a listener without login would bypass all users", true
	case "password_file", "acl_file", "psk_file":
		return users, true
	case "per_listener_settings", "user", "pid_file", "include_dir":
		return whole, true
	case "port", "bind_address":
		return "write \"listener PORT\"", true
	case "autosave_interval", "autosave_on_changes", "retained_persistence":
		return saving, true
	case "log_dest", "log_facility", "log_timestamp", "log_timestamp_format", "connection_messages":
		return logging, true
	case "log_type":
		return logging, value == "none"
	}
	switch {
	case name == "persistence" || strings.HasPrefix(name, "persistence_"):
		return saving, true
	case strings.HasPrefix(name, "plugin"), strings.HasPrefix(name, "auth_"), name == "global_plugin":
		return plugins, true
	}
	return "", false
}

// isListenerDirective tells what the broker applies to the listener above it.
func isListenerDirective(name string) bool {
	return slices.Contains([]string{
		"accept_protocol_versions", "bind_interface", "cafile", "capath", "certfile", "ciphers", "ciphers_tls1.3",
		"crlfile", "dhparamfile", "disable_client_cert_date_checks", "enable_proxy_protocol", "http_dir", "keyfile",
		"listener_auto_id_prefix", "max_connections", "max_qos", "max_topic_alias", "max_topic_alias_broker",
		"mount_point", "protocol", "proxy_protocol_v2_require_tls", "psk_hint", "require_certificate", "socket_domain",
		"tls_engine", "tls_engine_kpass_sha1", "tls_keyform", "tls_version", "use_identity_as_username",
		"use_subject_as_username", "use_username_as_clientid", "websockets_origin",
	}, name)
}

// isBridgeDirective tells what the broker applies to the connection above it.
func isBridgeDirective(name string) bool {
	return strings.HasPrefix(name, "bridge_") || slices.Contains([]string{
		"address", "addresses", "cleansession", "clientid", "idle_timeout", "keepalive_interval", "local_cleansession",
		"local_clientid", "local_password", "local_username", "notification_topic", "notifications",
		"notifications_local_only", "password", "remote_clientid", "remote_password", "remote_username",
		"restart_timeout", "round_robin", "start_type", "threshold", "topic", "try_private", "username",
	}, name)
}

func isBooleanDirective(name string) bool {
	return slices.Contains([]string{
		"allow_duplicate_messages", "allow_zero_length_clientid", "bridge_attempt_unsubscribe", "bridge_insecure",
		"bridge_outgoing_retain", "bridge_require_ocsp", "bridge_tls_use_os_certs", "check_retain_source",
		"cleansession", "disable_client_cert_date_checks", "enable_control_api", "local_cleansession",
		"notifications", "notifications_local_only", "queue_qos0_messages", "require_certificate", "retain_available",
		"round_robin", "set_tcp_nodelay", "try_private", "upgrade_outgoing_qos", "use_identity_as_username",
		"use_subject_as_username", "use_username_as_clientid",
	}, name)
}
