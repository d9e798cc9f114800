package registry

import (
	"context"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

func (s *api) pause(ctx context.Context, r *request) (any, *wire.Error) {
	return s.setPaused(ctx, r, true, wire.AdvSubscriptionPaused)
}

func (s *api) resume(ctx context.Context, r *request) (any, *wire.Error) {
	return s.setPaused(ctx, r, false, wire.AdvSubscriptionResumed)
}

func (s *api) setPaused(ctx context.Context, r *request, paused bool, what string) (any, *wire.Error) {
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

func (s *api) unsubscribe(ctx context.Context, r *request) (any, *wire.Error) {
	req, bad := subscription.DecodeUnsubscribe(r.body, r.name)
	if bad != nil {
		return nil, bad
	}
	st, bad := s.stores()
	if bad != nil {
		return nil, bad
	}
	was, bad := s.remove(ctx, r, st, req.IfRevision)
	if bad != nil {
		return nil, bad
	}
	s.advise(r, true, wire.AdvSubscriptionDeleted, "subscription removed on request",
		map[string]any{"uid": was.uid(), "revision": was.rev})
	return wire.UnsubscribeResponse{Head: head(r), Deleted: true, Parked: s.parkedOf(ctx, r.name)}, nil
}

// parkedOf counts the events of a name that stay parked; nil where that cannot be
// learnt, which is no reason to refuse what was done.
func (s *api) parkedOf(ctx context.Context, name string) *uint64 {
	var info *jetstream.StreamInfo
	err := s.gate.do(ctx, func(ctx context.Context) error {
		stream, err := s.js.Stream(ctx, s.ns.StreamParked())
		if err == nil {
			info, err = stream.Info(ctx, jetstream.WithSubjectFilter(s.ns.Parked(name)))
		}
		return err
	})
	if err != nil {
		s.log.Debug().Err(err).Str("name", name).Msg("parked events not counted")
		return nil
	}
	n := info.State.Subjects[s.ns.Parked(name)]
	return &n
}
