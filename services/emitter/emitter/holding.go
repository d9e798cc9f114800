package emitter

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/internal/heap"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// errLost says that a pool is no longer ours.
var errLost = errors.New("the pool has another owner")

// errStale says that a read was older than what we wrote.
var errStale = errors.New("the entry was read as it was before our last write")

// holding is a pool that this instance owns.
type holding struct {
	name  string
	me    string      // this instance
	moved atomic.Bool // since the last write; set by the pool
	fresh atomic.Bool // nothing was written since the claim

	heap.Due // when it is to be written; guarded by the queue that it is in

	// turn is held by whoever acts on the pool or writes its entry, over the
	// write too, which may hang.
	turn sync.Mutex
	over bool // released, removed or lost; for those who have the turn

	// mu is held for a moment at a time. What follows changes with both locks
	// held, and is read with either.
	mu     sync.Mutex
	rec    *wire.Record
	recRev uint64
	entry  wire.Pool // as last written, or as the pool ended
	rev    uint64    // of entry
	pool   *pool.Pool
	id     uint64 // of the pool among the answers
}

// held is what decisions are made from. If an entry was seen that is newer than
// the one known, it may be what is being written: that is waited for.
func (h *holding) held(seen uint64) *claim.Held {
	held := h.known()
	if seen > held.Revision {
		h.turn.Lock()
		defer h.turn.Unlock()
		held = h.known()
	}
	return held
}

func (h *holding) known() *claim.Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &claim.Held{
		UID: h.entry.UID, Generation: h.entry.ObservedGeneration, Epoch: h.entry.Epoch,
		Revision: h.rev, RecordRevision: h.recRev,
	}
}

// running is the pool, nil if it does not run, and the store that it reads.
func (h *holding) running() (p *pool.Pool, store string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pool, h.rec.Spec.Store
}

// last is the entry as last known, nil where there is none. h.turn is held.
func (h *holding) last() *wire.Pool {
	if h.entry.Epoch == 0 {
		return nil
	}
	return &h.entry
}

// stored notes the entry as it is stored now. h.turn is held.
func (h *holding) stored(entry wire.Pool, rev uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entry, h.rev = entry, rev
}

// write stores next over the entry as last known, and learns what became of it:
// see bucket.Change. Where another entry is found, overwrites says what then.
// h.turn is held.
func (h *holding) write(ctx context.Context, pools *subscription.Pools, next wire.Pool) error {
	next.UpdatedAt = time.Now().UTC() // tells this write from every other one
	known := bucket.Seen{Key: h.name, Revision: h.rev}
	rev, err := pools.Change(ctx, known, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Revision != h.rev {
			if err := h.overwrites(now); err != nil {
				return nil, err
			}
			h.stored(h.entry, now.Revision)
		}
		return bucket.Put(&next)
	})
	if err == nil {
		h.stored(next, rev)
	}
	return err
}

// overwrites decides about an entry that is not the one last known. Nil says that
// it is to be written over: nobody else writes in our name, so what is ours by
// owner and epoch stays ours at any revision. errLost says that it is somebody
// else's, also where our own claim came too late. h.turn is held.
func (h *holding) overwrites(now bucket.Seen) error {
	if now.Entry == nil {
		if now.Revision == 0 && h.rev > 0 {
			return nil // nobody deleted it: the bucket is another one, and the place is known here
		}
		return errLost
	}
	stored, err := subscription.PoolOf(now)
	switch {
	case err != nil && (h.rev == 0 || errors.Is(err, subscription.ErrNewerSchema)):
		return errLost
	case err != nil:
		return nil // what cannot be read is nobody's claim, and the place is known here
	case stored.Owner == h.me && stored.Epoch == h.entry.Epoch:
		return nil // at whatever revision: the bucket may have been restored from a backup
	case now.Revision < h.rev && h.entry.Owner == h.me && stored.Epoch < h.entry.Epoch:
		return nil // a claim from before ours, in a bucket that was restored from a backup
	case now.Revision < h.rev:
		return errStale
	default:
		return errLost
	}
}

// snapshot is the entry as the pool stands now. h.turn is held.
func (h *holding) snapshot() wire.Pool {
	if h.pool == nil {
		return h.entry
	}
	return h.pool.Entry(h.entry)
}

// differs reports whether a snapshot is worth writing.
func differs(a, b *wire.Pool) bool {
	return a.State != b.State || a.Reason != b.Reason || a.Gap != b.Gap || a.LostFrom != b.LostFrom || a.Holes != b.Holes ||
		a.Checkpoint.Floor != b.Checkpoint.Floor || !slices.Equal(a.Checkpoint.Ranges, b.Checkpoint.Ranges)
}
