package emitter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

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

	mu     sync.Mutex // one writer of the entry at a time
	rec    *wire.Record
	recRev uint64
	entry  wire.Pool // as last written
	rev    uint64    // of entry
	pool   *pool.Pool
	id     uint64 // of the pool among the answers
	over   bool   // released, removed or lost
}

// held is what decisions are made from.
func (h *holding) held() *claim.Held {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &claim.Held{
		UID: h.entry.UID, Generation: h.entry.ObservedGeneration, Epoch: h.entry.Epoch,
		Revision: h.rev, RecordRevision: h.recRev,
	}
}

// write stores next over the entry as last known, and learns what became of it.
// After a conflict or a timeout it reads again: if the entry is ours already,
// by owner and epoch, the revision is taken over and next written once more,
// since nobody else writes in our name. An entry that is somebody else's, a
// claim that came too late included, gives errLost. h.mu is held.
func (h *holding) write(ctx context.Context, pools *subscription.Pools, next wire.Pool) error {
	const tries = 3
	var err error
	for range tries {
		next.UpdatedAt = time.Now().UTC()
		var rev uint64
		if rev, err = pools.Write(ctx, &next, h.rev); err == nil {
			h.entry, h.rev = next, rev
			return nil
		}
		stored, rev, readErr := pools.Get(ctx, h.name)
		var corrupt *subscription.CorruptError
		switch {
		case errors.Is(readErr, subscription.ErrNotFound), errors.As(readErr, &corrupt):
			return errLost
		case readErr != nil:
			return fmt.Errorf("%w; then %w", err, readErr)
		case same(stored, &next): // it had happened
			h.entry, h.rev = next, rev
			return nil
		case rev < h.rev:
			return fmt.Errorf("%w; the read that followed was stale", err)
		case stored.Owner != h.me || stored.Epoch != h.entry.Epoch:
			return errLost
		}
		h.rev = rev
	}
	return err
}

// same reports whether a stored entry is the very one that was written.
func same(stored, written *wire.Pool) bool {
	return stored.Owner == written.Owner && stored.Epoch == written.Epoch &&
		stored.UpdatedAt.Equal(written.UpdatedAt)
}

// snapshot is the entry as the pool stands now. h.mu is held.
func (h *holding) snapshot() wire.Pool {
	next := h.entry
	if h.pool != nil {
		next.Checkpoint = h.pool.Checkpoint()
		next.State, next.Reason = h.pool.State()
		next.Gap, next.LostFrom = h.pool.Gap(), h.pool.LostFrom()
	}
	return next
}

// differs reports whether a snapshot is worth writing.
func differs(a, b *wire.Pool) bool {
	if a.State != b.State || a.Reason != b.Reason || a.Gap != b.Gap || a.LostFrom != b.LostFrom || a.Checkpoint.Floor != b.Checkpoint.Floor ||
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
