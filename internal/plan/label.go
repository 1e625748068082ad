package plan

import (
	"maps"
	"strings"
)

// Labels that Docker Compose writes and reads on containers, networks and
// volumes (docker/compose pkg/api/labels.go), spelled exactly so.
const (
	LabelProject     = "com.docker.compose.project"
	LabelService     = "com.docker.compose.service"
	LabelConfigHash  = "com.docker.compose.config-hash"
	LabelImage       = "com.docker.compose.image"
	LabelOneoff      = "com.docker.compose.oneoff"
	LabelNumber      = "com.docker.compose.container-number"
	LabelDependsOn   = "com.docker.compose.depends_on"
	LabelWorkingDir  = "com.docker.compose.project.working_dir"
	LabelConfigFiles = "com.docker.compose.project.config_files"
	LabelVersion     = "com.docker.compose.version"
	LabelReplace     = "com.docker.compose.replace"
	LabelNetwork     = "com.docker.compose.network"
	LabelVolume      = "com.docker.compose.volume"
)

// Labels of mqtunnel's own.
const (
	// LabelRole stands on both services and names what they are to mqtunnel:
	// "broker" or "connector".
	LabelRole = "io.mqtunnel.role"
	// LabelTunnel holds the tunnel ID that the connector was rendered for.
	LabelTunnel = "io.mqtunnel.tunnel-id"
	// LabelRevision is random and renewed when something changed that does not
	// stand in the YAML, so that Compose recreates the container too.
	LabelRevision = "io.mqtunnel.revision"
	// LabelProbe marks the short-lived probe containers; its value is the
	// project, LabelDeadline the Unix second after which it may be swept.
	LabelProbe    = "io.mqtunnel.probe"
	LabelDeadline = "io.mqtunnel.deadline"
)

// Values of LabelRole.
const (
	RoleBroker    = "broker"
	RoleConnector = "connector"
)

// Names of the two services, in every project.
const (
	ServiceBroker    = "mosquitto"
	ServiceConnector = "cloudflared"
)

// ComposeVersion is what LabelVersion says: the Compose whose conventions the
// labels and hashes follow.
const ComposeVersion = "5.5.0"

// ContainerLabels returns all labels of a service's container: the service's
// own, Compose's, and those of the step that creates it.
func ContainerLabels(p Project, s Service, img Image, step Step) map[string]string {
	labels := maps.Clone(s.Spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{
		LabelProject:     p.Name,
		LabelService:     s.Name,
		LabelConfigHash:  s.Hash,
		LabelImage:       img.Label,
		LabelOneoff:      "False",
		LabelNumber:      "1",
		LabelDependsOn:   "",
		LabelWorkingDir:  p.Dir,
		LabelConfigFiles: strings.Join(p.ConfigFiles, ","),
		LabelVersion:     ComposeVersion,
	})
	for _, l := range step.Labels {
		k, v, _ := strings.Cut(l, "=")
		labels[k] = v
	}
	return labels
}

// NetworkLabels returns all labels of a network that the project creates.
func NetworkLabels(p Project, n Network) map[string]string {
	labels := maps.Clone(n.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{LabelProject: p.Name, LabelNetwork: n.Key, LabelVersion: ComposeVersion, LabelConfigHash: n.Hash})
	return labels
}

// VolumeLabels returns all labels of a volume that the project creates.
func VolumeLabels(p Project, v Volume) map[string]string {
	labels := maps.Clone(v.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, map[string]string{LabelProject: p.Name, LabelVolume: v.Key, LabelVersion: ComposeVersion, LabelConfigHash: v.Hash})
	return labels
}
