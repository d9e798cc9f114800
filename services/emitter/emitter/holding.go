package emitter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicehq/sluice/pkg/jsapi"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
	"github.com/sluicehq/sluice/services/emitter/internal/pool"
)

// errLost says that a pool is no longer ours.
var errLost = errors.New("the pool has another owner")

// holding is a pool that this instance owns.
type holding struct {
	name  string
	me    string      // this instance
	moved atomic.Bool // since the last write; set by the pool
	fresh atomic.Bool // nothing was written since the claim

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

// write stores next over the entry as last known, and learns what became of it.
// After a conflict or a timeout it reads again: if the entry is ours already,
// by owner and epoch, the revision is taken over and next written once more,
// since nobody else writes in our name. An entry that is gone without a tombstone,
// as from a bucket that was deleted, or that somebody made unreadable, is written
// anew; so is one from before our claim, as from a backup. One that is somebody
// else's, a claim that came too late included, gives errLost. h.turn is held.
func (h *holding) write(ctx context.Context, pools *subscription.Pools, next wire.Pool) error {
	const tries = 3
	var err error
	for range tries {
		next.UpdatedAt = time.Now().UTC()
		var rev uint64
		if rev, err = pools.Write(ctx, &next, h.rev); err == nil {
			h.stored(next, rev)
			return nil
		}
		var full *jsapi.FullError
		if errors.As(err, &full) {
			return err // nothing was written
		}
		stored, rev, readErr := pools.Get(ctx, h.name)
		var corrupt *subscription.CorruptError
		switch {
		case errors.Is(readErr, subscription.ErrNotFound) && rev == 0 && h.rev > 0:
			// Nobody deleted it: the bucket is another one. The place is known here.
			h.stored(h.entry, 0)
			continue
		case errors.As(readErr, &corrupt) && h.rev > 0 && !errors.Is(readErr, subscription.ErrNewerSchema):
			// What cannot be read is nobody's claim, and the place is known here.
			h.stored(h.entry, rev)
			continue
		case errors.Is(readErr, subscription.ErrNotFound), errors.As(readErr, &corrupt):
			return errLost
		case readErr != nil:
			return fmt.Errorf("%w; then %w", err, readErr)
		case same(stored, &next): // it had happened
			h.stored(next, rev)
			return nil
		case stored.Owner == h.me && stored.Epoch == h.entry.Epoch:
			// Also at a lower revision: the bucket has been restored from a backup.
			// Or the read was stale, and the next write is refused like this one.
		case rev < h.rev && h.entry.Owner == h.me && stored.Epoch < h.entry.Epoch:
			// Likewise, with a claim from before ours.
		case rev < h.rev:
			return fmt.Errorf("%w; the read that followed was stale", err)
		default:
			return errLost
		}
		h.stored(h.entry, rev)
	}
	return err
}

// same reports whether a stored entry is the very one that was written.
func same(stored, written *wire.Pool) bool {
	return stored.Owner == written.Owner && stored.Epoch == written.Epoch &&
		stored.UpdatedAt.Equal(written.UpdatedAt)
}

// snapshot is the entry as the pool stands now. h.turn is held.
func (h *holding) snapshot() wire.Pool {
	next := h.entry
	if h.pool != nil {
		next.Checkpoint = h.pool.Checkpoint()
		next.State, next.Reason = h.pool.State()
		next.Gap, next.LostFrom, next.Holes = h.pool.Gap(), h.pool.LostFrom(), h.pool.Holes()
	}
	return next
}

// differs reports whether a snapshot is worth writing.
func differs(a, b *wire.Pool) bool {
	if a.State != b.State || a.Reason != b.Reason || a.Gap != b.Gap || a.LostFrom != b.LostFrom || a.Holes != b.Holes || a.Checkpoint.Floor != b.Checkpoint.Floor ||
		len(a.Checkpoint.Ranges) != len(b.Checkpoint.Ranges) {
		return true
	}
	for i, r := range a.Checkpoint.Ranges {
		if r != b.Checkpoint.Ranges[i] {
			return true
		}
	}
	return false
}
