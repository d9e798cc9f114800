package jobs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Errors of the store.
var (
	ErrNotFound = errors.New("there is no such replay")
	ErrTaken    = errors.New("the replay may not be claimed")
	ErrLost     = errors.New("the replay has another owner")
	errStale    = errors.New("the entry was read as it was before our last write")
	errExists   = errors.New("there is a replay of that id")
)

// Bucket is what the store uses of the replays bucket.
type Bucket interface {
	bucket.Cell
	Forget(ctx context.Context, key string, revision uint64) error
}

// Store keeps replays. After an error with bucket.ErrUnanswered a write may have
// been made.
type Store struct {
	kv Bucket
	ns wire.Namespace
}

// NewStore returns the store of the replays in a bucket.
func NewStore(kv Bucket, ns wire.Namespace) *Store { return &Store{kv, ns} }

// Own reports whether a key of the bucket is that of a replay.
func Own(key string) bool { return key != wire.ReconciledKey && key != wire.ReconcileReportKey }

// Get returns a replay and its revision. The error is ErrNotFound, or a
// *subscription.CorruptError.
func (s *Store) Get(ctx context.Context, id string) (*wire.Replay, uint64, error) {
	if !Own(id) {
		return nil, 0, ErrNotFound
	}
	e, err := s.kv.Get(ctx, id)
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, ErrNotFound
	case err != nil:
		return nil, 0, fmt.Errorf("read replay %q: %w", id, err)
	}
	r, err := subscription.DecodeReplayEntry(subscription.EntryOf(e), s.ns)
	return r, e.Revision(), err
}

// Create writes a new replay.
func (s *Store) Create(ctx context.Context, r *wire.Replay) error {
	_, err := bucket.Change(ctx, s.kv, r.ID, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Entry != nil {
			return nil, errExists
		}
		return bucket.Put(r)
	})
	return err
}

// of is the replay that a change sees. The error is ErrNotFound, or a
// *subscription.CorruptError.
func (s *Store) of(now bucket.Seen) (*wire.Replay, error) {
	if now.Entry == nil {
		return nil, ErrNotFound
	}
	return subscription.DecodeReplayEntry(subscription.EntryOf(now.Entry), s.ns)
}

// Obey carries an order out, and returns the replay as it then is.
func (s *Store) Obey(ctx context.Context, id string, o Order) (r *wire.Replay, changed bool, err error) {
	if !Own(id) {
		return nil, false, ErrNotFound
	}
	at := time.Now().UTC()
	_, err = bucket.Change(ctx, s.kv, id, func(now bucket.Seen) (*bucket.Write, error) {
		old, err := s.of(now)
		if err != nil {
			return nil, err
		}
		next, refused := obey(old, o, at)
		switch {
		case refused != nil:
			return nil, refused
		case next == nil:
			r, changed = old, false
			return nil, nil
		}
		r, changed = next, true
		return bucket.Put(next)
	})
	return r, changed, err
}

// Held is a replay that an instance owns, as it was last known to be stored. It
// is for one goroutine at a time.
type Held struct {
	wire.Replay
	Revision uint64
}

// Claim makes me the owner of a replay. The error is ErrTaken where it is not
// free, or not there.
func (s *Store) Claim(ctx context.Context, id, me string, alive func(string) bool) (*Held, error) {
	var h Held
	rev, err := bucket.Change(ctx, s.kv, id, func(now bucket.Seen) (*bucket.Write, error) {
		old, err := s.of(now)
		switch {
		case errors.Is(err, ErrNotFound):
			return nil, ErrTaken
		case err != nil:
			return nil, err
		case !Free(old, me, alive):
			return nil, ErrTaken
		}
		h.Replay = *claimed(old, now.Revision, me, time.Now().UTC())
		return bucket.Put(h.Replay)
	})
	if err != nil {
		return nil, fmt.Errorf("claim replay %q: %w", id, err)
	}
	h.Revision = rev
	return &h, nil
}

// Save writes what change makes of a replay that is held, over the entry as last
// known. Where somebody has given an order since, change sees the state that it
// has by that. The error is ErrLost where the replay has another owner.
func (s *Store) Save(ctx context.Context, h *Held, change func(*wire.Replay)) error {
	known := bucket.Seen{Key: h.ID, Revision: h.Revision}
	var next wire.Replay
	rev, err := bucket.ChangeFrom(ctx, s.kv, known, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Revision != h.Revision {
			if err := s.learn(h, now); err != nil {
				return nil, err
			}
		}
		next = h.Replay
		change(&next)
		next.UpdatedAt = time.Now().UTC() // tells this write from every other one
		return bucket.Put(next)
	})
	if err != nil {
		return fmt.Errorf("write replay %q: %w", h.ID, err)
	}
	h.Replay, h.Revision = next, rev
	return nil
}

// learn takes over an entry that is not the one last known, if that is still ours.
func (s *Store) learn(h *Held, now bucket.Seen) error {
	stored, err := s.of(now)
	switch {
	case errors.Is(err, ErrNotFound) && now.Revision > 0:
		return ErrLost
	case errors.Is(err, ErrNotFound): // the bucket is another one, and the place is known here
	case errors.Is(err, subscription.ErrNewerSchema):
		return ErrLost
	case err != nil: // what cannot be read is nobody's claim
	case stored.Owner != h.Owner || stored.Epoch != h.Epoch:
		if now.Revision < h.Revision {
			return errStale
		}
		return ErrLost
	case now.Revision < h.Revision: // a bucket that was restored: what is known here is later
	default:
		h.State, h.EndedAt = stored.State, stored.EndedAt
	}
	h.Revision = now.Revision
	return nil
}

// Remove removes a replay that has ended at a revision. One that was written since
// stays: what is removed is what lies there up to that revision, in one step.
func (s *Store) Remove(ctx context.Context, id string, rev uint64) error {
	if err := s.kv.Forget(ctx, id, rev); err != nil {
		return fmt.Errorf("remove replay %q: %w", id, err)
	}
	return nil
}
