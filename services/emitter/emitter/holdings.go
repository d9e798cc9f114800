package emitter

import (
	"sync"
	"sync/atomic"
)

// holdings are the pools that this instance owns.
type holdings struct {
	draining atomic.Bool // all of them are being handed over

	mu     sync.Mutex
	byName map[string]*holding
}

func newHoldings() *holdings { return &holdings{byName: map[string]*holding{}} }

// of returns the holding of a pool, nil if this instance does not own it.
func (hs *holdings) of(name string) *holding {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return hs.byName[name]
}

func (hs *holdings) all() []*holding {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	all := make([]*holding, 0, len(hs.byName))
	for _, h := range hs.byName {
		all = append(all, h)
	}
	return all
}

func (hs *holdings) count() int {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	return len(hs.byName)
}

func (hs *holdings) add(h *holding) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	hs.byName[h.name] = h
}

// remove takes h away, unless another holding has taken its place.
func (hs *holdings) remove(h *holding) {
	hs.mu.Lock()
	defer hs.mu.Unlock()
	if hs.byName[h.name] == h {
		delete(hs.byName, h.name)
	}
}
