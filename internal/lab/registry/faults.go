package registry

import (
	"fmt"
	"maps"

	"mqtunnel/internal/lab/control"
)

// World returns the faults of the world.
func (r *Registry) World() control.Faults {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults
}

// Faults returns what holds for one tunnel: its own faults before the world's.
func (r *Registry) Faults(id string) control.Faults {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok {
		return r.faults
	}
	return merge(r.faults, t.faults)
}

// HostFaults returns what holds for a public hostname.
func (r *Registry) HostFaults(hostname string) control.Faults {
	id, _ := r.Route(hostname)
	return r.Faults(id)
}

// Own returns the faults of one tunnel alone.
func (r *Registry) Own(id string) control.Faults {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.tunnels[id]; ok {
		return t.faults
	}
	return control.Faults{}
}

// SetWorld replaces the faults of the world.
func (r *Registry) SetWorld(f control.Faults) error {
	if err := f.Validate(); err != nil {
		return fmt.Errorf("set faults: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = f
	return nil
}

// SetTunnel replaces the faults of one tunnel.
func (r *Registry) SetTunnel(id string, f control.Faults) error {
	if err := f.ValidateTunnel(); err != nil {
		return fmt.Errorf("set faults of tunnel %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok {
		return ErrNoTunnel
	}
	t.faults = f
	return nil
}

// Clear clears all faults.
func (r *Registry) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = control.Faults{}
	for _, t := range r.tunnels {
		t.faults = control.Faults{}
	}
}

// Count changes the counters of the world.
func (r *Registry) Count(change func(*control.Counters)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(&r.counters)
}

// CountTunnel changes the counters of one tunnel; a deleted one has none.
func (r *Registry) CountTunnel(id string, change func(*control.TunnelCounters)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t, ok := r.tunnels[id]; ok {
		change(&t.counters)
	}
}

// Counters returns a copy of the counters of the world.
func (r *Registry) Counters() control.Counters {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counters
	c.ServerNames = maps.Clone(c.ServerNames)
	c.RefusedRegistrations = maps.Clone(c.RefusedRegistrations)
	c.PublicStatuses = maps.Clone(c.PublicStatuses)
	c.DNS = maps.Clone(c.DNS)
	c.DNSTransports = maps.Clone(c.DNSTransports)
	return c
}

// merge lays what is set in one tunnel's faults over the world's.
func merge(world, own control.Faults) control.Faults {
	out := world
	set(&out.RegisterError, own.RegisterError)
	set(&out.RegisterDelay, own.RegisterDelay)
	set(&out.NoConfig, own.NoConfig)
	if own.PublicStatus != 0 {
		out.PublicStatus, out.PublicCode, out.PublicBody = own.PublicStatus, own.PublicCode, own.PublicBody
	}
	set(&out.IdleTimeout, own.IdleTimeout)
	set(&out.PublicRedirect, own.PublicRedirect)
	set(&out.AccessClientID, own.AccessClientID)
	set(&out.AccessClientSecret, own.AccessClientSecret)
	set(&out.StripUpgrade, own.StripUpgrade)
	set(&out.PublicCertificate, own.PublicCertificate)
	set(&out.ClockSkew, own.ClockSkew)
	return out
}

func set[T comparable](field *T, value T) {
	var zero T
	if value != zero {
		*field = value
	}
}
