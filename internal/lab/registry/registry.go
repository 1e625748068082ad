// Package registry is what the lab's Cloudflare has on record: tunnels with
// their secrets, hostnames and configurations, the faults in force, and the
// counters. Nothing in it is on the network.
package registry

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/uuid"

	"mqtunnel/internal/lab/control"
	"mqtunnel/internal/secret"
)

// Refusals with the text that Cloudflare's edge uses, after which cloudflared
// tries again for ever.
var (
	ErrInvalidSecret  = errors.New("Unauthorized: Invalid tunnel secret") //nolint:staticcheck // the edge's own words
	ErrTunnelNotFound = errors.New("Unauthorized: Tunnel not found")      //nolint:staticcheck // the edge's own words
)

// ErrNoTunnel is returned for a tunnel ID that was never made or was deleted.
var ErrNoTunnel = errors.New("no such tunnel")

// secretBytes is the size of the secrets that Cloudflare makes.
const secretBytes = 32

// noVersion is the version of a tunnel without configuration, as cloudflared counts.
const noVersion = -1

// Registry holds the records. It is safe for concurrent use.
type Registry struct {
	mu       sync.Mutex
	tunnels  map[string]*tunnel
	routes   map[string]string // hostname to tunnel ID, also of deleted ones
	faults   control.Faults
	counters control.Counters
}

type tunnel struct {
	name, id, account string
	secret            []byte
	padded            bool
	version           int
	config            []control.Rule // nil for none
	faults            control.Faults
	counters          control.TunnelCounters
}

// New returns an empty registry.
func New() *Registry {
	return &Registry{
		tunnels: map[string]*tunnel{},
		routes:  map[string]string{},
		counters: control.Counters{
			ServerNames:          map[string]int{},
			RefusedRegistrations: map[string]int{},
			PublicStatuses:       map[int]int{},
			DNS:                  map[string]int{},
			DNSTransports:        map[string]int{},
		},
	}
}

// Create makes a tunnel; see control.TunnelRequest.
func (r *Registry) Create(request control.TunnelRequest) (control.Credentials, error) {
	var rules []control.Rule
	for _, h := range request.Hostnames {
		if h.Hostname == "" || h.Service == "" {
			return control.Credentials{}, errors.New("a public hostname needs hostname and service")
		}
		rules = append(rules, h)
	}
	if len(rules) > 0 {
		rules = append(rules, control.Rule{Service: "http_status:404"})
	}
	t := &tunnel{
		name: request.Name, id: uuid.NewString(), account: randomHex(16),
		secret: randomBytes(secretBytes), padded: true, version: noVersion,
		counters: control.TunnelCounters{Statuses: map[int]int{}},
	}
	if request.Padded != nil {
		t.padded = *request.Padded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range request.Hostnames {
		if other, taken := r.routes[canonical(h.Hostname)]; taken && r.tunnels[other] != nil {
			return control.Credentials{}, fmt.Errorf("hostname %s belongs to tunnel %s", h.Hostname, other)
		}
	}
	r.tunnels[t.id] = t
	if len(rules) > 0 {
		r.configure(t, rules)
	}
	return t.credentials(), nil
}

// Rotate gives a tunnel a new secret; the old token opens no new connections.
func (r *Registry) Rotate(id string) (control.Credentials, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok {
		return control.Credentials{}, ErrNoTunnel
	}
	t.secret = randomBytes(secretBytes)
	return t.credentials(), nil
}

// Delete forgets a tunnel; its hostnames go on pointing at the edge.
func (r *Registry) Delete(id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.tunnels[id]; !ok {
		return ErrNoTunnel
	}
	delete(r.tunnels, id)
	return nil
}

// Authenticate returns nil when these credentials may register a connection,
// else ErrTunnelNotFound or ErrInvalidSecret.
func (r *Registry) Authenticate(account, id string, secret []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok || t.account != account {
		return ErrTunnelNotFound
	}
	if subtle.ConstantTimeCompare(t.secret, secret) != 1 {
		return ErrInvalidSecret
	}
	return nil
}

// Configure replaces the configuration of a tunnel and returns its version.
// Hostnames that it names point at the edge from then on.
func (r *Registry) Configure(id string, config control.TunnelConfig) (int, error) {
	if config.None != (len(config.Ingress) == 0) {
		return 0, errors.New("a configuration is either none or has ingress rules")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok {
		return 0, ErrNoTunnel
	}
	if config.None {
		t.config = nil
		return t.version, nil
	}
	r.configure(t, config.Ingress)
	return t.version, nil
}

func (r *Registry) configure(t *tunnel, rules []control.Rule) {
	t.config = slices.Clone(rules)
	t.version++
	for _, rule := range rules {
		if rule.Hostname != "" && rule.Hostname != "*" {
			r.routes[canonical(rule.Hostname)] = t.id
		}
	}
}

// Config returns the version and the JSON that is pushed to connectors; ok is
// false when there is none, or when a fault holds it back.
func (r *Registry) Config(id string) (version int, config []byte, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, found := r.tunnels[id]
	if !found || t.config == nil || merge(r.faults, t.faults).NoConfig {
		return noVersion, nil, false
	}
	config, err := json.Marshal(struct {
		Ingress       []control.Rule `json:"ingress"`
		OriginRequest struct{}       `json:"originRequest"`
		WarpRouting   struct{}       `json:"warp-routing"`
	}{Ingress: t.config})
	if err != nil {
		return noVersion, nil, false // rules came from JSON, so they go back into it
	}
	return t.version, config, true
}

// Route returns the tunnel that a public hostname points at, which may have
// been deleted; ok is false for a hostname that nobody ever published.
func (r *Registry) Route(hostname string) (id string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := canonical(hostname)
	if id, ok = r.routes[name]; ok {
		return id, true
	}
	if _, parent, found := strings.Cut(name, "."); found {
		id, ok = r.routes["*."+parent]
	}
	return id, ok
}

// State returns the record of a tunnel; its connectors are for the edge to fill in.
func (r *Registry) State(id string) (control.TunnelState, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t, ok := r.tunnels[id]
	if !ok {
		return control.TunnelState{}, ErrNoTunnel
	}
	state := control.TunnelState{
		Name: t.name, TunnelID: t.id, AccountTag: t.account,
		Hostnames: []string{}, Connectors: []control.Connector{},
		ConfigVersion: t.version, Counters: t.counters,
	}
	for _, name := range slices.Sorted(maps.Keys(r.routes)) {
		if r.routes[name] == id {
			state.Hostnames = append(state.Hostnames, name)
		}
	}
	state.Counters.Statuses = maps.Clone(t.counters.Statuses)
	return state, nil
}

// credentials writes the token as Cloudflare does: base64 of a JSON object. The
// object is 134 bytes, which base64 pads with one "="; one space more and it
// comes out even.
func (t *tunnel) credentials() control.Credentials {
	gap := ""
	if !t.padded {
		gap = " "
	}
	object := fmt.Sprintf(`{"a":%q,"t":%q,"s":%s%q}`,
		t.account, t.id, gap, base64.StdEncoding.EncodeToString(t.secret))
	return control.Credentials{
		Token:      secret.New(base64.StdEncoding.EncodeToString([]byte(object))),
		TunnelID:   t.id,
		AccountTag: t.account,
	}
}

func canonical(hostname string) string {
	return strings.ToLower(strings.TrimSuffix(hostname, "."))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, see crypto/rand
	return b
}

func randomHex(n int) string { return hex.EncodeToString(randomBytes(n)) }
