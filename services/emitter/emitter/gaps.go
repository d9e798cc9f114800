package emitter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/sluicehq/sluice/pkg/subscription"
	"github.com/sluicehq/sluice/pkg/wire"
)

// gapped is a pool that waits at a gap for its subscription to be paused.
type gapped struct {
	uid string
	gap wire.Gap
}

// metGap notes that a pool met a gap and is to pause there. It does not wait.
// Nothing is dropped: there is at most one gap for each subscription.
func (s *Service) metGap(rec *wire.Record, gap wire.Gap) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gaps[rec.Name] = gapped{uid: rec.UID, gap: gap}
}

// pauseAtGaps pauses the subscriptions whose pools met gaps until ctx ends;
// whoever owns the pool then meets the gap again.
func (s *Service) pauseAtGaps(ctx context.Context) error {
	again := time.NewTicker(retryAfter)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-again.C:
		}
		for name, g := range s.openGaps() {
			if s.unfinished(name) {
				continue // what lies before the gap is delivered first
			}
			if err := s.pauseAtGap(ctx, name, g); err != nil && ctx.Err() == nil {
				s.rarely.Warn().Err(err).Msg("subscription not paused at its gap yet")
				continue
			}
			s.closeGap(name, g)
		}
	}
}

// unfinished reports whether a pool of ours has events that it has read and not
// finished.
func (s *Service) unfinished(name string) bool {
	h := s.holding(name)
	if h == nil {
		return false
	}
	h.mu.Lock()
	p := h.pool
	h.mu.Unlock()
	return p != nil && p.Status().Pending > 0
}

func (s *Service) openGaps() map[string]gapped {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.gaps)
}

// closeGap forgets a gap, unless another one has taken its place.
func (s *Service) closeGap(name string, g gapped) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gaps[name] == g {
		delete(s.gaps, name)
	}
}

// pauseAtGap pauses a subscription that asked for it when events were lost
// before they were read. Where the record is another one by now, the pool runs
// or will run by that and meets the gap again.
func (s *Service) pauseAtGap(ctx context.Context, name string, g gapped) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rec, rev, err := s.records.Get(ctx, name)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return nil
	case err != nil:
		return fmt.Errorf("pause %q at a gap: %w", name, err)
	case rec.Paused || rec.UID != g.uid || rec.Generation != g.gap.Generation:
		return nil
	}
	rec.Paused = true
	rec.Generation++
	rec.UpdatedAt = time.Now().UTC()
	if _, err := s.records.Update(ctx, rec, rev); err != nil {
		return fmt.Errorf("pause %q at a gap: %w", name, err)
	}
	s.tell(wire.AdvSubscriptionPaused, name,
		fmt.Sprintf("the store no longer holds %d of the sequences %d to %d, which were still to be read; resume goes on behind them",
			g.gap.Count, g.gap.From, g.gap.To),
		map[string]any{"from": g.gap.From, "to": g.gap.To, "count": g.gap.Count, "kind": g.gap.Kind})
	return nil
}

// acknowledged returns a gap as it stands once the subscription is paused:
// whoever resumes it has been told, so the pool may go on behind the gap.
func acknowledged(gap *wire.Gap) *wire.Gap {
	if gap == nil || gap.Paused {
		return gap
	}
	told := *gap
	told.Paused = true
	return &told
}
