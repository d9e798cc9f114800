package client

import (
	"sync"
	"time"
)

const (
	// zombieFor is how long a deposed owner may go on sending: its session's
	// trust ends before. Deliveries of a lower epoch that keep coming for
	// longer, and none of the higher, are no zombie's: the epochs started
	// over because the pool's entry was lost with its NATS system.
	zombieFor = 15 * time.Second
	// maxEpochs bounds the subscriptions that are kept track of.
	maxEpochs = 1 << 16
)

// epochs knows the highest epoch seen of each subscription.
type epochs struct {
	mu   sync.Mutex
	seen map[string]epoch
}

type epoch struct {
	highest    uint64
	staleSince time.Time // when the first lower epoch came after the last highest one
}

func newEpochs() *epochs { return &epochs{seen: make(map[string]epoch)} }

// stale reports whether a delivery of subscription name with epoch n is one
// of a deposed owner.
func (e *epochs) stale(name string, n uint64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.seen[name]
	switch {
	case !ok && len(e.seen) >= maxEpochs:
		return false
	case n == known.highest && ok && known.staleSince.IsZero():
		return false
	case n >= known.highest:
		e.seen[name] = epoch{highest: n}
		return false
	case known.staleSince.IsZero():
		known.staleSince = now
		e.seen[name] = known
		return true
	case now.Sub(known.staleSince) > zombieFor:
		e.seen[name] = epoch{highest: n}
		return false
	default:
		return true
	}
}
