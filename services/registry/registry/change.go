package registry

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// change says what is to become of one record.
type change struct {
	name string
	// ifRevision makes it conditional; nil is unconditional.
	ifRevision *uint64
	// plan looks at the record (nil where there is none) and returns what is to
	// be in its place; the same record means that nothing is to be done. It is
	// called again when the record moved on, and must return records that carry
	// the same uid, generation and time each time it is given the same one: they
	// tell a write of ours that was not confirmed from somebody else's.
	plan func(ctx context.Context, old *wire.Record) (*wire.Record, error)
}

// changed is the outcome of a change.
type changed struct {
	old, record *wire.Record
	revision    uint64
}

func (c changed) created() bool { return c.old == nil }
func (c changed) any() bool     { return c.old != c.record }

// apply carries c out. Its error is an answer. A record that is gone although nobody
// deleted it is changed as it was last seen: it is written back with the change,
// so that the subscription keeps its place.
func (s *api) apply(ctx context.Context, r *request, st *stores, c change) (changed, *wire.Error) {
	var out changed
	rev, err := replace(ctx, st.subs, c.name, func(now bucket.Seen) (*bucket.Write, error) {
		old, err := subscription.RecordOf(now, s.ns)
		if err != nil {
			return nil, err
		}
		rev := now.Live()
		if c.ifRevision != nil && *c.ifRevision != rev {
			if now.Sent != nil {
				return nil, unknown()
			}
			return nil, revisionConflict(c.name, rev)
		}
		if now.Revision == 0 {
			old = s.view.vanished(c.name)
		}
		next, err := c.plan(ctx, old)
		switch {
		case now.Sent != nil && errors.Is(err, errAway):
			return nil, unknown()
		case err != nil:
			return nil, err
		}
		out = changed{old: old, record: next}
		if next == old && (old == nil || rev > 0) {
			return nil, nil
		}
		return bucket.Put(next)
	})
	if err != nil {
		return changed{}, s.failed(r, err)
	}
	out.revision = rev
	if out.record != nil {
		s.view.wrote(out.record, rev)
	}
	return out, nil
}

// replace is bucket.Change with errors that are answers: for an outcome that is
// not known, and for others who were faster each time.
func replace(ctx context.Context, kv gated, name string, plan bucket.Plan) (uint64, error) {
	var last uint64
	rev, err := bucket.Change(ctx, kv, name, func(now bucket.Seen) (*bucket.Write, error) {
		last = now.Live()
		return plan(now)
	})
	switch {
	case errors.Is(err, bucket.ErrUnanswered):
		return 0, unknown()
	case errors.Is(err, bucket.ErrContended):
		return 0, contended(name, last)
	}
	return rev, err
}
