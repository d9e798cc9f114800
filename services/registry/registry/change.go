package registry

import (
	"context"
	"errors"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// change is a compare-and-swap loop over one record.
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
func (s *Service) apply(ctx context.Context, r *request, st *stores, c change) (changed, *wire.Error) {
	var (
		sent   *wire.Record // written, but not confirmed
		before *wire.Record // what sent was to replace
		rev    uint64
	)
	for range maxTries {
		old, current, err := s.read(ctx, st, c.name)
		rev = current
		switch {
		case errors.Is(err, subscription.ErrNotFound) && current == 0:
			old = s.view.vanished(c.name)
		case errors.Is(err, subscription.ErrNotFound):
			old, rev = nil, 0
		case err != nil && sent != nil:
			return changed{}, unknown()
		case err != nil:
			return changed{}, s.failed(r, err)
		}
		if sent != nil && rev > 0 && sameWrite(sent, old) { // at 0 it is only remembered
			return changed{before, old, rev}, nil
		}
		if c.ifRevision != nil && *c.ifRevision != rev {
			if sent != nil {
				return changed{}, unknown()
			}
			return changed{}, movedOn(c.name, rev)
		}
		next, err := c.plan(ctx, old)
		switch {
		case err != nil && sent != nil && errors.Is(err, errAway):
			return changed{}, unknown()
		case err != nil:
			return changed{}, s.failed(r, err)
		case next == old && (old == nil || rev > 0):
			return changed{old, old, rev}, nil
		}
		written, err := s.write(ctx, st, next, rev, old == nil)
		var conflict *subscription.ConflictError
		switch {
		case err == nil:
			s.view.wrote(next, written)
			return changed{old, next, written}, nil
		case errors.As(err, &conflict): // somebody else's came first: look again
		case errors.Is(err, errAway) && !errors.Is(err, errNotSent):
			sent, before = next, old
		case sent != nil:
			return changed{}, unknown()
		default:
			return changed{}, s.failed(r, err)
		}
	}
	if sent != nil {
		return changed{}, unknown()
	}
	return changed{}, contended(c.name, rev)
}

// write writes rec over rev; a new one in the place of a tombstone too.
func (s *Service) write(ctx context.Context, st *stores, rec *wire.Record, rev uint64, isNew bool) (written uint64, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		if isNew {
			written, err = st.records.Create(ctx, rec)
		} else {
			written, err = st.records.Update(ctx, rec, rev)
		}
		return err
	})
	return written, err
}

// sameWrite reports whether stored is the record that was sent: no other write
// has its uid, generation and time together with its content.
func sameWrite(sent, stored *wire.Record) bool {
	return stored != nil && stored.UID == sent.UID && stored.Generation == sent.Generation &&
		stored.UpdatedAt.Equal(sent.UpdatedAt) && stored.Paused == sent.Paused &&
		subscription.Equal(&stored.Spec, &sent.Spec)
}
