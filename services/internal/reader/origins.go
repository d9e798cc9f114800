package reader

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// traceTimeout bounds a look at all streams that a store takes events from: it
// holds up the store's readers, and where it fails the count of hops is left.
const traceTimeout = time.Second

// origins are the streams that capture events for a store: itself, and those
// that its mirror and sources take events from.
type origins struct {
	sourcing sourcing // of the store, as of the last look at origins
	origins  []subscription.Origin
	again    time.Time // when to look at them again; zero if only the store matters
}

// sourcing is what of a store's configuration says where its events come from.
type sourcing struct {
	Subjects []string
	Mirror   *jetstream.StreamSource
	Sources  []*jetstream.StreamSource
}

// holdCaptured holds the deliveries of pools whose delivery subject is captured for
// their own store, and of no others: records can be written by hand, and streams
// get other subjects and sources later. Fresh members may have a reader then.
func (s *Store) holdCaptured(ctx context.Context, now sourcing) {
	changed := s.followOrigins(ctx, now)
	verdicts := map[*pool.Pool]string{}
	judge := func(m *member) { verdicts[m.pool] = s.captured(m.rec.Spec.Deliver.Subject) }
	s.lock()
	if changed {
		for _, m := range s.roster.all {
			judge(m)
		}
	}
	for m := range s.roster.open.in {
		if m.state != fresh {
			continue
		}
		judge(m)
		if m.pool.HasBegun() { // else it came after the look, and is to begin at the next
			s.roster.become(m, waiting)
		}
	}
	s.mu.Unlock()
	for p, why := range verdicts {
		p.Captive(why)
	}
}

// captured says why nothing may be delivered to subject, "" if it may.
func (s *Store) captured(subject string) string {
	stream, filter, captured := subscription.CapturedBy(s.round.origins.origins, subject)
	switch {
	case !captured:
		return ""
	case stream == s.name:
		return fmt.Sprintf("the store itself captures %s (%s): deliveries would become events", subject, filter)
	default:
		return fmt.Sprintf("%q, from which events of the store come, captures %s (%s): deliveries would become events", stream, subject, filter)
	}
}

// followOrigins brings the origins up to date, and reports whether they changed.
// Where streams further back cannot be looked at, what was known of them stays.
func (s *Store) followOrigins(ctx context.Context, now sourcing) (changed bool) {
	o := &s.round.origins
	changed = o.origins == nil || !reflect.DeepEqual(now, o.sourcing)
	if !changed && (o.again.IsZero() || time.Now().Before(o.again)) {
		return false
	}
	o.sourcing, o.again = now, time.Time{}
	found := []subscription.Origin{{Stream: s.name, Subjects: now.Subjects}}
	if now.Mirror != nil || len(now.Sources) > 0 {
		o.again = time.Now().Add(s.cfg.tune.trace)
		ctx, cancel := context.WithTimeout(ctx, traceTimeout)
		defer cancel()
		all, err := subscription.Origins(ctx, s.cfg.JetStream, s.name)
		switch {
		case err == nil:
			found = all
		case len(o.origins) > 0:
			found = append(found, o.origins[1:]...)
		}
		if err != nil {
			s.log.Warn().Err(err).Msg("streams that the store takes events from cannot be looked at")
		}
	}
	changed = changed || !reflect.DeepEqual(found, o.origins)
	o.origins = found
	return changed
}
