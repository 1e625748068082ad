package connector

import (
	"encoding/json"
	"sync"
)

// configuration is the ingress in force and its version. It is safe for concurrent use.
type configuration struct {
	log     *logger
	counts  *counters
	mu      sync.Mutex
	version int32
	current ingress
}

// pushAnswer is what the edge gets back for a configuration.
type pushAnswer struct {
	LastAppliedVersion int32     `json:"lastAppliedVersion"`
	Err                *struct{} `json:"err"`
}

func newConfiguration(log *logger, counts *counters) *configuration {
	// -1 is below every version that the edge can send.
	return &configuration{log: log, counts: counts, version: -1, current: unconfigured()}
}

// apply takes a configuration into force when it is newer and whole.
func (c *configuration) apply(version int32, raw []byte) (pushAnswer, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version <= c.version {
		c.log.debug("Current version is equal or newer than received version", fields{"current_version": c.version, "received_version": version})
		return pushAnswer{LastAppliedVersion: c.version}, nil
	}
	about := fields{"version": version, "config": string(raw)}
	next, err := parseIngress(raw)
	if err == nil {
		if broken := next.start(); broken != nil {
			c.log.failure("Failed to update ingress", broken, about)
			return pushAnswer{LastAppliedVersion: c.version, Err: &struct{}{}}, broken
		}
	}
	if err != nil {
		c.log.failure("Failed to deserialize new configuration", err, about)
		return pushAnswer{LastAppliedVersion: c.version, Err: &struct{}{}}, err
	}
	c.version, c.current = version, next
	c.log.info("Updated to new configuration", about)
	c.counts.set("cloudflared_orchestration_config_version", int64(version))
	return pushAnswer{LastAppliedVersion: version}, nil
}

// ingress is the rules in force.
func (c *configuration) ingress() ingress {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.current
}

// shown is the body of /config.
func (c *configuration) shown() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	type inner struct {
		Ingress       []rule          `json:"ingress"`
		WarpRouting   json.RawMessage `json:"warp-routing"`
		OriginRequest originRequest   `json:"originRequest"`
	}
	return json.Marshal(struct {
		Version int32 `json:"version"`
		Config  inner `json:"config"`
	}{c.version, inner{c.current.rules, c.current.warpRouting, c.current.defaults}})
}
