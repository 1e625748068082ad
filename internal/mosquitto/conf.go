package mosquitto

import (
	"bytes"
	"fmt"
	"text/template"
	"time"

	"mqtunnel/internal/remedy"
)

// ConfData is what the broker's configuration is made from.
type ConfData struct {
	AllowAnonymous bool
	SaveInterval   time.Duration // whole seconds that a power cut may cost; 0 saves after every change
	Files          []ConfFile    // as CheckConf returned them
}

// ConfFile is a file of mosquitto/conf.d: its base name, and its text, which may hold
// the password of a bridge.
type ConfFile struct {
	Name string
	Text string
}

// RenderConf executes the template of mosquitto.conf, which package compose holds.
// The result may hold the password of a bridge.
func RenderConf(tmpl string, data ConfData) (string, error) {
	t, err := template.New("mosquitto.conf").Option("missingkey=error").Parse(tmpl)
	if err != nil {
		return "", fmt.Errorf("parse the template of mosquitto.conf: %w", err)
	}
	if data.SaveInterval < 0 || data.SaveInterval%time.Second != 0 {
		return "", remedy.Errorf(remedy.Input, "MQTT_SAVE_INTERVAL is a number of seconds, or 0 to save after every change",
			"the save interval %s is not a whole number of seconds", data.SaveInterval)
	}
	var b bytes.Buffer
	err = t.Execute(&b, struct {
		ConfData
		SaveInterval int64 // seconds
	}{data, int64(data.SaveInterval / time.Second)})
	if err != nil {
		return "", fmt.Errorf("render mosquitto.conf: %w", err)
	}
	return b.String(), nil
}
