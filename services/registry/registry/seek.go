package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *Service) seek(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeSeek(r.body, r.name)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	for range maxTries {
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

// errRestarted is in the error of a move that another registry's restart of
// the subscription came before.
var errRestarted = errors.New("the subscription was restarted")

// moveTo carries a seek out on the record as it is now.
func (s *Service) moveTo(ctx context.Context, r *request, st *stores, req wire.SeekRequest) (*wire.SeekResponse, error) {
	rec, _, err := s.read(ctx, st, r.name)
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
func (s *Service) movePool(ctx context.Context, st *stores, m move) (from uint64, err error) {
	var (
		sent   *wire.Pool // written over sentAt, but not confirmed
		sentAt uint64
	)
	for range maxTries {
		old, rev, err := s.readPool(ctx, st, m.rec.Name)
		switch {
		case errors.Is(err, subscription.ErrNotFound):
			old = nil
		case err != nil && sent != nil:
			return 0, unknown()
		case err != nil:
			return 0, err
		}
		if sent != nil && rev != sentAt {
			if old != nil && old.Epoch == sent.Epoch && old.UpdatedAt.Equal(sent.UpdatedAt) {
				return from, nil
			}
			return 0, unknown() // whoever wrote since may have begun at either place
		}
		if sent == nil && old != nil && old.UID != m.rec.UID {
			if err := s.stillIs(ctx, st, m.rec); err != nil {
				return 0, err
			}
		}
		from = m.from(old)
		if m.dry {
			return from, nil
		}
		var next *wire.Pool
		err = s.gate.do(ctx, func(ctx context.Context) error {
			epoch, err := st.pools.NextEpoch(ctx, old, rev)
			if err != nil {
				return fmt.Errorf("%w: %w", errNotSent, err)
			}
			next = m.entry(old, epoch)
			_, err = st.pools.Write(ctx, next, rev)
			return err
		})
		var conflict *subscription.ConflictError
		switch {
		case err == nil:
			return from, nil
		case errors.As(err, &conflict): // look again
		case errors.Is(err, errAway) && !errors.Is(err, errNotSent):
			sent, sentAt = next, rev
		case sent != nil:
			return 0, unknown()
		default:
			return 0, err
		}
	}
	if sent != nil {
		return 0, unknown()
	}
	return 0, contended(m.rec.Name, 0)
}

// stillIs returns errRestarted unless rec's subscription is the one of its
// name. A pool of another uid is either what is left of an earlier one, or of
// one that has taken rec's place since rec was read; the latter must stay.
func (s *Service) stillIs(ctx context.Context, st *stores, rec *wire.Record) error {
	now, _, err := s.read(ctx, st, rec.Name)
	if err == nil && now.UID != rec.UID {
		err = errRestarted
	}
	return err
}

func (s *Service) readPool(ctx context.Context, st *stores, name string) (pool *wire.Pool, rev uint64, err error) {
	err = s.gate.do(ctx, func(ctx context.Context) error {
		var err error
		pool, rev, err = st.pools.Get(ctx, name)
		return err
	})
	return pool, rev, err
}
