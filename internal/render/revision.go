package render

import (
	"go.yaml.in/yaml/v4"

	"mqtunnel/internal/plan"
)

// written is what revisions need to know of a compose.yaml that exists. Only
// this much is read, so that a file that Compose would refuse counts as well as
// one that it accepts.
type written struct {
	Services map[string]struct {
		Labels map[string]string `yaml:"labels"`
	} `yaml:"services"`
	Configs map[string]struct {
		Content string `yaml:"content"`
	} `yaml:"configs"`
}

// revisions returns those of the broker and the connector. The one of the
// broker covers its configuration and its start script, the one of the
// connector the token. Users are not covered: the broker reads them again in
// place, so a changed user must recreate nothing.
func revisions(in Input) (broker, connector string) {
	var old written
	if err := yaml.Unmarshal(in.Previous, &old); err != nil {
		old = written{} // a damaged file covers nothing: everything is new
	}
	broker = old.Services[plan.ServiceBroker].Labels[plan.LabelRevision]
	same := old.Configs["mosquitto_conf"].Content == doubled(in.Conf) &&
		old.Configs["mosquitto_start"].Content == doubled(in.StartScript)
	if broker == "" || !same {
		broker = in.NewRevision()
	}
	labels := old.Services[plan.ServiceConnector].Labels
	connector = labels[plan.LabelRevision]
	if connector == "" || labels[plan.LabelTunnel] != in.TunnelID || in.TokenChanged {
		connector = in.NewRevision()
	}
	return broker, connector
}
