package emitter

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// holdings are the pools that this instance owns.
type holdings struct {
	draining atomic.Bool // all of them are being handed over
	byName   sync.Map    // each is a *holding
}

// of returns the holding of a pool, nil if this instance does not own it.
func (hs *holdings) of(name string) *holding {
	h, _ := hs.byName.Load(name)
	held, _ := h.(*holding)
	return held
}

func (hs *holdings) all() (all []*holding) {
	hs.byName.Range(func(_, h any) bool {
		all = append(all, h.(*holding))
		return true
	})
	return all
}

func (hs *holdings) add(h *holding) { hs.byName.Store(h.name, h) }

// remove takes h away, unless another holding has taken its place.
func (hs *holdings) remove(h *holding) { hs.byName.CompareAndDelete(h.name, h) }

// left are the entries of pools that were lost with the session, as the pools
// stood then. What is stored may be older, since a session mostly ends while
// nothing can be written. They count for a pool that nobody has claimed since.
type left struct {
	mu      sync.Mutex
	entries map[string]wire.Pool
	at      time.Time // of the last one
}

func (l *left) keep(entry wire.Pool, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries == nil {
		l.entries = map[string]wire.Pool{}
	}
	l.entries[entry.Name], l.at = entry, now
}

// of returns what was left of the same claim as stored, or stored. The next claim
// has another epoch.
func (l *left) of(stored *wire.Pool) *wire.Pool {
	if stored == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[stored.Name]
	if !ok || e.UID != stored.UID || e.Owner != stored.Owner || e.Epoch != stored.Epoch {
		return stored
	}
	return &e
}

// expire forgets all, once the last one is older than d: others have claimed
// those pools.
func (l *left) expire(now time.Time, d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now.Sub(l.at) > d {
		l.entries = nil
	}
}
