package connector

import (
	"cmp"
	"net/netip"
	"slices"
	"sync"
)

// tracked is one connection as /diag/tunnel shows it; a zero index and http2 (0) are left out, as cloudflared does.
type tracked struct {
	Connected bool       `json:"isConnected,omitempty"`
	Protocol  int        `json:"protocol,omitempty"`
	Edge      netip.Addr `json:"edgeAddress"`
	Index     uint8      `json:"index,omitempty"`
}

// tracker knows which connections are registered. It is safe for concurrent use.
type tracker struct {
	mu    sync.Mutex
	slots map[uint8]tracked
	ever  map[string]bool
}

func newTracker() *tracker {
	return &tracker{slots: map[uint8]tracked{}, ever: map[string]bool{}}
}

func (t *tracker) connected(index uint8, protocol string, edge netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := tracked{Connected: true, Edge: edge, Index: index}
	if protocol == protocolQUIC {
		slot.Protocol = 1
	}
	t.slots[index], t.ever[protocol] = slot, true
}

func (t *tracker) disconnected(index uint8) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := t.slots[index]
	slot.Connected = false
	t.slots[index] = slot
}

// active is the connections that are up, in the order of their index.
func (t *tracker) active() []tracked {
	t.mu.Lock()
	defer t.mu.Unlock()
	var up []tracked
	for _, slot := range t.slots {
		if slot.Connected {
			up = append(up, slot)
		}
	}
	slices.SortFunc(up, func(a, b tracked) int { return cmp.Compare(a.Index, b.Index) })
	return up
}

// hasSpoken says whether any connection was ever registered with a protocol.
func (t *tracker) hasSpoken(protocol string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ever[protocol]
}

// gravity is the level of a connection's trouble: an error only when no connection is up.
func (t *tracker) gravity() level {
	if len(t.active()) == 0 {
		return levelError
	}
	return levelWarn
}
