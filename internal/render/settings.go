package render

import (
	"net/netip"

	"mqtunnel/internal/config"
	"mqtunnel/internal/mosquitto"
)

// FromSettings returns the part of the Input that the settings say. The rest,
// the broker's files and the revisions, is the caller's. Without a valid token
// the tunnel ID is empty: whether one is needed is not for rendering to say.
func FromSettings(s config.Settings) Input {
	in := Input{
		Project:        s.Project,
		BrokerImage:    s.MosquittoImage,
		ConnectorImage: s.CloudflaredImage,
		Grace:          s.GracePeriod,
		ConnectorEnv:   map[string]string{},
	}
	if token, err := s.ParseToken(); err == nil {
		in.TunnelID = token.TunnelID
	}
	if s.LAN.Enabled() {
		in.LAN = netip.AddrPortFrom(s.LAN.Address, s.LAN.Port).String() + ":" + mosquitto.PortMQTT
	}
	// What nobody set is left to cloudflared's own default.
	for key, value := range map[string]string{
		config.KeyProtocol:      s.Protocol,
		config.KeyEdgeIPVersion: s.EdgeIPVersion,
		config.KeyLogLevel:      s.LogLevel,
	} {
		if s.IsSet(key) {
			in.ConnectorEnv[key] = value
		}
	}
	return in
}
