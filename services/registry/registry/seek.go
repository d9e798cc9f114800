package registry

import (
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/bucket"
	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *api) seek(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeSeek(r.body, r.name)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	for range maxRestarts {
		answer, err := s.moveTo(ctx, r, st, req)
		switch {
		case errors.Is(err, errRestarted): // decide anew
		case err != nil:
			return nil, s.failed(r, err)
		default:
			return answer, nil
		}
	}
	return nil, contended(r.name, 0)
}

// maxRestarts bounds how often a seek is decided anew.
const maxRestarts = 16

// errRestarted is in the error of a move that another registry's restart of
// the subscription came before.
var errRestarted = errors.New("the subscription was restarted")

// moveTo carries a seek out on the record as it is now.
func (s *api) moveTo(ctx context.Context, r *request, st *stores, req wire.SeekRequest) (*wire.SeekResponse, error) {
	rec, _, err := st.records().Get(ctx, r.name)
	if err != nil {
		return nil, err
	}
	to, info, err := s.resolve(ctx, rec.Spec.Store, req.To)
	if err != nil {
		return nil, err
	}
	if err := sameStore(rec, info); err != nil {
		return nil, err
	}
	m := move{rec: rec, to: to, ahead: to > info.Last+1, now: time.Now().UTC(), dry: req.DryRun}
	from, err := s.movePool(ctx, st, m)
	if err != nil {
		return nil, err
	}
	events := info.Held(min(from, to), max(from, to))
	if !req.DryRun {
		s.advise(r, true, wire.AdvSubscriptionSought, "checkpoint moved on request",
			map[string]any{"uid": rec.UID, "from_sequence": from, "to_sequence": to, "events": events})
	}
	return &wire.SeekResponse{Head: head(r), FromSequence: from, ToSequence: to, Events: events, DryRun: req.DryRun}, nil
}

// sameStore refuses a store that is not the one of the subscribe: its sequences
// mean nothing to the subscription.
func sameStore(rec *wire.Record, info subscription.StoreInfo) error {
	if rec.StoreCreated.IsZero() || rec.StoreCreated.Equal(info.Created) {
		return nil
	}
	return wire.Errorf(wire.CodeNoStore,
		`store %q is another one than at the subscribe: subscribe with "restart": true`, rec.Spec.Store)
}

// move puts a pool's checkpoint at a sequence.
type move struct {
	rec   *wire.Record
	to    uint64 // the next sequence to be read
	ahead bool   // the store has not reached it
	now   time.Time
	dry   bool
}

// entry returns the pool entry that replaces old (nil if there is none):
// nobody's, under a new epoch, so that the present owner stops and whoever
// claims it begins at the new place.
func (m move) entry(old *wire.Pool, epoch uint64) *wire.Pool {
	next := wire.Pool{
		Schema: wire.SchemaVersion, Name: m.rec.Name, UID: m.rec.UID,
		Epoch: epoch, Checkpoint: wire.Checkpoint{Floor: m.to - 1},
		State: wire.PoolReleased, Reason: "checkpoint moved on request", UpdatedAt: m.now,
	}
	if m.ahead {
		next.Begin = m.to
	}
	if old != nil && old.UID == m.rec.UID {
		next.ObservedGeneration, next.ObservedRevision = old.ObservedGeneration, old.ObservedRevision
		next.Gap, next.ClaimedAt = old.Gap, old.ClaimedAt
	}
	return &next
}

// from returns the next sequence to be read as things stand.
func (m move) from(old *wire.Pool) uint64 {
	if old != nil && old.UID == m.rec.UID {
		return old.Checkpoint.Floor + 1
	}
	return max(m.rec.StartSequence, 1)
}

// movePool writes the new entry over whatever is there and returns where the
// pool stood. The owner writes its checkpoint all the time, so the first try
// may well come second.
func (s *api) movePool(ctx context.Context, st *stores, m move) (from uint64, err error) {
	_, err = replace(ctx, st.pools, m.rec.Name, func(now bucket.Seen) (*bucket.Write, error) {
		if now.Sent != nil && now.Revision != now.Sent.Revision {
			return nil, unknown() // whoever wrote since may have begun at either place
		}
		old, err := subscription.PoolOf(now)
		if err == nil && old != nil && old.UID != m.rec.UID {
			err = s.checkSameUID(ctx, st, m.rec)
		}
		if err != nil {
			return nil, err
		}
		from = m.from(old)
		if m.dry {
			return nil, nil
		}
		epoch, err := st.entries().NextEpoch(ctx, old, now.Revision)
		switch {
		case err != nil && now.Sent != nil:
			return nil, unknown()
		case err != nil:
			return nil, err
		}
		return bucket.Put(m.entry(old, epoch))
	})
	return from, err
}

// checkSameUID returns errRestarted unless rec's subscription is the one of its
// name. A pool of another uid is either what is left of an earlier one, or of
// one that has taken rec's place since rec was read; the latter must stay.
func (s *api) checkSameUID(ctx context.Context, st *stores, rec *wire.Record) error {
	now, _, err := st.records().Get(ctx, rec.Name)
	if err == nil && now.UID != rec.UID {
		err = errRestarted
	}
	return err
}
