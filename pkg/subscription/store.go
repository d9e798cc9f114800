package subscription

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/wire"
)

// ErrNotFound is in the error of a read where no live entry is.
var ErrNotFound = errors.New("not found")

// ConflictError reports that Key was no longer at Revision: somebody else
// wrote it first. Revision 0 means that the key was to be new.
type ConflictError struct {
	Key      string
	Revision uint64
	Err      error
}

func (e *ConflictError) Error() string {
	if e.Revision == 0 {
		return fmt.Sprintf("key %q exists", e.Key)
	}
	return fmt.Sprintf("key %q changed since revision %d", e.Key, e.Revision)
}

func (e *ConflictError) Unwrap() error { return e.Err }

// CorruptError reports an entry that is there but cannot be read.
type CorruptError struct {
	Key      string
	Revision uint64
	Value    []byte
	Err      error
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("entry %q at revision %d cannot be read: %s", e.Key, e.Revision, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// keyValue is what the stores use of a bucket that bucket.Open has opened.
type keyValue interface {
	bucket.Cell
	Status(ctx context.Context) (jetstream.KeyValueStatus, error)
}

// Store keeps the records. Every write names the revision that it replaces,
// so of two writers at most one wins. A write that times out may have
// happened: read the key before writing again.
type Store struct {
	kv keyValue
	ns wire.Namespace
}

// NewStore returns the store of records in the subscriptions bucket kv.
func NewStore(kv keyValue, ns wire.Namespace) *Store { return &Store{kv: kv, ns: ns} }

// Get returns the record of name and its revision. Where there is none the
// error is ErrNotFound, where it cannot be read a *CorruptError.
func (s *Store) Get(ctx context.Context, name string) (*wire.Record, uint64, error) {
	e, err := get(ctx, s.kv, name)
	if err != nil {
		return nil, e.Revision, fmt.Errorf("read subscription %q: %w", name, err)
	}
	r, err := record(e, s.ns)
	return r, e.Revision, err
}

// RecordOf returns the record that a change sees, nil where there is none. The
// error is a *CorruptError.
func RecordOf(now bucket.Seen, ns wire.Namespace) (*wire.Record, error) {
	if now.Entry == nil {
		return nil, nil
	}
	return record(EntryOf(now.Entry), ns)
}

func record(e Entry, ns wire.Namespace) (*wire.Record, error) {
	r, err := DecodeRecord(e, ns)
	return r, corrupt(e, err)
}

// corrupt is the error of decoding e, as a *CorruptError.
func corrupt(e Entry, err error) error {
	if err == nil {
		return nil
	}
	return &CorruptError{Key: e.Key, Revision: e.Revision, Value: e.Value, Err: err}
}

// Create writes the record of a name that has none, and returns its revision,
// or a *ConflictError where there is one.
func (s *Store) Create(ctx context.Context, r *wire.Record) (uint64, error) {
	return bucket.Change(ctx, s.kv, r.Name, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Entry != nil {
			return nil, &ConflictError{Key: r.Name}
		}
		return bucket.Put(r)
	})
}

// Update writes r over revision rev and returns the new revision, or a
// *ConflictError where the record moved on. A rev of 0 is for a name that was
// never used.
func (s *Store) Update(ctx context.Context, r *wire.Record, rev uint64) (uint64, error) {
	return update(ctx, s.kv, r.Name, r, rev)
}

// Delete removes the record at revision rev, which must not be 0, or returns
// a *ConflictError where it moved on.
func (s *Store) Delete(ctx context.Context, name string, rev uint64) error {
	return remove(ctx, s.kv, name, rev)
}

// Pools keeps claims and checkpoints, with the promises of Store.
type Pools struct {
	kv keyValue
}

// NewPools returns the store of pool entries in the pools bucket kv.
func NewPools(kv keyValue) *Pools { return &Pools{kv: kv} }

// Get returns the pool entry of name and its revision, with the errors of
// Store.Get. With ErrNotFound comes the revision of the tombstone, 0 where the
// name was never used: what Write has to replace.
func (s *Pools) Get(ctx context.Context, name string) (*wire.Pool, uint64, error) {
	e, err := get(ctx, s.kv, name)
	if err != nil {
		return nil, e.Revision, fmt.Errorf("read pool %q: %w", name, err)
	}
	p, err := pool(e)
	return p, e.Revision, err
}

// PoolOf returns the pool entry that a change sees, nil where there is none. The
// error is a *CorruptError.
func PoolOf(now bucket.Seen) (*wire.Pool, error) {
	if now.Entry == nil {
		return nil, nil
	}
	return pool(EntryOf(now.Entry))
}

func pool(e Entry) (*wire.Pool, error) {
	p, err := DecodePool(e)
	return p, corrupt(e, err)
}

// Change carries out a change of an entry from what is known of it: see
// bucket.ChangeFrom.
func (s *Pools) Change(ctx context.Context, known bucket.Seen, plan bucket.Plan) (uint64, error) {
	return bucket.ChangeFrom(ctx, s.kv, known, plan)
}

// Write writes the entry over revision rev (that of a tombstone, or 0, for a
// name without an entry) and returns the new revision, or a *ConflictError.
func (s *Pools) Write(ctx context.Context, pool *wire.Pool, rev uint64) (uint64, error) {
	return update(ctx, s.kv, pool.Name, pool, rev)
}

// Delete removes the entry at revision rev, which must not be 0, or returns a
// *ConflictError.
func (s *Pools) Delete(ctx context.Context, name string, rev uint64) error {
	return remove(ctx, s.kv, name, rev)
}

// NextEpoch is the function of that name. For a name that the bucket does not
// know, not even as deleted, it asks for the bucket's last revision. No earlier
// entry of the name had a higher epoch: neither one of which the tombstone is
// gone, nor one in a bucket whose place this one has taken, which begins above it.
func (s *Pools) NextEpoch(ctx context.Context, old *wire.Pool, rev uint64) (uint64, error) {
	if old != nil || rev > 0 {
		return NextEpoch(old, rev), nil
	}
	st, err := s.kv.Status(ctx)
	if err != nil {
		return 0, fmt.Errorf("look at the pools bucket: %w", err)
	}
	if bs, ok := st.(*jetstream.KeyValueBucketStatus); ok {
		info := bs.StreamInfo()
		return max(info.Config.FirstSeq, info.State.LastSeq+1, 1), nil
	}
	return 1, nil
}

// NextEpoch returns the epoch of an entry that replaces old (nil where there
// is none) at revision rev. It grows over deletion and re-creation too, since
// no epoch is ever above its entry's revision.
func NextEpoch(old *wire.Pool, rev uint64) uint64 {
	if old != nil {
		return max(old.Epoch, rev) + 1
	}
	return rev + 1
}

// get returns the entry of key. Where there is none the error is ErrNotFound, and
// the revision that of the tombstone, 0 if there is none.
func get(ctx context.Context, kv keyValue, key string) (Entry, error) {
	e, err := kv.Get(ctx, key)
	var gone *bucket.DeletedError
	switch {
	case err == nil:
		return EntryOf(e), nil
	case errors.As(err, &gone):
		return Entry{Revision: gone.Revision}, ErrNotFound
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return Entry{}, ErrNotFound
	}
	return Entry{}, err
}

func update(ctx context.Context, kv keyValue, key string, v any, rev uint64) (uint64, error) {
	body, err := wire.Marshal(v)
	if err != nil {
		return 0, fmt.Errorf("encode %q: %w", key, err)
	}
	next, err := kv.Update(ctx, key, body, rev)
	if err != nil {
		return 0, writeError(key, rev, err)
	}
	return next, nil
}

func remove(ctx context.Context, kv keyValue, key string, rev uint64) error {
	if rev == 0 {
		return fmt.Errorf("delete %q: a revision is required", key)
	}
	if err := kv.Delete(ctx, key, jetstream.LastRevision(rev)); err != nil {
		return writeError(key, rev, err)
	}
	return nil
}

func writeError(key string, rev uint64, err error) error {
	if bucket.Conflict(err) {
		return &ConflictError{Key: key, Revision: rev, Err: err}
	}
	return fmt.Errorf("write %q over revision %d: %w", key, rev, err)
}
