package registry

import (
	"context"
	"errors"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *Service) pause(ctx context.Context, r *request) (any, *wire.Error) {
	return s.setPaused(ctx, r, true, wire.AdvSubscriptionPaused)
}

func (s *Service) resume(ctx context.Context, r *request) (any, *wire.Error) {
	return s.setPaused(ctx, r, false, wire.AdvSubscriptionResumed)
}

func (s *Service) setPaused(ctx context.Context, r *request, paused bool, what string) (any, *wire.Error) {
	if bad := subscription.DecodeEmpty(r.body, r.name); bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	now := time.Now().UTC()
	plan := func(_ context.Context, old *wire.Record) (*wire.Record, error) {
		switch {
		case old == nil:
			return nil, subscription.ErrNotFound
		case old.Paused == paused:
			return old, nil
		}
		rec := *old
		rec.Paused, rec.Generation, rec.UpdatedAt = paused, old.Generation+1, now
		return &rec, nil
	}
	c, bad := s.apply(ctx, r, st, change{name: r.name, plan: plan})
	if bad != nil {
		return nil, bad
	}
	s.advise(r, c.any(), what, "", facts(c.record, c.revision))
	sub := c.record.Subscription(c.revision)
	return wire.SubscriptionResponse{Head: head(r), Subscription: &sub}, nil
}

func (s *Service) unsubscribe(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeUnsubscribe(r.body, r.name)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	uid, rev, bad := s.remove(ctx, r, st, req.IfRevision)
	if bad != nil {
		return nil, bad
	}
	s.advise(r, true, wire.AdvSubscriptionDeleted, "subscription removed on request",
		map[string]any{"uid": uid, "revision": rev})
	return wire.UnsubscribeResponse{Head: head(r), Deleted: true}, nil
}

// remove deletes the record, one that cannot be read too, and returns the uid
// and revision of what it deleted.
func (s *Service) remove(ctx context.Context, r *request, st *stores, ifRevision *uint64) (uid string, rev uint64, bad *wire.Error) {
	sent := uint64(0) // the revision that an unconfirmed delete was to replace
	for range maxTries {
		rec, current, err := s.read(ctx, st, r.name)
		var corrupt *subscription.CorruptError
		switch {
		case errors.Is(err, subscription.ErrNotFound) && sent != 0:
			s.view.removed(r.name, sent)
			return uid, sent, nil
		case err == nil:
			uid = rec.UID
		case errors.As(err, &corrupt): // may be removed as well
		case sent != 0:
			return "", 0, unknown()
		default:
			return "", 0, s.failed(r, err)
		}
		rev = current
		if ifRevision != nil && *ifRevision != rev {
			return "", 0, movedOn(r.name, rev)
		}
		err = s.gate.do(ctx, func(ctx context.Context) error { return st.records.Delete(ctx, r.name, rev) })
		var conflict *subscription.ConflictError
		switch {
		case err == nil:
			s.view.removed(r.name, rev)
			return uid, rev, nil
		case errors.As(err, &conflict): // it moved on: look again
		case errors.Is(err, errAway) && !errors.Is(err, errNotSent):
			sent = rev
		case errors.Is(err, errAway) && sent != 0:
			return "", 0, unknown()
		default:
			return "", 0, s.failed(r, err)
		}
	}
	if sent != 0 {
		return "", 0, unknown()
	}
	return "", 0, contended(r.name, rev)
}
