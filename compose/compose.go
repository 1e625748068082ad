// Package compose holds what the containers look like: the template of the
// Compose project and those of the broker's configuration and start script,
// readable as the files that they become.
package compose

import "embed"

// Files is every template and script of the package, under its path here.
//
//go:embed compose.yaml.tmpl mosquitto/mosquitto.conf.tmpl mosquitto/start.sh
var Files embed.FS

// Names in Files.
const (
	// ProjectTemplate is the template of compose.yaml.
	ProjectTemplate = "compose.yaml.tmpl"
	// ConfTemplate is the template of the broker's configuration.
	ConfTemplate = "mosquitto/mosquitto.conf.tmpl"
	// StartScript is what starts the broker inside its container, as it is.
	StartScript = "mosquitto/start.sh"
)
