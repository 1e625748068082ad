package render

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/compose-spec/compose-go/v2/types"
)

// The config hashes are Compose's own: SHA-256 of the JSON of compose-go's
// types, in the field order that every Compose since 2.30 hashed. compose-go
// 2.16 moved fields, which changes the JSON; later Compose emits the old order
// again, so this package stays with 2.15 and its golden hashes say so.

// serviceHash is the value of Compose's config-hash label of a service that was
// loaded with its environment resolved. What Compose leaves out is left out.
func serviceHash(s types.ServiceConfig) (string, error) {
	s.Build = nil
	s.PullPolicy = ""
	s.Scale = nil
	s.DependsOn = nil
	s.Profiles = nil
	if s.Deploy != nil {
		deploy := *s.Deploy
		deploy.Replicas = nil
		s.Deploy = &deploy
	}
	return jsonHash(s)
}

// networkHash is the value of the config-hash label of a network.
func networkHash(n types.NetworkConfig) (string, error) { return jsonHash(n) }

// volumeHash is the value of the config-hash label of a volume, for which
// Compose names the default driver.
func volumeHash(v types.VolumeConfig) (string, error) {
	if v.Driver == "" {
		v.Driver = "local"
	}
	return jsonHash(v)
}

func jsonHash(v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), nil
}
